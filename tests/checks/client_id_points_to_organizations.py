"""What client_id_points_to_organizations finds, and what it does not."""

from __future__ import annotations

from tests.checks.states import ORGANIZATIONS, OWN_CLIENT_ID
from tests.support.cases import Case

BEFORE: tuple[Case, ...] = (
    Case(
        "client_id_points_to_organizations",
        "no organizations",
        near_miss="ALTER TABLE public.uploads ADD COLUMN client_id uuid",
        violation="UPDATE public.uploads SET client_id = id",
        object="public.uploads.client_id",
        problem="[1-9][0-9]* rows point to [1-9][0-9]* organizations that do not exist",
        mended_by="set the values to NULL",
        by_hand="UPDATE public.uploads SET client_id = NULL",
    ),
    Case(
        "client_id_points_to_organizations",
        "some",
        near_miss=ORGANIZATIONS + OWN_CLIENT_ID,
        violation="UPDATE public.email_logs SET client_id = '22222222-2222-4222-8222-222222222222'"
        " WHERE client_id IS NOT NULL",
        object="public.email_logs.client_id",
        problem="1 rows point to 1 organizations that do not exist",
        mended_by="create those organizations",
        by_hand="INSERT INTO public.organizations (id, name, slug)"
        " VALUES ('22222222-2222-4222-8222-222222222222', 'Second', 'second')",
    ),
)
