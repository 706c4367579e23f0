"""Neutron, muon and X-ray facilities: simulate and play back pulses, count them live, draw them, check the answers."""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from eventide import registry
from eventide.apps._log_options import log_options
from eventide.apps._stopping import Stop
from eventide.apps.neutron import playback
from eventide.apps.neutron.instruments import instrument as named
from eventide.apps.neutron.messages import FORMS, decode, encode
from eventide.apps.neutron.operators import good
from eventide.apps.neutron.restream.commands import command, restream
from eventide.apps.neutron.restream.settings import pairs
from eventide.apps.neutron.schema import DECODED, MESSAGES, PULSES
from eventide.errors import ConfigError, near_names
from eventide.model.stream import Stream, read

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help=__doc__)
"""``eventide neutron ...``"""

_Form = Annotated[str, typer.Option(help="pulses, or messages: ev42, ev44, an44.")]
_Log = Annotated[str, typer.Option(help="Folder of the log; left out, the configured one.")]
_Speed = Annotated[float, typer.Option(help="1: as it was; 2: twice as fast; 0: as fast as it goes.")]
_Name = Annotated[str, typer.Option("--instrument", help="loki, dream, amor, sans2d, muons, or FILE.toml.")]
_Seed = Annotated[int, typer.Option(help="The same seed gives the same events.")]


@app.command()
def verify(
    data: Annotated[str, typer.Option(help="Folder with neutron/sans2d/; left out, EVENTIDE_DATA.")] = "",
    kafka: Annotated[str, typer.Option(help="auto (a broker of our own), none, or HOST:PORT.")] = "auto",
) -> None:
    """Compute the golden answers on a real run, by every way; the last line is JSON with `ok`."""
    from eventide.apps.neutron.verify import verify as golden

    figures = golden(_data_dir(data), kafka=kafka, say=_say)
    _say(json.dumps(figures))
    if not figures["ok"]:
        raise typer.Exit(1)


@app.command()
def simulate(
    out: Annotated[str, typer.Argument(help="FILE.nxs, FILE.parquet, log://topic or kafka://host:port/topic.")],
    instrument: _Name = "loki",
    seconds: Annotated[float, typer.Option(help="How long.")] = 10.0,
    rate: Annotated[float, typer.Option(help="Events a second.")] = 1e6,
    seed: _Seed = 2026,
    form: _Form = "pulses",
    speed: _Speed = 0.0,
    log: _Log = "",
) -> None:
    """Simulate the pulses of an instrument, into a file or a topic."""
    from eventide.apps.neutron.simulate import Beam
    from eventide.model.time import instant

    if not 0 < seconds <= 1e6:
        msg = f"{seconds} seconds cannot be simulated"
        raise ConfigError(msg, hint="--seconds is above 0, up to a million")
    beam = Beam(named(instrument), rate=rate, seed=seed, start=instant("2026-01-01"))
    if out.endswith((".nxs", ".nx5", ".h5", ".hdf5")):
        from eventide.apps.neutron.nexus_write import write_pulses

        events = write_pulses(out, beam.batches(seconds), title="simulated", name=instrument)
        _say(f"{events:,} events of {instrument} in {out} ({Path(out).stat().st_size:,} bytes)")
        return
    source = playback.Playback(functools.partial(beam.batches, seconds), speed=speed)
    _send(read(source), out, form=form, log=log)


@app.command()
def stream(
    file: Annotated[str, typer.Argument(help="A NeXus file of events.")],
    to: Annotated[str, typer.Argument(help="log://topic, kafka://host:port/topic or FILE.parquet.")],
    form: _Form = "pulses",
    speed: _Speed = 1.0,
    repeat: Annotated[int, typer.Option(help="How many times, one run after the other.", min=1)] = 1,
    log: _Log = "",
) -> None:
    """Stream a NeXus file, pulse by pulse, as it was measured or faster."""
    from eventide.apps.neutron.nexus import event_groups, read_pulses

    _say(f"{file}: {', '.join(event_groups(file))}")
    made: Callable[[], Any] = functools.partial(read_pulses, file, rows=64)
    if repeat > 1:
        made = playback.repeated(made, repeat, period=100_000_000)
    _send(read(playback.Playback(made, speed=speed)), to, form=form, log=log)


@app.command()
def record(
    source: Annotated[str, typer.Argument(help="kafka://host:port/topic or log://topic.")],
    out: Annotated[str, typer.Argument(help="FILE.parquet.")],
    follow: Annotated[bool, typer.Option(help="Go on when the end is reached, until Ctrl-C.")] = False,
    log: _Log = "",
) -> None:
    """Record the messages of a topic as they are, or the pulses of a topic of the log."""
    if not out.endswith(".parquet"):
        msg = f"{out!r} is no Parquet file"
        raise ConfigError(msg, hint="name FILE.parquet")
    kafka = source.startswith("kafka://")
    options: dict[str, Any] = {"format": "raw", "timestamp": "timestamp"} if kafka else {"log": log} if log else {}
    _done(read(source, follow=follow, **options).write(f"file://{Path(out).absolute()}"), out)


