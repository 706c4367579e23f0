"""Make the virtual environments of the peers: ``python benchmarks/peers/make.py [NAME ...] [--force]``.

Each peer has an environment of its own under ``.venvs/`` because their pins exclude one another. An environment
whose requirements file has not changed since it was made is left alone.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
ENVIRONMENTS = ROOT / ".venvs"


def environment_names() -> list[str]:
    """Names of all environments: one per requirements file."""
    return sorted(path.stem for path in (HERE / "requirements").glob("*.txt"))


def stamp_of(name: str) -> str:
    """Fingerprint of what an environment should hold: its requirements and the Python version."""
    text = (HERE / "requirements" / f"{name}.txt").read_bytes()
    return f"{hashlib.sha256(text).hexdigest()} python {sys.version_info.major}.{sys.version_info.minor}\n"


def make(name: str, *, force: bool) -> bool:
    """Make one environment unless an up-to-date one exists; True when it is usable afterwards."""
    target = ENVIRONMENTS / name
    stamp = target / "peer-stamp"
    if not force and stamp.exists() and stamp.read_text() == stamp_of(name):
        print(f"{name}: up to date", flush=True)
        return True
    started = time.monotonic()
    shutil.rmtree(target, ignore_errors=True)
    venv.create(target, with_pip=True)
    requirements = HERE / "requirements" / f"{name}.txt"
    pip = [str(target / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*pip, "-r", str(requirements)], check=False)
    if done.returncode != 0:
        print(f"{name}: pip failed with exit code {done.returncode}", file=sys.stderr, flush=True)
        return False
    stamp.write_text(stamp_of(name))
    print(f"{name}: made in {time.monotonic() - started:.0f} s", flush=True)
    return True


def main() -> int:
    """Make the environments named on the command line, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(environment_names())}; default all")
    parser.add_argument("--force", action="store_true", help="make again even when up to date")
    args = parser.parse_args()
    unknown = sorted(set(args.names) - set(environment_names()))
    if unknown:
        parser.error(f"no requirements file for {', '.join(unknown)}; there are {', '.join(environment_names())}")
    if shutil.which("java") is None:
        print("java is not on the path: flink and spark will install but not run (Java 17)", file=sys.stderr)
    made = [make(name, force=args.force) for name in args.names or environment_names()]
    return 0 if all(made) else 1


if __name__ == "__main__":
    raise SystemExit(main())
