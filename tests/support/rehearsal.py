"""A rehearsal: staging's schema in a throwaway server, with generated rows, migrated, checked and taken back.

What comes over from staging is its schema, its roles' names and memberships, and figures: rows, sizes, widths.

A schema is full of code, and a superuser's code runs any command on the machine that the server is on. So nothing
that can run code of staging is done as a superuser. That takes in more than one would think: PostgreSQL works out what
is constant in an expression while it creates a table or plans a query, and, up to version 12, a partition key whenever
the table is opened, for its definition even. No role of staging is a superuser there either, nor may it make one.
"""

from __future__ import annotations

import math
import os
import re
import secrets
import shlex
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import errors, sql

from phase_1.fingerprint import Fingerprint, difference, fingerprint
from phase_1.plan import INDEX_ENTRY_BYTES, SECONDS_A_ROW, SECONDS_THAT_HURT
from phase_1.problems import DONE
from tests.plugins.database import Database
from tests.plugins.server import Choice, Server
from tests.support.embedded import EmbeddedUnavailable, client_program
from tests.support.rows import Figures, Filler, NoRows, without_checks
from tests.support.runner import Run, run
from tests.support.staging import Staging

DATABASE = "rehearsal"
#: The rows that are generated unless --scale says otherwise: seconds of work, and enough to extrapolate.
ROWS = 100_000
#: A table of fewer rows is generated whole: what a page holds would distort its figures.
FEWEST = 2_000

#: Creates what only a superuser can; never opens a table of staging's.
_SUPERUSER = "phase_1_rehearsal"
#: Does the rest: has the rights of every role of staging, and is no superuser.
_WORKER = "phase_1_rehearsal_worker"

#: The entries of a dump that the superuser restores, since creating them opens no table and runs no code of staging.
#: First of all, so that nothing of staging gets in the way of an extension's script:
_SCHEMAS = r"SCHEMA|EXTENSION|PUBLICATION(?! TABLE)"
#: after everything that the worker restores:
_RIGHTS = r"ACL|DEFAULT ACL|PUBLICATION TABLES|COMMENT - (?:EXTENSION|PUBLICATION|SCHEMA)"
#: and when nothing else is left to be done as a superuser:
_EVENT_TRIGGERS = r"EVENT TRIGGER|COMMENT - EVENT TRIGGER"
#: The steps that take the longer the more rows there are; the others change the catalog.
_READING = {"create_index", "validate_client_id_foreign_key", "validate_client_id", "add_memberships", "fill_client_id"}
_MEMBERSHIPS = "user_organizations"
_PAGE = 8192  # bytes: the first page of an index holds no entry


class CannotBeRehearsed(Exception):
    """The throwaway database does not come to be; the message says what is in the way, and what to do."""


@dataclass(frozen=True)
class Rehearsal:
    """How it went, and what it measured, in bytes and seconds; ``told`` is what was otherwise than on staging."""

    server: str
    user: str
    rows: Mapping[str, int]
    told: Sequence[str]
    migration: Run
    verification: Run
    rollback: Run
    differs: Sequence[str]
    steps: Mapping[str, float]
    seconds: float
    rollback_seconds: float
    wal: int
    sizes: Mapping[str, tuple[int, int]]  # bytes and entries of each index that is new, and of the memberships

    @property
    def problems(self) -> list[str]:
        """What went wrong, of all of it the first."""
        stages = {"the migration": self.migration, "--verify": self.verification, "--rollback": self.rollback}
        for what, went in stages.items():
            if went.status != DONE:
                found = [f"{each['object']}: {each['problem']}" for each in went.findings if each["level"] == "error"]
                return [f"{what} ended with {went.status}: {each}" for each in found or [went.json.get("error", "")]]
        return [f"after the rollback {each}" for each in self.differs]


