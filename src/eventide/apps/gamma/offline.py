"""astropy, which is imported when it is needed (``pip install eventide[gamma]``) and kept off the network."""

from __future__ import annotations

from eventide.errors import MissingDependencyError

__all__ = ["astropy_for"]


def astropy_for(what: str) -> None:
    """Make sure that astropy is here, and that it downloads nothing in this process.

    Leap seconds and the rotation of the Earth come from what is installed (``astropy-iers-data``).

    Parameters
    ----------
    what
        What needs it, for the message.

    Raises
    ------
    MissingDependencyError
        astropy is not installed.

    Examples
    --------
    >>> astropy_for("FITS files")
    >>> from astropy.utils import iers
    >>> iers.conf.auto_download
    False
    """
    try:
        from astropy.utils import iers
    except ImportError:
        msg = f"{what} need astropy, which is not installed"
        raise MissingDependencyError(msg, hint="pip install eventide[gamma]") from None
    # For the whole process: a setting that is put back could be put back under another thread.
    iers.conf.auto_download = False
