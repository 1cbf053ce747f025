"""Makes the application as it is before the migration, and fills it with any number of rows.

Every value follows from the seed and the row's number, by hashing and arithmetic; nothing asks
``random()`` or the clock. Equal seeds and counts give equal rows, on every server and every version.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from psycopg import Connection
from psycopg.pq import TransactionStatus

#: The two applications: as the founding document assumes it, and as it is known to be deployed.
VARIANTS = ("founding", "deployed")

#: The roles, the two variants and the newer default privileges, as SQL files.
FOLDER = Path(__file__).parent
ROLES = FOLDER / "roles.sql"
NEWER_PRIVILEGES = FOLDER / "newer_privileges.sql"

#: Uploads arrive evenly from 1 April 2019 to 31 March 2026 (UTC); what they report reaches back to January.
EPOCH = "timestamptz '2019-04-01 00:00:00+00'"
SECONDS = 84 * 30 * 86_400
"""Seven years of twelve 30-day months, so that the time of a row is a multiplication."""

# One name, one country and one currency a reseller, the biggest first. The quote, the umlaut, the
# scripts outside of Latin-1 and the character outside of the BMP are there to go wrong.
_RESELLERS = (
    ("Bücher Müller", "DE", "EUR"),
    ("Galeries du Nord", "FR", "EUR"),
    ("東京堂書店", "JP", "JPY"),
    ("Ørsted Boghandel", "DK", "DKK"),
    ("O'Neill & Sons", "GB", "GBP"),
    ("Księgarnia Łódź", "PL", "PLN"),
    ("Café Größenwahn", "AT", "EUR"),
    ("Emoji 📚 Store", "GB", "GBP"),
    ("Casa Peña", "ES", "EUR"),
    ("Århus Papir", "DK", "DKK"),
    ("Librairie Étoile", "FR", "EUR"),
    ("大阪ブックス", "JP", "JPY"),
    ("Plain Trading", "GB", "GBP"),
    ("Zürcher Markt", "CH", "CHF"),
    ("Naïve Books", "NL", "EUR"),
    ("Żabka Nowa", "PL", "PLN"),
    ("Smörgås AB", "SE", "SEK"),
    ("Ελλάδα Βιβλία", "GR", "EUR"),
    ("Discount 100%", "DE", "EUR"),
    ("back\\slash", "NL", "EUR"),
)
_PEOPLE = ("Søren Ørsted", "山田 太郎", "Zoë Bücher", "Siobhán O'Brien", "Łukasz Żak", "Uma 🦄", "Ann Lee")
_PRODUCTS = ("Bücherregal", "Lampe", "Étagère", "Chair", "机", "Skærebræt", "Kettle", "Żyrandol", "Mug ☕")

_USERS = f"""
    SELECT
        md5(%(seed)s::text || ':user:' || i)::uuid AS id,
        'user' || i || '.' || %(seed)s::text || '@example.com' AS email,
        (%(people)s::text[])[1 + mod(i - 1, {len(_PEOPLE)})] || ' ' || i AS full_name,
        {EPOCH} - interval '90 days' + interval '1 second' * ((i - 1) * 86400.0) AS created_at
    FROM generate_series(1, %(users)s::bigint) AS i
