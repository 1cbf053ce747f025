"""The databases of the tests: one template for each state of the application, one clone for each test."""

from __future__ import annotations

import io
import os
import secrets
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import closing, redirect_stderr, redirect_stdout
from typing import Any

import psycopg
import pytest
from psycopg import sql

from phase_1.inventory import NEW_TABLES
from tests.application import load as application
from tests.plugins.server import Server
from tests.support.embedded import client_program
from tests.support.proxy import Proxy

OWNER = "app_owner"
SMALL = 300  # sales: enough for every branch of the application's data, loaded in a moment
LARGE = 100_000  # sales: enough for the planner to prefer an index to reading it all
LARGE_REST = 5_000  # users, uploads and products, so that each of the seven tables has more than a few pages
TINY = 5  # sales, and as few of the rest: to look at every row after every step

_KINDS = [["empty"], ["tiny"], ["large"], ["newer"], ["partitioned"]]
_MARK = "created by the Phase 1 suite"
_ROLES_LOCK = 71_001  # one session at a time looks for roles and creates or drops them
_IN_USE_LOCK = 71_002  # held shared by every session that uses the roles
# Lines of a dump that say when and by what it was made.
_VOLATILE = (
    r"\restrict ",
    r"\unrestrict ",
    "-- Dumped from database version",
    "-- Dumped by pg_dump version",
)

Row = tuple[Any, ...]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("server").addoption(
        "--keep-templates",
        metavar="PREFIX",
        help="with --dsn: leave the application's databases on the server under this prefix, and take those that are "
        "there; for one session at a time",
    )


