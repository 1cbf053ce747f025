"""What a check finds, and asking several checks at once."""

from __future__ import annotations

from dataclasses import dataclass
from operator import itemgetter
from typing import Any, List, Sequence, Tuple

import psycopg

from phase_1.scripts import Section
from phase_1.shown import printable

ERROR, WARNING, NOTICE = "error", "warning", "notice"


@dataclass(frozen=True)
class Finding:
    """A violation: the check that found it, how bad it is, the object, what is wrong, and what to do."""

    check: str
    level: str
    object: str
    problem: str
    action: str

    def __post_init__(self) -> None:
        """Names and texts of the database are in it, and it is shown, stored and reported."""
        for name in ("object", "problem", "action"):
            object.__setattr__(self, name, printable(getattr(self, name)))

    def __str__(self) -> str:
        return f"{self.object}: {self.problem}. What to do: {self.action}"


def ask_all(connection: psycopg.Connection[Any], asked: Sequence[Tuple[Section, str]]) -> List[Finding]:
    """Every check in one statement: on a server far away each statement more is a wait."""
    statement = " UNION ALL ".join(
        f"SELECT {number}, object::text, problem::text, action::text"
        f" FROM (\n{query}\n) AS violation (object, problem, action)"
        for number, (_, query) in enumerate(asked)
    )
    found = connection.execute(statement).fetchall() if asked else []
    return [
        Finding(asked[number][0].name, asked[number][0].header("level"), *texts)
        for number, *texts in sorted(found, key=itemgetter(0))
    ]
