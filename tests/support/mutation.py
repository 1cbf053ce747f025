"""The SQL and the inventory taken apart, and changed one thing at a time.

A mutant is a change that a tired person could make, by an operator that says which kind. What stands in comments
and in literals is left alone, except where a literal is SQL that a function runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from phase_1.scripts import checks
from tests.support.certificate import ROOT
from tests.support.sabotage import Change

INVENTORY = "phase_1/inventory.py"
SCHEMA, ROLLBACK, QUERIES = "sql/phase_1_multitenant_schema.sql", "sql/phase_1_rollback.sql", "sql/queries.sql"
#: The steps, the checks, each in a file of its name, and the queries.
FILES = (
    *(SCHEMA, ROLLBACK, QUERIES),
    *(f"sql/{folder}/{check.name}.sql" for folder in ("trust", "preflight", "verify") for check in checks(folder)),
)

#: Where a step is; a query that is left out there is a check that finds nothing, and another operator's business.
_STEPS = FILES[:2]


@dataclass(frozen=True)
class Mutant:
    """One change: where it is, by which operator, and what stands there instead."""

    file: str
    section: str
    line: int
    operator: str
    before: str
    after: str
    #: The line with the change in it, as in ``WHERE [a = b AND → ]c``: what an explanation names it by.
    text: str
    start: int

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What stays the same while other lines come and go."""
        return self.file, self.section, self.operator, self.text

    @property
    def change(self) -> Change:
        """The change of the whole file."""
        text = (ROOT / self.file).read_text(encoding="utf-8")
        end = self.start + len(self.before)
        assert text[self.start : end] == self.before
        return Change(self.file, text, text[: self.start] + self.after + text[end:])


_Edit = tuple[str, int, int, str]  # operator, start, end, what stands there instead
_Operator = Callable[[str, str], Iterator[_Edit]]  # of the code, and of the code without literals and comments


def mutants() -> list[Mutant]:
    """Every mutant, in the order of the files; each stands once."""
    found: dict[tuple[str, str], Mutant] = {}
    for file in (*FILES, INVENTORY):
        text = (ROOT / file).read_text(encoding="utf-8")
        bare = _bare(text) if file != INVENTORY else text
        operators = _SQL if file != INVENTORY else (_inventory,)
        for operator in operators:
            for name, start, end, after in operator(text, bare):
                if name == "statement left out" and file not in _STEPS:
                    continue
                section = _section(text, start) if file.count("/") == 1 else Path(file).stem
                if not section or text[start:end] == after:
                    continue
                before, line = text[start:end], text.count("\n", 0, start) + 1
                around = text[text.rfind("\n", 0, start) + 1 : start], text[end : text.find("\n", end)]
                shown = " ".join(f"{around[0]}[{before} → {after}]{around[1]}".split())
                made = Mutant(file, section, line, name, before, after, shown, start)
                found.setdefault((file, text[:start] + after + text[end:]), made)
    return sorted(found.values(), key=lambda each: (each.file, each.start, each.operator, each.after))


def _section(text: str, position: int) -> str:
    """The section that a place belongs to; nothing before the first one."""
    headers = list(
        re.finditer(r"^(?:-- name: (\w+)|([A-Z]\w+) = |    _table\(\s*\"(\w+)\")", text[: position + 40], re.M)
    )
    headers = [each for each in headers if each.start() <= position]
    return next((name for name in reversed(headers[-1].groups()) if name), "") if headers else ""


def _bare(text: str) -> str:
    """The text with blanks for comments and ~ for literals, so that every place stays where it is."""

    def blank(match: re.Match[str]) -> str:
        whole = match[0]
        if whole.startswith("'") and re.match(r"'(SELECT|WHERE) ", whole):
            return whole
        return re.sub(r"[^\n]", " " if whole.startswith("--") else "~", whole)

    return re.sub(r"--[^\n]*|:?'(?:[^']|'')*'", blank, text)


def _replace(operator: str, pattern: str, *replacements: str) -> _Operator:
    """An operator that replaces each match of a pattern, by each of the replacements."""

    def find(text: str, bare: str) -> Iterator[_Edit]:
        for match in re.finditer(pattern, bare, re.MULTILINE):
            for replacement in replacements:
                yield operator, match.start(), match.end(), match.expand(replacement)

    return find


def _statements(text: str, bare: str) -> Iterator[_Edit]:
    """Each statement left out: it ends with a semicolon at the end of a line, outside of a function's body."""
    start, quoted = 0, False
    for match in re.finditer(r"\$function\$|;$", bare, re.MULTILINE):
        if match[0] != ";":
            quoted = not quoted
        elif not quoted:
            begin = start + len(re.match(r"\s*", bare[start:])[0])  # type: ignore[index]
            yield "statement left out", begin, match.end(), ""
            start = match.end()


