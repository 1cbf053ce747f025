"""What row_security_lets_the_owner_through finds, and what it does not."""

from __future__ import annotations

from tests.support.cases import Case

BEFORE: tuple[Case, ...] = (
    Case(
        "row_security_lets_the_owner_through",
        "forced",
        near_miss="ALTER TABLE public.uploads FORCE ROW LEVEL SECURITY;"
        "ALTER TABLE public.email_logs ENABLE ROW LEVEL SECURITY, OWNER TO {superuser}",
        violation="ALTER TABLE public.email_logs OWNER TO app_owner;"
        "ALTER TABLE public.uploads ENABLE ROW LEVEL SECURITY",
        object="public.uploads",
        problem="has FORCE ROW LEVEL SECURITY, and app_owner cannot bypass it",
        mended_by="ALTER TABLE public.uploads NO FORCE ROW LEVEL SECURITY",
    ),
    Case(
        "row_security_lets_the_owner_through",
        "forced on a partition",
        near_miss="ALTER TABLE public.sellout_entries2_2025 FORCE ROW LEVEL SECURITY",
        violation="ALTER TABLE public.sellout_entries2_2025 ENABLE ROW LEVEL SECURITY",
        object="public.sellout_entries2_2025",
        problem="has FORCE ROW LEVEL SECURITY, and app_owner cannot bypass it",
        mended_by="ALTER TABLE public.sellout_entries2_2025 NO FORCE ROW LEVEL SECURITY",
        variant="founding-partitioned",
    ),
)
