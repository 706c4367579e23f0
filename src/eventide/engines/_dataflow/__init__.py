"""What the distributed engines share: a pipeline cut into parts that take, give and remember bytes."""

from __future__ import annotations

from eventide.engines._dataflow.dataflow import Dataflow
from eventide.engines._dataflow.elements import Element, Output

__all__ = ["Dataflow", "Element", "Output"]
