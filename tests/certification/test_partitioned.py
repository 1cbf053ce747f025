"""A partitioned tenant table: the same promises, in both modes, and a part of each index for each partition."""

from __future__ import annotations

import re
from typing import Literal

import psycopg
import pytest

from phase_1.fingerprint import Fingerprint, difference
from phase_1.found import _short
from phase_1.inventory import TABLES
from phase_1.problems import STOPPED, VIOLATIONS
from tests.plugins.certificate import Evidence
from tests.plugins.database import OWNER, Database, Templates
from tests.support.looking import catalog
from tests.support.proxy import Proxy, Statement
from tests.support.runner import Run, run

pytestmark = pytest.mark.claim("partitioned-tables-too")

_PARTITIONS = ("sellout_entries2_2025", '"Sales 2026"', "sellout_entries2_default")
_INDEXES = [index.name for table in TABLES if table.name == "sellout_entries2" for index in table.indexes]

#: Which kinds there are: a trigger BEFORE each row of a partitioned table came with PostgreSQL 13.
_KINDS = pytest.mark.parametrize(
    "kind", ["founding-partitioned", pytest.param("deployed-partitioned", marks=pytest.mark.pg(">=13"))]
)

_MODES = pytest.mark.parametrize("mode", [[], ["--online"]], ids=["transactional", "online"])

#: Before how many statements, of those about the partitioned table, an online run is stopped.
_POINTS = 8


def _run(database: Database, *arguments: str) -> str:
    ended = run("--dsn", database.owner_dsn, "--force", *arguments)
    assert ended.status == 0, ended.out + ended.err
    return ended.out


def _run_until(database: Database, point: int, *arguments: str) -> tuple[Run, int]:
    """A run that loses its connection at that statement about the table, from 1, and how many of them it got to."""
    seen: list[str] = []

    def cut(statement: Statement) -> Literal["cut"] | None:
        if statement.connection != 0 or not re.search("sellout_entries2|Sales", statement.sql):
            return None
        seen.append(statement.sql)
        return "cut" if len(seen) == point else None

    with Proxy(database.server) as proxy:
        proxy.before(cut)
        return run("--dsn", proxy.dsn(database.name, OWNER), "--force", *arguments), len(seen)


@_KINDS
@_MODES
def test_partitioned_table_is_migrated_and_taken_back_without_a_row_written(
    templates: Templates, kind: str, mode: list[str]
) -> None:
    """Column, validated key and indexes are on every partition, no row is written, and all of it can be undone.

    A partition that was left out is found by the first client whose sales are not there.
    """
    database = templates.clone(kind)
    # The rows of a partition can be asked for without the table, where its own row security is all there is.
    for name in _PARTITIONS[:2]:
        database.execute(f"ALTER TABLE public.{name} ENABLE ROW LEVEL SECURITY")
    before, rows = catalog(database), database.rows_with_xmin()
    _run(database, *mode)
    assert database.rows_with_xmin() == rows
    assert run("--dsn", database.owner_dsn, "--verify").status == 0
    assert "Nothing to do" in _run(database, *mode)
    for name in _PARTITIONS:
        assert database.query(
            "SELECT attnotnull, EXISTS (SELECT FROM pg_constraint WHERE conrelid = attrelid AND contype = 'f'"
            " AND conkey = ARRAY[attnum] AND convalidated AND conparentid <> 0)"
            " FROM pg_attribute WHERE attrelid = %s::regclass AND attname = 'client_id'",
            name,
        ) == [(True, True)]
        assert database.query(
            "SELECT count(*) FROM pg_index JOIN pg_inherits ON inhrelid = indexrelid"
            " WHERE indrelid = %s::regclass AND indisvalid AND inhparent::regclass::text = ANY (%s)",
            name,
            _INDEXES,
        ) == [(len(_INDEXES),)]
        assert database.query("SELECT count(*) FROM pg_policy WHERE polrelid = %s::regclass", name) == [
            (0 if name.endswith("default") else 3,)
        ]
    _run(database, "--rollback", *mode)
    assert difference(before, catalog(database)) == []
    assert database.rows_with_xmin() == rows
    database.drop()


@_KINDS
def test_modes_end_alike_on_a_partitioned_table(templates: Templates, kind: str) -> None:
    """Both modes leave the same catalog, and each takes back what the other did.

    What was certified of one mode would not hold for the other.
    """
    ends: list[Fingerprint] = []
    for there, back in ([], ["--online", "--jobs", "2"]), (["--online", "--jobs", "2"], []):
        database = templates.clone(kind)
        before = catalog(database)
        _run(database, *there)
        ends.append(catalog(database))
        _run(database, "--rollback", *back)
        assert difference(before, catalog(database)) == []
        database.drop()
    assert difference(ends[0], ends[1]) == []