def rehearse(staging: Staging, choice: Choice, options: str, scale: float | None) -> Rehearsal:
    """The whole way on a server that nobody else uses, and that is gone afterwards. Raises CannotBeRehearsed."""
    if any(finding.level == "error" for finding in staging.findings("preflight")):
        raise CannotBeRehearsed("preflight refuses it")
    archive = _dump(staging)
    try:
        server = choice.start()
    except RuntimeError as problem:  # of the embedded server, or of Docker
        raise CannotBeRehearsed(f"the throwaway server does not start: {problem}") from problem
    try:
        return _rehearse(staging, server, archive, shlex.split(options), scale)
    except NoRows as problem:
        raise CannotBeRehearsed(f"no rows can be made for {problem}") from problem
    except psycopg.Error as problem:
        raise CannotBeRehearsed(f"the throwaway server says: {staging.hide(str(problem))}") from problem
    finally:
        server.close()


def _rehearse(staging: Staging, server: Server, archive: Archive, options: list[str], scale: float | None) -> Rehearsal:
    server = _with_own_superuser(server)
    told = ["no write waits for a disk: fsync is off"]
    if server.major != staging.major:
        told.append(f"the server is PostgreSQL {server.major}, and staging {staging.major}")
    told += [f"{name} is not there: {staging.role} may not read it" for name in staging.unreadable]
    told.append("no role is a superuser: those of staging have the rights of the other roles instead")
    user, password = _create_roles(staging, server), secrets.token_urlsafe(16)
    worker = _create_worker(server)
    told += _create_database(staging, server, user)
    with closing(server.connect(DATABASE, options="-c search_path=")) as connection:
        connection.execute(
            sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(user), sql.Literal(password))
        )
        told += _restore(staging, archive, server, worker, connection)
        with closing(worker.connect(DATABASE)) as working:
            _require_tables(staging, working)
            checks = without_checks(working)
            if checks:
                told.append(f"generated rows obey no CHECK: {', '.join(checks)} were taken off")
            made = _fill(staging, working, scale)
            working.execute("VACUUM ANALYZE")
            [(catalogs,)] = connection.execute(
                "SELECT string_agg(oid::regclass::text, ', ') FROM pg_class"
                " WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind = 'r'"
            ).fetchall()
            connection.execute(f"VACUUM ANALYZE {catalogs}")
            # No superuser logs in there after this: a trigger ON login would run.
            told += _told(staging, archive.restore(server, _EVENT_TRIGGERS, "--no-owner"))
            arguments = ("--dsn", server.dsn(DATABASE, user, password), "--json", *options)
            return _go(staging, server, worker, working, arguments, user, made, told)


def dumper(major: int) -> str:
    """A pg_dump that can read a server of that version: it has to be as new. Raises CannotBeRehearsed."""
    found = []
    for wheel in (True, False):
        with suppress(EmbeddedUnavailable):
            program = str(client_program("pg_dump", wheel=wheel))
            version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
            found.append(re.sub(r"\D*(\S+).*\n?", r"\1", version))
            if int(re.sub(r"\D.*", "", found[-1])) >= major:
                return program
    raise CannotBeRehearsed(
        f"staging is PostgreSQL {major}, which needs a pg_dump as new (there is {', '.join(found) or 'none'}). "
        f"What to do: install the client programs of PostgreSQL {major} and put them on PATH"
    )


@dataclass(frozen=True)
class Archive:
    """A schema as pg_dump keeps it, and the pg_restore that goes with it.

    Entry by entry it goes to the server, without psql: what stands in a name or a comment is no command of anybody's.
    """

    content: bytes = field(repr=False)
    program: Path

    def entries(self, kinds: str) -> list[str]:
        """The numbers of the entries of these kinds, a pattern, in the order of the archive."""
        done = self._run("--list")
        if done.returncode:
            reason = " ".join(done.stderr.decode(errors="replace").split())
            raise CannotBeRehearsed(f"pg_restore could not read the dump: {reason}")
        # "12; 1259 16385 TABLE public users app_owner": the kind comes before everything that somebody has named.
        return re.findall(rf"^(\d+); \d+ \d+ (?:{kinds})(?= )", done.stdout.decode(), re.MULTILINE)

    def restore(self, server: Server, kinds: str, *options: str) -> list[str]:
        """Restores the entries of these kinds; returns what the server says of those that it does not take."""
        entries = self.entries(kinds)
        if not entries:
            return []
        with tempfile.NamedTemporaryFile("w", prefix="phase_1_", suffix=".list") as chosen:
            chosen.write("".join(f"{number};\n" for number in entries))
            chosen.flush()
            done = self._run(
                f"--use-list={chosen.name}",
                "--no-tablespaces",
                f"--dbname={server.dsn_without_password(DATABASE)}",
                *options,
                PGPASSWORD=server.superuser_password,
            )
        said = done.stderr.decode(errors="replace")
        failed = re.findall(r"^pg_restore: error: could not execute query: ERROR: +(.*)$", said, re.MULTILINE)
        if done.returncode and not failed:
            raise CannotBeRehearsed(f"pg_restore could not restore the schema: {' '.join(said.split())}")
        # pg_restore writes for servers of its own version.
        return [line for line in failed if line != 'unrecognized configuration parameter "transaction_timeout"']

    def _run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [self.program, *arguments],
            input=self.content,
            env={**os.environ, "LC_ALL": "C", **environment},
            capture_output=True,
            check=False,
        )