def _conditions(text: str, bare: str) -> Iterator[_Edit]:
    """Each WHERE and HAVING left out, and each of the conditions that it joins by AND or OR."""
    for match in re.finditer(r"\b(?:WHERE|HAVING|ON|WHEN)\b(?! CONFLICT| DELETE)", bare):
        start, end = match.end(), _end_of_clause(bare, match.end())
        if not bare[start:end].strip():
            continue
        if match[0] in ("WHERE", "HAVING"):
            yield f"{match[0]} left out", match.start(), end, f"{match[0]} TRUE"
        yield from _joined(bare, start, end)


def _joined(bare: str, start: int, end: int) -> Iterator[_Edit]:
    """Each condition of a list left out, and each word between two of them turned round."""
    cuts = []
    depth, between = 0, False
    for match in re.finditer(r"[()]|\b(?:AND|OR|BETWEEN|CASE|END)\b", bare[start:end]):
        word = match[0]
        depth += (word in ("(", "CASE")) - (word in (")", "END"))
        if depth or word not in ("AND", "OR", "BETWEEN"):
            continue
        if word == "BETWEEN":
            between = True
        elif between:
            between = False
        else:
            cuts.append((start + match.start(), start + match.end(), word))
    for number, (begin, after, _) in enumerate(cuts):
        following = cuts[number + 1][0] if number + 1 < len(cuts) else end
        yield "condition left out", begin, len(bare[:following].rstrip()), ""
        if number == 0:
            first = start + len(bare[start:begin]) - len(bare[start:begin].lstrip())
            yield "condition left out", first, after + 1, ""


def _end_of_clause(bare: str, start: int) -> int:
    """Where a condition ends: at the bracket that closes around it, at the next clause, or with the statement."""
    depth = 0
    ends = (
        r"[();']|\bON CONFLICT\b"
        r"|\b(?:GROUP BY|ORDER BY|HAVING|LIMIT|UNION|RETURNING|THEN|(?:LEFT |CROSS |FULL )?JOIN|WHERE)\b"
    )
    for match in re.finditer(ends, bare[start:]):
        if match[0] == "(":
            depth += 1
        elif match[0] == ")":
            depth -= 1
            if depth < 0:
                return start + match.start()
        elif depth == 0:
            return len(bare[: start + match.start()].rstrip())
    return len(bare)


def _columns(text: str, bare: str) -> Iterator[_Edit]:
    """The columns of an index or a key swapped, and each left out."""
    for match in re.finditer(r"(?:UNIQUE|KEY) \((\w+), (\w+)\)", bare):
        for after in (match[1], match[2]):
            yield "column left out", match.start(1), match.end(2), after


def _grants(text: str, bare: str) -> Iterator[_Edit]:
    """Each privilege of a GRANT left out."""
    for match in re.finditer(r"GRANT (\w+(?:, \w+)+) ON", bare):
        words = match[1].split(", ")
        for word in words:
            rest = ", ".join(each for each in words if each != word)
            yield "privilege left out", match.start(1), match.end(1), rest


