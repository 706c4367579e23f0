"""The configuration: where values come from, and what wrong ones are told."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventide.config import Config, load_config, schema, secret
from eventide.errors import ConfigError

HINT = "`eventide config schema` prints what is allowed"
BROKEN: dict[str, tuple[str, str]] = {
    "pipelin = 'p.py'": ("'pipelin' is not known at the top level", "did you mean 'pipeline'?"),
    "lanes = 2": ("'lanes' is not known at the top level", "write it below [run]"),
    "root = 'x'": ("'root' is not known at the top level", "write it below [log]"),
    "[runs]": ("'runs' is not known at the top level", "did you mean 'run'?"),
    "[zzz]": ("'zzz' is not known at the top level", "known: log, name, params, pipeline, run"),
    "[run]\nlane = 2": ("'lane' is not known in [run]", "did you mean 'lanes'?"),
    "[run]\nchekpoint = 'x'": (
        "'chekpoint' is not known in [run]",
        "did you mean 'checkpoint' or 'checkpoint_interval'?",
    ),
    "[log]\nfolder = 'x'": ("'folder' is not known in [log]", "known: root"),
    "[log]\nrooot = 'x'": ("'rooot' is not known in [log]", "did you mean 'root'?"),
    "[log]\nroot = 3": ("Expected `str`, got `int` - at `$.log.root`", HINT),
    "[run]\nlanes = 'many'": ("Expected `int`, got `str` - at `$.run.lanes`", HINT),
    "[run]\nlanes = 1.5": ("Expected `int`, got `float` - at `$.run.lanes`", HINT),
    "[run]\ncheckpoint = false": ("Expected `str`, got `bool` - at `$.run.checkpoint`", HINT),
    "[run]\ncheckpoint_interval = 10": ("Expected `str`, got `int` - at `$.run.checkpoint_interval`", HINT),
    "[run]\nengine = ['local']": ("Expected `str`, got `array` - at `$.run.engine`", HINT),
    "run = 3": ("Expected `object`, got `int` - at `$.run`", HINT),
    "params = 'x'": ("Expected `object`, got `str` - at `$.params`", HINT),
    "pipeline = 3": ("Expected `str`, got `int` - at `$.pipeline`", HINT),
    "name = ['a']": ("Expected `str`, got `array` - at `$.name`", HINT),
    "[log]\nroot = .eventide": ("is not a TOML file: ", "text values need quotes: root = '.eventide/log'"),
    "[log\n": ("is not a TOML file: ", "text values need quotes: root = '.eventide/log'"),
}


@pytest.mark.parametrize("text", BROKEN)
def test_broken_files(text: str, tmp_path: Path) -> None:
    file = tmp_path / "eventide.toml"
    file.write_text(text)
    message, hint = BROKEN[text]
    with pytest.raises(ConfigError) as caught:
        load_config(file, environ={})
    assert caught.value.message.startswith(str(file))
    assert message in caught.value.message
    assert caught.value.hint == hint


def test_environment_over_file_over_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_config(environ={}) == Config()
    Path("eventide.toml").write_text("[run]\nlanes = 3\nengine = 'local'\n[log]\nroot = 'kept'\n")
    assert load_config(environ={}).run.lanes == 3
    found = load_config(environ={"EVENTIDE_RUN_LANES": "5", "EVENTIDE_LOG": "/a", "EVENTIDE_DATA": "/d"})
    assert (found.run.lanes, found.log.root) == (5, "/a")
    assert load_config(environ={"EVENTIDE_LOG": "/a", "EVENTIDE_LOG_ROOT": "/b"}).log.root == "/b"


def test_folders_begin_at_the_file(tmp_path: Path) -> None:
    file = tmp_path / "eventide.toml"
    file.write_text("[log]\nroot = 'kept'\n")
    found = load_config(file, environ={})
    assert found.log.root == str(tmp_path / "kept")
    assert found.run.checkpoint == str(tmp_path / ".eventide/checkpoints")
    file.write_text("[log]\nroot = '/kept'\n[run]\ncheckpoint = ''\n")
    found = load_config(file, environ={"EVENTIDE_RUN_CHECKPOINT": "near"})
    assert (found.log.root, found.run.checkpoint) == ("/kept", "near")
    assert load_config(file, environ={}).run.checkpoint == ""


def test_wrong_variables() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(environ={"EVENTIDE_RUN_LANE": "2"})
    assert caught.value.message == "the environment variable EVENTIDE_RUN_LANE is not known"
    assert "EVENTIDE_RUN_LANES" in caught.value.hint
    with pytest.raises(ConfigError):
        load_config(environ={"EVENTIDE_LOG_FOLDER": "x"})


def test_a_missing_file() -> None:
    with pytest.raises(ConfigError, match="there is no configuration file"):
        load_config("nowhere.toml")


def test_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_TOKEN", "abc")
    (tmp_path / "token").write_text("def\n")
    assert secret("env:A_TOKEN") == "abc"
    assert secret(f"file:{tmp_path / 'token'}") == "def"
    with pytest.raises(ConfigError, match="cannot be read"):
        secret(f"file:{tmp_path / 'none'}")


def test_the_schema_knows_every_field() -> None:
    defined = schema()["$defs"]
    assert set(defined["Config"]["properties"]) == set(Config.__struct_fields__)
    assert not defined["Config"]["additionalProperties"]


@given(
    st.builds(
        dict,
        engine=st.text(max_size=5),
        lanes=st.integers(0, 2**31),
        checkpoint_interval=st.from_regex(r"[0-9]{1,4}(ms|s|m)", fullmatch=True),
    )
)
def test_values_come_back_from_the_environment(values: dict[str, object]) -> None:
    told = {f"EVENTIDE_RUN_{k.upper()}": str(v) for k, v in values.items()}
    found = msgspec.to_builtins(load_config(environ=told))["run"]
    assert {k: found[k] for k in values} == values