def _dump(staging: Staging) -> Archive:
    """The schema of everything that the role can lock for reading, as pg_dump writes it."""
    target, environment = staging.for_programs()
    program = dumper(staging.major)
    done = subprocess.run(
        [
            program,
            "--format=custom",
            "--schema-only",
            "--no-subscriptions",
            "--no-security-labels",
            "--lock-wait-timeout=5s",
            *(f"--exclude-table={name}" for name in staging.unreadable),
            f"--dbname={target}",
        ],
        env={**os.environ, **environment},
        capture_output=True,
        check=False,
    )
    if done.returncode:
        reason = " ".join(done.stderr.decode(errors="replace").split()) or f"it ended with {done.returncode}"
        raise CannotBeRehearsed(f"pg_dump of staging failed: {staging.hide(reason)}")
    return Archive(done.stdout, Path(program).with_name("pg_restore"))


def _with_own_superuser(server: Server) -> Server:
    """The server by another superuser: on staging ``postgres`` may own the tables, and be no superuser."""
    password = secrets.token_urlsafe(16)
    with closing(server.connect()) as connection:
        # As production has it: the WAL of the first change of each page holds all of the page.
        connection.execute("ALTER SYSTEM SET full_page_writes = on")
        connection.execute("SELECT pg_reload_conf()")
        create = sql.SQL("CREATE ROLE {} SUPERUSER LOGIN PASSWORD {}")
        connection.execute(create.format(sql.Identifier(_SUPERUSER), sql.Literal(password)))
    other = _seen_by(server, _SUPERUSER, password)
    with closing(other.connect()) as connection:
        rename = sql.SQL("ALTER ROLE {} RENAME TO {}")
        connection.execute(rename.format(sql.Identifier(server.user), sql.Identifier(f"{_SUPERUSER}_former")))
    return other


def _seen_by(server: Server, user: str, password: str) -> Server:
    """The server as another role finds it."""
    choice = Choice(server.kind, server.reason, server.image, server.version)
    return Server(choice, server.dsn("postgres", user, password))