class Database:
    """A database of a test's own; ``variant`` says which application is in it.

    What hangs on a database itself (ALTER DATABASE … SET, GRANT … ON DATABASE) is not in a clone.
    """

    def __init__(self, server: Server, name: str, variant: str) -> None:
        self.server = server
        self.name = name
        self.variant = variant
        self._connections: list[psycopg.Connection[Row]] = []

    def __repr__(self) -> str:
        return f"<Database {self.name}, {self.variant}>"

    def dsn(self, user: str | None = None) -> str:
        """The URI for the superuser, or for a role of the application; it holds the password."""
        return self.server.dsn(self.name, user)

    @property
    def owner_dsn(self) -> str:
        """The URI for the owner of the tables: what the migration is run with."""
        return self.dsn(OWNER)

    def connect(
        self, user: str | None = None, *, autocommit: bool = True, **parameters: Any
    ) -> psycopg.Connection[Row]:
        """A connection as the superuser, or as a role of the application; closed at the latest with the test."""
        connection = self.server.connect(self.name, user, autocommit=autocommit, **parameters)
        self._connections.append(connection)
        return connection

    def query(self, statement: str, *parameters: Any) -> list[Row]:
        """The rows of a query, run as the superuser over a connection of its own."""
        with self._briefly() as connection:
            return connection.execute(statement.encode(), parameters or None).fetchall()

    def execute(self, statements: str) -> None:
        """Runs statements as the superuser over a connection of its own."""
        with self._briefly() as connection:
            connection.execute(statements.encode())

    def checksum(self, tables: Iterable[str] | None = None) -> dict[str, tuple[int, str]]:
        """For each table the number of its rows, and an MD5 over all of them in an order that is always the same.

        The column ``client_id`` is left out, and without ``tables`` so are the tables that Phase 1 creates:
        the result is the same before and after the migration. Tables of ``public`` go by their bare name.
        """
        statement = (
            "SELECT count(*), md5(coalesce(string_agg(line, '' ORDER BY line COLLATE \"C\"), '')) "
            "FROM (SELECT md5(ROW({columns})::text) AS line FROM {table}) AS lines"
        )
        return {table: (rows[0][0], rows[0][1]) for table, rows in self._each(statement, tables)}

    def rows_with_xmin(self, tables: Iterable[str] | None = None) -> dict[str, list[Row]]:
        """For each table the place, the creating transaction and an MD5 of every row.

        Equal before and after means that no row was written again, not even with the same content. The
        tables and columns are those of :meth:`checksum`.
        """
        statement = "SELECT ctid::text, xmin::text, md5(ROW({columns})::text) FROM {table} ORDER BY tableoid, ctid"
        return dict(self._each(statement, tables))

    def dump(self) -> str:
        """The schema as ``pg_dump`` writes it, without the lines that differ from run to run."""
        done = subprocess.run(
            [
                client_program("pg_dump"),
                "--schema-only",
                f"--dbname={self.server.dsn_without_password(self.name)}",
            ],
            env={**os.environ, "PGPASSWORD": self.server.superuser_password},
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"pg_dump of {self.name} failed: {done.stderr}")
        lines = done.stdout.splitlines(keepends=True)
        return "".join(line for line in lines if not line.startswith(_VOLATILE))

    def drop(self) -> None:
        """Closes the connections of the test and drops the database, whoever else is connected."""
        for connection in self._connections:
            connection.close()
        with self.server.connect(self.server.database, application_name="suite") as connection:
            _drop_database(self.server, connection, self.name)

    def _briefly(self) -> psycopg.Connection[Row]:
        return self.server.connect(self.name, application_name="suite")

    def _each(self, statement: str, tables: Iterable[str] | None) -> Iterator[tuple[str, list[Row]]]:
        with self.server.connect(self.name, autocommit=False, application_name="suite") as connection:
            # One snapshot for all of them. The path is what makes regclass name public's tables barely.
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            connection.execute("SET LOCAL search_path = public")
            found = {
                name: (schema, table, columns)
                for name, schema, table, columns in connection.execute(
                    """
                    SELECT c.oid::regclass::text, n.nspname, c.relname,
                        array_agg(a.attname::text ORDER BY a.attnum) FILTER (WHERE a.attname <> 'client_id')
                    FROM pg_catalog.pg_class AS c
                    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
                    LEFT JOIN pg_catalog.pg_attribute AS a
                        ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                    WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
                        AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
                    GROUP BY 1, 2, 3
                    ORDER BY 1
                    """
                )
            }
            for name in (name for name in found if name not in NEW_TABLES) if tables is None else tables:
                schema, table, columns = found[name]
                query = sql.SQL(statement).format(
                    columns=sql.SQL(", ").join(map(sql.Identifier, columns or [])),
                    table=sql.Identifier(schema, table),
                )
                yield name, connection.execute(query).fetchall()


