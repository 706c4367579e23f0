"""The embedded durable log: topics, partitions, offsets, retention, transactions; no server."""

from eventide.log.exported import Exported
from eventide.log.exporting import Span
from eventide.log.frame import Frame
from eventide.log.holds import Hold
from eventide.log.log import Log
from eventide.log.partition import Fsync
from eventide.log.reader import Reader, Start
from eventide.log.retention import OldSegment
from eventide.log.topic import Evolution, PartitionInfo, Retention, TopicInfo
from eventide.log.transaction import Transaction
from eventide.log.verify import VerifyReport
from eventide.log.writer import Writer

__all__ = [
    "Evolution",
    "Exported",
    "Frame",
    "Fsync",
    "Hold",
    "Log",
    "OldSegment",
    "PartitionInfo",
    "Reader",
    "Retention",
    "Span",
    "Start",
    "TopicInfo",
    "Transaction",
    "VerifyReport",
    "Writer",
]
