"""Log records: what they carry, how they are written, and what never is."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventide.errors import ConfigError, UnavailableError
from eventide.logs import EVENTS, FIELDS, RunLog, bound, configure, redact

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    text = io.StringIO()
    yield text
    logger = logging.getLogger("eventide")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


@pytest.fixture
def lines(stream: io.StringIO) -> Lines:
    configure("json", "debug", stream=stream)
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


def test_every_record_carries_where_it_comes_from(lines: Lines) -> None:
    log = RunLog({"pipeline": "hot", "run": "r1"})
    log.tell("run_started", "begins")
    log.of(operator="read-0", partition="2").tell("quarantine", "an event is refused", offset=17, reason="not a number")
    logging.getLogger("eventide.anywhere").debug("a %s", "detail")
    first, second, third = lines()
    for line in (first, second, third):
        assert set(FIELDS) | {"time", "level", "logger", "message"} <= set(line)
        assert datetime.fromisoformat(line["time"]).utcoffset() is not None and line["time"].endswith("Z")
    assert (first["event"], first["level"], first["pipeline"], first["offset"]) == ("run_started", "info", "hot", None)
    where = {name: second[name] for name in FIELDS}
    assert where == {"pipeline": "hot", "run": "r1", "operator": "read-0", "partition": "2", "offset": 17}
    assert (second["level"], second["reason"]) == ("warning", "not a number")
    assert third["message"] == "a detail" and third["pipeline"] is None


def test_the_context_is_that_of_the_thread(lines: Lines) -> None:
    logger = logging.getLogger("eventide.log")
    with bound(pipeline="hot", run="r1"), bound(operator="write-4"):
        logger.warning("one")
        other = threading.Thread(target=logger.warning, args=("other",))
        other.start()
        other.join()
        RunLog({"operator": "read-0"}).tell("back", "own fields win")
    logger.warning("after")
    one, other_line, own, after = lines()
    assert (one["pipeline"], one["operator"]) == ("hot", "write-4")
    assert other_line["pipeline"] is None and after["pipeline"] is None
    assert (own["pipeline"], own["operator"]) == ("hot", "read-0")


@pytest.mark.parametrize("event", EVENTS)
def test_events(lines: Lines, event: str) -> None:
    RunLog().tell(event, "what happened")
    (line,) = lines()
    assert line["event"] == event and line["level"] == logging.getLevelName(EVENTS[event]).lower()


def test_an_exception_is_one_record(stream: io.StringIO, lines: Lines) -> None:
    def fail() -> None:
        msg = "the disk is full\nat /archive"
        raise UnavailableError(msg, hint="free some space")

    try:
        fail()
    except UnavailableError as error:
        RunLog().tell("failed", "the run failed", error=error)
        (line,) = lines()
        assert line["error"]["type"] == "UnavailableError" and line["error"]["hint"] == "free some space"
        assert "in fail" in line["error"]["traceback"]
        configure("text", "info", stream=stream)
        stream.truncate(0)
        stream.seek(0)
        RunLog({"run": "r1"}).tell("failed", "the run failed", error=error)
        (text,) = stream.getvalue().splitlines()
        assert text.endswith("error failed the run failed [run=r1] (UnavailableError: the disk is full at /archive)")
        configure("text", "debug", stream=stream)
        RunLog().tell("failed", "the run failed", error=error)
        assert '    raise UnavailableError(msg, hint="free some space")' in stream.getvalue()
        assert all(one.startswith("    ") for one in stream.getvalue().splitlines()[2:])


SECRETS = [
    ("postgresql://ada:{}@db:5432/night", "ada"),
    ("kafka://:{}@broker/topic?x=1", "broker"),
    ("password={}", "password"),
    ("{{'api_key': '{}', 'rows': 5}}", "rows"),
    ("sasl.password: {}, retries: 3", "retries: 3"),
    ("AUTH_TOKEN={} eventide run x", "eventide run x"),
]


@pytest.mark.parametrize(("text", "kept"), SECRETS)
@given(secret=st.text("abcXYZ019-_.!$%+/", min_size=1, max_size=30))
def test_secrets_are_never_written(text: str, kept: str, secret: str) -> None:
    secret = f"5ecret{secret}"
    written = text.format(secret)
    assert "5ecret" not in redact(written) and kept in redact(written) and "***" in redact(written)


def test_secrets_in_fields_and_errors(stream: io.StringIO, lines: Lines) -> None:
    error = ConnectionError("cannot reach mqtt://ada:enigma@host")
    RunLog().tell(
        "retry", "mqtt://ada:enigma@host", error=error, options={"password": "enigma", "n": [1, "token=enigma"]}
    )
    (line,) = lines()
    assert "enigma" not in stream.getvalue()
    assert line["options"] == {"password": "***", "n": [1, "token=***"]}
    configure("text", "debug", stream=stream)
    RunLog().tell("retry", "mqtt://ada:enigma@host", error=error, password="enigma")
    assert "enigma" not in stream.getvalue()


@given(st.text(st.characters(blacklist_categories=("Cs",))))
def test_redacting_changes_nothing_else(text: str) -> None:
    if "://" not in text and "=" not in text and ":" not in text:
        assert redact(text) == text


def test_levels(stream: io.StringIO) -> None:
    configure("text", "warning", stream=stream)
    RunLog().tell("checkpoint", "not told")
    RunLog().tell("waiting", "told")
    configure("text", stream=stream)  # off: people are told in other ways
    RunLog().tell("failed", "not told either")
    configure("json", stream=stream)
    RunLog().tell("checkpoint", "told to programs")
    text = stream.getvalue()
    assert "not told" not in text and "waiting told" in text and "told to programs" in text
    for wrong in ({"format": "xml"}, {"level": "loud"}):
        with pytest.raises(ConfigError):
            configure(**wrong)


def test_a_library_leaves_the_root_logger_alone() -> None:
    code = (
        "import logging, eventide as ev, eventide.logs\n"
        "ev.run(ev.read('generator://events', rows=10).write('memory://logs'))\n"
        "assert not logging.getLogger().handlers and not logging.getLogger('eventide').handlers\n"
        "eventide.logs.configure('json', 'debug')\n"
        "assert not logging.getLogger().handlers and logging.getLogger().level == logging.WARNING\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stderr == ""
