"""Services of one machine: what is said where Java, Maven or the network is missing; and the commands, on a real broker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from eventide.errors import MissingDependencyError, UnavailableError, UsageError
from eventide.services import kafka
from eventide.services._java import java, libraries


def program(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_no_java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingDependencyError, match="needs Java 17 or newer, and there is none") as told:
        kafka.at(tmp_path / "k").start()
    assert "apt-get install openjdk-17" in told.value.hint
    assert not (tmp_path / "k").exists()
    program(tmp_path, "java", "echo 'openjdk version \"1.8.0_402\"' >&2")
    with pytest.raises(MissingDependencyError, match="java is 8"):
        java(17, why="this")


def test_no_maven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("EVENTIDE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LIBS", raising=False)
    with pytest.raises(MissingDependencyError, match="there is no mvn") as told:
        libraries("thing-1", ["a:b:1"], override="LIBS")
    assert "LIBS" in told.value.hint
    monkeypatch.setenv("LIBS", str(tmp_path))
    with pytest.raises(MissingDependencyError, match="has no jars"):
        libraries("thing-1", ["a:b:1"], override="LIBS")
    monkeypatch.delenv("LIBS")
    program(tmp_path, "mvn", "echo '[ERROR] Could not transfer artifact a:b:1'; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(UnavailableError, match="Could not transfer artifact a:b:1"):
        libraries("thing-1", ["a:b:1"], override="LIBS")
    assert list((tmp_path / "cache").iterdir()) == []


def test_another_port(tmp_path: Path) -> None:
    (tmp_path / "broker.json").write_text(json.dumps({"port": 9092, "controller": 9093}))
    assert kafka.at(tmp_path).address == "127.0.0.1:9092"
    assert not kafka.at(tmp_path, port=9092).running
    with pytest.raises(UsageError, match="on port 9092, not 9094"):
        kafka.at(tmp_path, port=9094)


@pytest.mark.slow
def test_up_status_down(tmp_path: Path) -> None:
    def services(*args: str) -> Any:
        command = [sys.executable, "-c", "from eventide.cli import main; main()", "services", *args, "--json"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        if done.returncode == 4 and os.environ.get("CI") != "true":
            pytest.skip(done.stderr)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    try:
        up = services("up", "kafka")
        assert up["running"] and up["address"].startswith("127.0.0.1:")
        assert services("up", "kafka") == up  # as it is
        assert services("status")["services"] == [up]
        services("down", "kafka")
        assert not services("status", "kafka")["services"][0]["running"]
    finally:
        kafka.at(tmp_path / ".eventide" / "services" / "kafka").stop(kill=True)
