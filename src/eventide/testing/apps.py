"""What an application must do: subclass `AppSuite`, name it, simulate a little of its data, and pytest proves it.

::

    class TestTides(AppSuite):
        app = "tides"
        topic = "levels"

        def simulated(self, seed):
            return simulate(stations=3, seed=seed).levels
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import typer

from eventide import registry
from eventide.connectors.memory import MemorySource
from eventide.log import Log
from eventide.model.graph import Write
from eventide.model.machine import MAIN
from eventide.model.pipeline import Pipeline
from eventide.model.stream import read
from eventide.testing._compare import rows_of, same_rows
from eventide.testing._suite import Suite

__all__ = ["MODULES", "AppSuite"]

MODULES = ("schema", "operators", "pipeline", "views", "simulate", "commands")
"""The modules that every application has, so that one who knows one finds the way in all."""


class AppSuite(Suite):
    """The shape and the conduct of an application.

    Attributes
    ----------
    app
        Its name.
    topic
        Topic of the embedded log that its pipeline reads.
    parameters
        What its ``pipeline`` is given besides the folder of the log.
    may_be_empty
        Topics to which the pipeline may write nothing on simulated data.
    """

    app: ClassVar[str]
    topic: ClassVar[str]
    parameters: ClassVar[Mapping[str, str]] = {}
    may_be_empty: ClassVar[Collection[str]] = ()

    def simulated(self, seed: int) -> pa.Table | pa.RecordBatch:
        """Return some tens of thousands of simulated events, as the topic has them, from a seed."""
        raise NotImplementedError

    def module(self, name: str) -> Any:
        """Return one of the application's modules."""
        package = registry.resolve("app", self.app)
        return importlib.import_module(f"{package.__name__}.{name}")

    def pipeline(self, folder: Path) -> Pipeline:
        """Return the application's pipeline, reading from and writing to a log in a folder."""
        made: Pipeline = self.module("pipeline").pipeline(**self.parameters, log=str(folder / "log"))
        return made

    def filled(self, folder: Path, seed: int = 1) -> Pipeline:
        """Return the pipeline after simulated events were written to its topic."""
        data = self.simulated(seed)
        table = data if isinstance(data, pa.Table) else pa.Table.from_batches([data])
        stored = read(MemorySource(table)).write(f"log://{self.topic}", log=str(folder / "log"))
        registry.resolve("engine", "local").run(stored)
        return self.pipeline(folder)

    def ran(self, folder: Path, **options: Any) -> dict[str, pa.Table]:
        """Return what each topic holds after the pipeline ran on simulated events."""
        folder.mkdir(exist_ok=True)
        job = self.filled(folder)
        registry.resolve("engine", "local").run(job, quarantine=str(folder / "quarantine"), **options)
        return {topic: _topic(folder / "log", topic) for topic in self.outputs(job)}

    def outputs(self, job: Pipeline) -> dict[str, pa.Schema]:
        """Return the schema of each topic that a pipeline writes."""
        schemas = registry.resolve("engine", "local").check(job)
        labels = job.labels
        writes = [n for n in job.nodes if isinstance(n, Write)]
        assert all(w.input.port == MAIN or w.uri for w in writes)
        return {w.uri.partition("://")[2]: schemas[labels[id(w)]] for w in writes}

    # -- its shape

    def test_modules(self) -> None:
        """It has the modules that every application has, and a README."""
        package = registry.resolve("app", self.app)
        for name in MODULES:
            assert inspect.getdoc(self.module(name)), f"{name} says what it is"
        assert (Path(package.__path__[0]) / "README.md").is_file()

    def test_schemas(self) -> None:
        """The schemas of its streams are constants of the module schema."""
        schemas = {n: v for n, v in vars(self.module("schema")).items() if isinstance(v, pa.Schema)}
        assert schemas
        for name, schema in schemas.items():
            assert name.isupper()
            assert not [f.name for f in schema if f.name.startswith("_")]

    def test_commands(self) -> None:
        """Its commands are a Typer application, and each says what it does."""
        commands = self.module("commands").app
        assert isinstance(commands, typer.Typer)
        assert commands.registered_commands
        for command in commands.registered_commands:
            assert command.help or inspect.getdoc(command.callback)

    def test_pipeline_has_defaults(self) -> None:
        """Its pipeline needs no parameter, all are text, and it has the name of the application."""
        function = self.module("pipeline").pipeline
        for parameter in inspect.signature(function).parameters.values():
            assert isinstance(parameter.default, str), f"{parameter.name} cannot be given on the command line"
        assert function().name == self.app

    def test_pipeline_checks(self, tmp_path: Path) -> None:
        """Its pipeline is found right before it runs."""
        assert self.outputs(self.filled(tmp_path))

    def test_views(self, tmp_path: Path) -> None:
        """Its views show topics and columns that the pipeline writes."""
        outputs = self.outputs(self.filled(tmp_path))
        views = self.module("views").VIEWS
        assert views
        assert len({v.name for v in views}) == len(views)
        for view in views:
            for layer in (view, *view.layers):
                assert layer.topic in outputs, f"view {view.name}: nothing writes the topic {layer.topic!r}"
            for layer in view.layers:
                missing = {*layer.columns, *filter(None, [layer.where])} - set(outputs[layer.topic].names)
                assert not missing, f"view {view.name}: topic {layer.topic!r} has no {missing}"
            assert {view.x.column, view.y.column} <= set(outputs[view.topic].names)

    # -- its conduct

    def test_simulator_is_deterministic(self) -> None:
        """The same seed gives the same events, another seed others."""
        one, again, other = (self.simulated(seed) for seed in (1, 1, 2))
        same_rows(one, again, ordered=True)
        assert rows_of(one) != rows_of(other)

    def test_runs_on_simulated_data(self, tmp_path: Path) -> None:
        """On simulated events every topic gets results, of the schema that was told before."""
        found = self.ran(tmp_path)
        told = self.outputs(self.pipeline(tmp_path))
        for topic, table in found.items():
            assert [(f.name, f.type) for f in table.schema] == [(f.name, f.type) for f in told[topic]]
            assert table.num_rows or topic in self.may_be_empty, f"nothing came to {topic}"

    def test_results_do_not_depend_on_how_it_runs(self, tmp_path: Path) -> None:
        """Batches and lanes do not change a result."""
        plain = self.ran(tmp_path / "plain", lanes=1)
        other = self.ran(tmp_path / "other", lanes=3, batch_rows=3_001)
        for topic, table in plain.items():
            same_rows(other[topic], table)


def _topic(root: Path, name: str) -> pa.Table:
    """Return all events of a topic."""
    with Log(root) as log:
        reader = log.reader(name)
        found = []
        while frames := reader.read(1 << 16, timeout=0):
            found += [f.batch for f in frames]
        schema = log.topic(name).schema
        reader.close()
    return pa.Table.from_batches(found, schema)