@app.command()
def replay(
    recording: Annotated[str, typer.Argument(help="FILE.parquet, of `record` or `simulate`.")],
    to: Annotated[str, typer.Argument(help="log://topic or kafka://host:port/topic.")],
    form: _Form = "pulses",
    topic: Annotated[str, typer.Option(help="Of a recording of several topics, which one.")] = "",
    speed: _Speed = 1.0,
    log: _Log = "",
) -> None:
    """Play a recording back; of messages, --form says what they are where they shall become pulses."""
    schema = playback.recorded_schema(recording)
    messages = schema == MESSAGES
    source = playback.Playback(
        functools.partial(playback.recorded, recording, topic=topic),
        schema=schema,
        time_column="timestamp" if messages else "event_time",
        speed=speed,
    )
    if not messages:
        _send(read(source), to, form=form, log=log)
    elif to.startswith("kafka://") or form not in FORMS:
        _deliver(read(source), to, log=log)
    else:
        decoded = read(source).map_batches(functools.partial(decode, form=form), schema=DECODED, name="decode")
        _deliver(decoded.map_batches(good, schema=PULSES, name="good"), to, log=log)


@app.command()
def demo(
    out: Annotated[str, typer.Option(help="Folder for plots and results.")] = "demo-neutron",
    instrument: _Name = "loki",
    seconds: Annotated[float, typer.Option(help="How long, of the instrument's time.")] = 10.0,
    rate: Annotated[float, typer.Option(help="Events a second.")] = 2e5,
    seed: _Seed = 2026,
) -> None:
    """Simulate an instrument, count its events live and draw a page; SANS2D too, where EVENTIDE_DATA is."""
    from eventide.apps.neutron.demo import run_demo, run_real

    summary = run_demo(Path(out), name=instrument, seconds=seconds, rate=rate, seed=seed, say=_say)
    data = os.environ.get("EVENTIDE_DATA", "")
    if data and (Path(data) / "neutron" / "sans2d").is_dir():
        summary["sans2d"] = run_real(Path(data), Path(out), say=_say)
        summary["ok"] = summary["ok"] and summary["sans2d"]["ok"]
    _say(json.dumps(summary))
    if not summary["ok"]:
        raise typer.Exit(1)


@app.command()
def rebin(
    name: Annotated[str, typer.Argument(help="Of the new version: its topics are NAME-histograms, ...")],
    param: Annotated[
        list[str] | None,
        typer.Option("--param", "-p", metavar="NAME=VALUE", help="Of the pipeline: bins, mask, since, instrument, ..."),
    ] = None,
    every: Annotated[str, typer.Option(help="Interval of publications, as that of the version before.")] = "1s",
    checkpoint: Annotated[str, typer.Option(help="Folder of its checkpoints.")] = ".eventide/checkpoints",
    interval: Annotated[str, typer.Option(help="Time between two of them; what is published is seen at each.")] = "2s",
    log: _Log = "",
) -> None:
    """Count anew from the log, other bins or pixels; switch to that once it has caught up, and go on."""
    from eventide.apps.neutron import hindsight

    def told(version: hindsight.Version, fast: hindsight.Rebuilt) -> None:
        _say(
            f"{fast.events:,} events, {fast.covered:.1f} s of them, counted anew in {fast.seconds:.2f} s "
            f"({fast.cpu:.2f} s of computing): {fast.rate / 1e6:.1f} million events/s, "
            f"{fast.times_real_time:.1f} times real time, while the version before went on by {fast.live:.1f} s"
        )
        _say(f"{version.topic('histograms')} holds after {version.after} ns; the version before may be stopped then")

    with Stop() as stop:
        given = pairs(param or (), option="--param", hint="for example --param bins=500")
        where = {"checkpoint": checkpoint, "every": every, "interval": interval, "log": log}
        hindsight.rebin(name, stop=stop.event, on_switch=told, **where, **given)
    raise typer.Exit(stop.exit_code)


@app.command()
def publish(
    to: Annotated[str, typer.Argument(help="kafka://host:port/topic, or log://topic.")],
    topic: Annotated[str, typer.Option(help="Of the log: histograms, volumes, monitors, scan, ...")] = "histograms",
    form: Annotated[str, typer.Option(help="hs00, hs01, da00.")] = "hs01",
    source: Annotated[str, typer.Option(help="What messages say they come from.")] = "eventide",
    follow: Annotated[bool, typer.Option(help="Go on when the end is reached, until Ctrl-C.")] = False,
    checkpoint: Annotated[str, typer.Option(help="Folder of its checkpoints.")] = ".eventide/checkpoints",
    log: _Log = "",
) -> None:
    """Send the publications of a topic as messages, each once, whatever stops in the middle."""
    from eventide.apps.neutron.publish import publish_pipeline

    job = publish_pipeline(topic, to, form=form, source=source, follow=follow, log=log)
    with Stop() as stop:
        result = registry.resolve("engine", "local").run(job, stop=stop.event, checkpoint=checkpoint)
    _say(f"{result.rows_out:,} messages in {to}, {result.seconds:.2f} s")
    raise typer.Exit(stop.exit_code)