@pytest.mark.parametrize("direction", ["migration", "rollback"])
def test_online_run_on_a_partitioned_table_goes_on_or_back_from_where_it_stopped(
    templates: Templates, direction: str, evidence: Evidence
) -> None:
    """Killed before any statement, an online run is completed or taken back.

    An index whose parts are not all there is invalid, serves nobody, and costs every write.
    """
    pristine_clone, migrated = templates.clone("founding-partitioned"), templates.clone("founding-partitioned-migrated")
    pristine, certified = catalog(pristine_clone), catalog(migrated)
    kind = "founding-partitioned" if direction == "migration" else "founding-partitioned-migrated"
    forward = ["--online", *(["--rollback"] if direction == "rollback" else [])]
    back = ["--online", *(["--rollback"] if direction == "migration" else [])]
    end, start = (certified, pristine) if direction == "migration" else (pristine, certified)
    ended, count = _run_until(pristine_clone if direction == "migration" else migrated, 0, *forward)
    assert ended.status == 0, ended.err
    points = range(1, count + 1, count // _POINTS)
    for number, point in enumerate(points):
        database = templates.clone(kind)
        stopped, _ = _run_until(database, point, *forward)
        where = f"point {point}"
        assert stopped.status in (STOPPED, 1), where + stopped.err
        arguments, expected = (forward, end) if number % 2 else (back, start)
        _run(database, *arguments)
        assert difference(expected, catalog(database)) == [], where
        assert database.query("SELECT indexrelid::regclass FROM pg_index WHERE NOT indisvalid") == [], where
        database.drop()
    evidence(f"points of a {direction} tried and survived", len(points))
    assert len(points) >= _POINTS
    pristine_clone.drop()
    migrated.drop()


def test_partition_that_comes_later_is_part_of_it_and_goes_with_the_rollback(templates: Templates) -> None:
    """A partition made after the migration, or in the middle of it, has what the others have.

    Next January's partition would be without a client, or stop the rollback.
    """
    database = templates.clone("founding-partitioned")
    # A row of a year of its own, as the application's script does it: the default partition has none of them.
    later = f"""
        SET ROLE {OWNER};
        CREATE TABLE public.sellout_entries2_{{0}} PARTITION OF public.sellout_entries2 FOR VALUES IN ({{0}});
        INSERT INTO public.sellout_entries2 (product_ean, reseller, year, month, quantity)
        VALUES ('4006381333931', 'Douglas', {{0}}, 1, 1);
    """
    before = catalog(database)
    stopped, _ = _run_until(database, 40, "--online")
    assert stopped.status in (STOPPED, 1)
    database.execute(later.format(2031))
    _run(database, "--online")
    database.execute(later.format(2032))
    assert run("--dsn", database.owner_dsn, "--verify").status == 0
    assert "Nothing to do" in _run(database)
    for year in (2031, 2032):
        assert database.query(
            "SELECT count(*) FROM pg_index JOIN pg_inherits ON inhrelid = indexrelid WHERE indrelid = %s::regclass"
            " AND inhparent::regclass::text = ANY (%s)",
            f"sellout_entries2_{year}",
            _INDEXES,
        ) == [(len(_INDEXES),)]
    _run(database, "--rollback", "--online")
    database.execute("DROP TABLE public.sellout_entries2_2031, public.sellout_entries2_2032")
    assert difference(before, catalog(database)) == []
    database.drop()


@pytest.mark.parametrize("then", ["goes on", "goes back"])
def test_partition_may_have_another_name_by_then(templates: Templates, then: str) -> None:
    """A partition that is renamed half-way, and once more afterwards, is completed and taken back like the others.

    What is looked for by a name of its own is missed: the key cannot be validated, and the pins stop the rollback.
    """
    database = templates.clone("founding-partitioned")
    database.execute("ALTER TABLE public.sellout_entries2_2025 ENABLE ROW LEVEL SECURITY")
    before = catalog(database)

    def cut(statement: Statement) -> Literal["cut"] | None:
        return "cut" if "VALIDATE CONSTRAINT sellout_entries2_2025_client_id_fkey" in statement.sql else None

    with Proxy(database.server) as proxy:
        proxy.before(cut)
        assert run("--dsn", proxy.dsn(database.name, OWNER), "--force", "--online").status == STOPPED
    database.execute("ALTER TABLE public.sellout_entries2_2025 RENAME TO sales_of_2025")
    if then == "goes on":
        _run(database, "--online")
        assert run("--dsn", database.owner_dsn, "--verify").status == 0
        database.execute("ALTER TABLE public.sales_of_2025 RENAME TO archive_of_2025")
        assert "Nothing to do" in _run(database)
    _run(database, "--rollback", "--online")
    now = "archive" if then == "goes on" else "sales"
    database.execute(f"ALTER TABLE public.{now}_of_2025 RENAME TO sellout_entries2_2025")
    assert difference(before, catalog(database)) == []
    database.drop()


@pytest.mark.claim("writes-pinned", "verify-finds-violations")
def test_partition_with_row_security_is_pinned_by_itself_and_missed_where_it_is_not(templates: Templates) -> None:
    """--verify asks for the pins of each partition that has row security, whatever a policy of the table says.

    Who names a partition is asked for its policies only, and puts sales into another client.
    """
    database = templates.clone("founding-partitioned")
    database.execute('ALTER TABLE public."Sales 2026" ENABLE ROW LEVEL SECURITY')
    _run(database)
    database.execute(
        "CREATE POLICY of_client ON public.sellout_entries2 USING (client_id IS NOT NULL);"
        'DROP POLICY phase_1_client_pinned_update ON public."Sales 2026"'
    )
    found = run("--dsn", database.owner_dsn, "--verify", "--json")
    assert (found.status, [each["object"] for each in found.of("writes_are_pinned")]) == (
        VIOLATIONS,
        ['public."Sales 2026"'],
    )
    _run(database)
    assert run("--dsn", database.owner_dsn, "--verify").status == 0
    # A policy of the partition's own that looks at its client replaces them there.
    database.execute('CREATE POLICY of_client ON public."Sales 2026" USING (client_id IS NOT NULL)')
    for suffix in ("", "_update", "_delete"):
        database.execute(f'DROP POLICY phase_1_client_pinned{suffix} ON public."Sales 2026"')
    assert run("--dsn", database.owner_dsn, "--verify").status == 0
    assert "Nothing to do" in _run(database)
    database.drop()


def test_queries_of_one_client_are_served_by_the_parts_of_the_index(templates: Templates) -> None:
    """Each query of a client on a partitioned table takes the index that it names, partition by partition.

    A new client's first page would read every sale of every client, once for each partition.
    """
    database = templates.clone("founding-partitioned-migrated")
    [(served,)] = database.query(
        "SELECT details -> 'baseline' FROM migration_log WHERE operation = 'verify' ORDER BY id DESC LIMIT 1"
    )
    sales = [each for each in served if each["index"] in _INDEXES]
    assert {each["index"] for each in sales} == set(_INDEXES)
    for each in sales:
        assert each["index"] in each["served_by"], each
    database.drop()


@pytest.mark.claim("breaking-changes-are-known")
def test_table_without_a_client_cannot_be_attached_until_it_has_one(templates: Templates) -> None:
    """What is attached as a partition needs the column; with its default the application's rows go on as before.

    The script that makes next year's partition fails on New Year's Eve, and nobody was told.
    """
    database = templates.clone("founding-partitioned-migrated")
    attach = "ALTER TABLE public.sellout_entries2 ATTACH PARTITION public.sales_2031 FOR VALUES IN (2031)"
    [(default,)] = database.query("SELECT id FROM public.organizations")
    with database.connect(OWNER) as connection:
        connection.execute(
            "CREATE TABLE public.sales_2031 (LIKE public.sellout_entries2 INCLUDING DEFAULTS INCLUDING CONSTRAINTS)"
        )
        connection.execute("ALTER TABLE public.sales_2031 DROP COLUMN client_id")
        with pytest.raises(psycopg.errors.DatatypeMismatch) as caught:
            connection.execute(attach)
        assert caught.value.sqlstate == "42804"
        connection.execute(f"ALTER TABLE public.sales_2031 ADD client_id uuid NOT NULL DEFAULT '{default}'")
        connection.execute(attach)
    assert run("--dsn", database.owner_dsn, "--verify").status == 0
    database.drop()


@pytest.mark.claim("partitioned-tables-too")
@pytest.mark.parametrize("letter", ["x", "ä"])
def test_name_that_is_too_long_is_cut_to_one_of_its_own(letter: str) -> None:
    """A name of up to 63 bytes stays; a longer one is cut to 63 bytes or less, and never to that of another.

    PostgreSQL would cut it itself: the constraints of two partitions of one table would have one name.
    """
    size = len(letter.encode())
    longest = letter * (63 // size)
    assert _short(longest) == longest
    names = {_short(longest + rest) for rest in (letter, letter * 2, letter * 3)}
    assert len(names) == 3
    assert all(64 - size <= len(name.encode()) <= 63 for name in names)
    assert all(name.startswith(letter * (54 // size) + "_") for name in names)
