"""The reader of ``sql/``: headers, placeholders and quoting."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from phase_1.files import READ
from phase_1.scripts import ScriptError, Section, checks, fill, identifier, literal, parse, read, split
from tests.plugins.server import Server

#: Names and texts that somebody has, somewhere.
ODD = [
    "plain",
    "Mixed Case",
    "user",
    "end",
    "timestamp",
    'quo"ted',
    "it's",
    "back\\slash",
    "dollar$$",
    "per%cent",
    ":colon",
    "two  blanks ; and -- more",
    "línea\nnueva",
    "tab\tand \x1b[2J",
    "\x7f2",
    "\x9b2J no\xa0break",
    "abc\u202e\u2028'\"\\",
    "tag\U000e0041a",
    "1st",
    "",
]


@pytest.fixture(scope="module")
def connection(server: Server) -> Any:
    """A session that only asks."""
    with server.connect() as made:
        yield made


def written(text: str | bytes) -> tuple[Section, ...]:
    """The sections of a file with this text."""
    return parse(text if isinstance(text, bytes) else text.encode(), "sql/file.sql")


@pytest.mark.parametrize("standard", ["on", "off"])
@pytest.mark.parametrize("text", ODD, ids=repr)
def test_literal_is_read_back_as_the_text(text: str, standard: str, connection: psycopg.Connection[Any]) -> None:
    """A text as a literal means that text to the server, whatever is in it and however it reads backslashes.

    A name with an apostrophe would end the statement, or begin another one.
    """
    connection.execute(f"SET standard_conforming_strings = {standard}".encode())
    assert literal(text).isprintable()
    assert connection.execute(f"SELECT {literal(text)}".encode()).fetchall() == [(text,)]


@pytest.mark.parametrize("standard", ["on", "off"])
@pytest.mark.parametrize("name", [name for name in ODD if name], ids=repr)
def test_identifier_is_read_back_as_the_name(name: str, standard: str, connection: psycopg.Connection[Any]) -> None:
    """A name as an identifier means that name to the server, in quotes where it needs them, and is printable.

    A column called "end" or "When it came" would be a syntax error in the middle of a migration.
    """
    connection.execute(f"SET standard_conforming_strings = {standard}".encode())
    assert identifier(name).isprintable()
    cursor = connection.execute(f"SELECT x.{identifier(name)} FROM (SELECT 1 AS {identifier(name)}) AS x".encode())
    assert cursor.description is not None
    assert cursor.description[0].name == name


def test_identifier_quotes_every_word_that_the_server_reserves(connection: psycopg.Connection[Any]) -> None:
    """Each word that this server takes for a name only in quotes gets them; a plain name does not.

    PostgreSQL reserves more words with each version.
    """
    reserved = connection.execute("SELECT word FROM pg_get_keywords() WHERE catcode IN ('R', 'T')").fetchall()
    assert [word for (word,) in reserved if identifier(word) == word] == []
    assert identifier("sellout_entries2") == "sellout_entries2"


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ('ALTER TABLE :"name"', 'ALTER TABLE "My Table"'),
        ("SELECT :'name'", "SELECT 'My Table'"),
        ("SELECT :name", "SELECT My Table"),
        ("GRANT x TO :roles", 'GRANT x TO anon, "a b"'),
        ("SELECT '{}'::jsonb, a::text", "SELECT '{}'::jsonb, a::text"),
        ("guaranteed := '{}'", "guaranteed := '{}'"),
        ("SELECT a[1:2]", "SELECT a[1:2]"),
        ("DROP INDEX :empty public.x;", "DROP INDEX public.x;"),
        ("CREATE INDEX x ON y (z) :empty;", "CREATE INDEX x ON y (z);"),
        ("SELECT 'two  blanks ;'", "SELECT 'two  blanks ;'"),
        ("SELECT :'blanks' ;", "SELECT 'two  blanks ;' ;"),
        ("GRANT x TO :nobody;", None),
    ],
)
def test_placeholder_is_filled_in_by_its_kind(text: str, filled: str | None) -> None:
    """An identifier, a literal or a text takes the place of a placeholder, and of nothing else.

    A cast that is taken for a placeholder, or a text in which blanks are lost, changes what runs.
    """
    values = {"name": "My Table", "roles": ("anon", "a b"), "empty": "", "nobody": None, "blanks": "two  blanks ;"}
    assert fill(text, values, "here") == filled


@pytest.mark.parametrize("text", ["SELECT :unknown", "SELECT :'unknown'", 'SELECT :"unknown"'])
def test_placeholder_that_nobody_knows_is_an_error(text: str) -> None:
    """A placeholder without a value stops the reader, which says where.

    The server would be sent a statement with a colon in it, in the middle of a migration.
    """
    with pytest.raises(ScriptError, match="here: nothing is known"):
        fill(text, {}, "here")


def test_value_with_a_placeholder_in_it_is_not_filled_in_again() -> None:
    """What is put into a statement stays as it is, colons and all.

    A role called ":default_organization" would become something else.
    """
    assert fill("SELECT :'a', :'b'", {"a": ":'b'", "b": ":a"}, "here") == "SELECT ':''b''', ':a'"


def test_section_has_its_headers_and_its_statements() -> None:
    """Headers, those over several lines too, and each statement are told apart.

    A header that is lost changes what a step is run for; a statement that is cut is sent in two.
    """
    [one, two] = written(
        "-- What this file is.\n\n"
        "-- name: one\n-- does: This\n--       and that.\n-- undoes: a, b\n-- done: SELECT 1\n"
        "-- A comment.\nSELECT 1;\n-- each: of these is a comment\n\nSELECT\n    2;\n"
        "-- name: two\n"
        "CREATE FUNCTION f() LANGUAGE plpgsql AS $function$\nBEGIN\n    PERFORM $$;\n$$;\nEND;\n$function$;\n"
        "SELECT 3;\n",
    )
    assert (one.name, one.header("does"), one.header("each")) == ("one", "This and that.", "")
    assert one.names("undoes") == ("a", "b")
    assert one.render_header("done", {}) == "SELECT 1"
    assert one.statements == ("SELECT 1;", "SELECT\n    2;")
    assert len(two.statements) == 2
    assert two.statements[0].endswith("$function$;")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SELECT 1;\n-- name: a\n", "line 1: SQL before the first"),
        ("-- name: a\nSELECT 1;\n-- name: a\nSELECT 2;\n", "defined twice: a"),
        ("-- name: a\nSELECT 1\n", "does not end with a semicolon: SELECT 1"),
        ("-- name: a\nDO $$\nBEGIN;\nEND;\n", "does not end with a semicolon"),
        (b"-- name: a\nSELECT '\xe9';\n", "is not UTF-8: .* at byte 19"),
    ],
    ids=["no header", "twice", "no semicolon", "no end of a quote", "Latin 1"],
)
def test_file_that_is_not_what_it_should_be_is_an_error(text: str | bytes, message: str) -> None:
    """A file with SQL outside of a section, a name twice or half a statement is refused, with the place.

    A step that is read half is run half.
    """
    with pytest.raises(ScriptError, match=message):
        written(text)


def test_missing_file_is_an_error_that_names_it() -> None:
    """A file that is not there is named.

    Whoever copies migrate.py without sql/ is to be told.
    """
    with pytest.raises(ScriptError, match=r"sql/nothing\.sql"):
        read("nothing.sql")


def test_split_ends_a_statement_at_a_semicolon_at_the_end_of_a_line_only() -> None:
    """A semicolon within a line, in a comment or in dollar quotes ends nothing.

    Half a function is a syntax error at best.
    """
    assert split(["SELECT ';' AS a,", "    2;"]) == ["SELECT ';' AS a,\n    2;"]
    assert split(["-- only a comment;", "", "SELECT 1;"]) == ["SELECT 1;"]
    assert split(["DO $a$ BEGIN", "NULL;", "END $a$;"]) == ["DO $a$ BEGIN\nNULL;\nEND $a$;"]


@pytest.mark.parametrize("file", [name[4:] for name in READ if name.startswith("sql/") and name.count("/") == 1])
def test_every_section_of_our_own_files_says_what_it_has_to(file: str) -> None:
    """Each step says what it does, its lock, for how long and for what; each check its level and its stage.

    Who decides about a migration at night reads these headers, and nothing else.
    """
    wanted = ("index",) if "queries" in file else ("does", "lock", "for", "each")
    for section in read(file):
        assert [key for key in wanted if not section.header(key)] == [], section.name
        assert section.statements


@pytest.mark.parametrize(
    ("folder", "stages"),
    [
        ("trust", {"names", "tables"}),
        ("preflight", {"preflight", "rollback"}),
        ("verify", {"preflight", "rollback", "verify"}),
    ],
)
def test_every_check_is_one_query_with_its_level_and_its_stages(folder: str, stages: set[str]) -> None:
    """Each check is a file with one query, says how bad its violation is, and when it is asked.

    A check without a stage is asked by nobody.
    """
    for section in checks(folder):
        assert len(section.statements) == 1, section.name
        assert section.header("level") in ("error", "warning", "notice"), section.name
        assert section.names("stage"), section.name
        assert set(section.names("stage")) <= stages, section.name
