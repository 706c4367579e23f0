"""What an address takes of the settings of an application: those of the log are for ``log://`` alone."""

from __future__ import annotations

from typing import Any

__all__ = ["log_options"]


def log_options(address: str, log: str, *, follow: bool | None = None) -> dict[str, Any]:
    """Return the options of `Stream.write` or `ev.read` for an address that may be one of the embedded log.

    Parameters
    ----------
    address
        Any.
    log
        Folder of the log; "" for the configured one.
    follow
        Of a source: go on when the end is reached.

    Examples
    --------
    >>> log_options("log://pulses", "/data/log", follow=True), log_options("file:///a.csv", "/data/log", follow=True)
    ({'log': '/data/log', 'follow': True}, {})
    """
    if not address.startswith("log://"):
        return {}
    place: dict[str, Any] = {"log": log} if log else {}
    return place if follow is None else {**place, "follow": follow}
