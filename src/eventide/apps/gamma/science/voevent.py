"""Alerts as VOEvent 2.0 packets (IVOA recommendation of 2011-07-11), one XML document an alert."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pyarrow as pa

from eventide.apps.gamma.science.alerts import alert_rows
from eventide.model.time import format_duration, format_time

__all__ = ["voevents"]

_NAMESPACE = "http://www.ivoa.net/xml/VOEvent/v2.0"
_SYSTEM = "UTC-ICRS-TOPO"

_PARAMS = {
    "n_on": ("meta.number", "", "int"),
    "n_off": ("meta.number", "", "int"),
    "alpha": ("arith.ratio;obs.exposure", "", "float"),
    "significance": ("stat.snr", "", "float"),
    "trials": ("meta.number", "", "float"),
    "significance_post": ("stat.snr", "", "float"),
    "false_alarms_per_hour": ("arith.rate", "1/h", "float"),
}


def voevents(alerts: pa.RecordBatch, *, stream: str, role: str = "test", sent: int | None = None) -> list[bytes]:
    """Return one VOEvent packet for every alert.

    Parameters
    ----------
    alerts
        `ALERTS`.
    stream
        Authority and stream of the identifiers, such as ``"my.observatory/gamma"``: ``ivo://STREAM#ID``.
    role
        ``"observation"``, ``"test"``, ``"prediction"`` or ``"utility"``.
    sent
        When the packet is made, ns UTC; left out, the time of the alert, so that a replay makes the same bytes.

    Raises
    ------
    UsageError
        The batch is not of alerts, or the role is unknown.

    Examples
    --------
    >>> from eventide.apps.gamma.science.alerts import ALERTS, example_alert
    >>> packet, = voevents(example_alert(), stream="example/gamma")
    >>> root = ElementTree.fromstring(packet)
    >>> root.get("ivorn"), root.find("WhereWhen").findtext(".//C1")
    ('ivo://example/gamma#Crab-1m-0123456789ab', '83.63308')
    """
    return [_packet(row, stream, role=role, sent=sent) for row in alert_rows(alerts, role=role)]


def _packet(row: dict[str, Any], stream: str, *, role: str, sent: int | None) -> bytes:
    ElementTree.register_namespace("voe", _NAMESPACE)
    root = ElementTree.Element(
        f"{{{_NAMESPACE}}}VOEvent", {"version": "2.0", "role": role, "ivorn": f"ivo://{stream}#{row['id']}"}
    )
    who = ElementTree.SubElement(root, "Who")
    _text(who, "AuthorIVORN", f"ivo://{stream.split('/', 1)[0]}")
    _text(who, "Date", format_time(row["time"] if sent is None else sent).rstrip("Z"))
    what = ElementTree.SubElement(root, "What")
    for name, (ucd, unit, kind) in _PARAMS.items():
        given = {"name": name, "value": repr(row[name]), "ucd": ucd, "dataType": kind}
        ElementTree.SubElement(what, "Param", given | ({"unit": unit} if unit else {}))
    length = {"name": "scale", "value": repr(row["scale"] / 1e9), "unit": "s", "ucd": "time.interval"}
    ElementTree.SubElement(what, "Param", {**length, "dataType": "float"})
    group = ElementTree.SubElement(what, "Group", {"name": "provenance"})
    ElementTree.SubElement(group, "Param", {"name": "pipeline", "value": row["pipeline"], "dataType": "string"})
    inputs = " ".join(str(i) for i in row["inputs"])
    ElementTree.SubElement(group, "Param", {"name": "obs_ids", "value": inputs, "dataType": "string"})
    start = format_time(row["start"])
    ElementTree.SubElement(group, "Param", {"name": "first_event", "value": start, "dataType": "string"})
    _where(root, row)
    if row["update"]:
        cited = ElementTree.SubElement(ElementTree.SubElement(root, "Citations"), "EventIVORN", {"cite": "followup"})
        cited.text = f"ivo://{stream}#{row['excess']}"
    why = ElementTree.SubElement(root, "Why")
    inference = ElementTree.SubElement(why, "Inference")
    _text(inference, "Name", row["source"])
    window = format_duration(row["scale"])
    _text(inference, "Concept", f"excess of gamma rays within {window}")
    out: bytes = ElementTree.tostring(root, encoding="UTF-8", xml_declaration=True)
    return out


def _where(root: ElementTree.Element, row: dict[str, Any]) -> None:
    data = ElementTree.SubElement(ElementTree.SubElement(root, "WhereWhen"), "ObsDataLocation")
    ElementTree.SubElement(data, "ObservatoryLocation")
    place = ElementTree.SubElement(data, "ObservationLocation")
    ElementTree.SubElement(place, "AstroCoordSystem", {"id": _SYSTEM})
    coords = ElementTree.SubElement(place, "AstroCoords", {"coord_system_id": _SYSTEM})
    time = ElementTree.SubElement(coords, "Time", {"unit": "s"})
    _text(ElementTree.SubElement(time, "TimeInstant"), "ISOTime", format_time(row["time"]).rstrip("Z"))
    position = ElementTree.SubElement(coords, "Position2D", {"unit": "deg"})
    _text(position, "Name1", "RA")
    _text(position, "Name2", "Dec")
    value = ElementTree.SubElement(position, "Value2")
    _text(value, "C1", repr(row["ra"]))
    _text(value, "C2", repr(row["dec"]))
    _text(position, "Error2Radius", repr(row["error"]))


def _text(parent: ElementTree.Element, name: str, text: str) -> None:
    ElementTree.SubElement(parent, name).text = "".join(c for c in text if c.isprintable())
