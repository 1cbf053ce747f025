"""The files in ``sql/``: text split by ``-- name:`` headers, with psql's placeholders.

``:"name"`` becomes an identifier, ``:'name'`` a literal, ``:name`` SQL text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Dict, List, Mapping, Optional, Sequence, Tuple, Union

from phase_1.files import READ
from phase_1.problems import Problem
from phase_1.shown import printable

#: The files with the steps.
SCHEMA, ROLLBACK = "phase_1_multitenant_schema.sql", "phase_1_rollback.sql"
_FILES = (SCHEMA, ROLLBACK, "queries.sql")
#: The folders of the checks, in the order in which they are asked.
_FOLDERS = ("trust", "preflight", "verify")

#: What a placeholder stands for; None leaves out the statement that it is in.
Value = Union[str, Sequence[str], None]
Values = Mapping[str, Value]

_HEADER = re.compile(r"^-- (?P<key>[a-z]+): (?P<value>.*)$")
_CONTINUED = re.compile(r"^--   +(?P<value>.*)$")
# Not behind a colon (a cast), and not in front of an equals sign (an assignment of PL/pgSQL).
PLACEHOLDER = re.compile(r"(?<![:\w]):(?:\"(?P<identifier>\w+)\"|'(?P<literal>\w+)'|(?P<text>[a-z]\w*))")
_PLAIN_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]*")
# Words that PostgreSQL takes for a name only in quotes: pg_get_keywords() of version 18, catcode R and T.
_RESERVED = frozenset(
    """
    all analyse analyze and any array as asc asymmetric authorization binary both case cast check collate collation
    column concurrently constraint create cross current_catalog current_date current_role current_schema
    current_time current_timestamp current_user default deferrable desc distinct do else end except false fetch for
    foreign freeze from full grant group having ilike in initially inner intersect into is isnull join lateral
    leading left like limit localtime localtimestamp natural not notnull null offset on only or order outer
    overlaps placing primary public references returning right select session_user similar some symmetric
    system_user table tablesample then to trailing true union unique user using variadic verbose when where window
    with
    """.split()  # noqa: SIM905 - a list would be a line a word
)


#: A column of an empty list of rows.
TEXT, TEXTS = "NULL::text", "ARRAY[]::text[]"


class ScriptError(Exception):
    """A file in ``sql/`` cannot be read as what it should be."""


@dataclass(frozen=True)
class Section:
    """What stands under one ``-- name:`` header: its other headers, and its statements."""

    name: str
    headers: Mapping[str, str]
    statements: Tuple[str, ...]

    def header(self, key: str) -> str:
        """The value of a header, or ``""``."""
        return self.headers.get(key, "")

    def names(self, key: str) -> Tuple[str, ...]:
        """The value of a header as a list of names."""
        return tuple(name.strip() for name in self.header(key).split(",") if name.strip())

    def render(self, values: Values) -> List[str]:
        """The statements with their placeholders filled in, without those that a None leaves out."""
        rendered = (fill(statement, values, self.name) for statement in self.statements)
        return [statement for statement in rendered if statement is not None]

    def render_header(self, key: str, values: Values) -> str:
        """A header that is SQL (``done``, ``sample``) with its placeholders filled in."""
        return fill(self.header(key), values, self.name) or ""


def identifier(name: str) -> str:
    """A name as SQL, in quotes only where it needs them; ``U&"…"`` has the characters that are not printable."""
    if _PLAIN_IDENTIFIER.fullmatch(name) and name not in _RESERVED:
        return name
    quoted = '"' + name.replace('"', '""') + '"'
    if quoted.isprintable():
        return quoted
    return "U&" + "".join(map(_unicode_escape, quoted))


def _unicode_escape(character: str) -> str:
    """The character as it stands in ``U&"…"``."""
    if character.isprintable():
        return character.replace("\\", "\\\\")
    code = ord(character)
    return f"\\{code:04X}" if code < 0x10000 else f"\\+{code:06X}"


def literal(value: str) -> str:
    """A text as an SQL literal on one line, whatever ``standard_conforming_strings`` is: the script sets none."""
    quoted = "'" + value.replace("'", "''") + "'"
    if "\\" not in value and value.isprintable():
        return quoted
    return "E" + printable(quoted.replace("\\", "\\\\"))


def text(value: Optional[str]) -> str:
    """A text in a list of rows."""
    return TEXT if value is None else literal(value)


def array(values: Sequence[str]) -> str:
    """An array of texts."""
    return f"ARRAY[{', '.join(map(literal, values))}]::pg_catalog.text[]"


def rows(given: Sequence[Tuple[str, ...]], *nothing: str) -> str:
    """A list of rows, for FROM; ``nothing`` are the columns of one that is empty."""
    if given:
        made = (f"({', '.join(row)})" for row in given)
        return f"(VALUES {', '.join(made)})"
    return f"(SELECT {', '.join(nothing)} WHERE FALSE)"


def fill(text: str, values: Values, where: str) -> Optional[str]:
    """``text`` with its placeholders filled in, or None if one of them has no value.

    Raises ScriptError for a placeholder that nobody knows.
    """
    missing = False

    def replace(match: re.Match[str]) -> str:
        nonlocal missing
        name = match["identifier"] or match["literal"] or match["text"]
        if name not in values:
            raise ScriptError(f"{where}: nothing is known of the placeholder {match[0]}")
        value = values[name]
        if value is None:
            missing = True
            return ""
        if not isinstance(value, str):
            quoted = [identifier(each) for each in value]
            return ", ".join(quoted)
        if match["identifier"]:
            return identifier(value)
        if match["literal"]:
            return literal(value)
        # PostgreSQL's texts hold no NUL: it marks what is to go with the space before it.
        return value or "\0"

    filled = PLACEHOLDER.sub(replace, text)
    if missing:
        return None
    return re.sub(r" *\0", "", filled)


@lru_cache(maxsize=None)  # noqa: UP033 - functools.cache came with Python 3.9
def read(name: str) -> Tuple[Section, ...]:
    """The sections of a file in ``sql/``, in its order, as the file was when the program began.

    Raises ScriptError if the file could not be read, or is not what it should be.
    """
    path = f"sql/{name}"
    if path not in READ:
        raise ScriptError(f"{path}: is not there, or cannot be read")
    return parse(READ[path], path)


@lru_cache(maxsize=None)  # noqa: UP033 - functools.cache came with Python 3.9
def checks(folder: str) -> Tuple[Section, ...]:
    """The checks of a folder in ``sql/``, each a file of its name, in the order of the names.

    Raises ScriptError if a file is not what it should be, or the folder has none.
    """
    begin = f"sql/{folder}/"
    found = [
        section
        for path in sorted(path for path in READ if path.startswith(begin))
        for section in parse(READ[path], path, path[len(begin) :].partition(".")[0])
    ]
    if not found:
        raise ScriptError(f"{begin}: is not there, or cannot be read")
    return tuple(found)


def require_all() -> None:
    """Raises Problem unless all of ``sql/`` can be used: what is missing is found before anything is touched."""
    try:
        for name in _FILES:
            read(name)
        for folder in _FOLDERS:
            checks(folder)
    except ScriptError as error:
        raise Problem(
            f"failed: {error}. Nothing was touched. What to do: take these files from the repository again."
        ) from None


def parse(content: bytes, path: str, only: str = "") -> Tuple[Section, ...]:
    """The sections of a text, or all of it as the ``only`` one of that name.

    Raises ScriptError if it holds SQL before the first header, or a name twice.
    """
    try:
        lines = content.decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ScriptError(f"{path}: is not UTF-8: {error.reason} at byte {error.start}") from error
    sections: List[Section] = []
    headers: Dict[str, str] = {"name": only} if only else {}
    body: List[str] = []
    key = ""

    def close() -> None:
        if headers:
            sections.append(Section(headers["name"], dict(headers), tuple(split(body))))

    for number, line in enumerate(lines, start=1):
        header, continued = _HEADER.match(line), _CONTINUED.match(line)
        if header and header["key"] == "name":
            close()
            headers, body, key = {"name": header["value"]}, [], "name"
        elif header and headers and not any(each.strip() for each in body):
            key = header["key"]
            headers[key] = header["value"]
        elif continued and headers and key and not any(each.strip() for each in body):
            headers[key] += " " + continued["value"].strip()
        elif headers:
            body.append(line)
        elif line.strip() and not line.startswith("--"):
            raise ScriptError(f"{path}, line {number}: SQL before the first `-- name:`")
    close()
    names = [section.name for section in sections]
    twice = sorted({each for each in names if names.count(each) > 1})
    if twice:
        raise ScriptError(f"{path}: defined twice: {', '.join(twice)}")
    return tuple(sections)


def split(lines: Sequence[str]) -> List[str]:
    """Statements: a statement ends with a semicolon at the end of a line, outside of ``$…$`` quotes."""
    statements: List[str] = []
    current: List[str] = []
    quote = ""
    for line in lines:
        if not current and (not line.strip() or line.startswith("--")):
            continue
        current.append(line)
        for tag in re.findall(r"\$\w*\$", line):
            quote = "" if tag == quote else quote or tag
        if line.rstrip().endswith(";") and not quote:
            statements.append("\n".join(current).rstrip())
            current = []
    if any(line.strip() for line in current):
        raise ScriptError(f"a statement does not end with a semicolon: {current[0]}")
    return statements
