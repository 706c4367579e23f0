"""Spark as it comes: the program of `spark` with Spark's own number of shuffle partitions, 200."""

from __future__ import annotations

import pyspark
from benchmarks.peers import spark
from benchmarks.worker import main

spark.TUNED.clear()

if __name__ == "__main__":
    main(spark.prepare, spark.result, versions=lambda: {"spark": pyspark.__version__})