@app.command()
def scan(
    motor: Annotated[str, typer.Option(help="Source of the positions.")],
    low: Annotated[float, typer.Option(help="Where the axis of positions begins.")],
    high: Annotated[float, typer.Option(help="Where it ends.")],
    bins: Annotated[int, typer.Option(help="Its bins.")] = 100,
    idle: Annotated[str, typer.Option(help="Source that is not 0 while the motor stands still.")] = "",
    region: Annotated[
        list[str] | None, typer.Option(metavar="NAME=PIXELS", help="Such as left=1-512,700; left out: all pixels.")
    ] = None,
    pulses: Annotated[str, typer.Option(help="Where the pulses are.")] = "log://pulses",
    logs: Annotated[str, typer.Option(help="Where the messages of logs are, in a column value.")] = "log://logs",
    form: Annotated[str, typer.Option(help="Of the logs: f144, f142.")] = "f144",
    out: Annotated[str, typer.Option(help="Topics OUT and OUT-pulses.")] = "log://scan",
    instrument: _Name = "loki",
    every: Annotated[str, typer.Option(help="Interval of publications.")] = "1s",
    lateness: Annotated[str, typer.Option(help="How late pulses and values may come.")] = "1s",
    silent: Annotated[str, typer.Option(help="Live: how far back a value may lie when it comes; 0: wait.")] = "0",
    follow: Annotated[bool, typer.Option(help="Go on when the end is reached, until Ctrl-C.")] = False,
    log: _Log = "",
) -> None:
    """Count regions of pixels against the position of a motor, as its log says it was at each pulse."""
    from eventide.apps.neutron.scan_pipeline import scan_pipeline

    job = scan_pipeline(
        pulses,
        logs,
        out=out,
        one=named(instrument),
        motor=motor,
        axis=(low, high, bins),
        idle=idle,
        regions=pairs(region or (), option="--region", hint="for example --region left=1-512"),
        form=form,
        every=every,
        lateness=lateness,
        silent=silent,
        follow=follow,
        log=log,
    )
    with Stop() as stop:
        result = registry.resolve("engine", "local").run(job, stop=stop.event)
    _say(f"{result.rows_out:,} publications in {out}, {result.seconds:.2f} s")
    raise typer.Exit(stop.exit_code)


@app.command()
def plot(
    out: Annotated[str, typer.Argument(help="FILE.png, .svg, .pdf or .html.")],
    instrument: _Name = "loki",
    log: _Log = "",
    title: Annotated[str, typer.Option(help="Heading.")] = "",
) -> None:
    """Draw the newest histograms of the topics histograms, monitors and, where it is there, normalised."""
    from eventide.apps.neutron.demo import topic
    from eventide.apps.neutron.hindsight import held, versions
    from eventide.apps.neutron.plot import draw

    newest = versions(log)[-1]
    tables = {name: topic(newest.topic(name), log) for name in ("histograms", "monitors")}
    divided = held(newest.topic("normalised"), log)
    tables |= {} if divided is None else {"normalised": divided}
    _say(str(draw(tables, named(instrument), out, title=title)))


app.command()(restream)
app.command()(command)


def _send(pulses: Stream, to: str, *, form: str, log: str) -> None:
    """Write pulses as they are, or as messages."""
    known = ("pulses", *FORMS)
    if form not in known or (to.startswith("kafka://") and form == "pulses"):
        msg = f"{to} cannot be given {form!r}"
        raise ConfigError(msg, hint=f"--form is one of {', '.join(FORMS)} to Kafka; {near_names(form, known)}")
    if form in FORMS:
        pulses = pulses.map_batches(functools.partial(encode, form=form), schema=MESSAGES, name="encode")
    _deliver(pulses, to, log=log)


def _deliver(rows: Stream, to: str, *, log: str) -> None:
    if to.startswith("kafka://"):
        options: dict[str, Any] = {"format": "raw", "rows_per_message": 1, "timestamp": "timestamp"}
        _done(rows.write(to, **options), to)
    elif "://" in to:
        _done(rows.write(to, **log_options(to, log)), to)
    else:
        _done(rows.write(f"file://{Path(to).absolute()}"), to)


def _done(job: Any, to: str) -> None:
    result = registry.resolve("engine", "local").run(job)
    _say(f"{result.rows_out:,} rows in {to}, {result.seconds:.2f} s")


def _data_dir(option: str) -> Path:
    folder = option or os.environ.get("EVENTIDE_DATA", "")
    if not folder:
        msg = "no folder of real data was named"
        raise ConfigError(msg, hint="set EVENTIDE_DATA, or pass --data FOLDER, to a folder with neutron/sans2d in it")
    return Path(folder)


def _say(text: Any) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
