"""Databases that nobody thought of: strategies for rows of every table, and for schemas that differ a little.

What a column takes is read from the catalog of the variant's own database. A row is drawn as what differs from
the plainest row that the table takes, so that a failing example is as short as its cause.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple

import psycopg
from hypothesis import strategies as st

from phase_1.inventory import TABLES

Connection = psycopg.Connection[tuple[Any, ...]]

NAMES = tuple(table.name for table in TABLES)

#: Text at its worst. The long ones compress: an index takes them; see TOO_LONG.
WORST = (
    "",
    " ",
    "'",
    '"',
    "\\",
    "\\N",
    "\\.",
    "NULL",
    "\t\n\r",
    "'; DROP TABLE public.users; --",
    "$$",
    "%s",
    ":table",
    "𝄞🛒",
    "שלום עולם",
    "e\u0301\u200f",
    "x" * 10_000,
)
#: An organization that may be there, and the default one where the deployment has one already.
ACME, OWN_DEFAULT = "20000000-0000-4000-8000-000000000002", "30000000-0000-4000-8000-000000000003"
#: No index takes more than a third of a page, and this does not compress.
TOO_LONG = "".join(chr(0x4E00 + (number * 7919) % 20_000) for number in range(3_000))


@dataclass(frozen=True)
class Column:
    """A column as the catalog has it; values are text, as COPY takes them."""

    name: str
    type: str
    required: bool
    has_default: bool
    unique: bool
    key: bool
    parent: str | None
    checks: tuple[str, ...]
    generated: bool
    clients: tuple[str, ...]

    @property
    def plainest(self) -> str | None:
        """A value that every row may have."""
        allowed = self.literals
        if allowed:
            return allowed[0]
        if "length" in "".join(self.checks):
            return "DE"
        if self.name == "client_id":
            return self.clients[0] if self.clients else None
        plain = {"text": "", "boolean": "f", "jsonb": "{}", "text[]": "{}", "uuid": f"{1:032x}"}
        return {**plain, "timestamp with time zone": "2026-01-01 00:00:00+00"}.get(self.type, "1")

    @property
    def literals(self) -> list[str]:
        """The values that a check lists."""
        return [each for check in self.checks if "ARRAY[" in check for each in re.findall(r"'([^']*)'::text", check)]

    def values(self) -> st.SearchStrategy[str | None]:
        """Whatever the column takes."""
        if self.name == "client_id":
            return st.sampled_from([None, *self.clients])
        made = self._values()
        return made if self.required else st.none() | made

    def _values(self) -> st.SearchStrategy[str]:
        if self.literals:
            return st.sampled_from(self.literals)
        low, high = self._bounds()
        if self.type == "text":
            if any("length" in check for check in self.checks):
                return st.sampled_from(["DE", "ÉÉ", "''", "🛒🛒"])
            # A code point of its own kind, never half of a surrogate pair, and no NUL, which PostgreSQL refuses.
            characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
            return st.sampled_from(WORST) | st.text(characters, max_size=20)
        if self.type in ("integer", "bigint"):
            bits = 31 if self.type == "integer" else 63
            return st.integers(-(2**bits) if low is None else low, 2**bits - 1 if high is None else high).map(str)
        if self.type.startswith("numeric"):
            digits, places = map(int, re.findall(r"\d+", self.type))
            most = Decimal(10) ** (digits - places) - Decimal(1).scaleb(-places)
            return st.just("NaN") | st.decimals(-most if low is None else low, most, places=places).map(str)
        if self.type == "boolean":
            return st.sampled_from("tf")
        if self.type == "jsonb":
            return st.sampled_from(["{}", "null", "[]", '{"client_id": null}', '"\\u00e9"', '{"a": [1e300, {"": ""}]}'])
        if self.type == "timestamp with time zone":
            return st.sampled_from(["infinity", "-infinity", "4713-01-01 00:00:00+00 BC", "2026-03-29 02:30:00+01"])
        if self.type == "uuid":
            return st.uuids().map(str)
        if self.type == "text[]":
            return st.sampled_from(["{}", '{"",NULL,"{}"}', "[-1:0]={a,b}"])
        raise NotImplementedError(f"no values for {self.name} of type {self.type}")

    def _bounds(self) -> tuple[int | None, int | None]:
        text = " ".join(self.checks)
        low, high = (re.search(pattern, text) for pattern in (r">= \(?(-?\d+)", r"<= \(?(-?\d+)"))
        return int(low[1]) if low else None, int(high[1]) if high else None


def read_columns(connection: Connection) -> dict[str, list[Column]]:
    """The columns of the seven tables, in their order; a client_id takes the organizations that are there."""
    clients = tuple(id_ for id_, *_ in organizations(connection))
    found: dict[str, list[Column]] = {name: [] for name in NAMES}
    for table, generated, *column, checks in connection.execute(
        """
        SELECT c.relname::text, a.attgenerated <> '', a.attname::text, format_type(a.atttypid, a.atttypmod),
            a.attnotnull, a.atthasdef,
            EXISTS (SELECT FROM pg_index WHERE indrelid = c.oid AND indisunique AND indkey[0] = a.attnum),
            EXISTS (SELECT FROM pg_index WHERE indrelid = c.oid AND indisprimary AND indkey[0] = a.attnum),
            (SELECT f.confrelid::regclass::text FROM pg_constraint AS f
             WHERE f.conrelid = c.oid AND f.contype = 'f' AND f.conkey = ARRAY[a.attnum]),
            ARRAY(SELECT pg_get_constraintdef(k.oid) FROM pg_constraint AS k
                  WHERE k.conrelid = c.oid AND k.contype = 'c' AND k.conkey = ARRAY[a.attnum])
        FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
        WHERE c.oid = ANY (%s::regclass[]) AND a.attnum > 0 AND NOT a.attisdropped
        ORDER BY c.relname, a.attnum
        """,
        [[f"public.{name}" for name in NAMES]],
    ):
        name, type_, required, has_default, unique, key, parent = column
        found[table].append(
            Column(name, type_, required, has_default, unique, key, parent, tuple(checks), generated, clients)
        )
    return found


@dataclass(frozen=True, repr=False)
class Row:
    """A row of ``table``: what differs from the plainest one. A parent is given by its place among those drawn."""

    table: str
    values: Mapping[str, str | None] = field(default_factory=dict)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """What hypothesis shows of it."""
        shown = {
            name: value if value is None or len(value) < 60 else f"{value[:9]}… ({len(value)} characters)"
            for name, value in self.values.items()
        }
        printer.text(f"{self.table}{shown or ''}")


def rows(columns: Mapping[str, Sequence[Column]], most: int = 6) -> st.SearchStrategy[list[Row]]:
    """The rows of a whole database: none, one or some in any of the tables."""
    return st.lists(st.one_of([_row(name, columns[name]) for name in NAMES]), max_size=most)


def _row(table: str, columns: Sequence[Column]) -> st.SearchStrategy[Row]:
    free = {each.name: each.values() for each in columns if not each.key and not each.generated}
    return st.fixed_dictionaries({}, optional=free).map(partial(Row, table))


def plain_rows(columns: Mapping[str, Sequence[Column]]) -> list[Row]:
    """Rows of each table: five with NULL wherever that is allowed, and one without any."""
    made = []
    for table in NAMES:
        full = {each.name: each.plainest for each in columns[table] if not each.key and not each.generated}
        if "upload_id" in full:
            full["upload_id"] = f"{6 if full.get('client_id') else 1:032x}"  # one of the same client
        made += [*[Row(table)] * 5, Row(table, full)]
    return made


def load(connection: Connection, columns: Mapping[str, Sequence[Column]], drawn: Sequence[Row]) -> None:
    """Writes the rows by COPY, each table in one: keys are numbered, a reference goes to a row that is there."""
    count = {table: sum(row.table == table for row in drawn) for table in NAMES}
    connection.execute("SET session_replication_role = replica")
    for table in NAMES:
        mine = [row for row in drawn if row.table == table]
        if not mine:
            continue
        taken = [each for each in columns[table] if not each.generated]
        names = ", ".join(f'"{each.name}"' for each in taken)
        with connection.cursor().copy(f"COPY public.{table} ({names}) FROM STDIN".encode()) as copy:
            for number, row in enumerate(mine, start=1):
                copy.write_row([_value(each, row, number, count) for each in taken])
    connection.execute("RESET session_replication_role")


def empty(connection: Connection) -> None:
    """Deletes every row of the seven tables, without a trigger or a foreign key in between."""
    deletes = "; ".join(f"DELETE FROM public.{name}" for name in NAMES)
    connection.execute(f"SET session_replication_role = replica; {deletes}; RESET session_replication_role".encode())


def _value(column: Column, row: Row, number: int, count: Mapping[str, int]) -> str | None:
    if column.key:
        return _key(column, number)
    value = row.values.get(column.name, column.plainest if column.required else None)
    parent = (column.parent or "").removeprefix("public.")
    if parent in count:
        # Whatever was drawn says which of the parents it is; without any there is none.
        return (
            None if value is None or not count[parent] else _key(column, 1 + (sum(map(ord, value)) - 1) % count[parent])
        )
    return f"{number}{value}" if column.unique and value is not None else value


def _key(column: Column, number: int) -> str:
    if column.type == "text":
        return f"{WORST[number % len(WORST)]}{number}"
    return f"{number:032x}" if column.type == "uuid" else str(number)


def organizations(connection: Connection) -> list[tuple[str, str, str]]:
    """The id, the slug and the whole of each organization; none where there is no such table."""
    if connection.execute("SELECT to_regclass('public.organizations')").fetchall() == [(None,)]:
        return []
    return connection.execute("SELECT id::text, slug, o::text FROM public.organizations AS o ORDER BY 1").fetchall()


class Stored(NamedTuple):
    """A row as it is stored: its client apart from its other values, its place, and who wrote it there."""

    table: str
    values: str
    client: str | None
    ctid: str
    xmin: str


def contents(connection: Connection, columns: Mapping[str, Sequence[Column]]) -> list[Stored]:
    """Every row of the seven tables; ``columns`` are those that have to be there."""
    each = (
        f"SELECT '{table}', ROW({names})::text, to_jsonb(t) ->> 'client_id', t.ctid::text, t.xmin::text"
        f" FROM public.{table} AS t"
        for table in NAMES
        for names in [", ".join(f't."{each.name}"' for each in columns[table] if each.name != "client_id")]
    )
    found = connection.execute(" UNION ALL ".join(each).encode()).fetchall()
    return sorted((Stored(*row) for row in found), key=lambda row: (row.table, row.values))


@dataclass(frozen=True, repr=False)
class Difference:
    """How a deployment's schema may differ: SQL of a superuser before the rows, SQL after them, and what follows.

    ``refused`` is the check that refuses it; ``options`` are what the runner is given; ``not_restored`` is what the
    fingerprint says is gone after the rollback, and rightly.
    """

    name: str
    sql: str = ""
    after: str = ""
    refused: str = ""
    variant: str = ""
    options: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    not_restored: tuple[str, ...] = ()

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """What hypothesis shows of it."""
        printer.text(self.name)


# PostgreSQL 12 has gen_random_uuid() from pgcrypto only, wherever that is. Several differences may ask for it.
_ORGANIZATIONS = f"""
    SET search_path = public, extensions;
    CREATE TABLE IF NOT EXISTS public.organizations (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(), name text NOT NULL UNIQUE, slug text NOT NULL UNIQUE,
        settings jsonb DEFAULT '{{}}', is_active boolean DEFAULT true,
        created_at timestamp with time zone DEFAULT now(), updated_at timestamp with time zone DEFAULT now());
    ALTER TABLE public.organizations OWNER TO app_owner;
    INSERT INTO public.organizations (id, name, slug) VALUES ('{ACME}', 'Acme', 'acme') ON CONFLICT DO NOTHING;
    RESET search_path;
