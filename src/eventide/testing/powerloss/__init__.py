"""What is left when the power goes: the log, the checkpoints and the sinks recover from every state of the disk.

A workload is recorded, every byte, name and sync of it (`record`); for every place of its trace legal states of
the disk are chosen (`disk` says which are legal, and by which papers); each is put onto a disk, recovered by the
ordinary code, and compared with what the workload had been promised until then (`oracle`, `check_log`,
`check_sinks`):

- what was acknowledged as durable is there, bit for bit; transactions are there as a whole or not at all;
- nothing is there that was aborted, or that nobody wrote; offsets have no holes and stay as they are at a second look;
- the newest checkpoint is the last one saved, or the one that was being saved, and every one that is listed is whole;
- sinks opened and committed from that checkpoint hold exactly what it says, and go on from there.

SQLite's own promise is relied on, not proved again: a commit that returned is durable, one under way is there or is
not. The recorder refuses a commit by a connection that does not sync (``journal_mode=WAL``, ``synchronous=FULL``).
"""

from eventide.testing.powerloss.result import Result
from eventide.testing.powerloss.run import run

__all__ = ["Result", "run"]
