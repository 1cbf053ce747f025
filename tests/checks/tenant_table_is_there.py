"""What tenant_table_is_there finds, and what it does not."""

from __future__ import annotations

from tests.support.cases import Case

BEFORE: tuple[Case, ...] = (
    Case(
        "tenant_table_is_there",
        "missing",
        near_miss="CREATE TABLE public.history (LIKE public.email_logs);"
        "ALTER TABLE public.email_logs INHERIT public.history",
        violation="ALTER TABLE public.email_logs RENAME TO mails",
        object="public.email_logs",
        problem="there is no such table",
        mended_by="--skip-table email_logs",
    ),
    Case(
        "tenant_table_is_there",
        "view",
        violation="ALTER TABLE public.email_logs RENAME TO mails; CREATE VIEW public.email_logs AS TABLE public.mails",
        object="public.email_logs",
        problem="is not a table",
        mended_by="--skip-table email_logs",
    ),
    Case(
        "tenant_table_is_there",
        "inherited",
        violation="CREATE TABLE public.old_mails () INHERITS (public.email_logs)",
        object="public.email_logs",
        problem="has tables that inherit from it",
        mended_by="ALTER TABLE public.old_mails NO INHERIT public.email_logs",
    ),
    Case(
        "tenant_table_is_there",
        "partition",
        violation="CREATE TABLE public.papers (); CREATE TABLE public.letters () INHERITS (public.papers);"
        "SET ROLE app_owner; ALTER TABLE public.email_logs RENAME TO mails;"
        "CREATE TABLE public.all_mails (id uuid, created_at timestamptz) PARTITION BY RANGE (created_at);"
        "CREATE TABLE public.email_logs PARTITION OF public.all_mails DEFAULT",
        object="public.email_logs",
        problem="is a partition itself: its columns are those of public.all_mails",
        mended_by="ALTER TABLE public.all_mails DETACH PARTITION public.email_logs",
    ),
    Case(
        "tenant_table_is_there",
        "typed",
        violation="SET ROLE app_owner; CREATE TYPE public.mail AS (id uuid, created_at timestamptz);"
        "DROP TABLE public.email_logs; CREATE TABLE public.email_logs OF public.mail",
        object="public.email_logs",
        problem="is a typed table: its columns are those of type public.mail",
        mended_by="ALTER TABLE public.email_logs NOT OF",
    ),
    Case(
        "tenant_table_is_there",
        "users",
        violation="ALTER TABLE public.users RENAME TO people",
        object="public.users",
        problem="there is no such table",
        mended_by="it cannot be left out",
        by_hand="ALTER TABLE public.people RENAME TO users",
    ),
)
