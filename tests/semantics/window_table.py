"""Reads the reviewed tables of ``transcripts/`` and writes outcomes in their notation.

A table has a window, a script and cases. A line of the script is a tick (``clock 106``), a watermark
(``watermark 10``), the end of the input (``end``) or events (``a4:2`` is an event of key a at 4 ns with value 2). An
outcome is written as ``3: a [0,10) 1 early 2 5``: after line 3 (counted from 1) a pane of key a, window [0,10), pane
index 1, early, with these values; a minus sign before the key takes that pane back. ``7: late a6:7`` is a late event.

``python window_table.py FILE`` prints a table again with what the oracle says, to review when a case is added.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import yaml
from oracle import Event, Pane
from window_scripts import Happening, Result, Setting, Workers

import eventide.model.trigger as triggers
import eventide.model.window as windows
from eventide.model.time import MAX_TIME, MIN_TIME

__all__ = ["TABLES", "cases", "machine_outcome", "oracle_outcome"]

TABLES = sorted(Path(__file__).with_name("transcripts").glob("*.yaml"))

_NAMES: dict[str, Any] = {"pl": pl, **{n: getattr(triggers, n) for n in triggers.__all__}}


def cases(path: Path) -> Iterator[tuple[str, Setting, list[Happening], list[str]]]:
    """Return the name, the setting, the script and the outcome of every case of a table."""
    table = yaml.safe_load(path.read_text(encoding="utf-8"))
    names = {n: getattr(windows, n) for n in windows.__all__}
    window = eval(table["window"], {"__builtins__": {}}, names)
    script = [_line(text) for text in table["script"]]
    for case in table["cases"]:
        text = case["trigger"]
        trigger = None if text == "default" else eval(text, {"__builtins__": {}}, _NAMES)
        setting = Setting(window, trigger, case["mode"], case["lateness"])
        yield f"{path.stem}: {text}, {case['mode']}, {case['lateness']}", setting, script, case["outcome"]


def _line(text: str) -> Happening:
    word, _, number = text.partition(" ")
    if word == "clock":
        return Happening(clock=int(number))
    if word == "watermark":
        return Happening(watermark=int(number))
    if word == "end":
        return Happening(watermark=MAX_TIME)
    pairs = [(e[0], e[1:].split(":")) for e in text.split()]
    return Happening(tuple(Event(key, int(time), int(value)) for key, (time, value) in pairs))


def _texts(number: int, panes: list[Pane], late: list[tuple[str, int, int]]) -> list[str]:
    """Return outcomes of a line; windows have no order among each other, the panes of one do."""
    out = []
    for p in sorted(panes, key=lambda p: (p.key, p.start, p.end)):
        values = "".join(f" {v}" for v in p.values)
        out.append(f"{number}: {'-' * p.retraction}{p.key} [{p.start},{p.end}) {p.index} {p.timing}{values}")
    return out + [f"{number}: late {key}{time}:{value}" for key, time, value in sorted(late)]


def oracle_outcome(setting: Setting, script: list[Happening]) -> list[str]:
    """Return what the oracle says."""
    oracle, out, watermark = setting.oracle(), list[str](), MIN_TIME
    for number, line in enumerate(script, 1):
        watermark = watermark if line.watermark is None else line.watermark
        before = len(oracle.late)
        panes = oracle.step(list(line.events), watermark=watermark, clock=line.clock)
        out += _texts(number, panes, [(e.key, e.time, e.value) for e in oracle.late[before:]])
    return out


def machine_outcome(setting: Setting, script: list[Happening], *, single: bool, parts: int) -> list[str]:
    """Return what machines say, with one event a batch or whole lines, moved to `parts` machines before each line."""
    workers, out, watermark = Workers(setting), list[str](), MIN_TIME
    for number, line in enumerate(script, 1):
        if parts > 1:
            workers.move(1 + number % parts)
        after = watermark if line.watermark is None else line.watermark
        steps = [(e,) for e in line.events] if single and line.events else [line.events]
        got = Result()
        for step, events in enumerate(steps, 1):
            last = step == len(steps)
            result = workers.push(events, watermark=after if last else watermark, clock=line.clock)
            got.panes += result.panes
            got.late += result.late
        watermark = after
        out += _texts(number, got.panes, got.late)
    return out


if __name__ == "__main__":
    path = Path(sys.argv[1])
    for text in path.read_text(encoding="utf-8").split("\ncases:\n")[0].splitlines():
        print(text)
    print("cases:")
    for name, setting, script, _ in cases(path):
        trigger, mode, lateness = name.split(": ", 1)[1].rsplit(", ", 2)
        print(f"- trigger: {trigger}\n  mode: {mode}\n  lateness: {lateness}\n  outcome:")
        for text in oracle_outcome(setting, script):
            print(f'  - "{text}"')