class Templates:
    """The template databases of one server, each made when first asked for.

    A kind is ``<variant>``, ``<variant>-empty``, ``<variant>-tiny``, ``<variant>-large``, ``<variant>-newer``
    with the newer default privileges, or ``<variant>-partitioned`` with the sales by year, and may end in
    ``-migrated``.
    """

    def __init__(self, server: Server, keep: str | None = None) -> None:
        """Creates the application's roles, unless they are there; ``keep`` is what ``--keep-templates`` says."""
        self.server = server
        self._keep = keep
        # What a killed session leaves behind on somebody's server can be told by its name.
        self._prefix = f"phase1_{os.getpid():x}_{secrets.token_hex(2)}"
        self._templates: dict[str, str] = {}
        self._clones = 0
        self._keeper: psycopg.Connection[Row] | None = None
        if server.kind == "dsn":
            _require_superuser(server)
            self._keeper = self._connect()
            self._keeper.execute("SELECT pg_advisory_lock_shared(%s)", (_IN_USE_LOCK,))
        _create_roles(server)

    def clone(self, kind: str) -> Database:
        """A new database like the template of that kind; the caller drops it."""
        self._clones += 1
        name = f"{self._prefix}_{self._clones}"
        self._create_database(name, self._template(kind))
        return Database(self.server, name, kind.partition("-")[0])

    def copy(self, database: Database) -> Database:
        """A new database like one of a test's own, to which nobody is connected; the caller drops it."""
        self._clones += 1
        name = f"{self._prefix}_{self._clones}"
        self._create_database(name, database.name)
        return Database(self.server, name, database.variant)

    def close(self) -> None:
        """Drops every database of the session, and the roles unless another session uses them.

        Nothing happens on a server that ends with the session anyway.
        """
        if self._keeper is None:
            return
        with closing(self._keeper) as connection:
            for (name,) in connection.execute(
                "SELECT datname FROM pg_database WHERE starts_with(datname, %s)", (f"{self._prefix}_",)
            ).fetchall():
                _drop_database(self.server, connection, name)
            connection.execute("SELECT pg_advisory_unlock_shared(%s)", (_IN_USE_LOCK,))
            connection.execute("SELECT pg_advisory_lock(%s)", (_ROLES_LOCK,))
            (last,) = connection.execute("SELECT pg_try_advisory_lock(%s)", (_IN_USE_LOCK,)).fetchall()[0]
            if last:
                _drop_roles(connection)

    def _template(self, kind: str) -> str:
        # What the migration has been at is made anew: it is what is being tested.
        kept = f"{self._keep}_{kind}" if self._keep and not kind.endswith("-migrated") else None
        if kept and kind not in self._templates and self._is_there(kept):
            self._templates[kind] = kept
        if kind not in self._templates:
            database = Database(self.server, f"{self._prefix}_{kind}", kind.partition("-")[0])
            try:
                self._build(database, kind)
            except BaseException:
                # The next test that asks for it is to see the same failure, not that the name is taken.
                database.drop()
                raise
            self._templates[kind] = database.name
            if kept:
                # Only now: a session that was killed has left no half of it under that name.
                with closing(self._connect()) as connection:
                    connection.execute(
                        sql.SQL("ALTER DATABASE {} RENAME TO {}").format(
                            sql.Identifier(database.name), sql.Identifier(kept)
                        )
                    )
                self._templates[kind] = kept
        return self._templates[kind]

    def _build(self, database: Database, kind: str) -> None:
        variant, *rest = kind.split("-")
        if rest[-1:] == ["migrated"]:
            self._create_database(database.name, self._template(kind.removesuffix("-migrated")))
            _migrate(database)
        elif variant in application.VARIANTS and (not rest or rest in _KINDS):
            self._create_database(database.name, "template0")
            with closing(database.connect()) as connection:
                application.create(connection, variant, partitioned=rest == ["partitioned"])
                if rest == ["newer"]:
                    connection.execute(application.NEWER_PRIVILEGES.read_bytes())
                if rest != ["empty"]:
                    sales = {"tiny": TINY, "large": LARGE}.get("".join(rest), SMALL)
                    # Vacuumed, because autovacuum would get to it in the middle of some test.
                    others = LARGE_REST if sales == LARGE else None
                    application.load(
                        connection,
                        variant,
                        sales=sales,
                        users=others,
                        uploads=others,
                        products=others,
                        vacuum=True,
                    )
        else:
            raise ValueError(f"no such kind of database: {kind}")

    def _create_database(self, name: str, template: str) -> None:
        # On 15 and later the default writes every page to the WAL; 12 to 14 copy the files. Without fsync
        # copying is the faster one: 19 ms against 24 for 8 MB, 75 against 95 for 50 MB (18.4).
        strategy = " STRATEGY file_copy" if self.server.major >= 15 else ""
        with closing(self._connect()) as connection:
            connection.execute(
                sql.SQL(f"CREATE DATABASE {{}} TEMPLATE {{}} {strategy}").format(
                    sql.Identifier(name), sql.Identifier(template)
                )
            )

    def _is_there(self, name: str) -> bool:
        with closing(self._connect()) as connection:
            return bool(connection.execute("SELECT FROM pg_database WHERE datname = %s", (name,)).fetchall())

    def _connect(self) -> psycopg.Connection[Row]:
        # Advisory locks are per database: every session has to use the same one.
        return self.server.connect(self.server.database, application_name="suite")