def _create_roles(staging: Staging, server: Server) -> str:
    """Creates staging's roles, of which nobody logs in; returns the one that can migrate.

    None is a superuser, or may create roles: before PostgreSQL 16 that is a way to run programs. Who is a superuser
    on staging becomes a member of every other role, so that what it owns is trusted as it is there.
    """
    with staging.looking() as connection:
        roles = connection.execute(
            "SELECT rolname, concat_ws(' ', CASE WHEN rolinherit OR rolsuper THEN 'INHERIT' ELSE 'NOINHERIT' END,"
            " CASE WHEN rolbypassrls OR rolsuper THEN 'BYPASSRLS' END), rolsuper"
            " FROM pg_catalog.pg_roles WHERE rolname !~ '^pg_' ORDER BY rolsuper,"
            " oid <> (SELECT relowner FROM pg_catalog.pg_class WHERE oid = to_regclass('public.users')), rolname"
        ).fetchall()
        members = connection.execute(
            "SELECT pg_get_userbyid(roleid), pg_get_userbyid(member) FROM pg_catalog.pg_auth_members"
        ).fetchall()
        # Who may do everything, and may do as little else as possible.
        user = staging.value(
            "SELECT r.rolname FROM pg_catalog.pg_roles AS r WHERE r.rolname !~ '^pg_' AND NOT EXISTS ("
            " SELECT FROM pg_catalog.pg_class AS c WHERE c.relnamespace = 'public'::regnamespace"
            " AND c.relname = ANY (%s) AND NOT pg_has_role(r.oid, c.relowner, 'USAGE'))"
            " ORDER BY r.rolsuper, r.oid <> (SELECT relowner FROM pg_catalog.pg_class"
            " WHERE oid = to_regclass('public.users')), r.rolname LIMIT 1",
            staging.tables,
        )
    if user is None:
        raise CannotBeRehearsed("no role may do what the owners of the tables may. What to do: give them one owner")
    with closing(server.connect()) as connection:
        for name, attributes, _ in roles:
            connection.execute(sql.SQL(f"CREATE ROLE {{}} {attributes}").format(sql.Identifier(name)))
        for role, member in members:
            if not role.startswith("pg_") and not member.startswith("pg_"):
                _grant(connection, role, member)
        # The others come first, then who owns the tables, if it is one of them: two cannot be members of each other.
        for place, (member, _, superuser) in enumerate(roles):
            if superuser:
                for role, *_ in roles[:place]:
                    with suppress(errors.InvalidGrantOperation):
                        _grant(connection, role, member)
    return str(user)


def _grant(connection: psycopg.Connection[Any], role: str, member: str) -> None:
    connection.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(role), sql.Identifier(member)))


def _create_worker(server: Server) -> Server:
    """Creates the role that works where code of staging may run; returns the server as that role finds it."""
    password = secrets.token_urlsafe(16)
    with closing(server.connect()) as connection:
        roles = connection.execute(
            "SELECT rolname FROM pg_catalog.pg_roles WHERE rolname !~ '^pg_' AND NOT rolsuper"
        ).fetchall()
        create = sql.SQL("CREATE ROLE {} BYPASSRLS LOGIN PASSWORD {}")
        connection.execute(create.format(sql.Identifier(_WORKER), sql.Literal(password)))
        # Triggers and foreign keys rest while rows are made; only a superuser can say so, and does it for the role.
        connection.execute(f"ALTER ROLE {_WORKER} SET session_replication_role = replica")
        for (role,) in roles:
            _grant(connection, role, _WORKER)
    return _seen_by(server, _WORKER, password)


def _create_database(staging: Staging, server: Server, user: str) -> list[str]:
    """Creates the database with staging's owner, encoding and order of texts, as far as they are to be had."""
    with staging.looking() as connection:
        [row] = connection.execute(
            "SELECT pg_get_userbyid(datdba), pg_encoding_to_char(encoding), datcollate, datctype,"
            " current_setting('maintenance_work_mem'), current_setting('max_parallel_maintenance_workers'),"
            " has_schema_privilege(%s, 'public', 'CREATE')"
            " FROM pg_catalog.pg_database WHERE datname = current_database()",
            [user],
        ).fetchall()
    owner, encoding, collate, ctype, memory, workers, may_create = row
    create = sql.SQL("CREATE DATABASE {} TEMPLATE template0 OWNER {} ENCODING {}").format(
        sql.Identifier(DATABASE), sql.Identifier(owner), sql.Literal(encoding)
    )
    order = sql.SQL(" LC_COLLATE {} LC_CTYPE {}").format(sql.Literal(collate), sql.Literal(ctype))
    told = []
    with closing(server.connect()) as connection:
        try:
            connection.execute(create + order)
        except psycopg.Error as error:
            told.append(f"texts are not in staging's order ({error.diag.message_primary}): their indexes build faster")
            connection.execute(create)
        for name, value in (("maintenance_work_mem", memory), ("max_parallel_maintenance_workers", workers)):
            change = sql.SQL("ALTER DATABASE {} SET {} = {}")
            connection.execute(change.format(sql.Identifier(DATABASE), sql.Identifier(name), sql.Literal(value)))
    with closing(server.connect(DATABASE)) as connection:
        # What everybody may do in public depends on the version, and a dump says only what differs from it.
        change = sql.SQL(
            "GRANT USAGE, CREATE ON SCHEMA public TO {}"
            if may_create
            else "REVOKE CREATE ON SCHEMA public FROM {}, PUBLIC"
        )
        connection.execute(change.format(sql.Identifier(user)))
    return told


