"""Check the size of modules: ``python -m tools.sizes --max 600 --median 150``."""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path


def main() -> int:
    """Print what is too large and return 1 when anything is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--max", type=int, default=600, help="most lines of a module")
    parser.add_argument("--median", type=int, default=150, help="largest median")
    options = parser.parse_args()
    sizes = {p: len(p.read_text("utf-8").splitlines()) for p in sorted(Path("src").rglob("*.py"))}
    median = statistics.median(sizes.values())
    large = {p: n for p, n in sizes.items() if n > options.max}
    for path, lines in large.items():
        print(f"{path}: {lines} lines, more than {options.max}")
    print(f"{len(sizes)} modules, {sum(sizes.values())} lines, median {median:g}, largest {max(sizes.values())}")
    return 1 if large or median > options.median else 0


if __name__ == "__main__":
    sys.exit(main())
