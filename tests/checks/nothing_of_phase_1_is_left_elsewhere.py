"""What nothing_of_phase_1_is_left_elsewhere finds, and what it does not."""

from __future__ import annotations

from phase_1.inventory import DEFAULT_ORGANIZATION
from tests.checks.states import ADOPTED, OURS, migrated_after
from tests.support.cases import Case

BEFORE: tuple[Case, ...] = (
    Case(
        "nothing_of_phase_1_is_left_elsewhere",
        "partition that was detached and moved away",
        near_miss="CREATE SCHEMA archive; GRANT USAGE, CREATE ON SCHEMA archive TO app_owner;"
        # a client_id at the place of ours, and what is ours elsewhere
        f"CREATE TABLE public.history (LIKE public.uploads, owner uuid DEFAULT '{DEFAULT_ORGANIZATION}');"
        "CREATE POLICY own ON public.history USING (client_id = owner);"
        "CREATE TABLE public.bills (client_id uuid DEFAULT '11111111-1111-4111-8111-111111111111');"
        "CREATE VIEW public.nobody AS SELECT NULL::uuid AS client_id;"
        f"ALTER VIEW public.nobody ALTER client_id SET DEFAULT '{DEFAULT_ORGANIZATION}'",
        violation="ALTER TABLE public.sellout_entries2 DETACH PARTITION public.sellout_entries2_2025;"
        "ALTER TABLE public.sellout_entries2_2025 SET SCHEMA archive",
        object="archive.sellout_entries2_2025",
        problem="is neither a tenant table nor a partition of one any more",
        mended_by="ALTER TABLE archive.sellout_entries2_2025 DROP COLUMN client_id",
        variant="founding-partitioned",
    ),
    Case(
        "nothing_of_phase_1_is_left_elsewhere",
        "partition whose default a later phase has dropped",
        violation="ALTER TABLE public.sellout_entries2 ALTER client_id DROP DEFAULT;"
        "ALTER TABLE public.sellout_entries2 DETACH PARTITION public.sellout_entries2_2025",
        object="public.sellout_entries2_2025",
        problem="is neither a tenant table nor a partition of one any more",
        mended_by="ALTER TABLE public.sellout_entries2_2025 DROP COLUMN client_id",
        variant="founding-partitioned",
    ),
    Case(
        "nothing_of_phase_1_is_left_elsewhere",
        "table of another name",
        near_miss=migrated_after(
            "SET search_path = public, extensions;"
            + ADOPTED
            + f"CREATE TABLE public.bills (client_id uuid DEFAULT '{OURS}')"
        ),
        violation="ALTER TABLE public.email_logs RENAME TO mails; CREATE POLICY own ON public.mails USING (TRUE)",
        object="public.mails",
        problem="is neither a tenant table nor a partition of one any more",
        mended_by="(?<=what belongs to Phase 1: )(DROP POLICY phase_1_client_pinned[_a-z]* ON public.mails; ){3}"
        "ALTER TABLE public.mails DROP COLUMN client_id",
        variant="deployed",
    ),
)
