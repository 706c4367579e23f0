"""The settings of the service: the file of just-bin-it as it is, options, and what is wrong with them."""

from __future__ import annotations

import pytest

from eventide.apps.neutron.restream.settings import Settings, from_file, merged, pairs
from eventide.errors import ConfigError

FILE = """\
# the instrument's own
[jbi]
brokers = [broker1:9092, "broker2:9092"]
config-topic: hist_commands
--hb-topic=hist_heartbeat
response_topic hist_responses   # answers
; TLS
security-protocol = SASL_SSL
sasl-mechanism = SCRAM-SHA-256
sasl-username = nicos
sasl-password = "a # b=c"
ssl-cafile = /etc/ssl/ca.pem
log-level = 2
---
"""


def test_a_file_of_just_bin_it(tmp_path):
    path = tmp_path / "config.ini"
    path.write_text(FILE.replace("a # b=c", "a#b=c"))
    found = from_file(path)
    assert found.brokers == "broker1:9092,broker2:9092"
    assert (found.command_topic, found.heartbeat_topic) == ("hist_commands", "hist_heartbeat")
    assert found.response_topic == "hist_responses"
    assert found.client == {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-256",
        "sasl.username": "nicos",
        "sasl.password": "a#b=c",
        "ssl.ca.location": "/etc/ssl/ca.pem",
    }
    assert found.ignored == ("log-level",)
    assert "a#b=c" not in repr(found)


def test_options_come_before_the_file():
    base = Settings(brokers="a:1", command_topic="c", client={"sasl.username": "one", "x": "1"})
    made = merged(base, client=pairs(["sasl.username=two", "y=a=b"]), brokers="b:2", command_topic="")
    assert (made.brokers, made.command_topic) == ("b:2", "c")
    assert made.client == {"sasl.username": "two", "x": "1", "y": "a=b"}


@pytest.mark.parametrize(
    ("text", "match"),
    [("broker = a:1", "line 1: there is no setting 'broker'"), ("\n\nconfig-topics x", "line 3"), ("=x", "")],
)
def test_a_name_that_means_nothing(tmp_path, text, match):
    path = tmp_path / "config.ini"
    path.write_text(text)
    if not match:
        assert from_file(path) == Settings()
        return
    with pytest.raises(ConfigError, match=match):
        from_file(path)


def test_what_is_no_file(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        from_file(tmp_path / "nothing")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        from_file(tmp_path / "bytes")


def test_what_is_missing():
    with pytest.raises(ConfigError, match="the brokers"):
        merged(Settings(), client={})
    with pytest.raises(ConfigError, match="topic of commands"):
        merged(Settings(brokers="a:1"), client={})
    with pytest.raises(ConfigError, match="name=value"):
        pairs(["sasl.password"])
