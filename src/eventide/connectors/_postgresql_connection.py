"""A connection to a PostgreSQL server: settings, transactions, and its errors as ours. Never tells a password."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import psycopg

from eventide.config import secret
from eventide.errors import ConfigError, DataError, EventideError, SchemaError, UnavailableError, UsageError

__all__ = ["PostgresqlConnection"]

# Classes of SQLSTATE (https://www.postgresql.org/docs/current/errcodes-appendix.html) that pass: connection,
# transaction rollback, resources, locks, an operator's doing, the system; and a server that is a standby just now.
_PASSING = ("08", "40", "53", "55", "57", "58")
_READ_ONLY = "25006"
# The server answered and said no; libpq gives no code for that, only the text.
_REFUSED = ("authentication failed", "does not exist", "no pg_hba.conf", "permission denied", "no password supplied")


class PostgresqlConnection:
    """A connection that can be opened again.

    Parameters
    ----------
    uri
        The address, as libpq has it, without a password.
    where
        How messages name what is connected to.
    settings
        Parameters of libpq beside the address.
    password
        Where the password is (`eventide.config.secret`); "" leaves that to libpq.
    schema
        The only schema of the search path; None keeps the one that would be used for new tables.
    """

    def __init__(self, uri: str, *, where: str, settings: Mapping[str, Any], password: str, schema: str | None) -> None:
        self.where = where
        self._uri, self._settings, self._password, self._schema = uri, settings, password, schema
        self._open: psycopg.Connection[tuple[Any, ...]] | None = None

    @property
    def now(self) -> psycopg.Connection[tuple[Any, ...]]:
        """The open connection."""
        if self._open is None:
            msg = f"{self.where} is not open"
            raise UsageError(msg, hint="call open first")
        return self._open

    def connect(self) -> None:
        """Connect, and see that commits are durable.

        Raises
        ------
        UnavailableError
            The server cannot be reached just now.
        DataError
            It refuses us.
        """
        password = secret(self._password) if self._password else None
        with self.errors(password):
            try:
                # Statements prepared by the server do not live behind a pool of connections: none are used.
                self._open = psycopg.connect(
                    self._uri,
                    autocommit=True,
                    prepare_threshold=None,
                    client_encoding="utf8",
                    application_name="eventide",
                    **{**self._settings, **({"password": password} if password else {})},
                )
            except psycopg.ProgrammingError as error:
                msg = f"{self.where}: the address or an option is wrong: {_first(error)}"
                raise ConfigError(msg, hint="write it as postgresql://user@host:5432/database?table=name") from None
            if self._schema is not None:
                self._open.execute("SELECT set_config('search_path', quote_ident(%s), false)", (self._schema,))
            schema = self._open.execute("SELECT current_schema()").fetchone()
            if schema is None or schema[0] is None:
                msg = f"{self.where}: there is no schema {self._schema or 'in the search path'!r}"
                raise SchemaError(msg, hint="make it (CREATE SCHEMA), or pass schema='name'")
            self._open.execute("SELECT set_config('search_path', quote_ident(%s), false)", (schema[0],))
            # What ::text gives must not depend on the settings of the server.
            self._open.execute("SELECT set_config('TimeZone', 'UTC', false), set_config('DateStyle', 'ISO', false)")
            durable = self._open.execute("SHOW synchronous_commit").fetchone()
            if durable == ("off",):
                self._open.execute("SET synchronous_commit TO on")

    def close(self) -> None:
        """Disconnect; what was not committed is gone."""
        if self._open is not None:
            with suppress(psycopg.Error):
                self._open.close()
            self._open = None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Return a block that is one transaction."""
        with self.errors(), self.now.transaction():
            yield

    @contextmanager
    def errors(self, password: str | None = None) -> Iterator[None]:
        """Turn errors of psycopg into ours, without the password."""
        try:
            yield
        except psycopg.Error as error:
            raise self._told(error, password) from (None if password else error)

    def _told(self, error: psycopg.Error, password: str | None) -> EventideError:
        text = _first(error)
        if password:
            text = text.replace(password, "***")
        state = error.sqlstate or ""
        if not state and isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
            if not any(r in text for r in _REFUSED):
                msg = f"{self.where} cannot be reached: {text}"
                return UnavailableError(msg, hint="see whether the server runs and the network is up")
            return DataError(f"{self.where} refuses us: {text}", hint="see user, password and database")
        if state.startswith(_PASSING) or state == _READ_ONLY:
            return UnavailableError(f"{self.where} cannot be used just now: {text}", hint="it is worth another try")
        if state == "42501":
            return DataError(
                f"{self.where}: {text}", hint="the user needs GRANT for the table, and CREATE in its schema"
            )
        if state.startswith(("42", "3F", "0A")):
            return SchemaError(f"{self.where}: {text}", hint="see the table: psql, \\d")
        return DataError(f"{self.where} refuses a row: {text}", hint="change the row in the pipeline, or the table")


def _first(error: psycopg.Error) -> str:
    """Return what went wrong, in one line."""
    primary = error.diag.message_primary
    return primary or next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
