"""What client_id_is_required_and_has_its_default finds, and what it does not."""

from __future__ import annotations

from phase_1.inventory import DEFAULT_ORGANIZATION
from tests.checks.states import SECOND
from tests.support.cases import Case

AFTERWARDS: tuple[Case, ...] = (
    Case(
        "client_id_is_required_and_has_its_default",
        "may be null",
        near_miss="ALTER TABLE public.uploads ADD COLUMN former_client_id uuid",
        violation="ALTER TABLE public.uploads ALTER client_id DROP NOT NULL;UPDATE public.uploads SET client_id = NULL",
        object="public.uploads.client_id",
        problem="may be NULL",
        mended_by="^run the migration again",
    ),
    Case(
        "client_id_is_required_and_has_its_default",
        "never had its default",
        near_miss="ALTER TABLE public.uploads ALTER client_id DROP DEFAULT",
        violation="DELETE FROM public.migration_log WHERE operation = 'add_client_id(uploads)'",
        object="public.uploads.client_id",
        problem="has the default NULL instead of the default organization",
        mended_by="^run the migration again",
    ),
    Case(
        "client_id_is_required_and_has_its_default",
        "other default",
        near_miss=SECOND,
        violation="ALTER TABLE public.uploads ALTER client_id SET DEFAULT '11111111-1111-4111-8111-111111111111'",
        object="public.uploads.client_id",
        problem="has the default '11111111-1111-4111-8111-111111111111'::uuid instead of the default organization",
        mended_by="^ALTER TABLE public.uploads ALTER COLUMN client_id SET DEFAULT '[^']*'",
    ),
    Case(
        "client_id_is_required_and_has_its_default",
        "other type",
        violation="ALTER TABLE public.email_logs DROP CONSTRAINT email_logs_client_id_fkey,"
        " ALTER client_id DROP DEFAULT, ALTER client_id TYPE text",
        object="public.email_logs.client_id",
        problem="is not of type uuid",
        mended_by="^run the migration again",
        by_hand="ALTER TABLE public.email_logs ALTER client_id TYPE uuid USING client_id::uuid;"
        f"ALTER TABLE public.email_logs ALTER client_id SET DEFAULT '{DEFAULT_ORGANIZATION}'",
    ),
    Case(
        "client_id_is_required_and_has_its_default",
        "no column",
        violation="ALTER TABLE public.email_logs DROP COLUMN client_id",
        object="public.email_logs.client_id",
        problem="there is no such column",
        mended_by="^run the migration again",
    ),
)