"""

# In deployed, users come to be by the trigger on auth.users, as they do in production.
_INSERT_USERS = {
    "founding": f"INSERT INTO public.users (id, email, full_name, created_at) {_USERS}",
    "deployed": f"""
        INSERT INTO auth.users (id, email, raw_user_meta_data, created_at)
        SELECT id, email, jsonb_build_object('full_name', full_name), created_at FROM ({_USERS}) AS made
    """,
}

# The last fifth of the users never upload; every seventh upload has no user. The two
# newest are still at work, whatever the seed.
_INSERT_UPLOADS = f"""
    INSERT INTO public.uploads
        (id, user_id, filename, file_size, status, rows_processed, error_message, {{uploaded}}, finished_at)
    SELECT
        md5(%(seed)s::text || ':upload:' || i)::uuid,
        CASE
            WHEN mod(i, 7) <> 3 AND %(users)s::bigint > 0 THEN md5(
                %(seed)s::text || ':user:'
                || floor(exp((h & 65535)::float8 / 65536 * ln(1 + busy)))
            )::uuid
        END,
        CASE mod(i, 3) WHEN 0 THEN 'Verkäufe ' WHEN 1 THEN 'sales_' ELSE '売上 ' END || i || '.xlsx',
        10000 + ((h >> 16) & 1048575),
        status,
        CASE WHEN status = 'completed' THEN %(sales)s::bigint / %(uploads)s::bigint ELSE 0 END,
        CASE WHEN status = 'failed' THEN 'Sheet “Übersicht” not found' END,
        at,
        CASE WHEN status IN ('completed', 'failed') THEN at + interval '2 minutes' END
    FROM (
        SELECT
            i,
            h,
            greatest(%(users)s::bigint * 4 / 5, 1)::float8 AS busy,
            {EPOCH} + interval '1 second' * ((i - 1) * {SECONDS} / %(uploads)s::bigint) AS at,
            CASE
                WHEN i = %(uploads)s::bigint THEN 'pending'
                WHEN i = %(uploads)s::bigint - 1 THEN 'processing'
                WHEN i = 1 OR (h >> 40) & 255 >= 20 THEN 'completed'
                WHEN (h >> 40) & 255 >= 8 THEN 'failed'
                WHEN (h >> 40) & 255 >= 4 THEN 'processing'
                ELSE 'pending'
            END AS status
        FROM (
            SELECT i, hashint8extended(i, %(seed)s::bigint) AS h
            FROM generate_series(1, %(uploads)s::bigint) AS i
        ) AS hashed
    ) AS made
"""

# 13 digits and no check digit: the application never looks at it. The seed is in there, so that a second
# load with another seed meets no duplicate.
_EAN = "(4000000000000 + mod(%(seed)s::bigint, 1000) * 1000000000 + {number})::text"

_INSERT_PRODUCTS = f"""
    INSERT INTO public.products
        (id, ean, name, functional_name, category, list_price_eur, is_active{{column}})
    SELECT
        md5(%(seed)s::text || ':product:' || i)::uuid,
        {_EAN.format(number="i")},
        (%(products_named)s::text[])[1 + mod(i, {len(_PRODUCTS)})] || ' No. ' || i,
        (%(products_named)s::text[])[1 + mod(i, {len(_PRODUCTS)})],
        CASE WHEN mod(i, 11) <> 0 THEN 'category ' || mod(i, 8) END,
        (199 + ((h >> 8) & 16383)) * 0.01,
        mod(i, 13) <> 0
        {{value}}
    FROM (
        SELECT i, hashint8extended(i, %(seed)s::bigint + 1) AS h
        FROM generate_series(1, %(products)s::bigint) AS i
    ) AS hashed
