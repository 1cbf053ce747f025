"""How text from a database is shown and stored: on one line, without literals of others and values of rows."""

from __future__ import annotations

import re
from typing import Any, Callable, Mapping

import psycopg

_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}

#: The query of another session, in SQL over pg_stat_activity, as far as it is shown: up to its first string literal or
#: comment, which may hold a password or a row. What follows one is left out too, because a query that is cut off or
#: reads backslashes in another way would fool whoever looks for the end of it. A parameter ($1) begins no literal; any
#: other dollar sign may. The three dots are ASCII because the server may have an encoding without an ellipsis.
#: Long numbers may be those of cards or accounts.
QUERY = (
    r"left(regexp_replace(regexp_replace(regexp_replace(query, '(''|\$(?![0-9])|--|/\*).*', '...'), '\s+', ' ', 'g'),"
    r" '[0-9]{6,}', '...', 'g'), 100)"
)


def printable(text: str) -> str:
    """``text`` on one line: a character that is not printable, other than a space, becomes its escape.

    It can then move no cursor, reorder no text and begin no line. What was escaped before stays as it is.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else escape(each) for each in text)


def escape(character: str) -> str:
    r"""The character as ``\n``, ``\x1b``, ``\u202e`` or ``\U000e0001``, which PostgreSQL reads in ``E'…'``."""
    code = ord(character)
    if code < 0x80:
        return _SHORT.get(character, f"\\x{code:02x}")
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def each_text(value: Any, change: Callable[[str], str]) -> Any:
    """Whatever JSON holds, with ``change`` made to each text in it; names of fields are made printable only."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {printable(key) if isinstance(key, str) else key: each_text(each, change) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [each_text(each, change) for each in value]
    return value


def reason(error: psycopg.Error) -> str:
    """The message of an error, without its DETAIL, for the person."""
    return error.diag.message_primary or " ".join(str(error).split()) or type(error).__name__


def stored_reason(error: psycopg.Error) -> str:
    """The message of an error for the log and the reports, which outlive the rows.

    In class 22, data exceptions, the server's own messages quote the value: the name of the condition is kept instead.
    In any other class they name objects, and the DETAIL has the values.
    """
    if not quotes_a_value(error):
        return reason(error)
    condition = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(error).__name__).lower()
    return f"{condition} (the message may quote a value of a row and is not stored)"


def quotes_a_value(error: psycopg.Error) -> bool:
    """Whether the message of the error may quote a value of a row."""
    return (error.sqlstate or "").startswith("22")
