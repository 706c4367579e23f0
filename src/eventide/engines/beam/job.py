"""One run on Beam: the job, and after it the sinks."""

from __future__ import annotations

import logging
import shutil
import sys
import tempfile
import threading
import uuid
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.internal.cloudpickle import cloudpickle
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineState

from eventide.engines._dataflow import Dataflow, Output
from eventide.engines._failure import error_in
from eventide.engines.beam.options import BeamOptions
from eventide.engines.beam.spool import each_output
from eventide.engines.beam.steps import BucketFn, HeadFn, Numbered, SpoolFn, stops
from eventide.engines.local.result import RunResult
from eventide.errors import EventideError, RunError
from eventide.logs import RunLog
from eventide.model.pipeline import Pipeline

__all__ = ["run_job", "with_its_code"]


def run_job(pipeline: Pipeline, options: BeamOptions, stop: threading.Event) -> RunResult:
    """Run the job, then give its results to the sinks and commit them as one.

    Raises
    ------
    EventideError
        A part of it failed. Nothing was committed then.
    """
    more: dict[str, Any] = {"batch_rows": options.batch_rows} if options.batch_rows else {}
    place = str(options.quarantine) if options.quarantine is not None else None
    flow = Dataflow(with_its_code(pipeline), buckets=options.buckets, clock=options.clock, quarantine=place, **more)
    with ExitStack() as stack:
        notes = _notes(pipeline, options, stack)
        outlet = flow.outlet(notes)
        failed = True
        stack.callback(lambda: outlet.close(failed=failed))
        resumed = outlet.ended  # a run before got as far as this, or further
        if resumed:
            told = f"{pipeline.name} has ended before, as {notes} says, and is not run again; resume=False begins anew"
            RunLog({"pipeline": pipeline.name}).tell("resumed", told)
        else:
            folder = _spool(options, stack)
            _run(flow, folder, options, stop=stop)
            if not stop.is_set():
                outlet.write(each_output(folder))
                if not outlet.ended:
                    msg = f"{pipeline.name}: the Beam job ended, and the results of some buckets are not in {folder}"
                    raise RunError(msg, hint="can driver and workers use this folder? Nothing was committed")
                outlet.commit(0)
        result = outlet.result(stopped=stop.is_set())
        failed = stop.is_set() and not resumed
        # The counts of an earlier run are in the ledger; this one has read nothing.
        return replace(result, rows_in=0, rows_out=0) if resumed else result


def _notes(pipeline: Pipeline, options: BeamOptions, stack: ExitStack) -> Path:
    """Return the folder where it is noted what was committed."""
    if options.checkpoint is None:
        return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="eventide-beam-")))
    folder = Path(options.checkpoint) / "beam" / pipeline.name
    if not options.resume:
        shutil.rmtree(folder, ignore_errors=True)
    return folder


def _spool(options: BeamOptions, stack: ExitStack) -> str:
    """Return a new folder for results, which is removed afterwards."""
    if options.spool is None:
        return stack.enter_context(tempfile.TemporaryDirectory(prefix="eventide-spool-"))
    folder = FileSystems.join(options.spool, f"eventide-{uuid.uuid4().hex}")
    FileSystems.mkdirs(folder)
    stack.callback(FileSystems.delete, [folder])
    return str(folder)


def _run(flow: Dataflow, folder: str, options: BeamOptions, *, stop: threading.Event) -> None:
    job = uuid.uuid4().hex
    stops[job] = stop
    try:
        made = beam.Pipeline(runner=_runner(options), options=PipelineOptions([*options.arguments]))
        _ = (
            made
            | "Start" >> beam.Create([b""])
            | "Head" >> beam.ParDo(HeadFn(flow, job)).with_output_types(Numbered)
            | "Bucket" >> beam.ParDo(BucketFn(flow)).with_output_types(Output)
            | "Spool" >> beam.ParDo(SpoolFn(folder))
        )
        done = made.run()
        state = done.wait_until_finish()
    except EventideError:
        raise
    except Exception as error:
        raise error_in(str(error)) from error
    finally:
        del stops[job]
    if state not in (None, PipelineState.DONE):
        msg = f"the Beam job ended as {state}"
        raise RunError(msg, hint="the runner's log says why")


def with_its_code(pipeline: Pipeline) -> Pipeline:
    """Return a pipeline, after telling Beam to send the code of the file that it was loaded from.

    What a command loads by path is in no module that a worker could import.
    """
    for name, module in list(sys.modules.items()):
        if name.startswith("eventide_target_"):
            cloudpickle.register_pickle_by_value(module)
    return pipeline


def _runner(options: BeamOptions) -> Any:
    if options.runner != "local":
        return options.runner
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    # It logs every error that it also raises, with all of its own frames.
    logging.getLogger("apache_beam.runners.worker.sdk_worker").setLevel(logging.CRITICAL)
    # Not DirectRunner, which first tries a runner that it would fetch from the network.
    return FnApiRunner()
