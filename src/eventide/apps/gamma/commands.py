"""Telescopes for gamma rays: simulate a night, find its flare, draw it, and check the answers on real data."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from eventide import registry
from eventide.apps.gamma.file_commands import convert, export, load
from eventide.errors import ConfigError, near_names
from eventide.model.stream import read

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help=__doc__)
"""``eventide gamma ...``"""

app.command()(convert)
app.command()(load)
app.command()(export)

_Data = Annotated[str, typer.Option(help="Folder with gamma/; left out, EVENTIDE_DATA.")]
_Log = Annotated[str, typer.Option(help="Folder of the log; left out, the configured one.")]
_Array = Annotated[str, typer.Option(help="made-1 to made-100, or a file in JSON.")]
_Seed = Annotated[int, typer.Option(help="The same seed gives the same night.")]


@app.command()
def verify(
    golden: Annotated[bool, typer.Option(help="Compare with what ctapipe 0.28 makes of the same images.")] = True,
    data: _Data = "",
) -> None:
    """Compare images, calibration and stereo with golden answers, column by column; the last line is JSON with `ok`."""
    if not golden:
        msg = "there is nothing else to verify than the golden answers"
        raise ConfigError(msg, hint="leave --no-golden out; `eventide gamma crab` checks the science")
    from eventide.apps.gamma.verify_images import LIMITS, verify_images
    from eventide.apps.gamma.verify_stereo import verify_stereo

    folder = _data_dir(data)
    figures = verify_images(folder)
    for name, deviation in figures["columns"].items():
        group = name.removeprefix("camera_frame_").split("_", 1)[0]
        _say(f"{name:<45} {deviation:9.2e}   (at most {LIMITS.get(group, 0.0):g})")
    _say(f"{figures['rows']} rows compared, {figures['masks']} masks differ; calibrated images: {figures['dl1']}")
    stereo = verify_stereo(folder)
    for name, (deviation, limit) in stereo["columns"].items():
        _say(f"stereo {name:<38} {deviation:9.2e}   (at most {limit:g})")
    figures["stereo"] = stereo
    figures["ok"] = figures["ok"] and stereo["ok"]
    _done(figures)


@app.command()
def crab(
    data: _Data = "",
    partitions: Annotated[int, typer.Option(help="Into how many partitions events are dealt out.", min=1)] = 1,
) -> None:
    """Stream FACT's observations of the Crab Nebula and compare with what is known; the last line is JSON with `ok`."""
    from eventide.apps.gamma.science.crab import crab as streamed

    figures = streamed(_data_dir(data) / "gamma" / "fact_dl3", partitions=partitions)
    _say(
        f"{figures['events']:,} events in {figures['hours']:.2f} h: {figures['n_on']} on, {figures['n_off']} off, "
        f"{figures['significance']:.2f} sigma; five sigma first after {figures['discovery']}"
    )
    for row in figures["alerts"][:10]:
        _say(
            f"  alert {row['id']}: {row['n_on']} on, {row['n_off']} off, {row['significance']:.2f} sigma before trials"
        )
    _done(
        {
            **figures,
            "alerts": len(figures["alerts"]),
            "discovery": str(figures["discovery"]),
            "discovery_in_time": str(figures["discovery_in_time"]),
        }
    )


@app.command()
def false_alarm(
    hours: Annotated[float, typer.Option(help="How long background is watched.", min=1, max=1e6)] = 1000.0,
    rate: Annotated[float, typer.Option(help="Background events per hour in one region.", min=0)] = 26.7,
    level: Annotated[float, typer.Option(help="Significance of a window that counts, before trials.")] = 5.0,
    seed: _Seed = 1,
) -> None:
    """Count the alarms that background alone makes; the last line is JSON with `ok`: fewer than one in 100 hours."""
    from eventide.apps.gamma.science.false_alarms import false_alarms
    from eventide.apps.gamma.science.rolling import SCALES

    found = false_alarms(hours, rate=rate, level=level, seed=seed)
    for scale, alarms, largest in zip(SCALES, found.alarms, found.largest, strict=True):
        _say(f"{scale:>6}: {alarms} alarms, largest {largest:.2f} sigma before trials")
    _say(
        f"{found.per_100_hours:.3g} alarms in 100 h on all scales: {found.excesses} alerts and {found.updates} updates"
    )
    _done({**found._asdict(), "ok": found.per_100_hours < 1})


