"""What kept_client_id_can_be_emptied finds, and what it does not."""

from __future__ import annotations

from tests.checks.states import ORGANIZATIONS, REQUIRED_CLIENT_ID, migrated_after
from tests.support.cases import Case

BEFORE: tuple[Case, ...] = (
    Case(
        "kept_client_id_can_be_emptied",
        "required before",
        near_miss=migrated_after(
            ORGANIZATIONS,
            REQUIRED_CLIENT_ID + "ALTER TABLE public.uploads ADD COLUMN client_id uuid",
        ),
        violation="INSERT INTO public.email_logs (recipient) VALUES ('new@example.com')",
        object="public.email_logs.client_id",
        problem="1 rows belong to an organization that the rollback deletes, and the column, which was NOT NULL before",
        mended_by="ALTER TABLE public.email_logs ALTER COLUMN client_id DROP NOT NULL",
    ),
    Case(
        "kept_client_id_can_be_emptied",
        "required before, without organizations",
        near_miss=migrated_after(
            "TRUNCATE public.email_logs; ALTER TABLE public.email_logs ADD COLUMN client_id uuid NOT NULL;"
            "ALTER TABLE public.uploads ADD COLUMN client_id uuid",
        ),
        violation="INSERT INTO public.organizations (id, name, slug)"
        " VALUES ('11111111-1111-4111-8111-111111111111', 'Acme', 'acme');"
        "INSERT INTO public.email_logs (recipient, client_id)"
        " VALUES ('new@example.com', DEFAULT), ('old@example.com', '11111111-1111-4111-8111-111111111111')",
        object="public.email_logs.client_id",
        problem="2 rows belong to an organization that the rollback deletes",
        mended_by="ALTER TABLE public.email_logs ALTER COLUMN client_id DROP NOT NULL",
    ),
)