_SQL: tuple[_Operator, ...] = (
    _statements,
    _conditions,
    _columns,
    _grants,
    _replace("NOT NULL dropped", r"(?<!IS)(?<!SET)(?<!DROP) NOT NULL\b(?= |,|$)", ""),
    _replace("DEFAULT dropped", r" DEFAULT (?:TRUE|now\(\)|clock_timestamp\(\)|:gen_random_uuid\(\)|~+)(?=[,;\n])", ""),
    _replace("UNIQUE dropped", r"(?<=NULL) UNIQUE\b", ""),
    _replace("UNIQUE dropped", r",\n    UNIQUE \([^)]*\)", ""),
    _replace("CHECK dropped", r" CHECK \(status IN \([^)]*\)\)", ""),
    _replace("CHECK opened", r"(?<=CHECK \()FALSE", "TRUE"),
    _replace("USING opened", r"(?<=USING \()FALSE", "TRUE"),
    _replace(
        "comparison turned round",
        r"(?<!^SET client_id)(?<!search_path)(?<!timeout)(?<!row_security)(?<!interval) = ",
        " <> ",
    ),
    _replace("comparison turned round", r" <> ", " = "),
    _replace("comparison moved", r" < ", " <= "),
    _replace("comparison moved", r" > ", " >= "),
    _replace("comparison moved", r" >= ", " > "),
    _replace("comparison moved", r" <= ", " < "),
    _replace("AND turned round", r"(?<=[ \n])AND(?= )", "OR"),
    _replace("OR turned round", r"(?<=[ \n])OR(?= )", "AND"),
    _replace("EXISTS turned round", r"(?<!NOT )(?<!IF )\bEXISTS \(", "NOT EXISTS ("),
    _replace("EXISTS turned round", r"\bNOT EXISTS \(", "EXISTS ("),
    _replace("NULL turned round", r"\bIS NULL\b", "IS NOT NULL"),
    _replace("NULL turned round", r"\bIS NOT NULL\b(?!\) NOT)", "IS NULL"),
    _replace("DISTINCT turned round", r"\bIS DISTINCT FROM\b", "IS NOT DISTINCT FROM"),
    _replace("IN turned round", r"(?<=[\w)]) IN \(", " NOT IN ("),
    _replace("boolean turned round", r"\b(DEFAULT|ELSE) TRUE\b", r"\1 FALSE"),
    _replace("revoked from fewer", r"(?<= FROM ):(?:function_)?revoked_roles", "PUBLIC"),
    _replace("ON DELETE changed", r"ON DELETE CASCADE", "ON DELETE RESTRICT", "ON DELETE SET NULL"),
    _replace("ON DELETE changed", r"ON DELETE RESTRICT", "ON DELETE CASCADE", "ON DELETE NO ACTION"),
    _replace("NOT VALID dropped", r" NOT VALID(?=;)", ""),
    _replace("SECURITY changed", r"SECURITY DEFINER", "SECURITY INVOKER"),
    _replace("SECURITY changed", r"SECURITY INVOKER", "SECURITY DEFINER"),
    _replace("volatility changed", r"\bSTABLE\b", "VOLATILE", "IMMUTABLE"),
    _replace("PARALLEL SAFE dropped", r" PARALLEL SAFE", ""),
    _replace("setting dropped", r" SET search_path = ~~", ""),
    _replace("setting dropped", r" SET row_security = off", ""),
    _replace("ORDER BY dropped", r"\n? *ORDER BY [^()\n;]*", ""),
    _replace("order turned round", r" DESC\b", ""),
    _replace("policy made permissive", r"AS RESTRICTIVE", "AS PERMISSIVE"),
    _replace("policy for less", r"FOR ALL TO", "FOR SELECT TO"),
    _replace("LOCAL dropped", r"^SET LOCAL ", "SET "),
    _replace("CONFLICT not settled", r"\nON CONFLICT DO NOTHING", ""),
    _replace("identity dropped", r"GENERATED ALWAYS", "GENERATED BY DEFAULT"),
    _replace("LEFT JOIN narrowed", r"LEFT JOIN(?! LATERAL)", "JOIN"),
    _replace("limit moved", r"\b(?:1600|1599|1500|2600)\b", "1555"),
)


def _inventory(text: str, bare: str) -> Iterator[_Edit]:
    """Each table, index and column of the inventory left out, the columns of an index swapped, its order dropped."""
    begin = text.index("TABLES = (")
    for match in re.finditer(r"^    _table\((?:[^()]|\([^()]*\))*\),\n", text[begin:], re.MULTILINE):
        start = begin + match.start()
        yield "table left out", start, begin + match.end(), ""
        for index in re.finditer(r"(?:(?<=, )|(?<=        ))\((\"[^()]*\"),?( \"\w+\")?\)(, |,\n *)?", match[0]):
            yield "index left out", start + index.start(), start + index.end(), ""
            columns = re.findall(r'"([^"]+)"', index[0])
            inner = start + match[0].index("(", index.start()) + 1, start + match[0].index(")", index.start())
            if len(columns) > 1:
                first, second = (f'"{each}"' for each in columns)
                yield "columns swapped", *inner, f"{second}, {first}"
                yield "column left out", *inner, f"{first},"
                yield "column left out", *inner, f"{second},"
    for order in re.finditer(r" DESC(?=\")", text[begin:]):
        yield "order turned round", begin + order.start(), begin + order.end(), ""
    for where in re.finditer(r"        where=.*\n", text[begin:]):
        yield "predicate dropped", begin + where.start(), begin + where.end(), ""
    for child in re.finditer(r"^    \(\"\w+\", \"upload_id\", \"uploads\"\),\n", text, re.MULTILINE):
        yield "child left out", child.start(), child.end(), ""
    for name in re.finditer(r"\"(?:created|uploaded|logged|sent)_at\",? ?(?=.*\))", text[: text.index("TIME = ")]):
        yield "known name left out", name.start(), name.end(), ""
