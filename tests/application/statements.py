"""What the old application says to its database, and what it may no longer say after the migration.

The old application has never heard of ``client_id``. ``OLD_STATEMENTS`` must run before and after the
migration with the same effect; ``BREAKING`` lists what no migration that adds a column can spare it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from psycopg import Connection


class NoRowTouchedError(AssertionError):
    """A statement ran and touched no row, so that nothing was shown by it."""


@dataclass(frozen=True)
class Statement:
    """One statement of the old application, as its owner or its back end says it.

    ``copy_rows`` are the rows of a COPY FROM STDIN. On a loaded database each touches at least one row, and
    may be run again, in any order, until the rows that it deletes are used up.
    """

    name: str
    sql: str
    copy_rows: tuple[tuple[object, ...], ...] | None = None
    returns_rows: bool = False


@dataclass(frozen=True)
class Breaking:
    """Something that works before the migration and fails with ``sqlstate`` after it.

    ``setup`` runs before the migration, ``same_session`` says on the very connection that later runs the
    statement; ``role`` is who runs it, if not the owner. With
    ``after_only`` the statement means nothing before: it names the column; with ``by_memberships`` it is the
    new table that breaks it, which refers to users.
    """

    statement: Statement
    sqlstate: str
    setup: tuple[str, ...] = ()
    same_session: bool = False
    after_only: bool = False
    by_memberships: bool = False
    role: str | None = None


def run(connection: Connection[Any], statement: Statement) -> list[tuple[Any, ...]]:
    """Execute a statement and return its rows, if it returns any.

    Raises NoRowTouchedError if the server reports no row. The caller's transaction is left as it is.
    """
    with connection.cursor() as cursor:
        if statement.copy_rows is None:
            cursor.execute(statement.sql)
        else:
            with cursor.copy(statement.sql) as copy:
                for row in statement.copy_rows:
                    copy.write_row(row)
        if cursor.rowcount < 1:
            raise NoRowTouchedError(f"{statement.name} touched no row")
        return cursor.fetchall() if statement.returns_rows else []


#: An id that no row has yet; the statements may run any number of times.
_NEW_ID = "md5(random()::text || clock_timestamp()::text)::uuid"
#: The newest sale that came with an upload.
_SALE = "(SELECT max(id) FROM public.sellout_entries2 WHERE upload_id IS NOT NULL)"


def _common(uploaded: str, logged: str) -> tuple[Statement, ...]:
    """List what both variants say; they differ in the names of two time columns."""
    finished = f"(SELECT id FROM public.uploads WHERE status = 'completed' ORDER BY {uploaded} LIMIT 1)"
    return (
        # Inserts that do not know the column -------------------------------------------------------------
        Statement(
            "insert_upload_returning_id",
            "INSERT INTO public.uploads (user_id, filename, file_size)"
            " SELECT id, 'März.xlsx', 4096 FROM public.users ORDER BY created_at LIMIT 1 RETURNING id",
            returns_rows=True,
        ),
        Statement(
            "insert_upload_without_user",
            "INSERT INTO public.uploads (filename, status) VALUES ('nightly.csv', 'processing')",
        ),
        Statement(
            "insert_sale_returning_id",
            "INSERT INTO public.sellout_entries2 (product_ean, reseller, year, month, quantity, sales_eur)"
            " VALUES ('4006381333931', 'Bücher Müller', 2026, 3, 4, 19.96) RETURNING id",
            returns_rows=True,
        ),
        Statement(
            "insert_sales_of_an_upload",
            "INSERT INTO public.sellout_entries2"
            " (upload_id, source_row, product_ean, reseller, country, year, month, quantity, currency)"
            f" SELECT {finished}, line, NULL, '東京堂書店', 'JP', 2026, 2, line, 'JPY'"
            " FROM generate_series(1, 20) AS line",
        ),
        Statement(
            "insert_product",
            "INSERT INTO public.products (ean, name, list_price_eur)"
            f" VALUES ('new-' || {_NEW_ID}::text, 'Étagère', 49.90)",
        ),
        Statement(
            "insert_processing_log",
            "INSERT INTO public.processing_logs (upload_id, stage, status, details)"
            f" VALUES ({finished}, 'parsed', 'ok', '{{\"rows\": 20}}')",
        ),
        Statement(
            "insert_transform_log",
            "INSERT INTO public.transform_logs (upload_id, transformation, rows_in, rows_out)"
            f" VALUES ({finished}, 'currency', 20, 19)",
        ),
        Statement(
            "insert_email_log",
            "INSERT INTO public.email_logs (recipient, subject) VALUES ('ops@example.com', 'Grüße ✔')",
        ),
        Statement(
            "insert_defaults_by_name",
            "INSERT INTO public.sellout_entries2"
            " (year, month, quantity, id, upload_id, product_ean, reseller, created_at)"
            " VALUES (2026, 1, 1, DEFAULT, DEFAULT, DEFAULT, DEFAULT, DEFAULT)",
        ),
        Statement(
            "insert_into_select_of_last_year",
            "INSERT INTO public.sellout_entries2 (product_ean, reseller, year, month, quantity, currency)"
            " SELECT product_ean, reseller, year + 1, month, quantity, currency"
            " FROM public.sellout_entries2 ORDER BY id LIMIT 10",
        ),
        # Inserts without a column list: the new column must be the last, and have a default --------------
        Statement(
            "positional_insert_email_log",
            f"INSERT INTO public.email_logs VALUES ({_NEW_ID}, 'ops@example.com', NULL, 'sent', now(), now())",
        ),
        Statement(
            "positional_insert_processing_log",
            "INSERT INTO public.processing_logs VALUES"
            " (nextval('public.processing_logs_id_seq'), NULL, 'received', 'ok', 'by hand', NULL, now())",
        ),
        Statement(
            "positional_insert_transform_log",
            f"INSERT INTO public.transform_logs VALUES ({_NEW_ID}, NULL, 'ean', 10, 10, 12, now())",
        ),
        Statement(
            "positional_insert_upload",
            f"INSERT INTO public.uploads VALUES ({_NEW_ID}, NULL, '売上.xlsx', 1, 'completed', 0, NULL, now(), now())",
        ),
        # Upserts -----------------------------------------------------------------------------------------
        Statement(
            "upsert_product",
            "INSERT INTO public.products (ean, name) VALUES ('9999999999999', 'Mug ☕')"
            " ON CONFLICT (ean) DO UPDATE SET name = excluded.name, is_active = true RETURNING id",
            returns_rows=True,
        ),
        Statement(
            "upsert_products_that_are_there",
            "INSERT INTO public.products (ean, name)"
            " SELECT ean, name || ' (new)' FROM public.products ORDER BY ean LIMIT 5"
            " ON CONFLICT (ean) DO UPDATE SET name = excluded.name",
        ),
        Statement(
            "upsert_on_the_primary_key",
            "INSERT INTO public.sellout_entries2 (id, year, month, quantity)"
            f" SELECT {_SALE}, 2026, 1, 7 ON CONFLICT (id) DO UPDATE SET quantity = excluded.quantity",
        ),
        # Updates -----------------------------------------------------------------------------------------
        Statement(
            "update_sale",
            "UPDATE public.sellout_entries2 SET quantity = quantity + 1, sales_eur = sales_eur * 1.01"
            f" WHERE id = {_SALE}",
        ),
        Statement(
            "update_from_uploads",
            "UPDATE public.sellout_entries2 AS sale SET currency = 'EUR' FROM public.uploads AS upload"
            f" WHERE upload.id = sale.upload_id AND sale.id = {_SALE}",
        ),
        Statement(
            "update_user_profile",
            "UPDATE public.users SET full_name = 'Søren Ørsted', last_login_at = now()"
            " WHERE id = (SELECT id FROM public.users ORDER BY created_at DESC LIMIT 1)",
        ),
        Statement(
            "take_the_next_upload",
            "UPDATE public.uploads SET status = 'processing' WHERE id = ("
            "SELECT id FROM public.uploads WHERE status IN ('pending', 'processing')"
            f" ORDER BY {uploaded} DESC LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING id, filename",
            returns_rows=True,
        ),
        Statement(
            "finish_upload_by_function",
            f"SELECT public.finish_upload({finished})",
            returns_rows=True,
        ),
        # Deletes -----------------------------------------------------------------------------------------
        Statement(
            "delete_sale",
            "DELETE FROM public.sellout_entries2 WHERE id = (SELECT min(id) FROM public.sellout_entries2)",
        ),
        Statement(
            "delete_using_uploads",
            "DELETE FROM public.sellout_entries2 AS sale USING public.uploads AS upload"
            f" WHERE upload.id = sale.upload_id AND sale.id = {_SALE} RETURNING sale.id, upload.filename",
            returns_rows=True,
        ),
        Statement(
            "delete_upload_and_its_sales",
            f"DELETE FROM public.uploads WHERE id = {finished}",
        ),
        # Reads -------------------------------------------------------------------------------------------
        Statement("select_star", "SELECT * FROM public.uploads ORDER BY id LIMIT 100", returns_rows=True),
        Statement(
            "select_star_of_a_join",
            "SELECT * FROM public.sellout_entries2 AS sale"
            " JOIN public.uploads AS upload ON upload.id = sale.upload_id ORDER BY sale.id LIMIT 100",
            returns_rows=True,
        ),
        Statement(
            "select_by_unqualified_columns",
            "SELECT email, filename, reseller, quantity FROM public.sellout_entries2 AS sale"
            " JOIN public.uploads AS upload ON upload.id = upload_id"
            " LEFT JOIN public.users AS sender ON sender.id = user_id ORDER BY sale.id LIMIT 100",
            returns_rows=True,
        ),
        Statement(
            "select_join_with_products",
            "SELECT product.name, sum(sale.quantity) FROM public.sellout_entries2 AS sale"
            " JOIN public.products AS product ON product.ean = sale.product_ean"
            " WHERE sale.year = 2019 GROUP BY product.name ORDER BY product.name",
            returns_rows=True,
        ),
        Statement(
            "aggregate_by_month",
            "SELECT year, month, count(*), sum(sales_eur) FROM public.sellout_entries2"
            " WHERE reseller IS NOT NULL GROUP BY year, month ORDER BY year, month",
            returns_rows=True,
        ),
        Statement(
            "select_through_the_view",
            "SELECT year, month, reseller, entries, quantity, sales_eur FROM public.sales_by_month"
            " WHERE year = 2019 ORDER BY year, month, reseller",
            returns_rows=True,
        ),
        Statement(
            "select_latest_logs",
            "SELECT upload.filename, log.transformation, log.rows_out FROM public.transform_logs AS log"
            " JOIN public.uploads AS upload ON upload.id = log.upload_id"
            f" ORDER BY log.{logged} DESC LIMIT 20",
            returns_rows=True,
        ),
        # COPY --------------------------------------------------------------------------------------------
        Statement(
            "copy_sales_with_a_column_list",
            "COPY public.sellout_entries2 (product_ean, reseller, year, month, quantity, sales_eur) FROM STDIN",
            copy_rows=(
                ("4006381333931", "Ørsted Boghandel", 2026, 3, 2, "9.98"),
                (None, None, 2026, 3, 1, None),
                ("4006381333948", "Emoji 📚 Store", 2026, 3, -1, "-4.99"),
            ),
        ),
        Statement(
            "copy_email_logs_with_a_column_list",
            "COPY public.email_logs (recipient, subject, status) FROM STDIN",
            copy_rows=(("ops@example.com", "tab\there", "queued"), ("ops@example.com", None, "sent")),
        ),
    )


_FOUNDING = (
    *_common("created_at", "created_at"),
    Statement(
        "insert_user",
        "INSERT INTO public.users (email, full_name)"
        f" VALUES ({_NEW_ID}::text || '@example.com', 'Zoë Bücher') RETURNING id",
        returns_rows=True,
    ),
    Statement(
        "positional_insert_user",
        "INSERT INTO public.users VALUES"
        f" ({_NEW_ID}, {_NEW_ID}::text || '@example.com', '山田 太郎', 'admin', NULL, now())",
    ),
    Statement(
        "positional_insert_sale",
        "INSERT INTO public.sellout_entries2 VALUES"
        " (nextval(pg_get_serial_sequence('public.sellout_entries2', 'id')), NULL, NULL, '4006381333931',"
        " 'Lampe', 'Casa Peña', 'ES', 2026, 3, 5, 24.95, 24.95, 'EUR', false, now())",
    ),
    Statement(
        "positional_insert_product",
        "INSERT INTO public.products VALUES"
        f" ({_NEW_ID}, 'new-' || {_NEW_ID}::text, 'Kettle', 'Kettle', NULL, 29.90, true, now())",
    ),
    Statement(
        "delete_user",
        "DELETE FROM public.users WHERE id = (SELECT id FROM public.users ORDER BY created_at LIMIT 1)",
    ),
)

_DEPLOYED = (
    *_common("uploaded_at", "logged_at"),
    Statement(
        "sign_up",
        "INSERT INTO auth.users (email, raw_user_meta_data)"
        f" VALUES ({_NEW_ID}::text || '@example.com', '{{\"full_name\": \"Zoë Bücher\"}}') RETURNING id",
        returns_rows=True,
    ),
    Statement(
        "upsert_user_profiles",
        "INSERT INTO public.users (id, email, full_name)"
        " SELECT id, email, raw_user_meta_data ->> 'full_name' FROM auth.users"
        " ON CONFLICT (id) DO UPDATE SET email = excluded.email",
    ),
    Statement(
        "positional_insert_sale",
        "INSERT INTO public.sellout_entries2 VALUES"
        " (nextval(pg_get_serial_sequence('public.sellout_entries2', 'id')), NULL, NULL, '4006381333931',"
        " 'Lampe', ' Casa Peña ', 'ES', 2026, 3, 5, 24.95, 24.95, 'EUR', false, now(), now(), 0)",
    ),
    Statement(
        "positional_insert_product",
        "INSERT INTO public.products VALUES"
        f" ({_NEW_ID}, 'new-' || {_NEW_ID}::text, 'Kettle', 'Kettle', NULL, 29.90, true)",
    ),
    Statement(
        "select_through_the_view_of_a_star",
        "SELECT * FROM public.returned_sales ORDER BY id LIMIT 100",
        returns_rows=True,
    ),
    Statement(
        "delete_user_profile",
        "DELETE FROM public.users WHERE id = (SELECT id FROM public.users ORDER BY created_at LIMIT 1)",
    ),
    Statement(
        "delete_account",
        "DELETE FROM auth.users WHERE id = (SELECT id FROM public.users ORDER BY created_at DESC LIMIT 1)",
    ),
)

#: For each variant what its application says. None of them names the new column; none may notice it.
OLD_STATEMENTS: dict[str, tuple[Statement, ...]] = {"founding": _FOUNDING, "deployed": _DEPLOYED}

_LOG_COLUMNS = "id uuid, recipient text, subject text, status text, sent_at timestamptz, created_at timestamptz"

#: One list is enough: email_logs is the same in both variants.
BREAKING: tuple[Breaking, ...] = (
    Breaking(
        Statement(
            "copy_without_a_column_list",
            "COPY public.email_logs FROM STDIN",
            copy_rows=(
                (
                    "a6a1b1c4-5f4f-4c55-9d6a-0b6f3d0c5b11",
                    "ops@example.com",
                    "Grüße ✔",
                    "sent",
                    None,
                    "2026-03-01 12:00:00+00",
                ),
            ),
        ),
        "22P04",
    ),
    Breaking(
        Statement(
            "explicit_null",
            "INSERT INTO public.email_logs (recipient, client_id) VALUES ('ops@example.com', NULL)",
        ),
        "23502",
        after_only=True,
    ),
    Breaking(
        Statement("prepared_select_star", "EXECUTE every_upload", returns_rows=True),
        "0A000",
        setup=("PREPARE every_upload AS SELECT * FROM public.uploads",),
        same_session=True,
    ),
    Breaking(
        Statement(
            "plpgsql_function_returns_table_from_star",
            "SELECT * FROM public.table_of_mail()",
            returns_rows=True,
        ),
        "42804",
        setup=(
            f"CREATE FUNCTION public.table_of_mail() RETURNS TABLE ({_LOG_COLUMNS})"
            " LANGUAGE plpgsql AS $$ BEGIN RETURN QUERY SELECT * FROM public.email_logs; END $$",
        ),
    ),
    Breaking(
        Statement(
            "plpgsql_function_returns_setof_type_from_star",
            "SELECT * FROM public.all_mail()",
            returns_rows=True,
        ),
        "42804",
        setup=(
            f"CREATE TYPE public.mail AS ({_LOG_COLUMNS})",
            "CREATE FUNCTION public.all_mail() RETURNS SETOF public.mail LANGUAGE plpgsql AS"
            " $$ BEGIN RETURN QUERY SELECT * FROM public.email_logs; END $$",
        ),
    ),
    Breaking(
        Statement("sql_function_returns_table_from_star", "SELECT * FROM public.mail_log()", returns_rows=True),
        "42P13",
        setup=(
            f"CREATE FUNCTION public.mail_log() RETURNS TABLE ({_LOG_COLUMNS}) LANGUAGE sql"
            " AS $$ SELECT * FROM public.email_logs $$",
        ),
    ),
    Breaking(
        Statement(
            "archive_by_insert_of_star",
            "INSERT INTO public.email_archive SELECT * FROM public.email_logs",
        ),
        "42601",
        setup=(f"CREATE TABLE public.email_archive ({_LOG_COLUMNS})",),
    ),
    Breaking(
        Statement("update_with_a_trigger_that_keeps_the_row", "UPDATE public.products SET name = name"),
        "42601",
        setup=(
            "CREATE TABLE public.products_history AS SELECT * FROM public.products WHERE FALSE",
            "CREATE FUNCTION public.keep_product() RETURNS trigger LANGUAGE plpgsql"
            " AS $$ BEGIN INSERT INTO public.products_history SELECT OLD.*; RETURN NEW; END $$",
            "CREATE TRIGGER keep BEFORE UPDATE ON public.products FOR EACH ROW EXECUTE FUNCTION public.keep_product()",
        ),
    ),
    Breaking(
        # In a function, which returns the row that TRUNCATE does not.
        Statement("truncate_every_table", "SELECT public.empty_all()", returns_rows=True),
        "0A000",
        setup=(
            "CREATE FUNCTION public.empty_all() RETURNS int LANGUAGE plpgsql AS $$ BEGIN TRUNCATE public.users,"
            " public.uploads, public.products, public.sellout_entries2, public.processing_logs, public.transform_logs,"
            " public.email_logs; RETURN 1; END $$",
        ),
        by_memberships=True,
    ),
    Breaking(
        Statement(
            "update_the_id_of_a_user",
            f"UPDATE public.users SET id = {_NEW_ID} WHERE email = 'moves@example.com'",
        ),
        "23503",
        setup=(
            # Where there is a login service, it has the same id, and who changes it has no such key.
            "ALTER TABLE public.users DROP CONSTRAINT IF EXISTS users_id_fkey",
            f"INSERT INTO public.users (id, email) VALUES ({_NEW_ID}, 'moves@example.com')",
        ),
        by_memberships=True,
    ),
    Breaking(
        Statement(
            "select_star_with_columns_granted_one_by_one",
            "SELECT count(*) FROM (SELECT * FROM public.email_logs) AS mail",
            returns_rows=True,
        ),
        "42501",
        setup=(
            "GRANT SELECT (id, recipient, subject, status, sent_at, created_at) ON public.email_logs TO authenticator",
        ),
        role="authenticator",
    ),
)
