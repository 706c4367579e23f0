"""Run the fuzzer: ``python tests/fuzz/fuzz_run.py --count 100000 [TARGET ...]``; the last line is JSON.

Every target runs in a process of its own with a limit of memory. Before each input the process writes the input's
number where this one can see it: when it dies, or works on one input for longer than the limit, the input is
known, is counted as a finding, and the rest is done by a new process. Some targets take many inputs at once: where
something is found among them, they are done once more, one by one.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import mmap
import os
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from fuzz_mutate import mutant
from fuzz_targets import TARGETS, Target, load

from eventide.errors import EventideError

_MEMORY = 3 << 30
_MOST_FINDINGS = 20
_NOT_YET = (1 << 64) - 1
_TOGETHER = 256
"""So many inputs at once, where a target takes many."""
_START_S = 120.0
"""How much longer than an input the start of a process may take, s."""


@dataclass
class Report:
    """What came out for one target."""

    target: str
    inputs: int = 0
    answers: int = 0
    seconds: float = 0.0
    findings: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, object]:
        rate = round(self.inputs / max(self.seconds, 1e-9))
        found = self.findings[:_MOST_FINDINGS]
        return {"inputs": self.inputs, "errors": self.answers, "inputs_per_second": rate, "findings": found}


def fuzz(name: str, *, count: int, seed: int, limit_s: float = 60.0) -> Report:
    """Feed a target with inputs.

    Parameters
    ----------
    name
        The target.
    count, seed
        How many inputs, and which.
    limit_s
        How long one input may take, s; generous, because the machine may be busy.
    """
    report = Report(name)
    began = time.monotonic()
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="fuzz-", dir=memory if os.access(memory, os.W_OK) else None))
    done = alone = 0
    died: list[tuple[int, int]] = []
    while done < count and len(report.findings) < _MOST_FINDINGS:
        done, until = _one_process(report, folder, span=(done, alone, count), seed=seed, limit_s=limit_s)
        died += [(done, until)] if until > max(done, alone) and done < count else []
        alone = until
    numbers = [int(line.split(":")[0].rpartition("/")[2]) for line in report.findings]
    for first, stop in died:
        if not any(first <= n < stop for n in numbers):
            report.findings.append(
                f"{name} {seed}/{first}: ends or stops the process only with the next {stop - first}"
            )
    report.seconds = time.monotonic() - began
    report.inputs = min(done, count)
    shutil.rmtree(folder)
    return report


def _one_process(
    report: Report, folder: Path, *, span: tuple[int, int, int], seed: int, limit_s: float
) -> tuple[int, int]:
    """Let a process work.

    Parameters
    ----------
    span
        From which input on, up to which of them one by one, and up to which.

    Returns
    -------
    The number of the first input it did not do, and up to which the next process works one by one.
    """
    path, errors = folder / "progress", folder / "errors"
    path.write_bytes(struct.pack("<QQQ", _NOT_YET, 0, 1))
    command = [sys.executable, __file__, "--work", report.target, str(path), *map(str, span), str(seed)]
    hung = False
    with errors.open("wb") as output, path.open("r+b") as file, mmap.mmap(file.fileno(), 24) as progress:
        process = subprocess.Popen(command, stdout=output, stderr=output)
        at, since = _NOT_YET, time.monotonic() + _START_S
        while process.poll() is None:
            time.sleep(0.02)
            number = struct.unpack_from("<Q", progress)[0]
            if number != at:
                at, since = number, time.monotonic()
            elif time.monotonic() - since > limit_s:
                process.kill()
                process.wait()
                hung = True
                break
        number, answers, several = struct.unpack("<QQQ", progress[:24])
    if number == _NOT_YET:
        number = span[2]
    report.answers += answers
    said = errors.read_text(errors="replace")
    report.findings += [line for line in said.splitlines() if line.startswith(f"{report.target} {seed}/")]
    if process.returncode == 0 and not hung:
        return span[2], span[2]
    if several > 1:  # which of them it was is found out by a process that takes them one by one
        return int(number), int(number + several)
    if hung:
        report.findings.append(f"{report.target} {seed}/{number}: takes longer than {limit_s:.0f} s")
    else:
        last = "; ".join(said.strip().splitlines()[-12:])
        report.findings.append(
            f"{report.target} {seed}/{number}: process ended with {process.returncode}: {last[:1500]}"
        )
    return int(number) + 1, span[1]


def work(name: str, path: str, *, first: int, alone: int, count: int, seed: int) -> None:
    """Be the process that works."""
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    target = load(name, Path(path).parent)
    answers = 0
    with Path(path).open("r+b") as file, mmap.mmap(file.fileno(), 24) as progress:
        at = first
        while at < count:
            size = min(_TOGETHER, count - at) if target.check_many is not None and at >= alone else 1
            struct.pack_into("<QQQ", progress, 0, at, answers, size)
            inputs = [mutant(target.seeds, target.words, seed=seed, number=n) for n in range(at, at + size)]
            if size == 1 or not _nothing_found(target, inputs):
                outcomes = []
                for number, data in enumerate(inputs, at):
                    struct.pack_into("<QQQ", progress, 0, number, answers, 1)
                    outcomes.append(_outcome(f"{name} {seed}/{number}", target, data))
                    answers += outcomes[-1] == "error"
                if size > 1 and set(outcomes) == {""}:
                    print(f"{name} {seed}/{at}: found only in {size} inputs from here on together", flush=True)
            at += size
        struct.pack_into("<QQQ", progress, 0, count, answers, 1)


def _nothing_found(target: Target, inputs: list[bytes]) -> bool:
    try:
        assert target.check_many is not None
        target.check_many(inputs)
    except BaseException:
        return False
    return True


def _outcome(what: str, target: Target, data: bytes) -> str:
    """Feed one input; return "error" where the answer is an error of eventide, "finding" for a finding, else ""."""
    try:
        target.check(data)
    except EventideError:
        return "error"
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(where.filename).name}:{where.lineno}"
        told = str(error).replace("\n", " ")[:300]
        print(f"{what}: {type(error).__name__} at {place}: {told}", flush=True)
        return "finding"
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"which of {', '.join(TARGETS)} (all)")
    parser.add_argument("--count", type=int, default=1000, help="inputs for each target")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", type=int, metavar="NUMBER", help="write this input to stdout, and stop")
    given = parser.parse_args()
    if given.show is not None:
        target = load(given.targets[0], Path())
        sys.stdout.buffer.write(mutant(target.seeds, target.words, seed=given.seed, number=given.show))
        return 0
    reports = {}
    for name in given.targets or TARGETS:
        report = fuzz(name, count=given.count, seed=given.seed)
        reports[name] = report.to_dict()
        print(f"{name}: {report.inputs} inputs, {len(report.findings)} findings, {report.seconds:.0f} s", flush=True)
        for line in report.findings:
            print(f"  {line}", flush=True)
    ok = not any(r["findings"] for r in reports.values())
    print(json.dumps({"suite": "fuzz", "ok": ok, "seed": given.seed, "targets": reports}))
    return 0 if ok else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
        first, alone, count, seed = map(int, sys.argv[4:8])
        work(sys.argv[2], sys.argv[3], first=first, alone=alone, count=count, seed=seed)
    else:
        sys.exit(main())
