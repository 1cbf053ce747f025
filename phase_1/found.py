"""What is there: the database as the catalog tells it, and the placeholders that follow from it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Collection, Dict, FrozenSet, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple
from zlib import crc32

import psycopg

from phase_1 import journal, trust
from phase_1.connection import value
from phase_1.inventory import (
    API_ROLES,
    CHILDREN,
    DEFAULT_ORGANIZATION,
    DEFAULT_SLUG,
    FUNCTIONS,
    SERVICE_ROLE,
    TABLES,
    TIME,
    TIME_COLUMNS,
    Index,
)
from phase_1.options import Options
from phase_1.problems import Refused
from phase_1.scripts import SCHEMA, TEXT, TEXTS, Value, array, fill, identifier, literal, read, rows, text
from phase_1.shown import QUERY
from phase_1.trust import AtStake

#: Rows of one batch: a fraction of a second on any machine, and few enough locks on rows.
BATCH = 10_000

#: The key of the advisory lock: "Ph" and "1" in one number that nobody picks by chance.
ADVISORY_LOCK = 0x5068_0001


@dataclass(frozen=True)
class Partition:
    """A partition of a tenant table; ``indexes`` are those that belong to one of the table: (its, the table's).

    What was made for it may have the name that the partition had then.
    """

    name: str
    row_security: bool
    indexes: Tuple[Tuple[str, str], ...]
    foreign_key: str

    def index(self, of_table: Index) -> str:
        """What the partition's part of an index is called: as it is there, or as it is to be."""
        there = (name for name, parent in self.indexes if parent == of_table.name)
        return next(there, _short(replace(of_table, table=self.name).name))


@dataclass(frozen=True)
class FoundTable:
    """A tenant table that is there. ``rows`` is the planner's estimate; sizes are those of its partitions too.

    Where nobody has analysed it yet, ``rows`` is ``guessed`` from its size.
    """

    name: str
    oid: int
    rows: int
    guessed: bool
    table_bytes: int
    index_bytes: int
    row_security: bool
    time_column: Optional[str]
    looked_for: str
    client_id: bool  # of type uuid; any other is refused in preflight
    client_id_nullable: bool
    key: Optional[str]
    columns: FrozenSet[str]
    wide_columns: FrozenSet[str]  # of no fixed width
    partitioned: bool
    partitions: Tuple[Partition, ...]

    @property
    def qualified(self) -> str:
        """The name as it stands in SQL."""
        return f"public.{identifier(self.name)}"


@dataclass(frozen=True)
class Reference:
    """A foreign key to organizations: its table, its columns, and those of organizations that they name."""

    constraint: str
    definition: str
    oid: int  # of its table
    schema: str
    table: str
    columns: Tuple[str, ...]
    referred: Tuple[str, ...]


@dataclass(frozen=True)
class Found:
    """The database before the run; everything that the plan depends on."""

    options: Options
    version: int
    database: str
    user: str
    tables: Tuple[FoundTable, ...]
    indexes: Tuple[Index, ...]
    default_organization: str
    organizations: bool  # what is not there, or of another shape, is not read
    memberships: bool
    api_roles: Tuple[str, ...]
    service_role: bool
    table_grantees: Tuple[str, ...]
    function_grantees: Tuple[str, ...]
    uuid_function: str
    connection_check: bool
    isolated: Tuple[str, ...]  # "uploads INSERT anon": other policies keep the role to its client there
    standing: Dict[str, Dict[str, Any]]
    unfinished: str
    #: What this run leaves out and one that was stopped has begun with.
    half_done: Tuple[str, ...]
    #: What this run leaves out and an earlier one has migrated.
    migrated_before: Tuple[FoundTable, ...]
    #: The options that were not given and are those of the last migration, as they would be written.
    remembered: Tuple[str, ...]
    references: Tuple[Reference, ...]  # looked up for a rollback only
    integrity_function: bool
    log_sequence: Optional[str]  # what numbers the entries of the log, where the role may see it
    log: bool  # whether it can be read; looked up for --purge-log only

    @property
    def drops_organizations(self) -> bool:
        """Whether a rollback drops the table of clients."""
        return "create_organizations" in self.standing

    @property
    def deletes_organizations(self) -> bool:
        """Whether a rollback deletes the default organization, alone or with the table."""
        return self.drops_organizations or "create_default_organization" in self.standing

    def keeps_client_id(self, table: FoundTable) -> bool:
        """Whether the column was there before Phase 1, and stays when that is taken back."""
        return table.client_id and f"add_client_id({table.name})" not in self.standing

    def empties_client_id(self, table: FoundTable) -> bool:
        """Whether a rollback takes the organizations that it deletes out of a column that it keeps."""
        takes_null = table.client_id_nullable or f"require_client_id({table.name})" in self.standing
        return self.deletes_organizations and self.keeps_client_id(table) and takes_null

    def changes_rows(self, table: FoundTable) -> bool:
        """Whether the run updates rows of the table: it fills a client_id that was there, or empties it again."""
        if self.options.action != "rollback":
            return table.client_id_nullable
        return self.empties_client_id(table) or f"fill_client_id({table.name})" in self.standing

    def table(self, name: str) -> Optional[FoundTable]:
        """The table of that name, if it is there and not left out."""
        return next((table for table in self.tables if table.name == name), None)

    def table_of(self, index: Index) -> FoundTable:
        """The table of an index that is wanted here."""
        return next(table for table in self.tables if table.name == index.table)

    def columns(self, index: Index) -> Tuple[str, ...]:
        """The columns of an index, led by client_id, with the time column as the table calls it."""
        return tuple(f"{identifier(name)} {order}".strip() for name, order in self._columns(index))

    def _columns(self, index: Index) -> Iterator[Tuple[str, str]]:
        """The columns of an index with their orders, by the names that the catalog has."""
        time = self.table_of(index).time_column or TIME
        yield "client_id", ""
        for column in index.key:
            name, _, order = column.partition(" ")
            yield (time if name == TIME else name), order

    def _shape(self, index: Index) -> Tuple[str, str]:
        """The columns of an index and the literals of its predicate, in a list of rows."""
        columns = [" ".join(filter(None, column)) for column in self._columns(index)]
        return array(columns), array(sorted(_literals(index)))

    def values(self, **more: Value) -> Dict[str, Value]:
        """The placeholders of the files in ``sql/``, with those of one table or index in ``more``."""
        return {**self._values, **more}

    @cached_property
    def _values(self) -> Dict[str, Value]:
        roles: Tuple[str, ...] = tuple(self.api_roles)
        service = (SERVICE_ROLE,) if self.service_role else ()
        denied = ", ".join(map(identifier, roles)) or "PUBLIC"
        children = list(self._children(self.tables))
        revoked = ("PUBLIC", *map(identifier, sorted({*roles, *service, *self.table_grantees})))
        functions = ("PUBLIC", *map(identifier, sorted({*roles, *service, *self.function_grantees})))
        return {
            "lock_timeout": f"{self.options.lock_timeout}ms",
            "no_transaction_timeout": "0" if self.version >= 170000 else None,
            "default_transaction_timeout": "DEFAULT" if self.version >= 170000 else None,
            "connection_check": "'1s'" if self.connection_check else None,
            "default_connection_check": "DEFAULT" if self.connection_check else None,
            "concurrently_timeout": f"{self.options.concurrently_timeout}ms",
            "advisory_lock": str(ADVISORY_LOCK),
            "query_without_literals": QUERY,
            "concurrently": "CONCURRENTLY" if self.options.online else "",
            "tables": ", ".join(table.qualified for table in self.tables),
            "default_organization": self.default_organization,
            # What is there and is ours may be changed; what somebody else has created since is not to be ours.
            "or_replace": "OR REPLACE" if self.integrity_function else "",
            "gen_random_uuid": self.uuid_function,
            # Where the table was not there before Phase 1, a client_id could not name anybody.
            "belongs_to_deleted": "client_id IS NOT NULL"
            if self.drops_organizations
            else f"client_id = {literal(self.default_organization)}",
            "referred_to": " OR ".join(self._referring()) or None,
            **trust.roles(self.version),
            "log": "public.migration_log"
            if self.log
            else "(SELECT ''::text AS phase, ''::text AS operation WHERE FALSE)",
            "log_sequence": self.log_sequence,
            "organizations": "public.organizations" if self.organizations else "(SELECT NULL::uuid AS id WHERE FALSE)",
            "denied_roles": denied,
            "denied_roles_text": denied,
            "revoked_roles": ", ".join(revoked),
            "function_revoked_roles": ", ".join(functions),
            "service_role": SERVICE_ROLE if self.service_role else None,
            "execute_roles": ", ".join(map(identifier, (*service, *self.options.grantees))) or None,
            "isolated": array(list(self.isolated)),
            "table_names": array([table.name for table in self.checked]),
            "children": array([" ".join(child) for child in self._children(self.checked)]),
            "children_wanted": rows([tuple(map(text, child)) for child in children], TEXT, TEXT, TEXT),
            "tables_wanted": rows(
                [(text(table.name),) for table in TABLES if table.name not in self.options.skipped_tables], TEXT
            ),
            "tables_found": rows(
                [(text(t.name), text(t.time_column), text(t.looked_for)) for t in self.tables], TEXT, TEXT, TEXT
            ),
            "partitions": rows(
                [
                    tuple(text(str(part[key])) for key in ("table", "tenant_table", "foreign_key"))
                    for table in self.tables
                    for part in self.below({"table": table.name})
                ],
                *(TEXT, TEXT, TEXT),
            ),
            "partition_indexes": rows(
                [
                    (text(part.index(i)), text(part.name), text(i.name), *self._shape(i))
                    for i in self.indexes
                    for part in self.table_of(i).partitions
                ],
                *(TEXT, TEXT, TEXT, TEXTS, TEXTS),
            ),
            "indexes_wanted": rows(
                [(text(i.name), text(i.table), *self._shape(i)) for i in self.indexes], TEXT, TEXT, TEXTS, TEXTS
            ),
            "functions_wanted": rows([(text(name), text(arguments)) for name, arguments in FUNCTIONS], TEXT, TEXT),
            "function_sources": rows([(literal(name), literal(_source(name))) for name, _ in FUNCTIONS], TEXT, TEXT),
            "standing": array(sorted(self.standing)),
            "half_done": array(self.half_done),
            "grantees": array(list(self.options.grantees)),
        }

    @property
    def checked(self) -> Tuple[FoundTable, ...]:
        """The tables whose rows have a client, or will have one after the run: what integrity looks at."""
        return (*self.tables, *self.migrated_before)

    @staticmethod
    def _children(tables: Sequence[FoundTable]) -> Iterator[Tuple[str, str, str]]:
        """The rows that have a parent here: where the column is not there, nothing can disagree."""
        columns = {table.name: table.columns for table in tables}
        for name, column, parent in CHILDREN:
            if column in columns.get(name, ()) and parent in columns:
                yield name, column, parent

    def _had_client_id(self, table: FoundTable) -> bool:
        """Whether the table has a client_id that is not (yet) the work of Phase 1."""
        tied = f"add_{'partitioned' if table.partitioned else 'client_id'}_foreign_key({table.name})"
        return table.client_id and tied not in self.standing

    def _client(self, alias: str, table: FoundTable) -> str:
        """The client that a row will have, as SQL."""
        default = f"{literal(self.default_organization)}::uuid"
        return f"coalesce({alias}.client_id, {default})" if table.client_id else default

    def targets(self, each: str) -> Iterator[Dict[str, Value]]:
        """The placeholders of each thing that a section is run for; ``each`` is its header."""
        others = {
            "indexed column of any width": self._each_wide_column,
            "child with client_id": self._each_child,
            "foreign key to the default organization": self._each_reference,
        }
        once = {
            "database": True,
            "log": True,
            "run": True,
            "organizations": self.organizations,
            "memberships": self.memberships,
            # A log that says nothing of Phase 1 leads no rollback astray.
            "log that is gone by": bool(self.standing) or self.options.action != "rollback",
            "log with a sequence": self.log_sequence is not None,
            "log that is dropped": self.options.purge_log,
        }
        if each in once:
            yield from [{}] if once[each] else []
        elif each in _INDEXES:
            yield from (values for kind, values in self._each_index() if kind in _INDEXES[each])
        elif each in others:
            yield from others[each]()
        elif each == "batch of users":
            yield {"table": "users"}
        else:
            for table in self.tables:
                if self._is(table, each):
                    yield self._of(table)
                if each in _PARTITIONS_TOO:
                    for partition in table.partitions:
                        if each != "table with row security" or (partition.row_security and self.api_roles):
                            yield {**self._of(table), **_part(table, partition), **self._pins(partition.name)}

    def below(self, values: Dict[str, Value]) -> Iterator[Dict[str, Value]]:
        """The same for each partition of the table or of the index that the placeholders name."""
        table = self.table(str(values.get("table", "")))
        if table is None:
            return
        for partition in table.partitions:
            below = {**values, **_part(table, partition)}
            for index in (index for index in self.indexes if index.name == values.get("index")):
                below["index"] = partition.index(index)
            yield below

    def _of(self, table: FoundTable) -> Dict[str, Value]:
        return {
            "table": table.name,
            "foreign_key": f"{table.name}_client_id_fkey",
            **self._pins(table.name),
        }

    def _pins(self, name: str) -> Dict[str, Value]:
        """The policies that pin a table or a partition, and the roles of each; no roles, no policy."""
        roles = {
            command: ", ".join(identifier(r) for r in self.api_roles if f"{name} {command} {r}" not in self.isolated)
            for command in PINS
        }
        return {
            "pins": array([PINS[command] for command in PINS if roles[command]]),
            **{f"{command.lower()}_roles": roles[command] or None for command in PINS},
        }

    def _each_index(self) -> Iterator[Tuple[str, Dict[str, Value]]]:
        """The indexes: of a table, of a partitioned one, and those of its partitions, which belong to it."""
        for index in self.indexes:
            values: Dict[str, Value] = {
                "table": index.table,
                "index": index.name,
                "columns": ", ".join(self.columns(index)),
                "where": f"WHERE {index.where}" if index.where else "",
            }
            yield "partitioned" if self.table_of(index).partitioned else "table", values
            for below in self.below(values):
                yield "partition", {**below, "whole_index": index.name}

    def _each_wide_column(self) -> Iterator[Dict[str, Value]]:
        for name, column in sorted(
            {
                (index.table, column)
                for index in self.indexes
                for column in self.table_of(index).wide_columns.intersection(index.key)
            }
        ):
            yield {"table": name, "column": column}

    def _each_child(self) -> Iterator[Dict[str, Value]]:
        tables = {table.name: table for table in self.tables}
        for name, column, parent in self._children(self.tables):
            if self._had_client_id(tables[name]) or self._had_client_id(tables[parent]):
                yield {
                    "table": name,
                    "column": column,
                    "parent": parent,
                    "client": self._client("c", tables[name]),
                    "parents_client": self._client("p", tables[parent]),
                }

    @property
    def read_references(self) -> Sequence[Reference]:
        """The foreign keys of others that are asked for rows.

        Where the table itself is dropped, they stop the rollback without any row.
        """
        if self.drops_organizations or not self.deletes_organizations:
            return ()
        # These go before the organization does, or are emptied, or refused by a check of their own.
        tenants = {name for table in self.tables for name in (table.name, *(part.name for part in table.partitions))}
        ours = {(name, ("client_id",)) for name in tenants}
        if "create_user_organizations" in self.standing:
            ours.add(("user_organizations", ("organization_id",)))
        return [each for each in self.references if each.schema != "public" or (each.table, each.columns) not in ours]

    def _each_reference(self) -> Iterator[Dict[str, Value]]:
        for each in self.read_references:
            yield {
                "constraint": each.constraint,
                "definition": each.definition,
                "schema": each.schema,
                "table": each.table,
                "columns": each.columns,
                "columns_text": ", ".join(map(identifier, each.columns)),
                "referred": each.referred,
                "referred_text": ", ".join(map(identifier, each.referred)),
            }

    def _referring(self) -> Iterator[str]:
        """For each of them, the condition that a row refers to the default organization."""
        default = f"FROM public.organizations WHERE id = {literal(self.default_organization)}"
        for each in self._each_reference():
            yield (
                f"EXISTS (SELECT FROM {identifier(str(each['schema']))}.{identifier(str(each['table']))}"
                f" WHERE ({each['columns_text']}) = (SELECT {each['referred_text']} {default})"
                f" AND (tableoid, ctid) <> (SELECT tableoid, ctid {default}))"
            )

    def _is(self, table: FoundTable, each: str) -> bool:
        """Whether a section with that ``each`` is run for the table."""
        return {
            "table": True,
            "table or partition": True,
            "ordinary table or partition": not table.partitioned,
            "partitioned table": table.partitioned,
            "table with client_id": table.client_id,
            "batch of a table with client_id": table.client_id,
            "table with NULL in client_id": table.client_id_nullable,
            "table that is filled or emptied": self.changes_rows(table),
            "table whose client_id was required": self.deletes_organizations
            and self.keeps_client_id(table)
            and not self.empties_client_id(table),
            "table with row security": table.row_security and bool(self.api_roles),
        }[each]


#: The indexes that a section is run for.
_INDEXES = {
    "index": ("table", "partition"),
    "index of a partitioned table": ("partitioned",),
    "index of a partition": ("partition",),
}
#: The policies that keep writers to the default organization, by the command that each is for.
PINS = {
    "INSERT": "phase_1_client_pinned",
    "UPDATE": "phase_1_client_pinned_update",
    "DELETE": "phase_1_client_pinned_delete",
}
#: The steps that make an index ours.
_BUILDS = ("create_partitioned_index", "create_index")
#: What is done to each partition for itself; anything else PostgreSQL does to them with their table.
_PARTITIONS_TOO = ("table or partition", "ordinary table or partition", "table with row security")


def _part(table: FoundTable, partition: Partition) -> Dict[str, Value]:
    return {
        "table": partition.name,
        "foreign_key": partition.foreign_key,
        "tenant_table": table.name,
    }


def _short(name: str) -> str:
    """A name of at most 63 bytes, which is where PostgreSQL would cut it, and two might become one."""
    if len(name.encode()) <= 63:
        return name
    return f"{name.encode()[:54].decode(errors='ignore')}_{crc32(name.encode()):08x}"


def _source(function: str) -> str:
    """The body of a function as the migration creates it, for no table."""
    [section] = [section for section in read(SCHEMA) if section.name == f"create_{function}"]
    values: Dict[str, Value] = {"table_names": array(()), "children": array(()), "or_replace": ""}
    creation = fill(section.statements[0], values, section.name) or ""
    return creation.split("$function$")[1]


def _literals(index: Index) -> List[str]:
    """The literals of an index's predicate, by which it is told from another one."""
    return [part for number, part in enumerate((index.where or "").split("'")) if number % 2]


def begin_reading(connection: psycopg.Connection[Any], lock_timeout: int) -> None:
    """Starts a transaction that only reads and sees every row, or fails where it cannot."""
    # In a transaction of its own: the locks come before the snapshot that everything else is read by.
    connection.execute("BEGIN READ ONLY")
    try:
        names = trust.names_there(connection)
    finally:
        connection.execute("ROLLBACK")
    connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    # In one message: on a server far away every other one is a wait.
    connection.execute(
        "SET LOCAL search_path = '';"
        " SET LOCAL row_security = off;"
        " SET LOCAL statement_timeout = 0;"
        f" SET LOCAL lock_timeout = '{lock_timeout}ms';"
        " SET LOCAL idle_in_transaction_session_timeout = '60s';"
        # The planner thinks the catalog worth compiling for, which takes longer than reading it.
        " SET LOCAL jit = off"
    )
    trust.hold(connection, names)


def inspect(connection: psycopg.Connection[Any], options: Options, *, reads_only: bool = False) -> Found:
    """Reads the catalog. Has to run in a transaction that ``begin_reading`` started.

    What was not asked for now, and was when the database was migrated, is taken from the log. Raises Untrusted where
    objects of others are in the way, before anything of them is read. Who ``reads_only`` is no runner.
    """
    trust.require_names(connection, writes=options.action in ("migrate", "rollback"), reads_only=reads_only)
    _require_readable(connection)
    there = trust.held(connection)
    logged = journal.read(connection, is_there="migration_log" in there)
    standing = logged.standing
    known_roles = {role for (role,) in connection.execute("SELECT rolname FROM pg_catalog.pg_roles")}
    # A rollback goes by the steps that stand, and needs none of it.
    last = journal.last_migration(connection) if standing and options.action != "rollback" else {}
    given, options = options, _give_way(connection, _remember(options, last, standing, known_roles))
    # A table that an earlier run has migrated stays so, also where this run is told to leave it out.
    left_out = {name for name in options.skipped_tables if not _is_ours(standing, name)}
    everything = tuple(_tables(connection, options, left_out, last.get("time_columns") or {}))
    if options.action == "rollback":
        # A table that was left out is none of its business, whoever owns it now.
        touched = {str(details.get("table")) for details in standing.values()}
        everything = tuple(
            table for table in everything if touched & {table.name, *(part.name for part in table.partitions)}
        )
        untouched = {table.name for table in TABLES} - {table.name for table in everything}
        options = replace(options, skipped_tables=frozenset(untouched))
    tables = tuple(table for table in everything if table.name not in options.skipped_tables)
    names = {table.name for table in tables}
    indexes = tuple(
        index
        for table in TABLES
        for index in table.indexes
        if table.name in names
        and index.name not in options.skipped_indexes
        # One that was left out, and that somebody has built since, is not ours to drop.
        and (options.action != "rollback" or {f"{step}({index.name})" for step in _BUILDS} & standing.keys())
    )
    # A table of another shape is refused in preflight; what reads its rows must not stumble over it.
    organizations = "organizations" in there and value(
        connection,
        "SELECT count(*) = 4 FROM pg_catalog.pg_attribute WHERE attrelid = to_regclass('public.organizations')"
        " AND (attname, atttypid) IN (('id', 'uuid'::regtype), ('name', 'text'::regtype),"
        " ('slug', 'text'::regtype), ('is_active', 'boolean'::regtype))",
    )
    uuid_schema = value(
        connection,
        "SELECT coalesce((SELECT n.nspname::text FROM pg_catalog.pg_proc AS p"
        " JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace"
        # Where everybody may create in a schema, one that anybody has made would run for whoever inserts.
        " JOIN pg_catalog.pg_roles AS r ON r.oid = p.proowner AND (r.rolsuper OR r.rolname = current_user)"
        " WHERE p.proname = 'gen_random_uuid' AND p.pronargs = 0"
        " ORDER BY n.nspname <> 'pg_catalog', n.nspname LIMIT 1), 'public')",
    )
    api_roles = tuple(role for role in API_ROLES if role in known_roles)
    found = Found(
        options=options,
        version=connection.info.server_version,
        database=value(connection, "SELECT current_database()"),
        user=value(connection, "SELECT current_user"),
        tables=tables,
        indexes=indexes,
        default_organization=_default_organization(connection, logged.default_organization)
        if organizations
        else DEFAULT_ORGANIZATION,
        organizations=organizations,
        memberships=organizations and "user_organizations" in there,
        api_roles=api_roles,
        service_role=SERVICE_ROLE in known_roles,
        table_grantees=tuple(_default_grantees(connection, "rS")),
        function_grantees=tuple(_default_grantees(connection, "f")),
        uuid_function=("" if uuid_schema == "pg_catalog" else f"{identifier(uuid_schema)}.") + "gen_random_uuid",
        connection_check=value(
            connection,
            # The server says itself on which platforms it can look after its client.
            "SELECT count(*) > 0 AND version() LIKE '%linux%' FROM pg_catalog.pg_settings"
            " WHERE name = 'client_connection_check_interval'",
        ),
        isolated=tuple(_isolated(connection, tables, api_roles)),
        standing=standing,
        unfinished=logged.unfinished,
        half_done=tuple(
            name for name in sorted(options.skipped_tables | options.skipped_indexes) if _is_ours(logged.begun, name)
        ),
        migrated_before=tuple(table for table in everything if table.name not in names),
        references=tuple(_references(connection)) if options.action == "rollback" else (),
        integrity_function=value(
            connection, "SELECT to_regprocedure('public.validate_client_data_integrity()') IS NOT NULL"
        ),
        log_sequence=None
        if "migration_log" not in there
        else value(
            connection,
            "SELECT s.oid::regclass::text FROM pg_catalog.pg_depend AS d"
            " JOIN pg_catalog.pg_class AS s ON d.classid = 'pg_catalog.pg_class'::regclass AND s.oid = d.objid"
            " JOIN pg_catalog.pg_attribute AS a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid"
            " WHERE d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = to_regclass('public.migration_log')"
            " AND a.attname = 'id' AND d.deptype = 'i'"
            # Of anything but a sequence that would be an error.
            " AND CASE WHEN s.relkind = 'S' THEN has_sequence_privilege(s.oid, 'SELECT') END",
        ),
        log=options.purge_log and "migration_log" in there and journal.is_readable(connection),
        remembered=tuple(_remembered(given, options, tables)) if standing else (),
    )
    trust.require_tables(connection, list(_at_stake(found)))
    return found


def _at_stake(found: Found) -> Iterator[AtStake]:
    """The tables that are read or written; no check updates a row."""
    for table in found.checked:
        updated = found.options.action not in ("verify", "status") and found.changes_rows(table)
        yield AtStake(str(table.oid), table.name, False, updated)
    for reference in found.read_references:
        yield AtStake(str(reference.oid), "", False, False)


def _remember(
    options: Options, last: Mapping[str, Any], standing: Mapping[str, Any], roles: Collection[str]
) -> Options:
    """The options with those of the last migration where none was given.

    What was left out is left out of a check only: a migration without --skip-table is asked to do the rest.
    """
    changes: Dict[str, Any] = {}
    if not options.grantees:
        changes["grantees"] = tuple(role for role in last.get("grantees") or () if role in roles)
    if options.action == "verify":
        for kind in ("skipped_tables", "skipped_indexes"):
            if not getattr(options, kind):
                # A run after the first may have left out what was done before it.
                changes[kind] = frozenset(name for name in last.get(kind) or () if not _is_ours(standing, name))
    return replace(options, **changes)


def _remembered(given: Options, options: Options, tables: Sequence[FoundTable]) -> Iterator[str]:
    """What was taken from the log, as it would be given."""
    timed = {table.name for table in TABLES if table.has_time}
    for table in tables:
        if table.name in timed and table.name not in given.columns and table.time_column != _known_time(table.columns):
            yield f"--column {table.name}.{TIME}={table.time_column}"
    yield from (f"--skip-table {name}" for name in sorted(options.skipped_tables - given.skipped_tables))
    yield from (f"--skip-index {name}" for name in sorted(options.skipped_indexes - given.skipped_indexes))
    yield from (f"--grant-execute-to {role}" for role in options.grantees if role not in given.grantees)


def _known_time(columns: Collection[str]) -> Optional[str]:
    """The time column that a table has by one of the known names."""
    return next((name for name in TIME_COLUMNS if name in columns), None)


def _is_ours(labels: Iterable[str], name: str) -> bool:
    """Whether one of the steps that the log says were done, and still stand, was done on that table or index."""
    return any(label.endswith(f"({name})") for label in labels)


def _isolated(
    connection: psycopg.Connection[Any], tables: Sequence[FoundTable], api_roles: Sequence[str]
) -> Iterator[str]:
    """The tables and partitions, the commands there, and the roles of the web API that other policies keep to a client.

    Where that is so of one role, another that no permissive policy lets through needs no more. What a policy uses the
    catalog knows by the column; its text may have the word in it and mean something else.
    """
    wanted = [name for table in tables for name in (table.name, *(part.name for part in table.partitions))]
    roles = list(api_roles) or [""]  # a server without them has others, and which ones nobody knows
    policies: Dict[Tuple[str, str], Dict[str, List[Tuple[bool, bool]]]] = {}
    for table, command, role, *policy in connection.execute(
        "SELECT c.relname, command.name, api.name, p.polpermissive,"
        " EXISTS (SELECT FROM pg_catalog.pg_depend WHERE classid = 'pg_catalog.pg_policy'::regclass AND objid = p.oid"
        "     AND refclassid = 'pg_catalog.pg_class'::regclass AND refobjid = c.oid AND refobjsubid = a.attnum)"
        " FROM pg_catalog.pg_policy AS p"
        " JOIN pg_catalog.pg_class AS c ON c.oid = p.polrelid AND c.relnamespace = to_regnamespace('public')"
        " JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'client_id' AND NOT a.attisdropped"
        " JOIN (VALUES ('SELECT', 'r'), ('INSERT', 'a'), ('UPDATE', 'w'), ('DELETE', 'd')) AS command (name, letter)"
        " ON p.polcmd::text IN ('*', command.letter)"
        " CROSS JOIN unnest(%s::text[]) AS api (name) LEFT JOIN pg_catalog.pg_roles AS r ON r.rolname = api.name"
        " WHERE c.relname = ANY (%s) AND p.polname NOT LIKE 'phase\\_1\\_%%' AND EXISTS ("
        "     SELECT FROM unnest(p.polroles) AS its (oid)"
        "     WHERE its.oid = 0 OR r.oid IS NULL OR pg_has_role(r.oid, its.oid, 'USAGE'))"
        " ORDER BY 1, 2",
        [roles, wanted],
    ):
        policies.setdefault((table, command), {}).setdefault(role, []).append((policy[0], policy[1]))
    for (table, command), of in policies.items():
        kept = {role for role in of if _keeps(of[role])}
        shut = {role for role in roles if kept and not any(permissive for permissive, _ in of.get(role, ()))}
        yield from (f"{table} {command} {role}" for role in roles if role in kept | shut)


def _keeps(policies: Sequence[Tuple[bool, bool]]) -> bool:
    """Whether these policies of a role, each permissive or not and by the client or not, keep it to a client."""
    permissive = [by_client for is_permissive, by_client in policies if is_permissive]
    restricted = any(by_client for is_permissive, by_client in policies if not is_permissive)
    return restricted or (bool(permissive) and all(permissive))


def _references(connection: psycopg.Connection[Any]) -> Iterator[Reference]:
    """The foreign keys to organizations, of whatever schema; that of a partition is its table's."""
    columns = (
        "ARRAY(SELECT a.attname::text FROM unnest(c.{key}) WITH ORDINALITY AS k (attnum, number)"
        " JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.{table} AND a.attnum = k.attnum ORDER BY k.number)"
    )
    for constraint, definition, oid, schema, table, own, referred in connection.execute(
        "SELECT c.conname, pg_get_constraintdef(c.oid), r.oid::bigint, n.nspname, r.relname,"
        f" {columns.format(key='conkey', table='conrelid')}, {columns.format(key='confkey', table='confrelid')}"
        " FROM pg_catalog.pg_constraint AS c JOIN pg_catalog.pg_class AS r ON r.oid = c.conrelid"
        " JOIN pg_catalog.pg_namespace AS n ON n.oid = r.relnamespace"
        " WHERE c.contype = 'f' AND c.confrelid = to_regclass('public.organizations') AND c.conparentid = 0"
        " ORDER BY 4, 5, 1"
    ):
        yield Reference(constraint, definition, oid, schema, table, tuple(own), tuple(referred))


def _give_way(connection: psycopg.Connection[Any], options: Options) -> Options:
    """The options, with a lock timeout that is over before the application could be told of a deadlock.

    Whoever has waited for deadlock_timeout looks for one, and is cancelled if it is in one.
    """
    if options.lock_timeout_given:
        return options
    deadlock_timeout = value(
        connection, "SELECT setting::int FROM pg_catalog.pg_settings WHERE name = 'deadlock_timeout'"
    )
    return replace(options, lock_timeout=max(1, min(options.lock_timeout, deadlock_timeout // 2)))


def _require_readable(connection: psycopg.Connection[Any]) -> None:
    """Raises Refused if the role does not see every row of what says where the database stands."""
    row = connection.execute(
        "SELECT c.oid::regclass, pg_get_userbyid(c.relowner), current_user FROM pg_catalog.pg_class AS c"
        " WHERE c.oid IN (to_regclass('public.migration_log'), to_regclass('public.organizations'))"
        # With row_security off the query would be an error; this says whether it would.
        " AND (NOT has_table_privilege(c.oid, 'SELECT') OR row_security_active(c.oid)) ORDER BY 1 LIMIT 1"
    ).fetchone()
    if row is not None:
        table, owner, user = row
        raise Refused(
            f"refused: {user} does not see every row of {table}, which belongs to {owner}. Nothing was touched. "
            f"What to do: connect as {owner}, whose tables must not have FORCE ROW LEVEL SECURITY."
        )


def bounds(connection: psycopg.Connection[Any], table: FoundTable, condition: str) -> List[str]:
    """The conditions that divide a table's rows into batches by its key; one condition without a key."""
    if table.key is None:
        return ["TRUE"]
    key = identifier(table.key)
    # In another encoding than UTF8 not every character that is not printable has an escape: such a key ends no batch.
    utf8 = connection.info.parameter_status("server_encoding") == "UTF8"
    ends = [
        literal(end)
        for (end,) in connection.execute(
            # Not ::text: of a type of the application that may be a cast of somebody's own.
            f"SELECT pg_catalog.format('%s', {key}) FROM (SELECT {key}, row_number() OVER (ORDER BY {key}) AS number"
            f" FROM {table.qualified} WHERE {condition}) AS numbered"
            f" WHERE number % {BATCH} = 0 ORDER BY number"
        )
        if utf8 or end.isprintable()
    ]
    if not ends:
        return ["TRUE"]
    first, last = f"{key} <= {ends[0]}", f"{key} > {ends[-1]}"
    between = [f"{key} > {start} AND {key} <= {end}" for start, end in zip(ends, ends[1:])]
    return [first, *between, last]


def _tables(
    connection: psycopg.Connection[Any],
    options: Options,
    left_out: Collection[str],
    time_columns: Mapping[str, str],
) -> Iterator[FoundTable]:
    """The tables that are there; ``time_columns`` are those of the last migration, which count before a guess."""
    found = {
        name: rest
        for name, *rest in connection.execute(
            "SELECT wanted.name, c.oid::bigint, size.rows, size.guessed, size.bytes, size.index_bytes,"
            " c.relrowsecurity, a.attnum IS NOT NULL, a.attnum IS NOT NULL AND NOT a.attnotnull,"
            " ARRAY(SELECT attname::text FROM pg_catalog.pg_attribute"
            "       WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped),"
            " (SELECT k.attname FROM pg_catalog.pg_index AS i"
            "  JOIN pg_catalog.pg_attribute AS k ON k.attrelid = i.indrelid AND k.attnum = i.indkey[0]"
            "  WHERE i.indrelid = c.oid AND i.indisprimary AND i.indnkeyatts = 1),"
            " ARRAY(SELECT attname::text FROM pg_catalog.pg_attribute"
            "       WHERE attrelid = c.oid AND attnum > 0 AND attlen = -1),"
            " c.relkind = 'p', ARRAY("
            "     SELECT jsonb_build_array(p.relname, p.relrowsecurity, ARRAY("
            "         SELECT jsonb_build_array(own.relname, whole.relname)"
            "         FROM pg_catalog.pg_index AS i JOIN pg_catalog.pg_inherits AS h ON h.inhrelid = i.indexrelid"
            "         JOIN pg_catalog.pg_class AS own ON own.oid = h.inhrelid"
            "         JOIN pg_catalog.pg_class AS whole ON whole.oid = h.inhparent"
            "         WHERE i.indrelid = p.oid ORDER BY own.relname), ("
            "         SELECT k.conname FROM pg_catalog.pg_constraint AS k JOIN pg_catalog.pg_attribute AS own"
            "         ON own.attrelid = k.conrelid AND k.conkey = ARRAY[own.attnum] AND own.attname = 'client_id'"
            "         WHERE k.conrelid = p.oid AND k.contype = 'f'"
            "         AND k.confrelid = to_regclass('public.organizations')"
            # What is part of the table's key is ours; another one may be somebody's own.
            "         ORDER BY k.conparentid = 0, k.conname LIMIT 1))"
            "     FROM pg_catalog.pg_inherits AS h JOIN pg_catalog.pg_class AS p ON p.oid = h.inhrelid"
            "     WHERE h.inhparent = c.oid ORDER BY p.relname)"
            " FROM unnest(%s::text[]) AS wanted (name)"
            " JOIN pg_catalog.pg_class AS c ON c.oid = to_regclass('public.' || wanted.name)"
            " AND c.relkind IN ('r', 'p')"
            " CROSS JOIN LATERAL ("
            "     SELECT coalesce(sum(CASE WHEN known.rows THEN p.reltuples ELSE known.guess END), 0)::bigint,"
            "         coalesce(bool_or(NOT known.rows AND known.guess > 0), FALSE),"
            "         coalesce(sum(pg_table_size(p.oid)), 0)::bigint,"
            "         coalesce(sum(pg_indexes_size(p.oid)), 0)::bigint"
            "     FROM pg_catalog.pg_class AS p"
            "     CROSS JOIN LATERAL ("
            # Of what nobody has analysed yet the catalog says -1 row, before PostgreSQL 14 none on no page.
            "         SELECT p.reltuples >= 0 AND (p.reltuples > 0 OR p.relpages > 0),"
            # As the planner does: the header of a row and its pointer, and 32 bytes for what has no fixed width.
            "             pg_relation_size(p.oid) / (28 + sum(CASE WHEN attlen > 0 THEN attlen ELSE 32 END))"
            "         FROM pg_catalog.pg_attribute WHERE attrelid = p.oid AND attnum > 0 AND NOT attisdropped"
            "     ) AS known (rows, guess)"
            "     WHERE p.relkind = 'r' AND (p.oid = c.oid"
            "         OR p.oid IN (SELECT relid FROM pg_catalog.pg_partition_tree(c.oid)))"
            " ) AS size (rows, guessed, bytes, index_bytes)"
            " LEFT JOIN pg_catalog.pg_attribute AS a"
            " ON a.attrelid = c.oid AND a.attname = 'client_id' AND NOT a.attisdropped"
            " AND a.atttypid = 'uuid'::regtype",
            [[table.name for table in TABLES if table.name not in left_out]],
        )
    }
    for table in TABLES:
        if table.name not in found:
            continue
        oid, rows_, guessed, table_bytes, index_bytes, *rest = found[table.name]
        secured, present, nullable, columns, key, wide, partitioned, partitions = rest
        candidates = [options.columns[table.name]] if table.name in options.columns else list(TIME_COLUMNS)
        if table.name not in options.columns and time_columns.get(table.name) in columns:
            candidates = [time_columns[table.name]]
        yield FoundTable(
            name=table.name,
            oid=oid,
            rows=rows_,
            guessed=guessed,
            table_bytes=table_bytes,
            index_bytes=index_bytes,
            row_security=secured,
            time_column=next((name for name in candidates if name in columns), None),
            looked_for=" or ".join(candidates),
            client_id=present,
            client_id_nullable=nullable,
            # What memberships refer to is unique, whatever the primary key.
            key="id" if table.name == "users" else key,
            columns=frozenset(columns),
            wide_columns=frozenset(wide),
            partitioned=partitioned,
            partitions=tuple(
                Partition(
                    name,
                    own_security,
                    tuple((own, whole) for own, whole in indexes),
                    foreign_key or _short(f"{name}_client_id_fkey"),
                )
                for name, own_security, indexes, foreign_key in partitions
            ),
        )


def _default_organization(connection: psycopg.Connection[Any], logged: str) -> str:
    """The id of the organization that is adopted as the default, or the one that it will get.

    Once it is in the log, it is that one, whatever slug somebody has given it since.
    """
    found = value(
        connection,
        "SELECT id FROM public.organizations WHERE slug = %(slug)s OR id::text = %(logged)s"
        " ORDER BY id::text = %(logged)s DESC LIMIT 1",
        {"slug": DEFAULT_SLUG, "logged": logged},
    )
    return str(found or DEFAULT_ORGANIZATION)


def _default_grantees(connection: psycopg.Connection[Any], kinds: str) -> Iterator[str]:
    """The roles that default privileges give each new object of the current role; a kind is a letter of the catalog."""
    for (role,) in connection.execute(
        "SELECT DISTINCT pg_get_userbyid(acl.grantee) FROM pg_catalog.pg_default_acl AS d,"
        " aclexplode(d.defaclacl) AS acl WHERE d.defaclobjtype::text = ANY (%s) AND acl.grantee <> 0"
        " AND d.defaclrole = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = current_user)"
        " AND acl.grantee <> d.defaclrole"
        " AND d.defaclnamespace IN (0, to_regnamespace('public')) ORDER BY 1",
        [list(kinds)],
    ):
        yield role