def _migrate(database: Database) -> None:
    """Runs Phase 1 as the owner of the tables, in this process."""
    import migrate  # noqa: PLC0415 - a runner that cannot be imported fails only who needs it

    output = io.StringIO()
    with redirect_stdout(output), redirect_stderr(output):
        status = migrate.main(["--dsn", database.owner_dsn, "--force"])
    if status:
        raise RuntimeError(f"the migration of {database} ended with {status}:\n{output.getvalue()}")


def _require_superuser(server: Server) -> None:
    with server.connect(server.database, application_name="suite") as connection:
        superuser = connection.info.parameter_status("is_superuser") == "on"
    if not superuser:
        pytest.fail(f"--dsn: {server.user} is no superuser: it cannot make databases and roles", pytrace=False)


def _create_roles(server: Server) -> None:
    with closing(server.connect(server.database, application_name="suite")) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (_ROLES_LOCK,))
        before = _roles(connection)
        connection.execute(application.ROLES.read_bytes())
        for role in sorted(_roles(connection) - before):
            # The mark tells at the end, or to the next session, which roles were not here before.
            connection.execute(sql.SQL("COMMENT ON ROLE {} IS {}").format(sql.Identifier(role), sql.Literal(_MARK)))


def _roles(connection: psycopg.Connection[Row]) -> set[str]:
    return {name for (name,) in connection.execute("SELECT rolname FROM pg_roles")}


def _drop_roles(connection: psycopg.Connection[Row]) -> None:
    marked = connection.execute(
        "SELECT rolname FROM pg_roles WHERE shobj_description(oid, 'pg_authid') = %s", (_MARK,)
    ).fetchall()
    for (role,) in marked:
        try:
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))
        except psycopg.errors.DependentObjectsStillExist:
            # A killed session has left a database in which it owns something.
            continue


def _drop_database(server: Server, connection: psycopg.Connection[Row], name: str) -> None:
    # Not even FORCE gets past a prepared transaction, and only its own database can roll it back.
    prepared = connection.execute("SELECT gid FROM pg_prepared_xacts WHERE database = %s", (name,)).fetchall()
    if prepared:
        with closing(server.connect(name, application_name="suite")) as inside:
            for (gid,) in prepared:
                inside.execute(sql.SQL("ROLLBACK PREPARED {}").format(sql.Literal(gid)))
    if server.major >= 13:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        return
    connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
    # Waits up to 5 s for those backends to be gone.
    connection.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name)))


@pytest.fixture(params=application.VARIANTS)
def variant(request: pytest.FixtureRequest) -> str:
    """The application that is in the database; whatever uses it runs once for either."""
    return str(request.param)


@pytest.fixture(scope="session")
def templates(server: Server, pytestconfig: pytest.Config) -> Iterator[Templates]:
    """Databases of any kind: ``templates.clone("deployed-empty")``."""
    made = Templates(server, pytestconfig.option.keep_templates)
    yield made
    made.close()


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    """A way to the server that can be watched, and cut, at any statement."""
    with Proxy(server) as made:
        yield made


@pytest.fixture
def database(templates: Templates, variant: str) -> Iterator[Database]:
    """The application with a few hundred rows, before the migration."""
    yield from _clone(templates, variant)


@pytest.fixture
def migrated(templates: Templates, variant: str) -> Iterator[Database]:
    """The application with a few hundred rows, after the migration."""
    yield from _clone(templates, f"{variant}-migrated")


@pytest.fixture
def large(templates: Templates, variant: str) -> Iterator[Database]:
    """The application with a hundred thousand sales, before the migration."""
    yield from _clone(templates, f"{variant}-large")


@pytest.fixture
def large_migrated(templates: Templates, variant: str) -> Iterator[Database]:
    """The application with a hundred thousand sales, after the migration."""
    yield from _clone(templates, f"{variant}-large-migrated")


def _clone(templates: Templates, kind: str) -> Iterator[Database]:
    made = templates.clone(kind)
    yield made
    made.drop()