"""
_CLOSED = (
    _ORGANIZATIONS
    + """
    ALTER TABLE public.organizations ENABLE ROW LEVEL SECURITY;
    DROP POLICY IF EXISTS phase_1_denied ON public.organizations;
    CREATE POLICY phase_1_denied ON public.organizations
        AS RESTRICTIVE FOR ALL TO anon, authenticated USING (FALSE) WITH CHECK (FALSE);
    REVOKE ALL ON public.organizations FROM PUBLIC, anon, authenticated;
"""
)


def _client_id(table: str) -> str:
    """A client_id that was there before, by which a policy keeps the web API to a client; else it may be refused."""
    return (
        f"ALTER TABLE public.{table} ADD IF NOT EXISTS client_id uuid;"
        f"DROP POLICY IF EXISTS of_client ON public.{table};"
        f"CREATE POLICY of_client ON public.{table} AS RESTRICTIVE USING (client_id IS NOT NULL);"
    )


#: What deployments do differently; each goes with each unless it ``excludes`` it.
DIFFERENCES = (
    Difference("a time of another known name", "ALTER TABLE public.email_logs DROP COLUMN sent_at;"
               "ALTER TABLE public.email_logs RENAME created_at TO sent_at"),
    Difference("a time of an unknown name", "ALTER TABLE public.users RENAME created_at TO joined",
               refused="time_column_is_known"),
    Difference("a time that the option names", "ALTER TABLE public.users RENAME created_at TO joined",
               options=("--column", "users.created_at=joined"), excludes=("a time of an unknown name",)),
    Difference("no reseller", "ALTER TABLE public.sellout_entries2 RENAME reseller TO shop",
               refused="index_column_is_there"),
    Difference("no reseller, left out", "ALTER TABLE public.sellout_entries2 RENAME reseller TO shop",
               options=("--skip-index", "idx_sellout_entries2_client_reseller"), excludes=("no reseller",)),
    Difference("further columns", "ALTER TABLE public.products ADD \"Sort order\" int, ADD tags text[] DEFAULT '{a}',"
               " ADD half numeric GENERATED ALWAYS AS (list_price_eur / 2) STORED"),
    Difference("further indexes", "CREATE INDEX ON public.products (lower(name)); CREATE UNIQUE INDEX ON"
               " public.email_logs (recipient, id) WHERE status = 'sent';"
               "CREATE INDEX ON public.users USING hash (email)"),
    Difference("numbers for ids", "ALTER TABLE public.email_logs DROP COLUMN id;"
               "ALTER TABLE public.email_logs ADD id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY"),
    Difference("no key", "ALTER TABLE public.transform_logs DROP CONSTRAINT transform_logs_pkey"),
    Difference("texts for ids", "ALTER TABLE public.processing_logs DROP COLUMN id;"
               "ALTER TABLE public.processing_logs ADD id text PRIMARY KEY"),
    Difference("organizations of its own", _CLOSED),
    Difference("a default organization of its own", _CLOSED + "INSERT INTO public.organizations (id, name, slug)"
               f" VALUES ('{OWN_DEFAULT}', 'House', 'default-org')"),
    Difference("organizations that are open", _ORGANIZATIONS, refused="new_tables_have_row_security",
               excludes=("organizations of its own", "a default organization of its own",
                         "a client_id on uploads", "a client_id on most tables")),
    # Not on sellout_entries2: the deployed application's trigger changes a row that is filled, as preflight warns.
    Difference("a client_id on most tables", _CLOSED + "".join(
               _client_id(name) for name in NAMES if name != "sellout_entries2"),
               excludes=("a client_id without organizations", "a client_id as text",
                         "a client_id that points nowhere", "triggers that refuse")),
    Difference("a client_id on uploads", _CLOSED + _client_id("uploads"),
               excludes=("a client_id on most tables",)),
    Difference("a client_id without organizations", _client_id("products")),
    Difference("a sale of another client's upload", _CLOSED + _client_id("uploads"),
               after=f"INSERT INTO public.uploads (id, filename, client_id) VALUES ('{ACME}', 'theirs', '{ACME}');"
               "INSERT INTO public.sellout_entries2 (id, upload_id, year, month, quantity)"
               f" VALUES (2000, '{ACME}', 1, 1, 1)",
               refused="rows_agree_with_their_parent",
               excludes=("a client_id on uploads", "a client_id on most tables", "organizations that are open",
                         "no reseller", "no reseller, left out")),
    Difference("a client_id as text", "ALTER TABLE public.email_logs ADD client_id text",
               refused="client_id_is_a_plain_uuid"),
    Difference("a client_id that points nowhere", "ALTER TABLE public.transform_logs ADD client_id uuid;"
               "INSERT INTO public.transform_logs (transformation, client_id) VALUES ('lost', md5('nowhere')::uuid)",
               refused="client_id_points_to_organizations"),
    Difference("an invalid index of ours", _client_id("products")
               + "CREATE INDEX idx_products_client_ean ON public.products (client_id, ean);"
               "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'public.idx_products_client_ean'::regclass",
               excludes=("an index of our name",),
               # It served nobody, and nobody would want it back.
               not_restored=("index public.idx_products_client_ean: is there in the first only",)),
    Difference("an index of our name", "CREATE INDEX idx_products_client_ean ON public.products (ean)",
               refused="index_name_is_free"),
    Difference("a table of another owner", "ALTER TABLE public.products OWNER TO authenticator",
               refused="tables_belong_to_who_owns_users"),
    Difference("a table that is forced", "ALTER TABLE public.users ENABLE ROW LEVEL SECURITY;"
               "ALTER TABLE public.users FORCE ROW LEVEL SECURITY", refused="row_security_lets_the_owner_through"),
    Difference("a row type in a column", "CREATE TABLE public.archive (sale public.sellout_entries2)",
               refused="row_type_is_not_a_column_type"),
    Difference("text that is too long", after="INSERT INTO public.sellout_entries2"
               f" (id, reseller, year, month, quantity) VALUES (1000, '{TOO_LONG}', 1, 1, 1)",
               refused="index_values_fit",
               excludes=("no reseller", "no reseller, left out")),
    Difference("checks", "ALTER TABLE public.uploads ADD CHECK (filename <> 'longer than what is drawn') NOT VALID;"
               "ALTER TABLE public.email_logs ADD CHECK (email_logs IS NOT NULL OR TRUE)"),
    Difference("triggers that refuse", "CREATE FUNCTION public.never() RETURNS trigger LANGUAGE plpgsql AS"
               " $$BEGIN RAISE 'never'; END$$;"
               + "".join(f"CREATE TRIGGER never BEFORE UPDATE ON public.{name} FOR EACH ROW EXECUTE FUNCTION"
                         " public.never();" for name in ("users", "sellout_entries2", "email_logs"))),
    Difference("columns that were dropped", "".join(f"ALTER TABLE public.{name} ADD gone int DEFAULT 7;"
               f"ALTER TABLE public.{name} DROP COLUMN gone;" for name in NAMES)),
    Difference("views", "CREATE VIEW public.mail AS SELECT * FROM public.email_logs;"
               "CREATE MATERIALIZED VIEW public.people AS SELECT u.id, count(*) FROM public.users AS u GROUP BY 1"),
    Difference("an unlogged table", "ALTER TABLE public.email_logs SET UNLOGGED"),
    Difference("a whole row as identity", "ALTER TABLE public.sellout_entries2 REPLICA IDENTITY FULL;"
               "ALTER TABLE public.products SET (fillfactor = 70, autovacuum_enabled = false)"),
)  # fmt: skip


def schemas(variant: str) -> st.SearchStrategy[list[Difference]]:
    """Up to three differences that go together, in a fixed order."""
    possible = [each for each in DIFFERENCES if each.variant in ("", variant)]
    drawn = st.lists(st.sampled_from(possible), max_size=3, unique=True)
    return drawn.map(lambda them: sorted(them, key=possible.index)).filter(_go_together)


def all_schemas(variant: str) -> list[list[Difference]]:
    """Every difference once, as many together as go together: those that are migrated, and those that are refused."""
    groups: list[list[Difference]] = []
    for each in DIFFERENCES:
        if each.variant in ("", variant):
            alike = (group for group in groups if bool(group[0].refused) == bool(each.refused))
            group = next((group for group in alike if _go_together([*group, each])), None)
            if group is None:
                groups.append([each])
            else:
                group.append(each)
    return groups


def _go_together(drawn: Sequence[Difference]) -> bool:
    return not any(each.name in other.excludes for each in drawn for other in drawn)