def _restore(
    staging: Staging, archive: Archive, server: Server, worker: Server, connection: psycopg.Connection[Any]
) -> list[str]:
    """Restores all but the event triggers; returns what the server says of that which it does not take."""
    failed = archive.restore(server, _SCHEMAS)
    with _open_schemas(connection):
        failed += archive.restore(worker, rf"(?!{_SCHEMAS}|{_RIGHTS}|{_EVENT_TRIGGERS}).*")
    failed += archive.restore(server, _RIGHTS)
    _correct_rights(connection)
    return _told(staging, failed)


def _correct_rights(connection: psycopg.Connection[Any]) -> None:
    """Takes back the functions that reach out of a database, and lets the worker read and fill every table."""
    for (statement,) in connection.execute(
        """
        -- What PostgreSQL or an extension keeps from everybody, such as dblink_connect_u: whom staging's superuser has
        -- let use it on staging's machine may not use it on this one.
        SELECT format('REVOKE ALL ON ROUTINE %%s FROM %%s CASCADE', p.oid::regprocedure, string_agg(
            CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END, ', '))
        FROM pg_init_privs AS i
        JOIN pg_proc AS p ON i.classoid = 'pg_proc'::regclass AND p.oid = i.objoid
        CROSS JOIN aclexplode(p.proacl) AS a
        WHERE a.grantee <> p.proowner AND a.grantee NOT IN (SELECT grantee FROM aclexplode(i.initprivs))
            AND 0 NOT IN (SELECT grantee FROM aclexplode(i.initprivs))
        GROUP BY p.oid
        UNION ALL
        -- What extensions have brought is the superuser's; an owner may have taken rights away from itself.
        SELECT format('GRANT USAGE ON SCHEMA %%I TO %%I', nspname, worker)
        FROM pg_namespace, CAST(%(worker)s AS text) AS worker
        WHERE NOT has_schema_privilege(worker, oid, 'USAGE') AND nspname !~ '^pg_'
        UNION ALL
        SELECT format('GRANT SELECT, INSERT ON %%I.%%I TO %%I', n.nspname, c.relname, worker)
        FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace, CAST(%(worker)s AS text) AS worker
        WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
            AND NOT (has_table_privilege(worker, c.oid, 'SELECT') AND has_table_privilege(worker, c.oid, 'INSERT'))
        """,
        {"worker": _WORKER},
    ).fetchall():
        connection.execute(statement)


def _told(staging: Staging, failed: Sequence[str]) -> list[str]:
    return [f"not restored: {staging.hide(line)}" for line in dict.fromkeys(failed)]


