"""Transactions that were prepared and never decided: who left them, and what to do with them."""

from __future__ import annotations

from typing import Annotated

import typer

from eventide.cli._log_care import open_log
from eventide.cli._options import Json, LogFolder
from eventide.cli.output import note, show, show_json, show_table
from eventide.errors import UsageError
from eventide.model.time import format_time

__all__ = ["undecided"]


def undecided(
    abort: Annotated[int, typer.Option(metavar="NUMBER", help="Abort this one: its events are never seen.")] = 0,
    commit: Annotated[int, typer.Option(metavar="NUMBER", help="Commit this one: its events become visible.")] = 0,
    log: LogFolder = "",
    as_json: Json = False,
) -> None:
    """Show prepared transactions that wait for a decision; readers of their topics wait in front of them.

    A pipeline that died between a checkpoint and its commit decides when it runs again. Decide here only what
    nobody will run again: a checkpoint that has the transaction commits it, one that has not aborts it.
    """
    with open_log(log) as opened:
        found = {n: (owner, at, topics) for n, owner, at, topics in opened.undecided()}
        for number, decide in ((abort, opened.abort_prepared), (commit, opened.commit_prepared)):
            if number and number not in found:
                msg = f"{opened.path} has no undecided transaction {number}"
                raise UsageError(msg, hint="`eventide log undecided` lists them")
            if number:
                decide(number)
    if abort or commit:
        rows = [{"number": n, "decision": d} for n, d in ((abort, "aborted"), (commit, "committed")) if n]
        show_json(rows) if as_json else note("; ".join(f"transaction {r['number']} is {r['decision']}" for r in rows))
        return
    listed = [
        {"number": n, "owner": owner, "prepared": format_time(at), "topics": list(topics)}
        for n, (owner, at, topics) in found.items()
    ]
    if as_json:
        show_json(listed)
    elif listed:
        lines = [(n, owner, format_time(at), ", ".join(topics)) for n, (owner, at, topics) in found.items()]
        show_table(["number", "owner", "prepared", "topics"], lines)
    else:
        show("every transaction is decided")
