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

#: A driver in the scheme of a URL.
_OF_A_DRIVER = re.compile(r"\A(jdbc:)?postgres(ql)?(\+\w+)?://")
#: The keywords of a connection string that is no URL.
_KEYWORD = re.compile(r"(?:^|\s)(\w+)\s*=")
#: Variables in which other tools keep a connection string, and those by which libpq is told where to connect.
_OF_OTHER_TOOLS = ("SUPABASE_DB_URL", "DIRECT_URL", "POSTGRES_URL", "POSTGRES_PRISMA_URL", "POSTGRES_URL_NON_POOLING")
_OF_LIBPQ = ("PGHOST", "PGHOSTADDR", "PGDATABASE", "PGSERVICE", "PGUSER", "PGPORT")

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
    text = _unwrapped(dsn or environment.get("DATABASE_URL") or "")
    if not text and environment.get("SUPABASE_DB_HOST"):
        given = {key: environment[name] for name, key in _SUPABASE.items() if environment.get(name)}
        return conninfo.make_conninfo("", **given)
    if not text:
        _require_no_other_source(environment)
    if text.startswith(("http://", "https://")):
        raise ConnectionProblem(
            f"{source} is the address of a web page or of an API, not a connection string. What to do: give the one of "
            "the database itself, postgresql://user@host:5432/database; on Supabase the button Connect shows it."
        )
    # What names a driver, as SQLAlchemy (postgresql+psycopg2://) and Java (jdbc:postgresql://) do, means the same.
    text = _OF_A_DRIVER.sub("postgresql://", text)
    try:
        if _is_ambiguous(text):
            raise psycopg.ProgrammingError("special characters")
        conninfo.conninfo_to_dict(text)
    except psycopg.ProgrammingError:
        unknown = _unknown_parameter(text)
        if unknown:
            raise ConnectionProblem(
                f"{source} has the parameter {unknown}, which PostgreSQL's own library does not know: it is meant for "
                "another driver. What to do: leave it out here."
            ) from None
        # libpq's message quotes the string, and with it the password.
        raise ConnectionProblem(
            f"{source} is not a connection string. Give it as postgresql://user@host:5432/database or as "
            "'host=… dbname=… user=…', with special characters of a password percent-encoded in the first form."
        ) from None
    return text


def _unwrapped(text: str) -> str:
    """The text without what a shell or an .env file leaves around it: blanks, a line feed, one pair of quotes."""
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1].strip()
    return text


def _require_no_other_source(environment: Mapping[str, str]) -> None:
    """Raises ConnectionProblem where another tool's variable says where the database is, and nothing of ours does."""
    found = [name for name in _OF_OTHER_TOOLS if environment.get(name)]
    if found and not any(environment.get(name) for name in _OF_LIBPQ):
        raise ConnectionProblem(
            f"no database is given: DATABASE_URL is not set, and {found[0]}, which is, is not read. "
            f'What to do: give it with --dsn "${found[0]}", once you have seen that it is the database that you mean.'
        )


def _unknown_parameter(text: str) -> str:
    """The parameter of a connection string that libpq does not know, or ``""``.

    Nothing is named that could be part of a password: what is no name, or follows one.
    """
    parameters = text.partition("?")[2]
    names = [part.partition("=")[0] for part in parameters.split("&")] if "://" in text else _KEYWORD.findall(text)
    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()} | {"ssl"}
    if any(name.endswith("password") for name in names):
        return ""
    return next((name for name in names if name not in known and re.fullmatch(r"[A-Za-z_]\w*", name)), "")


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