@contextmanager
def _open_schemas(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Lets everybody create in every schema: whom an object is given to has to be allowed to, and is not yet."""
    missing = connection.execute(
        "SELECT nspname, privilege FROM pg_namespace, unnest(ARRAY['USAGE', 'CREATE']) AS privilege"
        " WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'"
        " AND NOT has_schema_privilege('public', oid, privilege)"
    ).fetchall()
    for schema, privilege in missing:
        connection.execute(sql.SQL(f"GRANT {privilege} ON SCHEMA {{}} TO PUBLIC").format(sql.Identifier(schema)))
    yield
    for schema, privilege in missing:
        connection.execute(sql.SQL(f"REVOKE {privilege} ON SCHEMA {{}} FROM PUBLIC").format(sql.Identifier(schema)))


def _require_tables(staging: Staging, connection: psycopg.Connection[Any]) -> None:
    """Raises CannotBeRehearsed if a tenant table or a column of one has not come over."""
    missing = staging.before.catalog.keys() - fingerprint(connection).keys()
    tables = "|".join(map(re.escape, staging.tables))
    affected = sorted(name for name in missing if re.fullmatch(rf"table public\.({tables})(: column .*)?", name))
    if affected:
        extensions = ", ".join(sorted(name.partition(" ")[2] for name in missing if name.startswith("extension ")))
        image = f". What to do: give --pg-image one that has the extension {extensions}" if extensions else ""
        raise CannotBeRehearsed(f"the throwaway server does not take {', '.join(affected)}{image}")


def _fill(staging: Staging, connection: psycopg.Connection[Any], scale: float | None) -> dict[str, int]:
    """Makes the rows; returns how many each tenant table has got."""
    counts = {name: staging.before.count(name) for name in staging.tables}
    share = min(1.0, ROWS / max(sum(counts.values()), 1)) if scale is None else scale
    wanted = {f"public.{name}": max(round(real * share), min(real, FEWEST)) for name, real in counts.items()}
    with staging.looking() as looking:
        figures = {
            (f"public.{table}", column): Figures(*rest)
            for table, column, *rest in looking.execute(
                "SELECT tablename, attname, null_frac, avg_width, n_distinct, correlation FROM pg_catalog.pg_stats"
                " WHERE schemaname = 'public' AND tablename = ANY (%s) AND NOT inherited",
                [staging.tables],
            )
        }
        real = dict(
            looking.execute(
                "SELECT format('%I.%I', n.nspname, c.relname), greatest(c.reltuples, 0)::bigint"
                " FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace"
                " WHERE c.relkind IN ('r', 'p')"
            ).fetchall()
        )
    real |= {f"public.{name}": count for name, count in counts.items()}
    made = Filler(connection, wanted, real, figures).fill()
    return {name: made[f"public.{name}"] for name in staging.tables}


def _go(
    staging: Staging,
    server: Server,
    worker: Server,
    connection: psycopg.Connection[Any],
    arguments: tuple[str, ...],
    user: str,
    made: dict[str, int],
    told: list[str],
) -> Rehearsal:
    """Migrates, verifies and rolls back as the role that will do it; the worker looks at what comes of it."""
    database = Database(worker, DATABASE, "staging")

    def catalog() -> Fingerprint:
        return fingerprint(connection, exclude=["public.migration_log"])

    schema_before, rows_before = catalog(), database.checksum()
    with closing(server.connect()) as superuser:  # of another database, where nothing of staging is
        superuser.execute("CHECKPOINT")
    start, position = time.perf_counter(), _wal(connection)
    migration = run(*arguments, "--force")
    seconds, wal = time.perf_counter() - start, _wal(connection) - position
    steps = _steps(connection) if migration.status == DONE else {}
    sizes = _sizes(connection, staging) if migration.status == DONE else {}
    verification = run(*arguments, "--verify")
    start = time.perf_counter()
    # What was left out it knows from the log, and takes no option for it.
    dsn, online = arguments[:2], ["--online"] if staging.options.online else []
    rollback = run(*dsn, "--json", "--rollback", "--force", *online)
    rollback_seconds = time.perf_counter() - start
    rows_after = database.checksum()
    differs = difference(schema_before, catalog())
    differs += [f"the rows of {name} differ" for name in rows_before if rows_before[name] != rows_after.get(name)]
    return Rehearsal(
        server=worker.label,
        user=user,
        rows=made,
        told=told,
        migration=migration,
        verification=verification,
        rollback=rollback,
        differs=differs,
        steps=steps,
        seconds=seconds,
        rollback_seconds=rollback_seconds,
        wal=wal,
        sizes=sizes,
    )


def _wal(connection: psycopg.Connection[Any]) -> int:
    [(position,)] = connection.execute("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint").fetchall()
    return int(position)


def _steps(connection: psycopg.Connection[Any]) -> dict[str, float]:
    """The seconds of each step: each has an entry in the log, written when it was done."""
    return {
        operation: float(seconds)
        for operation, seconds, status in connection.execute(
            "SELECT operation, extract(EPOCH FROM created_at - lag(created_at) OVER (ORDER BY id)), status"
            " FROM public.migration_log WHERE phase = 'phase_1' ORDER BY id"
        )
        if seconds is not None and status == "completed" and operation not in ("migrate", "verify")
    }


def _sizes(connection: psycopg.Connection[Any], staging: Staging) -> dict[str, tuple[int, int]]:
    """For each index that is new, and for the memberships with theirs, the bytes and the entries."""
    found = connection.execute(
        "SELECT relname, pg_relation_size(oid), reltuples::bigint FROM pg_catalog.pg_class"
        " WHERE relnamespace = 'public'::regnamespace AND relname = ANY (%s)"
        f" UNION ALL SELECT %s, pg_total_relation_size('public.{_MEMBERSHIPS}'),"
        f" (SELECT count(*) FROM public.{_MEMBERSHIPS})",
        [[index.name for index in staging.found.indexes], _MEMBERSHIPS],
    )
    return {name: (size, entries) for name, size, entries in found}


def megabytes(number: float) -> float:
    """Bytes as MB with one decimal."""
    return round(number / 1e6, 1)


@dataclass(frozen=True)
class Estimate:
    """What the migration will take where staging's rows are: seconds of one transaction, and bytes."""

    tables: list[dict[str, Any]]
    rows: int
    seconds: float
    wal: int
    disk: int
    sorting: int

    def beside(self, rehearsal: Rehearsal, *, online: bool) -> list[dict[str, Any]]:
        """The figures for people, beside those of the rehearsal that they are made of."""
        return [
            {"what": "rows", "rehearsed": sum(rehearsal.rows.values()), "expected": self.rows},
            {
                "what": "seconds, in short transactions" if online else "seconds of held locks",
                "rehearsed": round(sum(rehearsal.steps.values()), 2),
                "expected": round(self.seconds, 2),
            },
            {"what": "the same, as migrate.py announces", "expected": round(self.rows * SECONDS_A_ROW, 2)},
            {"what": "WAL, MB", "rehearsed": megabytes(rehearsal.wal), "expected": megabytes(self.wal)},
            {
                "what": "disk for good, MB",
                "rehearsed": megabytes(sum(size for size, _ in rehearsal.sizes.values())),
                "expected": megabytes(self.disk),
            },
            {"what": "disk while it sorts, MB", "expected": megabytes(self.sorting)},
            {
                "what": "advised",
                "expected": "--online" if self.seconds > SECONDS_THAT_HURT else "one transaction",
            },
        ]


def estimate(staging: Staging, rehearsal: Rehearsal) -> Estimate:
    """Extrapolates each table by its rows: a scan grows with them, a sort by a little more, the catalog not at all."""
    real = {name: staging.before.count(name) for name in rehearsal.rows}
    seconds: dict[str, float] = defaultdict(float)
    table_of = {index.name: index.table for index in staging.found.indexes}
    for label, taken in rehearsal.steps.items():
        step, _, target = label.rstrip(")").partition("(")
        table = table_of.get(target, target or "users")
        made, there = rehearsal.rows.get(table, 0), real.get(table, 0)
        if step not in _READING or made == 0:
            seconds["the catalog"] += taken
        else:
            sort = math.log(max(there, 2)) / math.log(max(made, 2)) if step == "create_index" else 1.0
            seconds[table] += taken * there / made * sort
    size: dict[str, float] = defaultdict(float)
    sorting = 0.0
    with staging.looking():
        for index in staging.found.indexes:
            entries = real[index.table]
            if index.where:
                entries = staging.value(f"SELECT count(*) FROM public.{index.table} WHERE {index.where}")
            expected = _grown(rehearsal.sizes.get(index.name, (0, 0)), entries)
            size[index.table] += expected
            sorting = max(sorting, expected)
    size[_MEMBERSHIPS] = _grown(rehearsal.sizes.get(_MEMBERSHIPS, (0, 0)), real["users"])
    disk = round(sum(size.values()))
    tables = [
        {"table": name, "rows": real[name], "rehearsed with": rehearsal.rows[name]}
        | {"seconds": round(seconds[name], 2), "disk, MB": megabytes(size[name])}
        for name in real
    ]
    # What is built is also written to the WAL; the rest of it is changes of the catalog, which do not grow.
    rest = max(rehearsal.wal - sum(bytes_ for bytes_, _ in rehearsal.sizes.values()), 0)
    return Estimate(tables, sum(real.values()), sum(seconds.values()), rest + disk, disk, round(sorting))


def _grown(measured: tuple[int, int], entries: int) -> float:
    """The bytes that something will have with so many entries."""
    size, of = measured
    return (size - _PAGE) * entries / of + _PAGE if of > 0 else entries * INDEX_ENTRY_BYTES + _PAGE