@app.command()
def simulate(
    out: Annotated[str, typer.Argument(help="log://topic or FILE.parquet, for images.")],
    array: _Array = "made-12",
    seconds: Annotated[int, typer.Option(help="How long.", min=1, max=1_000_000)] = 60,
    hadrons: Annotated[float, typer.Option(help="Hadrons per second over the array.", min=0)] = 40.0,
    gammas: Annotated[float, typer.Option(help="Gamma rays per second, of the source at rest.", min=0)] = 0.05,
    flare: Annotated[str, typer.Option(help="start,stop,factor: when the source is brighter, s.")] = "",
    seed: _Seed = 2026,
    level: Annotated[str, typer.Option(help="dl1: images; r1: waveforms, for small arrays.")] = "dl1",
    log: _Log = "",
) -> None:
    """Simulate the images of a night; where they go to a topic, pointings and calibrations have topics too."""
    from eventide.apps.gamma.pipeline import LEVELS
    from eventide.apps.gamma.schema import CALIBRATION, DL1_IMAGE, POINTINGS, R1
    from eventide.apps.gamma.simulate import Flare, Night
    from eventide.apps.gamma.simulate.source import Seconds
    from eventide.apps.gamma.simulate.waveforms import Waveforms
    from eventide.apps.gamma.site import site

    if level not in LEVELS:
        msg = f"there is no level {level!r}"
        raise ConfigError(msg, hint=near_names(level, LEVELS))
    flares = []
    if flare:
        try:
            flares.append(Flare(*(float(v) for v in flare.split(","))))
        except (TypeError, ValueError):
            msg = f"--flare {flare!r} is not three numbers"
            raise ConfigError(msg, hint="for example --flare 60,120,50") from None
    night = Night(site(array), seed=seed, hadrons=hadrons, gammas=gammas, flares=flares)
    place: dict[str, Any] = {"log": log} if log and out.startswith("log://") else {}
    target = out if "://" in out else f"file://{Path(out).absolute()}"
    made, schema, camera = night.second, DL1_IMAGE, Waveforms(night)
    if level == "r1":
        made, schema = camera.second, R1
    job = read(Seconds(made, seconds, schema)).write(target, **place)
    result = registry.resolve("engine", "local").run(job)
    _say(f"{result.rows_out:,} images of {len(night.site.telescopes)} telescopes in {out}, {result.seconds:.2f} s")
    if out.startswith("log://"):
        beside = [read(Seconds(night.pointings, seconds, POINTINGS)).write("log://pointings", **place)]
        if level == "r1":
            beside.append(read(Seconds(camera.calibration, 1, CALIBRATION)).write("log://calibration", **place))
        for job in beside:
            registry.resolve("engine", "local").run(job)


@app.command()
def train(
    out: Annotated[str, typer.Argument(help="Folder for gammaness.npz and energy.npz.")],
    gammas: Annotated[str, typer.Option(help="Parameters of gamma rays, a Parquet file; left out, simulated.")] = "",
    background: Annotated[str, typer.Option(help="Parameters of what is none; left out, simulated.")] = "",
    array: _Array = "made-8",
    seconds: Annotated[int, typer.Option(help="How long is simulated.", min=1, max=100_000)] = 60,
    trees: Annotated[int, typer.Option(help="Of a forest.", min=1, max=10_000)] = 50,
    depth: Annotated[int, typer.Option(help="Of a tree.", min=1, max=100)] = 13,
    seed: _Seed = 1,
) -> None:
    """Train forests for gammaness and energy; the last line is JSON with figures of events that they have not seen.

    Tables are what the topic parameters holds, of gamma rays with a column true_energy (TeV).
    """
    import pyarrow.parquet as pq

    from eventide.apps.gamma.models.files import save
    from eventide.apps.gamma.site import site
    from eventide.apps.gamma.training.toy import toy_table
    from eventide.apps.gamma.training.train import train as trained

    tables = []
    for path, is_gamma in ((gammas, True), (background, False)):
        try:
            # Hadrons trigger seldom: several times as many are thrown.
            tables.append(
                pq.read_table(path)
                if path
                else toy_table(
                    site(array),
                    gammas=is_gamma,
                    seconds=seconds,
                    rate=40.0 if is_gamma else 160.0,
                    seed=2 * seed + is_gamma,
                )
            )
        except (OSError, ValueError) as error:
            msg = f"{path} is no table: {error}"
            raise ConfigError(msg, hint="a Parquet file of the topic parameters") from None
    found = trained(tables[0], tables[1], trees=trees, depth=depth, seed=seed)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for forest in (found.gammaness, found.energy):
        if forest is not None:
            files.append(str(folder / f"{forest.name}.npz"))
            save(forest, files[-1])
    figures = found.figures
    _say(
        f"{figures['images']:,} images of {figures['events']:,} events; of others: area under the curve "
        f"{figures['auc']:.3f}, energies within {100 * figures.get('energy_resolution', float('nan')):.0f} %"
    )
    _done({**figures, "files": files, "ok": figures["auc"] > 0.5 and figures["deviation"] <= 1e-6})


