"""What comes from a database is shown on one line, and without what belongs to others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from phase_1.findings import ERROR, Finding
from phase_1.shown import QUERY, each_text, printable, stored_reason
from tests.plugins.server import Server

#: Text that would do something to a terminal or to whoever reads it, and the same as it is shown.
HOSTILE = [
    ("a\nb", "a\\nb"),
    ("a\r\tb", "a\\r\\tb"),
    ("\x1b[2Jgone", "\\x1b[2Jgone"),
    ("\x9b2J", "\\u009b2J"),
    ("del\x7f", "del\\x7f"),
    ("abc\u202etxt", "abc\\u202etxt"),
    ("zero\u200bwidth", "zero\\u200bwidth"),
    ("line\u2028break", "line\\u2028break"),
    ("no\xa0break", "no\\u00a0break"),
    ("tag\U000e0041", "tag\\U000e0041"),
    ("half \udcff", "half \\udcff"),
]


@pytest.fixture(scope="module")
def connection(server: Server) -> Iterator[psycopg.Connection[Any]]:
    """A session that only asks."""
    with server.connect() as made:
        yield made


@pytest.mark.parametrize(("text", "shown"), HOSTILE, ids=repr)
def test_character_that_is_not_printable_is_shown_as_its_escape(text: str, shown: str) -> None:
    """What would move a cursor, begin a line, reorder or hide text is shown as its escape, and only once.

    The slug of an organization could otherwise add lines to what a person confirms.
    """
    assert printable(text) == shown
    assert printable(shown) == shown
    assert shown.isprintable()


@pytest.mark.parametrize("text", ["", "two  blanks", "línea – „über“ 列 ✓ ×", "back\\slash", "it's [bold] 100 %"])
def test_printable_text_is_shown_as_it_is(text: str) -> None:
    """Text of any language stays as it is, backslashes and brackets too.

    A name that looks different from what it is cannot be looked up.
    """
    assert printable(text) == text


def test_each_text_of_a_result_is_changed_and_its_fields_are_printable() -> None:
    """Texts are changed wherever they are in a result, other values stay, and a name of a field is only made printable.

    One list further down, and the control character is in the log of the pipeline.
    """
    value = {"a\n": ["b\n", {"c": ("d\n", 1, None, True)}]}
    assert each_text(value, printable) == {"a\\n": ["b\\n", {"c": ["d\\n", 1, None, True]}]}
    assert each_text({"secret": "secret"}, lambda text: "*") == {"secret": "*"}


def test_finding_is_printable_whoever_makes_it() -> None:
    """A finding is printable as soon as it is made: it is shown, stored in the log and put into reports.

    A table whose name has a line feed in it would add a finding of its own.
    """
    finding = Finding("check", ERROR, "table a\nerror: b", "is\x1b[2J so", "rename\r it")
    assert str(finding) == "table a\\nerror: b: is\\x1b[2J so. What to do: rename\\r it"


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("SELECT count(*) FROM uploads", "SELECT count(*) FROM uploads"),
        ("SELECT $1,\n\t$2 + 10", "SELECT $1, $2 + 10"),
        ("ALTER ROLE app PASSWORD 's3cret'", "ALTER ROLE app PASSWORD ..."),
        ("SELECT E'\\'s3cret' || 's3cret'", "SELECT E..."),
        ("SELECT U&'s3cret!0041' UESCAPE '!'", "SELECT U&..."),
        ("DO $$ s3cret $$", "DO ..."),
        ("DO $a$ s3cret $a$", "DO ..."),
        ("DO $é\u2003b$ s3cret $é\u2003b$", "DO ..."),
        ("DO $a", "DO ..."),
        ("SELECT $1 || $a1$ s3cret $a1$", "SELECT $1 || ..."),
        ("SELECT 1 -- s3cret\n, 2", "SELECT 1 ..."),
        ("SELECT /* s3cret */ 1", "SELECT ..."),
        ("SELECT 's3cret\ns3cret", "SELECT ..."),
        ("SELECT 4111111111111111 + 12345", "SELECT ... + 12345"),
        ("<insufficient privilege>", "<insufficient privilege>"),
        ("SELECT " + "a" * 200, "SELECT " + "a" * 93),
        ("", ""),
    ],
    ids=repr,
)
def test_query_of_another_session_ends_at_its_first_literal_or_comment(
    query: str, shown: str, connection: psycopg.Connection[Any]
) -> None:
    """Of a query is shown what comes before its first literal or comment, on one line, however the literal is written.

    ALTER ROLE … PASSWORD is a query like any other, and the log of the migration is kept for good.
    """
    asked = f"SELECT {QUERY} FROM (SELECT %s::text AS query) AS session".encode()
    assert connection.execute(asked, [query]).fetchall() == [(shown,)]


def test_query_that_is_not_there_is_not_shown(connection: psycopg.Connection[Any]) -> None:
    """Where the server hides the query, nothing is shown of it.

    A message would say that somebody runs the query "None".
    """
    assert connection.execute(f"SELECT {QUERY} FROM (SELECT NULL::text AS query) AS session".encode()).fetchall() == [
        (None,)
    ]


@pytest.mark.parametrize(
    ("statement", "stored"),
    [
        (
            "SELECT 's3cret'::uuid",
            "invalid text representation (the message may quote a value of a row and is not stored)",
        ),
        (
            "SELECT '2026-02-30'::date",
            "datetime field overflow (the message may quote a value of a row and is not stored)",
        ),
        ("SELECT 1 FROM nowhere", 'relation "nowhere" does not exist'),
        (
            "CREATE TEMP TABLE kept (a text CONSTRAINT short CHECK (a = 'x')); INSERT INTO kept VALUES ('s3cret')",
            'new row for relation "kept" violates check constraint "short"',
        ),
        (
            "CREATE TEMP TABLE once (a text); INSERT INTO once VALUES ('s3cret'), ('s3cret');"
            " CREATE UNIQUE INDEX single ON once (a)",
            'could not create unique index "single"',
        ),
        ("DO $$ BEGIN RAISE 'not at night' USING DETAIL = 's3cret'; END $$", "not at night"),
    ],
    ids=["uuid", "date", "table", "check", "index", "raise"],
)
def test_stored_reason_of_an_error_has_no_value_of_a_row(
    statement: str, stored: str, connection: psycopg.Connection[Any]
) -> None:
    """What is stored of an error names objects and conditions, and no value: these are in the DETAIL, or quoted.

    The log of the migration is still there when a person has asked for their row to be deleted.
    """
    with pytest.raises(psycopg.Error) as raised:
        connection.execute(statement.encode())
    assert stored_reason(raised.value) == stored


def test_stored_reason_of_a_session_that_is_lost_is_what_the_driver_says() -> None:
    """An error without a message of the server is stored as the driver words it, on one line.

    An entry without a reason helps nobody.
    """
    assert stored_reason(psycopg.OperationalError("the connection\nis lost")) == "the connection is lost"
    assert stored_reason(psycopg.OperationalError()) == "OperationalError"
