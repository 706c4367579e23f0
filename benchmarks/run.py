"""Run benchmarks: ``python benchmarks/run.py ID [--quick] [--peers a,b]``, with ID one of the cases or ``all``."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

if not __package__:  # run as a file: find the package beside it
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.case import PEERS, Case
from benchmarks.harness import Options, last_line, machine, run_case

ORDER = ("w1", "w2", "w3", "w4", "w2-keys", "step", "latency", "log", "aot", "checkpoint", "recovery", "kafka")


def case_names() -> list[str]:
    """Every case: one file each in ``benchmarks/cases``; the known ones first."""
    found = {path.stem.replace("_", "-") for path in (Path(__file__).parent / "cases").glob("[a-z]*.py")}
    return [name for name in ORDER if name in found] + sorted(found - set(ORDER))


def case_of(name: str) -> Case:
    """The declaration of a case."""
    return importlib.import_module(f"benchmarks.cases.{name.replace('-', '_')}").CASE


def main() -> int:
    """Run the benchmarks named on the command line; 0 when all floors hold."""
    names = case_names()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("id", choices=[*names, "all"])
    parser.add_argument("--quick", action="store_true", help="one repeat: a look, not a result")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--peers", help=f"comma-separated, of {','.join(PEERS)}; default those of the case")
    parser.add_argument("--peers-only", action="store_true", help="leave our side out")
    args = parser.parse_args()
    peers = None if args.peers is None else tuple(name for name in args.peers.split(",") if name)
    unknown = sorted(set(peers or ()) - set(PEERS))
    if unknown:
        parser.error(f"unknown peer {', '.join(unknown)}; there are {', '.join(PEERS)}")
    options = Options(args.repeat, args.quick, peers, ours=not args.peers_only)
    chosen = names if args.id == "all" else [args.id]
    results = []
    for name in chosen:
        results.append(run_case(case_of(name), options))
        print(last_line(results[-1]), flush=True)
    ok = all(result["ok"] for result in results)
    if args.id == "all":
        cases = {result["id"]: result["ok"] for result in results}
        print(last_line({"id": "all", "ok": ok, "cases": cases, "n": len(results), "machine": machine()}), flush=True)
    return 0 if ok else 1


if __name__ == "__main__":
    raise SystemExit(main())
