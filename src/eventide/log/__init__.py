"""The embedded durable log: topics, partitions, offsets, retention, transactions; no server."""

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
    "Frame",
    "Fsync",
    "Hold",
    "Log",
    "OldSegment",
    "PartitionInfo",
    "Reader",
    "Retention",
    "Start",
    "TopicInfo",
    "Transaction",
    "VerifyReport",
    "Writer",
]
