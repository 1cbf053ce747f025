"""What filled_rows_can_be_published finds, and what it does not."""

from __future__ import annotations

from tests.checks.states import migrated_after
from tests.support.cases import Case

BEFORE: tuple[Case, ...] = (
    Case(
        "filled_rows_can_be_published",
        "no key",
        near_miss="ALTER TABLE public.email_logs ADD client_id uuid; ALTER TABLE public.uploads ADD client_id uuid;"
        "ALTER TABLE public.products DROP CONSTRAINT products_pkey;"
        "CREATE PUBLICATION ours FOR TABLE public.email_logs, public.uploads, public.products;"
        "CREATE PUBLICATION inserts FOR TABLE public.sellout_entries2 WITH (publish = 'insert');"
        "ALTER TABLE public.sellout_entries2 DROP CONSTRAINT sellout_entries2_pkey, ADD client_id uuid;"
        "CREATE SCHEMA attic; CREATE TABLE attic.sellout_entries2 (id int);"
        "CREATE PUBLICATION past FOR TABLE attic.sellout_entries2",
        violation="ALTER TABLE public.email_logs DROP CONSTRAINT email_logs_pkey",
        object="public.email_logs",
        problem=r"publication ours carries it without a key to know its rows by: none can be updated \(55000\)",
        mended_by="ALTER TABLE public.email_logs REPLICA IDENTITY FULL",
        stages=("preflight",),
    ),
    Case(
        "filled_rows_can_be_published",
        "no identity",
        near_miss=migrated_after(
            "ALTER TABLE public.email_logs ADD COLUMN client_id uuid, ADD UNIQUE (id);"
            "CREATE PUBLICATION ours FOR TABLE public.email_logs, public.uploads;",
            since="ALTER TABLE public.email_logs DROP CONSTRAINT email_logs_pkey,"
            " REPLICA IDENTITY USING INDEX email_logs_id_key; ALTER TABLE public.uploads REPLICA IDENTITY NOTHING",
        ),
        violation="ALTER TABLE public.email_logs REPLICA IDENTITY DEFAULT",
        object="public.email_logs",
        problem="publication ours carries it without a key to know its rows by",
        mended_by="ALTER TABLE public.email_logs REPLICA IDENTITY FULL",
        stages=("rollback",),
    ),
)
