"""What rows_agree_with_their_parent finds, and what it does not."""

from __future__ import annotations

from tests.checks.states import ORGANIZATIONS
from tests.support.cases import Case

BEFORE: tuple[Case, ...] = (
    Case(
        "rows_agree_with_their_parent",
        "other client",
        near_miss=ORGANIZATIONS
        + """
            ALTER TABLE public.transform_logs ADD COLUMN client_id uuid
                REFERENCES public.organizations (id) ON DELETE RESTRICT;
            ALTER TABLE public.transform_logs ALTER COLUMN upload_id DROP NOT NULL;
            UPDATE public.transform_logs SET client_id = '11111111-1111-4111-8111-111111111111', upload_id = NULL
            WHERE id IN (SELECT id FROM public.transform_logs ORDER BY id LIMIT 1);
        """,
        violation="UPDATE public.transform_logs SET upload_id = u.id FROM public.uploads AS u"
        " WHERE transform_logs.client_id IS NOT NULL",
        object="public.transform_logs",
        problem="1 rows would belong to another client than the row of public.uploads that their upload_id names",
        mended_by="give them the client of what they belong to",
        by_hand="UPDATE public.transform_logs SET client_id = NULL",
    ),
    Case(
        "rows_agree_with_their_parent",
        "no client",
        near_miss="""
            SET ROLE app_owner;
            ALTER TABLE public.uploads ADD COLUMN client_id uuid;
            DELETE FROM public.sellout_entries2;
            DELETE FROM public.processing_logs;
        """,
        violation=ORGANIZATIONS + "UPDATE public.uploads SET client_id = '11111111-1111-4111-8111-111111111111'"
        " WHERE id IN (SELECT upload_id FROM public.transform_logs ORDER BY 1 LIMIT 1)",
        object="public.transform_logs",
        problem=r"[1-9]\d* rows would belong to another client than the row of public.uploads that their upload_id",
        mended_by="ALTER TABLE public.transform_logs ADD COLUMN client_id uuid; UPDATE .*",
    ),
)
