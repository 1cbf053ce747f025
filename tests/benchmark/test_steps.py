"""What each step of the online mode locks, for how long, and what it writes, with few rows and with many."""

from __future__ import annotations

import pytest

from phase_1.inventory import TABLES
from tests.plugins.database import Database, Templates
from tests.support.benchmark import Figures, sales_of
from tests.support.steps import taken_by_steps

pytestmark = pytest.mark.benchmark

#: The goal: the longest that the readers of a tenant table are kept out, in milliseconds.
_LONGEST = 50.0
#: The steps that may write more where there is more to index, or to delete the index of.
_GROWING = ("create_index", "add_memberships", "analyze_table")
#: The WAL of each of the others at the most, in bytes, whatever the size: rows of the catalog.
_CATALOG = 256 * 1024


def test_step_holds_its_locks_no_longer_where_there_are_more_rows(
    loaded: Database, templates: Templates, figures: Figures
) -> None:
    """No step writes a tenant table again, and those that lock readers out take milliseconds, at any size.

    A lock that grows with the rows is short on the laptop, and stops the application on the day.
    """
    sales = sales_of(loaded)
    database = templates.copy(loaded)
    files = _files(database)
    for way, arguments in (("migration", ["--online"]), ("rollback", ["--online", "--rollback"])):
        taken = taken_by_steps(database, arguments)
        for step, each in taken.items():
            figures.row(
                "steps", run=way, step=step, sales=sales, times=each.steps, lock=each.lock,
                **{"held at most, ms": round(1000 * each.seconds, 1), "WAL, kB": round(each.wal / 1024, 1)},
            )  # fmt: skip
            assert step in _GROWING or each.wal <= _CATALOG * each.steps, step
        longest, where = max((each.seconds, step) for step, each in taken.items() if each.lock == "ACCESS EXCLUSIVE")
        figures.goal(f"{way}, {sales:,} sales: readers locked out", 1000 * longest, _LONGEST, "ms", where=where)
        assert _files(database) == files, way
    database.drop()


def _files(database: Database) -> list[tuple[object, ...]]:
    """The files of the tenant tables: another one where a table was written again."""
    return database.query(
        "SELECT relname, pg_relation_filenode(oid) FROM pg_class"
        " WHERE relnamespace = 'public'::regnamespace AND relname = ANY (%s) ORDER BY relname",
        [table.name for table in TABLES],
    )
