"""Decoding: both wire forms, the CSV forms, and every way in which a value can be bad."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventide.apps.sensors.decode import Rules, decode_a, decode_b, decode_table, good
from eventide.apps.sensors.ranges import BUILT_IN, Ranges, read_ranges
from eventide.apps.sensors.schema import FAIL, MISSING, NOT_EVALUATED, PASS, READINGS, REASONS
from eventide.apps.sensors.verify import read_text
from eventide.apps.sensors.wire import split_stream
from eventide.errors import ConfigError, DataError, SchemaError

TIME = "2016-11-10 00:00:20.143000"


def record(value: object = "27.6", **changes: object) -> bytes:
    fields = {"NodeID": "001e", "timestamp": TIME, "sensor": "TSYS01", "parameter": "temperature", "value": value}
    return json.dumps({**fields, **changes}).encode()


def rows(batch: pa.RecordBatch) -> list[dict[str, object]]:
    assert batch.schema == READINGS
    return pl.DataFrame(batch).to_dicts()


def test_form_a():
    (row,) = rows(decode_a(pa.array([record()])))
    assert row == {
        "timestamp": datetime(2016, 11, 10, 0, 0, 20, 143000, tzinfo=UTC),
        "node_id": "001e",
        "sensor": "TSYS01",
        "parameter": "temperature",
        "stream": "TSYS01_temperature",
        "value": 27.6,
        "value_raw": "27.6",
        "quality": PASS,
        "reason": None,
    }


@pytest.mark.parametrize(
    ("value", "reason", "number"),
    [
        ("27.6", None, 27.6),
        (27.6, None, 27.6),
        (" 27.60 ", None, 27.6),
        ("+4", None, 4.0),
        ("-3.5e1", None, -35.0),
        (".5", None, 0.5),
        ("007.5", None, 7.5),
        ("65535", "sentinel", 65535.0),
        (65535, "sentinel", 65535.0),
        ("65535.0", "sentinel", 65535.0),
        ("NA", "missing", None),
        ("nan", "missing", None),
        ("", "missing", None),
        (None, "missing", None),
        ("NNNNNNNN", "missing", None),
        ("inf", "not_finite", None),
        ("-Infinity", "not_finite", None),
        ("1e999", "not_finite", None),
        ("0000171e1234", "not_numeric", None),
        ("000017123456", "not_numeric", None),
        ("ffff", "not_numeric", None),
        ("0x1f", "not_numeric", None),
        ("1_000", "not_numeric", None),
        ("27,6", "not_numeric", None),
        (True, "not_numeric", None),
        ({"a": 1}, "not_numeric", None),
        ("214.75", "out_of_range", 214.75),
        ("-41", "out_of_range", -41.0),
        ("-40", None, -40.0),
    ],
)
def test_values(value, reason, number):
    for batch in (
        decode_a(pa.array([record(value)])),
        decode_b(pa.array([json.dumps({"TSYS01_temperature": [TIME, value]}).encode()])),
    ):
        (row,) = rows(batch)
        assert (row["reason"], row["value"]) == (reason, number)
        assert row["quality"] == {None: PASS, "missing": MISSING}.get(reason, FAIL)
        if isinstance(value, str):
            assert row["value_raw"] == value


@pytest.mark.parametrize(
    ("text", "zone", "expected"),
    [
        ("2016-11-10 00:00:20.143000", "UTC", "2016-11-10T00:00:20.143"),
        ("2016-11-10 00:00:20", "UTC", "2016-11-10T00:00:20"),
        ("2018/09/28 16:35:43", "UTC", "2018-09-28T16:35:43"),
        ("2016-11-10T00:00:20.143Z", "America/Chicago", "2016-11-10T00:00:20.143"),
        ("2016-11-10T00:00:20+01:00", "UTC", "2016-11-09T23:00:20"),
        ("2016-11-10 00:00:20", "America/Chicago", "2016-11-10T06:00:20"),
        ("2016-11-06 01:30:00", "America/Chicago", "2016-11-06T06:30:00"),  # shown twice: the earlier
        ("2016-03-13 02:30:00", "America/Chicago", None),  # skipped by the clock
        ("2016-11-10 00:00:20.123456789", "UTC", "2016-11-10T00:00:20.123456789"),
        ("9999-01-01 00:00:00", "UTC", None),
        ("0001-01-01 00:00:00", "UTC", None),
        ("2016-02-30 00:00:00", "UTC", None),
        ("yesterday", "UTC", None),
        ("", "UTC", None),
    ],
)
def test_timestamps(text, zone, expected):
    batch = decode_a(pa.array([record(timestamp=text)]), Rules(zone=zone))
    found = batch.column("timestamp").cast(pa.timestamp("ns")).to_numpy(zero_copy_only=False)[0]
    if expected is None:
        assert batch.column("timestamp").null_count == 1
        assert batch.column("reason").to_pylist() == ["bad_timestamp"]
    else:
        assert found == pl.Series([expected]).str.to_datetime(time_unit="ns").to_numpy()[0]
        assert batch.column("reason").to_pylist() == [None]


@pytest.mark.parametrize("decode", [decode_a, decode_b])
@pytest.mark.parametrize(
    "payload",
    [b"", b"{", b"\xff\xfe", None, b"[1]", b"3", b"null", b'{"a":[1]},{"b":[2]}', b"[" * 100_000, b'{"value": 27,6}'],
)
def test_damaged_payloads_are_rows_that_say_so(decode, payload):
    healthy = record() if decode is decode_a else b'{"TSYS01_temperature": ["%s", 27.6]}' % TIME.encode()
    batch = decode(pa.array([healthy, payload, healthy], pa.binary()))
    assert batch.column("reason").to_pylist() == [None, "malformed", None]
    assert batch.column("value").to_pylist() == [27.6, None, 27.6]
    if payload is not None:
        assert batch.column("value_raw").to_pylist()[1] == payload.decode("utf-8", "backslashreplace")


def test_fields_in_another_order_and_escapes():
    swapped = json.dumps(dict(reversed(json.loads(record()).items()))).encode()
    escaped = record(sensor='TS"YS').replace(b"temperature", b"temper\\u0061ture")
    found = rows(decode_a(pa.array([swapped, record(), escaped])))
    assert found[0] == found[1]
    assert found[2]["stream"] == 'TS"YS_temperature'
    bare = b'{"TSYS01_temperature": ["%s", NaN]}' % TIME.encode()
    assert rows(decode_b(pa.array([bare])))[0]["reason"] == "missing"


def test_single_keys_are_cut_where_a_known_pair_says():
    payloads = [b'{"%s": ["2016-11-10 00:00:20", 1]}' % k for k in (b"OPCN2_pm2_5", b"a_b_c", b"lonely")]
    found = rows(decode_b(pa.array(payloads)))
    assert [(r["sensor"], r["parameter"], r["stream"]) for r in found] == [
        ("OPCN2", "pm2_5", "OPCN2_pm2_5"),
        ("a_b", "c", "a_b_c"),
        ("lonely", "", "lonely"),
    ]
    assert [r["quality"] for r in found] == [PASS, NOT_EVALUATED, NOT_EVALUATED]
    for sensor, parameter in BUILT_IN.limits:
        assert split_stream(f"{sensor}_{parameter}", BUILT_IN) == (sensor, parameter)


def test_identifiers_are_text_even_where_they_look_like_numbers():
    table = pa.table(
        {
            "timestamp": ["2018/09/28 16:35:43"] * 3,
            "sensor": ["metsense", "metsense", "tsys01"],
            "parameter": ["id", "id", "temperature"],
            "value_raw": ["171e12", "12345", "65535"],
            "value_hrf": ["171e12", "12345", "17.2"],
        }
    )
    found = rows(decode_table(table))
    assert [r["reason"] for r in found] == ["not_numeric", "not_numeric", "sentinel"]
    assert [r["value_raw"] for r in found] == ["171e12", "12345", "65535"]


def test_a_missing_raw_value_is_no_fault_of_the_value():
    table = pa.table(
        {"timestamp": [TIME], "sensor": ["x"], "parameter": ["y"], "value_raw": ["NA"], "value_hrf": ["27"]}
    )
    (row,) = rows(decode_table(table))
    assert (row["value"], row["value_raw"], row["reason"]) == (27.0, "27", None)


def test_typed_columns_and_missing_ones():
    table = pa.table({"timestamp": pa.array([0], pa.timestamp("ms")), "value": pa.array([1.5])})
    (row,) = rows(decode_table(table))
    assert (row["timestamp"], row["value"], row["stream"]) == (datetime(1970, 1, 1, tzinfo=UTC), 1.5, None)
    with pytest.raises(SchemaError, match="need a column 'value'"):
        decode_table(pa.table({"timestamp": [TIME]}))


def test_no_rows():
    assert decode_a(pa.array([], pa.binary())).schema == READINGS
    assert good(decode_b(pa.array([], pa.binary()))).num_rows == 0


def test_rules_refuse_an_unknown_zone():
    with pytest.raises(ConfigError, match="no time zone 'Chicago'"):
        Rules(zone="Chicago")


@given(st.lists(st.one_of(st.binary(max_size=40), st.text(max_size=40).map(str.encode)), max_size=10))
def test_no_bytes_raise(payloads):
    array = pa.array(payloads, pa.binary())
    for decode in (decode_a, decode_b):
        batch = decode(array)
        assert batch.num_rows == len(payloads)
        assert set(batch.column("reason").drop_null().to_pylist()) <= set(REASONS)


@given(st.lists(st.one_of(st.none(), st.text(max_size=12), st.floats(), st.integers()), min_size=1, max_size=10))
def test_any_value_is_a_finite_number_or_has_a_reason(values):
    batch = decode_a(pa.array([json.dumps(json.loads(record()) | {"value": v}).encode() for v in values]))
    for row in rows(batch):
        assert (row["reason"] is None) <= (row["value"] is not None and abs(row["value"]) < float("inf"))


@given(st.lists(st.tuples(st.floats(allow_nan=False, allow_infinity=False), st.integers(0, 2**31)), max_size=20))
def test_numbers_and_times_survive_both_wire_forms(pairs):
    times = [datetime.fromtimestamp(t, UTC).strftime("%Y-%m-%d %H:%M:%S.%f") for _, t in pairs]
    rules = Rules(sentinels=(), ranges=Ranges({}))
    a = decode_a(
        pa.array([record(repr(v), timestamp=t) for (v, _), t in zip(pairs, times, strict=True)], pa.binary()), rules
    )
    forms = [json.dumps({"TSYS01_temperature": [t, v]}).encode() for (v, _), t in zip(pairs, times, strict=True)]
    b = decode_b(pa.array(forms, pa.binary()), rules)
    for batch in (a, b):
        assert batch.column("value").to_pylist() == [v for v, _ in pairs]
        assert batch.column("timestamp").cast(pa.int64()).to_pylist() == [t * 10**9 for _, t in pairs]


def test_tables_of_ranges(tmp_path):
    path = tmp_path / "ranges.csv"
    path.write_text("Sensor,parameter,min,max\nA,x,0,10\na,x,-5,\nB,y,,\n")
    assert read_ranges(path).limits == {("a", "x"): (-5.0, float("inf"))}
    path.write_text("sensor,low\n")
    with pytest.raises(SchemaError, match="has the columns"):
        read_ranges(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_ranges(tmp_path / "none.csv")


def test_the_dirty_snapshot(data_dir):
    folder = data_dir / "sensors" / "aot"
    table = read_text(folder / "chicago_public_2018-09-28.csv")
    ranges = read_ranges(folder / "sensors.csv")
    batch = decode_table(table, Rules(ranges=ranges))
    counts = pl.DataFrame(batch)["reason"].drop_nulls().value_counts()
    assert dict(counts.iter_rows()) == {"sentinel": 79, "missing": 212, "not_numeric": 44, "out_of_range": 62}
    assert batch.num_rows == 1000
    frame = pl.DataFrame(batch)
    hot = frame.filter((pl.col("sensor") == "tsys01") & (pl.col("value") == 214.75))
    assert hot["reason"].to_list() == ["out_of_range"] * 6
    kept = frame.filter((pl.col("parameter") == "id") & (pl.col("reason") == "not_numeric"))
    assert "000017e2bc12" in kept["value_raw"].to_list()


def test_the_day_of_the_chapter_and_the_weeks_of_one_node(data_dir):
    folder = data_dir / "sensors" / "aot"
    day = decode_table(read_text(folder / "no2_tsys01_2016-11-10_digitised.csv.gz"))
    assert day.num_rows == 6900
    assert good(day).num_rows == 6900
    for path in sorted(folder.glob("aot_2020_*.csv")):
        week = decode_table(read_text(path))
        assert good(week).num_rows == week.num_rows > 3000
