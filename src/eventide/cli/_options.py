"""Options that several commands have, and the settings that they share."""

from __future__ import annotations

import os
from typing import Annotated

import typer
from msgspec.structs import replace

from eventide.config import Config, load_config

__all__ = ["Json", "LogFolder", "Param", "Target", "Topic", "settings"]

Target = Annotated[
    str,
    typer.Argument(metavar="TARGET", help="An application, file.py, file.py:name, module:name or file.toml."),
]
Param = Annotated[
    list[str] | None,
    typer.Option("--param", "-p", metavar="NAME=VALUE", help="A parameter of the pipeline's function; repeatable."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
LogFolder = Annotated[
    str,
    typer.Option(
        "--log", "--root", metavar="FOLDER", help="Folder of the log; left out, that of EVENTIDE_LOG or eventide.toml."
    ),
]
Topic = Annotated[str, typer.Argument(metavar="TOPIC", help="Name of the topic.")]


def settings(target: str = "", *, log: str = "") -> Config:
    """Return the configuration in force, and let connectors know the folder of the log.

    Parameters
    ----------
    target
        Where this is a TOML file, its configuration counts and not that of the current folder.
    log
        Folder of the log that the command line names; it wins.
    """
    config = load_config(target if target.endswith(".toml") else None)
    if log:
        config = replace(config, log=replace(config.log, root=log))
    os.environ["EVENTIDE_LOG"] = config.log.root
    return config
