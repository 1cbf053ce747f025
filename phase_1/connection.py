"""Where the database is, and the ways in which it cannot be reached."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from functools import lru_cache
from typing import Any, Dict, List, Mapping, Optional, Sequence, Set, Tuple, Union
from urllib.parse import quote

import psycopg
from psycopg import conninfo, pq

from phase_1.problems import ConnectionProblem, Refused
from phase_1.shown import printable

#: What the sessions of the runner are called in ``pg_stat_activity``.
APPLICATION_NAME = "phase_1"

OLDEST_MAJOR = 12

# What stands before the parameters of a URL without a user: hosts, ports, a database.
_HOST = r"(\[[^]]*\]|[^:/,]*)(:\d*)?"
_HOSTS = re.compile(rf"{_HOST}(,{_HOST})*(/.*)?")

# What the runner's own SQL and the driver depend on, whatever the role or the database has set: the version that it
# came with, and what it is set to. Of another search_path anybody who may create in it could have operators.
_SETTINGS: Tuple[Tuple[int, str, str], ...] = (
    (12, "search_path", "''"),
    # Where a policy would hide rows, or run its functions, the statement fails instead.
    (12, "row_security", "off"),
    (12, "quote_all_identifiers", "off"),
    (12, "standard_conforming_strings", "on"),
    (12, "datestyle", "'ISO'"),
    # A build of an index takes as long as it takes, and the other sessions wait for it.
    (14, "idle_session_timeout", "0"),
    (17, "transaction_timeout", "0"),
)

#: The passwords that a session was had with, wherever libpq took them from (.pgpass, a service file).
_USED: Set[str] = set()

_SUPABASE = {
    "SUPABASE_DB_HOST": "host",
    "SUPABASE_DB_PORT": "port",
    "SUPABASE_DB_NAME": "dbname",
    "SUPABASE_SERVICE_ROLE_USER": "user",
    "SUPABASE_SERVICE_ROLE_PASSWORD": "password",
}


def where(dsn: Optional[str], environment: Mapping[str, str] = os.environ) -> str:
    """The connection string: ``--dsn``, ``DATABASE_URL``, ``SUPABASE_*``, else libpq's own sources.

    Raises ConnectionProblem if libpq cannot read it; the message does not repeat it.
    """
    _USED.clear()
    source = "--dsn" if dsn else "DATABASE_URL"
    text = dsn or environment.get("DATABASE_URL") or ""
    if not text and environment.get("SUPABASE_DB_HOST"):
        given = {key: environment[name] for name, key in _SUPABASE.items() if environment.get(name)}
        return conninfo.make_conninfo("", **given)
    # SQLAlchemy's way of naming the driver is common in DATABASE_URL.
    for scheme in ("postgresql+psycopg2://", "postgresql+psycopg://", "postgresql+asyncpg://"):
        if text.startswith(scheme):
            text = "postgresql://" + text[len(scheme) :]
    try:
        if _is_ambiguous(text):
            raise psycopg.ProgrammingError("special characters")
        conninfo.conninfo_to_dict(text)
    except psycopg.ProgrammingError:
        # libpq's message quotes the string, and with it the password.
        raise ConnectionProblem(
            f"{source} is not a connection string. Give it as postgresql://user@host:5432/database or as "
            "'host=… dbname=… user=…', with special characters of a password percent-encoded in the first form."
        ) from None
    return text


def _is_ambiguous(text: str) -> bool:
    """Whether a URL has an @, a / or a ? in its password that is not percent-encoded.

    libpq would take part of the password for the host, and say so in its message.
    """
    if "://" not in text:
        return False
    before_parameters, _, parameters = text.partition("://")[2].partition("?")
    credentials, at, rest = before_parameters.partition("@")
    if not at:
        # A parameter may have an @ in it; but then what is before it is a host and a port.
        return "@" in parameters and not _HOSTS.fullmatch(before_parameters)
    return "@" in rest or "/" in credentials


def describe(dsn: str) -> str:
    """The connection string in words, without its password."""
    given = conninfo.conninfo_to_dict(dsn)
    host = given.get("host") or given.get("hostaddr") or os.environ.get("PGHOST") or "the local socket"
    port = given.get("port") or os.environ.get("PGPORT") or "5432"
    user = given.get("user") or os.environ.get("PGUSER") or "the operating system's user"
    database = given.get("dbname") or os.environ.get("PGDATABASE") or user
    return f"database {database} on {host}:{port} as {user}"


def secrets(dsn: str) -> List[str]:
    """What must never be shown: the passwords, as they are, as they stand in a URL and as they would be shown.

    One that is the name of the role or the database as well is no secret, and what is said would make no
    sense without it.
    """
    given = _given(dsn)
    names = {given.get("user"), given.get("dbname"), os.environ.get("PGUSER"), os.environ.get("PGDATABASE")}
    candidates = [given.get("password"), os.environ.get("PGPASSWORD"), *_USED]
    found = [str(each) for each in candidates if each and each not in names]
    return sorted({*found, *(quote(each, safe="") for each in found), *map(printable, found)}, key=len, reverse=True)


@lru_cache(maxsize=1)
def _given(dsn: str) -> Mapping[str, Any]:
    """The connection string in its parts; every line that is said asks for them."""
    return conninfo.conninfo_to_dict(dsn)


def redact(text: str, dsn: str) -> str:
    """``text`` without the password."""
    for secret in secrets(dsn):
        text = text.replace(secret, "********")
    return text


class Session(psycopg.Connection[Any]):
    """A session of the runner."""

    #: The process of the server, as that says it: what the protocol tells is an invention of the pooler, where there
    #: is one.
    process: int


def connect(dsn: str, **keywords: Any) -> Session:
    """A session of the runner. Raises ConnectionProblem with one message that says what to do."""
    parameters: Dict[str, Any] = {
        # A host that does not answer is told within ten seconds instead of minutes.
        "connect_timeout": 10,
        # A network that dies in the middle is noticed by either side within half a minute.
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 4,
        "tcp_user_timeout": 30000,
        **{key: value for key, value in conninfo.conninfo_to_dict(dsn).items() if value is not None},
        "application_name": APPLICATION_NAME,
        # In SQL_ASCII the driver takes texts for bytes, and what is not in LATIN1 cannot be said in it.
        "client_encoding": "UTF8",
        **keywords,
    }
    try:
        # Server-side prepared statements do not survive a pooler, and save nothing here.
        connection = Session.connect(autocommit=True, prepare_threshold=None, **parameters)
    except psycopg.Error as error:
        raise ConnectionProblem(_explain(error, dsn)) from None
    _USED.add(connection.info.password)
    if connection.info.server_version < OLDEST_MAJOR * 10000:
        version = connection.info.parameter_status("server_version")
        connection.close()
        raise Refused(
            f"refused: the server is PostgreSQL {version}; Phase 1 needs {OLDEST_MAJOR} or later. Nothing was touched. "
            "What to do: upgrade the server first."
        )
    try:
        # Not as parameters of the connection, which a pooler may refuse; in one message, search_path first.
        connection.execute("; ".join(f"SET {name} = {setting}" for name, setting in _settings(connection)))
        connection.process = value(connection, "SELECT pg_catalog.pg_backend_pid()")
    except psycopg.Error as error:
        connection.close()
        raise ConnectionProblem(_explain(error, dsn)) from None
    return connection


def value(
    connection: psycopg.Connection[Any],
    query: str,
    parameters: Optional[Union[Sequence[Any], Mapping[str, Any]]] = None,
) -> Any:
    """The value that a query returns, of its only column; None where it returns no row."""
    row = connection.execute(query, parameters).fetchone()
    return row[0] if row else None


def _settings(connection: psycopg.Connection[Any]) -> List[Tuple[str, str]]:
    version = connection.info.server_version // 10000
    return [(name, setting) for since, name, setting in _SETTINGS if version >= since]


def _explain(error: psycopg.Error, dsn: str) -> str:
    """Libpq's reason in one line, and what to do about it."""
    text = redact(" ".join(str(error).split()), dsn)
    lower = text.lower()
    advice = "check the host, the port and that the server is up"
    if "password" in lower or "authentication" in lower:
        advice = "check the user and the password (--dsn, DATABASE_URL, PGPASSWORD or .pgpass)"
    elif "does not exist" in lower:
        advice = "check the name of the database and of the role"
    elif "too many" in lower or "remaining connection slots" in lower:
        advice = "the server has no connection to spare; Phase 1 needs two"
    elif "could not translate host" in lower or "name or service" in lower or "resolve" in lower:
        advice = "check the name of the host"
    elif "timeout" in lower or "timed out" in lower:
        advice = "check the host, the port and the firewall in between"
    return f"no connection to {describe(dsn)}: {text.rstrip('.')}. What to do: {advice}."


def close(connection: Optional[psycopg.Connection[Any]]) -> None:
    """Closes a session that may be broken already, with its settings put back: a pooler may keep it for others."""
    if connection is not None:
        with suppress(psycopg.Error):
            if connection.info.transaction_status == pq.TransactionStatus.IDLE:
                connection.execute("; ".join(f"RESET {name}" for name, _ in _settings(connection)))
        with suppress(psycopg.Error):
            connection.close()