"""

# Goes upload by upload, so that an upload's id is made once and not once a row. OFFSET 0 keeps the planner
# from putting the hash in each of the places where it is used. The exponential of an even spread makes
# the k-th reseller sell about 1/k of the first; so for the products. Each fact has bits of its own.
_INSERT_SALES = f"""
    INSERT INTO public.sellout_entries2
        (id, upload_id, source_row, product_ean, functional_name, reseller, country, year, month,
         quantity, sales_lc, sales_eur, currency, is_return, created_at{{columns}})
    SELECT
        %(first_sale)s::bigint + i,
        CASE WHEN (h >> 32) & 31 <> 0 THEN upload_id END,
        CASE WHEN (h >> 32) & 31 <> 0 THEN i - before END,
        CASE WHEN (h >> 37) & 31 <> 0 THEN {_EAN.format(number="product")} END,
        (%(products_named)s::text[])[1 + mod(product, {len(_PRODUCTS)})],
        CASE WHEN (h >> 42) & 15 <> 0 THEN (%(resellers)s::text[])[reseller] END,
        (%(countries)s::text[])[reseller],
        2019 + period / 12,
        1 + mod(period, 12),
        quantity,
        CASE WHEN (h >> 52) & 63 <> 0 THEN quantity * price * 0.01 END,
        quantity * price * 0.0091,
        (%(currencies)s::text[])[reseller],
        quantity < 0,
        at
        {{values}}
    FROM (
        SELECT
            upload_id,
            before,
            i,
            h,
            reseller,
            product,
            at,
            (2 + (i - 1) * 84 / %(sales)s::bigint - mod(i + reseller, 3))::integer AS period,
            (CASE WHEN (h >> 46) & 63 = 0 THEN -1 ELSE 1 END * (1 + ((h >> 58) & 7)))::integer AS quantity,
            199 + mod(product * 7919, 16384)::integer AS price
        FROM (
            SELECT
                upload.id AS upload_id,
                upload.before,
                i,
                h,
                floor(exp((h & 65535)::float8 / 65536 * ln({len(_RESELLERS)} + 1.0::float8)))::integer
                    AS reseller,
                floor(
                    exp(((h >> 16) & 65535)::float8 / 65536 * ln(greatest(%(products)s::float8, 1) + 1))
                )::bigint AS product,
                upload.at + interval '1 millisecond' * (i - upload.before) AS at
            FROM (
                SELECT
                    CASE WHEN %(uploads)s::bigint > 0 THEN md5(%(seed)s::text || ':upload:' || u)::uuid END
                        AS id,
                    {EPOCH} + interval '1 second' * ((u - 1) * {SECONDS} / %(files)s::bigint) AS at,
                    (u - 1) * %(sales)s::bigint / %(files)s::bigint AS before,
                    u * %(sales)s::bigint / %(files)s::bigint AS last
                FROM generate_series(1, %(files)s::bigint) AS u
                OFFSET 0
            ) AS upload
            CROSS JOIN LATERAL (
                SELECT i, hashint8extended(i, %(seed)s::bigint + 2) AS h
                FROM generate_series(upload.before + 1, upload.last) AS i
                OFFSET 0
            ) AS hashed
            OFFSET 0
        ) AS sold
        OFFSET 0
    ) AS made
"""

_INSERT_PROCESSING_LOGS = f"""
    INSERT INTO public.processing_logs (id, upload_id, stage, status, message, details, created_at)
    SELECT
        %(first_log)s::bigint + i,
        CASE WHEN %(uploads)s::bigint > 0 AND mod(i, 101) <> 0
            THEN md5(%(seed)s::text || ':upload:' || u)::uuid
        END,
        (ARRAY['received', 'parsed', 'validated', 'inserted', 'finished'])[1 + mod(i - 1, 5)],
        CASE WHEN h & 31 = 0 THEN 'error' ELSE 'ok' END,
        CASE WHEN h & 31 = 0 THEN 'Zeile ' || ((h >> 8) & 255) || ' unverständlich' END,
        CASE WHEN (h >> 5) & 3 = 0 THEN jsonb_build_object('rows', (h >> 8) & 1023, 'worker', mod(u, 4)) END,
        {EPOCH}
        + interval '1 second' * ((u - 1) * {SECONDS} / %(files)s::bigint + 10 * mod(i - 1, 5))
    FROM (
        SELECT
            i,
            (i - 1) * %(files)s::bigint / %(processing_logs)s::bigint + 1 AS u,
            hashint8extended(i, %(seed)s::bigint + 3) AS h
        FROM generate_series(1, %(processing_logs)s::bigint) AS i
    ) AS hashed
"""

_INSERT_TRANSFORM_LOGS = f"""
    INSERT INTO public.transform_logs
        (id, upload_id, transformation, rows_in, rows_out, duration_ms, {{logged}})
    SELECT
        md5(%(seed)s::text || ':transformation:' || i)::uuid,
        CASE
            WHEN {{orphans}} THEN md5(%(seed)s::text || ':deleted upload:' || u)::uuid
            WHEN %(uploads)s::bigint > 0 THEN md5(%(seed)s::text || ':upload:' || u)::uuid
        END,
        (ARRAY['currency', 'ean', 'period'])[1 + mod(i - 1, 3)],
        1 + (h & 1023),
        (1 + (h & 1023)) * 99 / 100,
        5 + ((h >> 10) & 4095),
        {EPOCH}
        + interval '1 second' * ((u - 1) * {SECONDS} / %(files)s::bigint + 60 + 10 * mod(i - 1, 3))
    FROM (
        SELECT
            i,
            (i - 1) * %(files)s::bigint / %(transform_logs)s::bigint + 1 AS u,
            hashint8extended(i, %(seed)s::bigint + 4) AS h
        FROM generate_series(1, %(transform_logs)s::bigint) AS i
    ) AS hashed
