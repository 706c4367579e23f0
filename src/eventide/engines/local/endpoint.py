"""An HTTP endpoint with the figures of a run: ``/metrics`` ``/metrics.json`` ``/healthz`` ``/readyz``.

It answers GET and nothing else, to this machine only unless more is asked for, and has no passwords: whoever can
reach it may read it. It holds nothing secret, but names of pipelines and folders' sizes.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import os
import socket
import threading
from collections.abc import Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Protocol

from eventide.errors import ConfigError
from eventide.metrics import CONTENT_TYPE, Sample, render, to_plain

__all__ = ["MetricsServer", "Watched"]

_LOG = logging.getLogger("eventide.endpoint")
_TIMEOUT = 5.0
_AT_ONCE = 16
_JSON = "application/json"


class Watched(Protocol):
    """What is served: a run that can be asked for its figures from any thread."""

    pipeline: str
    run: str

    @property
    def state(self) -> str:
        """One of `eventide.metrics.RUN_STATES`."""

    def samples(self) -> Sequence[Sample]:
        """Return all figures."""

    def waits_for(self) -> Sequence[str]:
        """Return why results are not up to date; empty when they are."""


class MetricsServer:
    r"""Serves the figures of a run over HTTP until it is closed.

    Parameters
    ----------
    address
        ``HOST:PORT``; port 0 takes one that is free.
    watched
        The run.
    remote
        Whether an address that other machines can reach is allowed.

    Raises
    ------
    ConfigError
        The address cannot be understood, is not this machine's alone, or is taken.

    Examples
    --------
    >>> from eventide.engines.local.metrics import RunMetrics
    >>> from urllib.request import urlopen
    >>> with MetricsServer("127.0.0.1:0", RunMetrics("hot", "20261120T230501-3f2a")) as server:
    ...     urlopen(server.address + "/metrics").readline()
    b'# HELP eventide_checkpoints_total Checkpoints written by this run.\n'
    """

    def __init__(self, address: str, watched: Watched, *, remote: bool = False) -> None:
        host, port = _parse(address)
        local = _is_loopback(host)
        if not local and not remote:
            msg = f"metrics at {address} could be read by other machines"
            raise ConfigError(msg, hint="use 127.0.0.1:PORT, or allow it with --metrics-remote")
        try:
            self._server = _Server(host, port, watched, local=local)
        except OSError as error:
            msg = f"metrics cannot be served at {address}: {error.strerror or error}"
            raise ConfigError(msg, hint="another process may use the port; 127.0.0.1:0 takes a free one") from error
        bound = self._server.server_address
        shown = f"[{host}]" if ":" in host else host
        self.address = f"http://{shown}:{bound[1]}"
        if not local:
            _LOG.warning("metrics at %s can be read by other machines, without a password", self.address)
        # The wait between two looks whether it is to end: short, because closing waits for it.
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="eventide-metrics", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop serving; answers that have begun are finished. Safe to call twice."""
        self._server.shutdown()
        self._thread.join(timeout=10)
        self._server.server_close()

    def __enter__(self) -> MetricsServer:
        """Return the server."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close it."""
        self.close()


class _Server(ThreadingHTTPServer):
    """The server: threads end with their one request, and there are only so many."""

    daemon_threads = False  # so that closing waits for them
    block_on_close = True
    allow_reuse_address = True

    def __init__(self, host: str, port: int, watched: Watched, *, local: bool) -> None:
        self.watched = watched
        self.local = local
        self._room = threading.BoundedSemaphore(_AT_ONCE)
        if ":" in host:
            self.address_family = socket.AF_INET6
        super().__init__((host, port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread, unless too many are being answered."""
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._room.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer one request."""
        try:
            self.finish_request(request, client_address)
        except Exception:
            self.handle_error(request, client_address)
        finally:
            self._room.release()  # before the end is seen: who comes again at once has room
            self.shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Take note of a client that went away or was too slow; that is its affair."""
        _LOG.debug("a request was not answered", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    """One request."""

    server: _Server
    timeout = _TIMEOUT
    server_version = "eventide"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer."""
        watched = self.server.watched
        if not self._acceptable():
            return
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._answer(render(watched.samples()), kind=CONTENT_TYPE)
        elif path == "/metrics.json":
            self._answer_json({**self._who(), "samples": to_plain(watched.samples())})
        elif path == "/healthz":
            self._answer_json({"ok": True, **self._who()})
        elif path == "/readyz":
            why = list(watched.waits_for())
            status = HTTPStatus.SERVICE_UNAVAILABLE if why else HTTPStatus.OK
            self._answer_json({"ready": not why, "reasons": why, **self._who()}, status=status)
        else:
            text = "/metrics /metrics.json /healthz /readyz\n"
            self._answer(text, status=HTTPStatus.NOT_FOUND, kind="text/plain; charset=utf-8")

    def _refuse(self) -> None:
        self._answer("only GET\n", status=HTTPStatus.METHOD_NOT_ALLOWED, kind="text/plain", Allow="GET")

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _refuse  # noqa: N815

    def _acceptable(self) -> bool:
        if self.headers.get("Transfer-Encoding") or self.headers.get("Content-Length", "0") != "0":
            self._answer("no request body is taken\n", status=HTTPStatus.BAD_REQUEST, kind="text/plain")
            return False
        # A page in a browser can make its own name point here; it cannot make the browser send our name.
        host = self.headers.get("Host", "")
        if self.server.local and host and not _is_loopback(_host(host)):
            self._answer("not the name of this machine\n", status=HTTPStatus.FORBIDDEN, kind="text/plain")
            return False
        return True

    def _who(self) -> dict[str, Any]:
        watched = self.server.watched
        return {"pipeline": watched.pipeline, "run": watched.run, "state": watched.state, "pid": os.getpid()}

    def _answer_json(self, value: Any, *, status: HTTPStatus = HTTPStatus.OK) -> None:
        self._answer(json.dumps(value) + "\n", status=status, kind=_JSON)

    def _answer(self, text: str, *, kind: str, status: HTTPStatus = HTTPStatus.OK, **headers: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say what was asked to the log."""
        _LOG.debug(format, *args)


def _host(text: str) -> str:
    """Return the host of ``HOST:PORT`` or ``[HOST]:PORT``."""
    return text[1:].partition("]")[0] if text.startswith("[") else text.rpartition(":")[0] if ":" in text else text


def _parse(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65_535:
        msg = f"{address!r} is not an address of the form HOST:PORT"
        raise ConfigError(msg, hint="such as 127.0.0.1:9400, or 127.0.0.1:0 for a port that is free")
    return host.strip("[]"), int(port)


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
