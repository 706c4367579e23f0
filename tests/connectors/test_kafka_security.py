"""How a cluster is reached: options and secrets as pure configuration, and TLS with a password against a real broker."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

pytest.importorskip("confluent_kafka", reason="pip install 'eventide[kafka]'")

import eventide as ev
from eventide.connectors import kafka
from eventide.connectors._kafka_address import address, event_hub
from eventide.errors import ConfigError, DataError, UsageError
from servers.kafka import remove, started

PASSWORD = "sky & stars'"
LOGIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
HUB = "Endpoint=sb://sky.servicebus.windows.net/;SharedAccessKeyName=reader;SharedAccessKey=abc=;EntityPath=alerts"


@pytest.mark.parametrize(
    ("uri", "options", "match"),
    [
        ("kafka://h:9092", {}, "names no topic"),
        ("kafka:///t", {}, "names no broker"),
        ("kafka://h:9092/a/b", {}, "names no topic"),
        ("kafka://me:secret@h:9092/t", {}, "do not belong in the address"),
        ("kafka://h:9092/t", {"sasl_password": "secret"}, "sasl.password must say where the secret is"),
        ("kafka://h:9092/t", {"settings": {"ssl.key.password": "x"}}, "ssl.key.password must say where"),
        ("kafka://h:9092/t", {"settings": {"group.id": "x"}}, "setting group.id is made by the connector"),
        ("kafka://h:9092/t", {"connection_string": HUB}, "must say where the string is"),
        ("kafka://h:9092/t", {"format": None}, "which format"),
        ("kafka://h:9092/t", {"folow": True}, "no option 'folow'"),
        ("kafka://h:9092/t", {"start": "newest"}, "option start"),
        ("kafka://h:9092/t", {"isolation": "serializable"}, "isolation='serializable'"),
    ],
)
def test_wrong_options(uri: str, options: dict[str, Any], match: str) -> None:
    with pytest.raises(UsageError, match=match) as told:
        kafka.source(uri, {"format": "json", **options})
    assert "secret" not in str(told.value).replace("where the secret is", "") and "abc=" not in str(told.value)
    assert told.value.hint


def test_wrong_options_of_the_sink() -> None:
    for options, match in [({"rows_per_message": -1}, "rows_per_message=-1"), ({"visible": "now"}, "visible='now'")]:
        with pytest.raises(UsageError, match=match):
            kafka.sink("kafka://h:9092/t", {"format": "json", **options})
    assert kafka.sink("kafka://h:9092/t", {"format": "json", "visible": "at once"}).delivery == "at_least_once"


def test_security_settings_by_either_name() -> None:
    options = {"security_protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-512", "ssl.ca.location": "/ca.pem"}
    found = address("kafka://h:9093/t", {**options, "sasl_password": "env:P", "settings": {"fetch.max.bytes": 1}})
    assert found.settings == {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "ssl.ca.location": "/ca.pem",
        "sasl.password": "env:P",
        "fetch.max.bytes": 1,
    }


def test_event_hubs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB", HUB)
    servers, topic, settings = event_hub("env:HUB")
    assert (servers, topic) == ("sky.servicebus.windows.net:9093", "alerts")
    assert settings == {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "$ConnectionString",
        "sasl.password": "env:HUB",
    }
    named = address("kafka:///other", {"connection_string": "env:HUB"})
    assert (named.servers, named.topic, named.where) == (
        "sky.servicebus.windows.net:9093",
        "other",
        "kafka://sky.servicebus.windows.net:9093/other",
    )
    made = kafka.source("kafka:///", {"connection_string": "env:HUB", "format": "json"})
    assert made.cluster._resolved()[0]["sasl.password"] == HUB and "abc=" not in repr(made.cluster)
    monkeypatch.setenv("HUB", "Endpoint=http://x;key=abc=")
    with pytest.raises(ConfigError, match="not the connection string") as told:
        event_hub("env:HUB")
    assert "abc=" not in str(told.value)
    with pytest.raises(ConfigError, match="is not set"):
        event_hub("env:NO_HUB")


def test_a_wrong_setting_is_told_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("P", "hunter2")
    options = {"format": "json", "schema": {"n": "int64"}, "sasl_password": "env:P", "settings": {"no.such": "hunter2"}}
    with pytest.raises(ConfigError, match=r"no\.such") as told:
        kafka.source("kafka://h:9092/t", options).open({})
    assert "hunter2" not in str(told.value)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Path]]:
    """A broker that speaks TLS and asks for a password, and its certificate."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    make += [
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-keyout",
        str(folder / "key.pem"),
        "-out",
        str(folder / "ca.pem"),
    ]
    subprocess.run(make, check=True, capture_output=True)
    (folder / "both.pem").write_text((folder / "key.pem").read_text() + (folder / "ca.pem").read_text())
    quoted = PASSWORD.replace("'", "\\'")
    users = f'username="admin" password="{quoted}" user_admin="{quoted}" user_observer="{quoted}"'
    broker = started(
        **{
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:SASL_SSL",
            "inter.broker.listener.name": "PLAINTEXT",
            "sasl.enabled.mechanisms": "PLAIN",
            "sasl.mechanism.inter.broker.protocol": "PLAIN",
            "listener.name.plaintext.plain.sasl.jaas.config": f"{LOGIN} required {users};",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": folder / "both.pem",
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": folder / "ca.pem",
        }
    )
    try:
        yield broker, folder / "ca.pem"
    finally:
        remove(broker)


def test_tls_and_a_password(guarded: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broker, certificate = guarded
    monkeypatch.setenv("SKY_PASSWORD", PASSWORD)
    secure = {
        "security_protocol": "SASL_SSL",
        "ssl_ca_location": str(certificate),
        "sasl_mechanism": "PLAIN",
        "sasl_username": "observer",
        "sasl_password": "env:SKY_PASSWORD",
        "format": "json",
    }
    uri = f"kafka://{broker.address}/guarded"
    rows = ev.read("generator://e", rows=100, seed=1)
    ev.run(rows.write(uri, **secure), checkpoint=tmp_path)
    assert ev.fetch(ev.read(uri, follow=False, **secure)).num_rows == 100
    monkeypatch.setenv("SKY_PASSWORD", "hunter2")
    with pytest.raises(DataError, match="refuses us") as told:
        kafka.source(uri, {**secure, "schema": pa.schema([("n", pa.int64())])}).open({})
    assert "hunter2" not in str(told.value)
