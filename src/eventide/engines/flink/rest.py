"""What a Flink cluster is asked and told over HTTP."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

from eventide.errors import RunError, UnavailableError

__all__ = ["Failure", "Job", "Rest"]

_TIMEOUT = 30.0


@dataclass(frozen=True, slots=True)
class Failure:
    """Something that went wrong in a job: when (ms), and the trace that Java wrote."""

    at: int
    trace: str


class Rest:
    """A cluster at an address."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self._base = f"http://{host}:{port}"

    def ask(self, path: str, *, method: str = "GET", body: dict[str, Any] | None = None) -> Any:
        """Return the answer to a request.

        Raises
        ------
        UnavailableError
            Nobody answers.
        RunError
            The cluster refuses.
        """
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self._base + path, data=data, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
                return json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace")
            msg = f"the Flink cluster at {self.host}:{self.port} refuses {method} {path}: {_first_line(said)}"
            raise RunError(msg) from error
        except OSError as error:
            msg = f"the Flink cluster at {self.host}:{self.port} does not answer: {error}"
            raise UnavailableError(msg, hint="is it running, and is this its REST address?") from error

    def version(self) -> str:
        """Return the version of Flink that the cluster runs."""
        return str(self.ask("/config").get("flink-version", ""))

    def slots(self) -> tuple[int, int, int]:
        """Return how many task managers there are, how many slots they have, and how many of these are free."""
        told = self.ask("/overview")
        return told["taskmanagers"], told["slots-total"], told["slots-available"]


class Job:
    """A job of a cluster."""

    def __init__(self, rest: Rest, number: str) -> None:
        self.rest, self.number = rest, number
        self._path = f"/jobs/{number}"

    def state(self) -> str:
        """Return how it is: ``RUNNING``, ``RESTARTING``, ``FAILED`` ..."""
        return str(self.rest.ask(self._path)["state"])

    def failures(self) -> list[Failure]:
        """Return what went wrong in it, first things first."""
        told = self.rest.ask(f"{self._path}/exceptions?maxExceptions=20")
        entries = [e for h in told.get("exceptionHistory", {}).get("entries", []) for e in _with_concurrent(h)]
        return sorted((Failure(e["timestamp"], e["stacktrace"]) for e in entries), key=lambda f: f.at)

    def checkpoints(self) -> int:
        """Return how many checkpoints are complete."""
        return int(self.rest.ask(f"{self._path}/checkpoints")["counts"]["completed"])

    def checkpoint(self) -> None:
        """Take a checkpoint now and wait for it.

        Raises
        ------
        RunError
            It failed.
        """
        body = {"checkpointType": "CONFIGURED"}
        started = self.rest.ask(f"{self._path}/checkpoints", method="POST", body=body)
        self._wait(f"{self._path}/checkpoints/{started['request-id']}")

    def stop_with_savepoint(self, folder: str) -> str:
        """Stop, leave a savepoint in a folder, and return where.

        Raises
        ------
        RunError
            It failed.
        """
        body = {"targetDirectory": folder, "drain": False}
        started = self.rest.ask(f"{self._path}/stop", method="POST", body=body)
        return str(self._wait(f"{self._path}/savepoints/{started['request-id']}")["location"])

    def _wait(self, path: str) -> dict[str, Any]:
        while (told := self.rest.ask(path))["status"]["id"] != "COMPLETED":
            time.sleep(0.02)
        done: dict[str, Any] = told["operation"]
        if cause := done.get("failure-cause"):
            trace = str(cause.get("stack-trace", cause))
            msg = f"Flink could not keep the state of the job: {_first_line(trace)}"
            raise RunError(msg, hint="the log of Flink's job manager has more")
        return done

    def cancel(self) -> None:
        """Tell it to end, leaving its checkpoints, and wait until it has."""
        self.rest.ask(f"{self._path}?mode=cancel", method="PATCH")
        while self.state() not in ("CANCELED", "FINISHED", "FAILED"):
            time.sleep(0.02)


def _with_concurrent(entry: dict[str, Any]) -> list[dict[str, Any]]:
    return [entry, *entry.get("concurrentExceptions", [])]


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0][:300]