"""

_INSERT_EMAIL_LOGS = f"""
    INSERT INTO public.email_logs (id, recipient, subject, status, sent_at, created_at)
    SELECT
        md5(%(seed)s::text || ':email:' || i)::uuid,
        'user' || 1 + mod(i, greatest(%(users)s::bigint, 1)) || '.' || %(seed)s::text || '@example.com',
        CASE WHEN h & 31 <> 0 THEN 'Ihre Datei ' || i || ' wurde geprüft ✔' END,
        CASE WHEN (h >> 8) & 31 = 0 THEN 'bounced' WHEN (h >> 8) & 31 = 1 THEN 'queued' ELSE 'sent' END,
        CASE WHEN (h >> 8) & 31 <> 1 THEN at + interval '3 seconds' END,
        at
    FROM (
        SELECT
            i,
            hashint8extended(i, %(seed)s::bigint + 5) AS h,
            {EPOCH}
            + interval '1 second' * ((i - 1) * {SECONDS} / %(email_logs)s::bigint + 180) AS at
        FROM generate_series(1, %(email_logs)s::bigint) AS i
    ) AS hashed
"""


#: The table of the sales, and the same by year: a key has to hold the column that it is partitioned by.
_PLAIN_SALES = re.compile(r"(CREATE TABLE public\.sellout_entries2 \([^;]*?IDENTITY) PRIMARY KEY([^;]*?)\n\);")
_PARTITIONED_SALES = r"""\1\2,
    PRIMARY KEY (id, year)
) PARTITION BY LIST (year);
CREATE TABLE public.sellout_entries2_2025 PARTITION OF public.sellout_entries2 FOR VALUES IN (2025);
CREATE TABLE public."Sales 2026" PARTITION OF public.sellout_entries2 FOR VALUES IN (2026);
CREATE TABLE public.sellout_entries2_default PARTITION OF public.sellout_entries2 DEFAULT;"""


@dataclass(frozen=True)
class Rows:
    """How many rows a load put into each of the seven tables."""

    users: int
    uploads: int
    products: int
    sellout_entries2: int
    processing_logs: int
    transform_logs: int
    email_logs: int

    @property
    def total(self) -> int:
        """The rows of all seven tables."""
        return sum(asdict(self).values())


def create(connection: Connection[Any], variant: str, *, partitioned: bool = False) -> None:
    """Make the application's tables in an empty database, in one transaction.

    The connection is a superuser's, and ``roles.sql`` has been run in the cluster. Afterwards every table
    belongs to ``app_owner``. With ``partitioned`` the sales are partitioned by year, with a default
    partition; ``deployed``, whose sales have a trigger BEFORE, needs PostgreSQL 13 for that.
    """
    _known(variant)
    script = (FOLDER / f"{variant}.sql").read_text(encoding="utf-8")
    if partitioned:
        script = _PLAIN_SALES.sub(_PARTITIONED_SALES, script, count=1)
    with connection.transaction():
        connection.execute(script.encode())


def load(
    connection: Connection[Any],
    variant: str,
    *,
    sales: int = 1000,
    users: int | None = None,
    uploads: int | None = None,
    products: int | None = None,
    processing_logs: int | None = None,
    transform_logs: int | None = None,
    email_logs: int | None = None,
    seed: int = 1,
    analyze: bool = True,
    vacuum: bool = False,
) -> Rows:
    """Fill the seven tables in one transaction and say how many rows each of them got.

    What is not given follows from ``sales``: an upload for every 200 of them (at least 3), a user for
    every 10 uploads (at least 5), a product for every 500 sales (10 to 20,000), 5 processing logs, 3
    transform logs and an e-mail an upload. A second load into the same database needs a seed that differs
    modulo 1,000.

    A superuser loads without triggers and foreign key checks, and leaves what they would have left; the
    owner of the tables may load too, and takes about twice as long. ``vacuum`` needs a connection in
    autocommit (ValueError otherwise); it sets the visibility map, as autovacuum has in a database in use.
    """
    _known(variant)
    if vacuum and not (connection.autocommit and connection.info.transaction_status == TransactionStatus.IDLE):
        raise ValueError("VACUUM needs a connection in autocommit, outside of a transaction")
    uploads = max(3, sales // 200) if uploads is None else uploads
    rows = Rows(
        users=max(5, uploads // 10) if users is None else users,
        uploads=uploads,
        products=min(max(10, sales // 500), 20_000) if products is None else products,
        sellout_entries2=sales,
        processing_logs=5 * uploads if processing_logs is None else processing_logs,
        transform_logs=3 * uploads if transform_logs is None else transform_logs,
        email_logs=uploads if email_logs is None else email_logs,
    )
    with connection.transaction():
        _insert(connection, variant, rows, seed)
    if analyze or vacuum:
        connection.execute(f"{'VACUUM (ANALYZE)' if vacuum else 'ANALYZE'} {_TABLES}")
    return rows


_TABLES = ", ".join(f"public.{name}" for name in Rows.__dataclass_fields__)


def _known(variant: str) -> None:
    if variant not in VARIANTS:
        raise ValueError(f"no variant {variant!r}; there are {', '.join(VARIANTS)}")


def _insert(connection: Connection[Any], variant: str, rows: Rows, seed: int) -> None:
    deployed = variant == "deployed"
    values: dict[str, object] = asdict(rows) | {
        "seed": seed,
        "sales": rows.sellout_entries2,
        # Without uploads there is still one pile of sales and logs.
        "files": max(rows.uploads, 1),
        "first_sale": _highest_id(connection, "sellout_entries2"),
        "first_log": _highest_id(connection, "processing_logs"),
        "people": list(_PEOPLE),
        "products_named": list(_PRODUCTS),
        "resellers": [name for name, _, _ in _RESELLERS],
        "countries": [country for _, country, _ in _RESELLERS],
        "currencies": [currency for _, _, currency in _RESELLERS],
    }

    def insert(statement: str, count: int) -> None:
        if count:  # the statements divide by it
            connection.execute(statement, values)

    # Before the triggers are off: in deployed it is one of them that makes public.users.
    insert(_INSERT_USERS[variant], rows.users)
    before = _triggers_off(connection)
    insert(_INSERT_UPLOADS.format(uploaded="uploaded_at" if deployed else "created_at"), rows.uploads)
    insert(
        _INSERT_PRODUCTS.format(
            column="" if deployed else ", created_at",
            value="" if deployed else f", {EPOCH} + interval '1 hour' * i",
        ),
        rows.products,
    )
    # What prepare_sale() leaves in a row that is inserted.
    insert(
        _INSERT_SALES.format(
            columns=", updated_at, revision" if deployed else "", values=", at, 1" if deployed else ""
        ),
        rows.sellout_entries2,
    )
    insert(_INSERT_PROCESSING_LOGS, rows.processing_logs)
    insert(
        _INSERT_TRANSFORM_LOGS.format(
            logged="logged_at" if deployed else "created_at",
            # Only where no foreign key forbids it.
            orphans="mod(i, 197) = 0" if deployed else "false",
        ),
        rows.transform_logs,
    )
    insert(_INSERT_EMAIL_LOGS, rows.email_logs)
    if before is not None:
        # Not left to the end of the transaction, which may be the caller's.
        connection.execute("SELECT set_config('session_replication_role', %s, true)", [before])
    for table in ("sellout_entries2", "processing_logs"):
        connection.execute(
            "SELECT setval(pg_get_serial_sequence(%s, 'id'), greatest(%s, 1)::bigint, %s > 0)",
            [f"public.{table}", highest := _highest_id(connection, table), highest],
        )


def _triggers_off(connection: Connection[Any]) -> str | None:
    """Turn triggers and foreign key checks off; the setting before, None for a role that may not."""
    row = connection.execute(
        "SELECT current_setting('session_replication_role') WHERE current_setting('is_superuser') = 'on'"
    ).fetchone()
    if row is None:
        return None
    connection.execute("SET LOCAL session_replication_role = replica")
    return str(row[0])


def _highest_id(connection: Connection[Any], table: str) -> int:
    row = connection.execute(f"SELECT coalesce(max(id), 0) FROM public.{table}").fetchone()
    assert row is not None
    return int(row[0])
