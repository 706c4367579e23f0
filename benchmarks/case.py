"""What a benchmark declares: the job, the rows, the peers and the floors."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Peer:
    """A peer program: its environment under ``.venvs`` and the rows over which its result is compared."""

    environment: str
    equality_rows: int


PEERS = {
    "flink": Peer("flink", 500_000),
    "flink_restore": Peer("flink", 0),
    "flink_events": Peer("flink", 100_000),
    "spark": Peer("spark", 500_000),
    "spark_default": Peer("spark", 500_000),
    "polars": Peer("batch", 500_000),
    "duckdb": Peer("batch", 500_000),
    "bytewax": Peer("bytewax", 100_000),
    "beam": Peer("beam", 100_000),
}


@dataclass(frozen=True)
class Floor:
    """A bound on one figure, by its name in the report: a ratio ``flink@10k`` or a figure ``p99_us``."""

    figure: str
    at_least: float | None = None
    at_most: float | None = None

    def holds(self, value: float) -> bool:
        """Whether a value keeps the bound."""
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)

    def __str__(self) -> str:
        return f"{self.figure} >= {self.at_least:g}" if self.at_most is None else f"{self.figure} <= {self.at_most:g}"


@dataclass(frozen=True)
class Case:
    """One benchmark.

    Parameters
    ----------
    id, title, unit
        Its name, what it measures, and the unit of its rates.
    program
        The module of ``benchmarks.ours`` that runs our side.
    job
        What the programs are asked for (``w1`` ... ``w4``: comparable with peers).
    keys
        Number of distinct keys.
    rows
        Events of one measurement of ours.
    variants
        Our variants by name: rows per batch.
    peers
        Peers by name: events of one measurement of theirs.
    floors
        Bounds that must hold for the benchmark to be ok.
    engine
        What runs our side; a distributed one has an environment of its own.
    """

    id: str
    title: str
    unit: str
    program: str
    job: str
    rows: int
    keys: int = 1_000
    variants: dict[str, int] = field(default_factory=lambda: {"10k": 10_000})
    peers: dict[str, int] = field(default_factory=dict)
    floors: tuple[Floor, ...] = ()
    engine: str = "local"

    @property
    def compared(self) -> bool:
        """Whether the results are rows that can be compared with the truth."""
        return self.job in {"w1", "w2", "w3", "w4"}