@app.command()
def plot(
    out: Annotated[str, typer.Argument(help="FILE.png, .svg, .pdf or .html.")],
    array: _Array = "made-12",
    target: Annotated[
        str, typer.Option(help="What was watched: right ascension and declination, degrees.")
    ] = "83.63308,22.0145",
    radius: Annotated[float, typer.Option(help="Of the on region, degrees.")] = 0.17,
    title: Annotated[str, typer.Option(help="Heading.")] = "",
    log: _Log = "",
) -> None:
    """Draw what the topics of `eventide run gamma` hold."""
    from eventide.apps.gamma.demo import TOPICS, brightest, topic
    from eventide.apps.gamma.plot import draw
    from eventide.apps.gamma.science.regions import OnOff
    from eventide.apps.gamma.site import site

    try:
        ra, dec = (float(v) for v in target.split(","))
    except ValueError:
        msg = f"--target {target!r} is not two numbers"
        raise ConfigError(msg, hint="for example --target 83.63308,22.0145") from None
    tables = {name: topic(name, log) for name in TOPICS}
    tables["image"] = brightest(tables["parameters"], log)
    _say(str(draw(tables, site(array), out, position=OnOff(ra, dec, radius=radius), title=title)))


@app.command()
def demo(
    out: Annotated[str, typer.Option(help="Folder for plots and results.")] = "demo-gamma",
    array: _Array = "made-12",
    seconds: Annotated[float, typer.Option(help="How long the night is.", min=60, max=3600)] = 240,
    seed: _Seed = 2026,
) -> None:
    """Simulate a flare, find it from images in the log, and draw a page; FACT's Crab too, where EVENTIDE_DATA is."""
    from eventide.apps.gamma.demo import run_demo

    summary = run_demo(Path(out), array=array, seconds=seconds, seed=seed, say=_say)
    data = os.environ.get("EVENTIDE_DATA", "")
    if data and (Path(data) / "gamma" / "fact_dl3").is_dir():
        from eventide.apps.gamma.science.crab import crab as streamed

        real = streamed(Path(data) / "gamma" / "fact_dl3")
        _say(f"FACT's Crab: {real['n_on']} on, {real['n_off']} off, {real['significance']:.2f} sigma")
        summary["crab"] = {name: real[name] for name in ("events", "n_on", "n_off", "significance", "ok")}
        summary["ok"] = summary["ok"] and real["ok"]
    _done(summary)


@app.command()
def night(
    script: Annotated[str, typer.Option(help="What happens, a file in JSON; left out, the built-in night.")] = "",
    show: Annotated[
        bool, typer.Option("--show", help="Print the built-in night as such a file, and do no more.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Only the line of JSON.")] = False,
) -> None:
    """Simulate a night of telescopes that join, slew and park, clouds and dead pixels, and check what is excluded.

    The last line is JSON with `ok`: exactly those images are excluded of which the script says it, for its reasons.
    """
    from eventide.apps.gamma.simulate.check import check_night
    from eventide.apps.gamma.simulate.script import DEFAULT, read_script

    if show:
        _say(msgspec.json.format(msgspec.json.encode(DEFAULT)).decode())
        return
    figures = check_night(read_script(script) if script else DEFAULT)
    if not as_json:
        _say(f"{figures['images']:,} images, {figures['events']:,} array events, {figures['alerts']} alerts")
        for reason, count in figures["excluded"].items():
            _say(f"  excluded, {reason:<22} {count:7,}")
        _say(f"  otherwise than the script says  {figures['wrong']:7,}")
        for example in figures["examples"]:
            _say(f"    {example}")
    _done(figures)


@app.command()
def soak(
    rate: Annotated[float, typer.Option(help="Images a second.", min=1, max=1e6)] = 20_000.0,
    tels: Annotated[int, typer.Option(help="Telescopes of a made array.", min=2, max=100)] = 100,
    minutes: Annotated[float, typer.Option(help="How long.", min=0.05, max=10_000)] = 30.0,
    jitter: Annotated[float, typer.Option(help="Of the time that images take to come, s.", min=0, max=10)] = 0.05,
    late: Annotated[float, typer.Option(help="How late one telescope's images are, s.", min=0, max=60)] = 2.0,
    report: Annotated[str, typer.Option(help="FILE for the figures, in JSON.")] = "",
    seed: _Seed = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Only the line of JSON.")] = False,
) -> None:
    """Run the whole pipeline on images in real time; the last line is JSON with delays, losses, memory and `ok`.

    An event is there within 250 ms of its last image (99 %), an alert within a second of the event that decides; no
    image is lost, and memory does not grow.
    """
    from eventide.apps.gamma.simulate.soak import soak as soaked

    say = (lambda _: None) if as_json else _say
    figures = soaked(
        rate=rate, telescopes=tels, seconds=60.0 * minutes, jitter=jitter, late_by=late, seed=seed, say=say
    )
    if report:
        Path(report).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    _done(figures)


def _done(figures: dict[str, Any]) -> None:
    _say(json.dumps(figures))
    if not figures["ok"]:
        raise typer.Exit(1)


def _data_dir(option: str) -> Path:
    folder = option or os.environ.get("EVENTIDE_DATA", "")
    if not folder:
        msg = "no folder of real data was named"
        raise ConfigError(msg, hint="set EVENTIDE_DATA, or pass --data FOLDER, to a folder with gamma/ in it")
    return Path(folder)


def _say(text: Any) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
