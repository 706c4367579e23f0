"""The registry: names to plug-ins, addresses to sources and sinks, and what is said when there is none."""

from __future__ import annotations

import importlib
from importlib import metadata
from pathlib import Path

import pytest

from eventide import registry
from eventide.errors import MissingDependencyError, UnknownNameError, UsageError


@pytest.fixture
def plug_in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that belongs to `eventide.connectors` for the time of one test."""
    package = importlib.import_module("eventide.connectors")
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    importlib.invalidate_caches()
    return tmp_path


def test_the_folder_is_the_list(plug_in_folder: Path) -> None:
    (plug_in_folder / "carrier_pigeon.py").write_text("def source(uri, options):\n    return (uri, options)\n")
    (plug_in_folder / "_private.py").write_text("")
    importlib.invalidate_caches()
    assert registry.names("connector")["carrier_pigeon"] == "eventide.connectors.carrier_pigeon"
    assert "_private" not in registry.names("connector")
    assert registry.open_source("carrier-pigeon://loft?birds=2", {"ring": "x"}) == (
        "carrier-pigeon://loft",
        {"birds": 2, "ring": "x"},
    )
    with pytest.raises(UsageError, match="cannot be written to"):
        registry.open_sink("carrier-pigeon://loft")


def test_a_missing_library_gives_the_install_command(plug_in_folder: Path) -> None:
    (plug_in_folder / "telegraph.py").write_text("import no_such_library_for_telegraphs.keys\n")
    importlib.invalidate_caches()
    with pytest.raises(MissingDependencyError) as caught:
        registry.resolve("connector", "telegraph")
    assert caught.value.hint == "pip install 'eventide[telegraph]'"
    assert "no_such_library_for_telegraphs" in caught.value.message


def test_a_fault_inside_a_plug_in_is_not_hidden(plug_in_folder: Path) -> None:
    (plug_in_folder / "broken.py").write_text("from eventide.model.time import no_such_name\n")
    importlib.invalidate_caches()
    with pytest.raises(ImportError, match="no_such_name") as caught:
        registry.resolve("connector", "broken")
    assert not isinstance(caught.value, MissingDependencyError)


def test_entry_points_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = metadata.EntryPoint("semaphore", "json", "eventide.connectors")
    monkeypatch.setattr(metadata, "entry_points", lambda group: [entry] if group == "eventide.connectors" else [])
    assert registry.resolve("connector", "semaphore").__name__ == "json"
    assert registry.names("connector")["semaphore"] == "json"


@pytest.mark.parametrize("name", ["", "no such", "os.path", "../memory", "_memory", "__init__", 7])
def test_names_that_are_none(name: object) -> None:
    with pytest.raises(UnknownNameError):
        registry.resolve("connector", name)  # type: ignore[arg-type]


def test_near_names_kinds_and_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'memory'"):
        registry.resolve("connector", "memry")
    with pytest.raises(UnknownNameError, match="did you mean 'connector'"):
        registry.names("connectors")
    monkeypatch.setattr(registry, "_extras", lambda: {"kinesis"})
    with pytest.raises(UnknownNameError, match=r"pip install 'eventide\[kinesis\]'"):
        registry.open_source("kinesis://broker/topic")


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("a.csv", ("file", "file://a.csv", {})),
        ("/x/part-?.csv", ("file", "file:///x/part-?.csv", {})),
        ("FILE://a.csv?format=csv&follow=true", ("file", "file://a.csv", {"format": "csv", "follow": True})),
        ("-", ("stdio", "stdio://", {})),
        ("log://t?start=2020-01-01&n=1.5&k=7", ("log", "log://t", {"start": "2020-01-01", "n": 1.5, "k": 7})),
        ("C:/data/a.csv", ("file", "file://C:/data/a.csv", {})),
    ],
)
def test_split_uri(uri: str, expected: object) -> None:
    assert registry.split_uri(uri) == expected


@pytest.mark.parametrize("uri", ["", "  ", None, 3])
def test_what_is_no_address(uri: object) -> None:
    with pytest.raises(UsageError, match="not an address"):
        registry.split_uri(uri)  # type: ignore[arg-type]
