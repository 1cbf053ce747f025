"""What writes_are_pinned finds, and what it does not."""

from __future__ import annotations

from phase_1.inventory import DEFAULT_ORGANIZATION
from tests.checks.states import ANON_LAST
from tests.support.cases import Case


def _pin(title: str, command: str, violation: str, near_miss: str = "") -> Case:
    """A pin that is there and lets a command write more than it has to."""
    name = "phase_1_client_pinned" + ("" if command == "insert" else f"_{command}")
    return Case(
        "writes_are_pinned",
        title,
        near_miss=near_miss,
        violation=violation,
        object="public.uploads",
        problem=f"the roles of the web API may {command} rows of any client",
        mended_by=f"^DROP POLICY {name} .*; CREATE POLICY {name} .*",
        variant="deployed",
    )


AFTERWARDS: tuple[Case, ...] = (
    Case(
        "writes_are_pinned",
        "dropped",
        near_miss="DROP POLICY uploads_read ON public.uploads",
        violation=ANON_LAST + "DROP POLICY phase_1_client_pinned ON public.uploads",
        object="public.uploads",
        problem="the roles of the web API may insert rows of any client",
        mended_by="^CREATE POLICY phase_1_client_pinned ON public.uploads AS RESTRICTIVE FOR INSERT"
        " TO anon, authenticated .*",
        variant="deployed",
    ),
    _pin(
        "altered",
        "update",
        "ALTER POLICY phase_1_client_pinned_update ON public.uploads WITH CHECK (TRUE)",
        near_miss="ALTER POLICY phase_1_client_pinned ON public.uploads RENAME TO one_of_phase_2",
    ),
    _pin(
        "altered, whom it lets take",
        "update",
        "ALTER POLICY phase_1_client_pinned_update ON public.uploads USING (TRUE)",
    ),
    _pin(
        "permissive",
        "insert",
        "DROP POLICY phase_1_client_pinned ON public.uploads;"
        "CREATE POLICY phase_1_client_pinned ON public.uploads FOR INSERT TO anon, authenticated"
        f" WITH CHECK (client_id = '{DEFAULT_ORGANIZATION}')",
    ),
    _pin(
        "for another command",
        "delete",
        "DROP POLICY phase_1_client_pinned_delete ON public.uploads;"
        "CREATE POLICY phase_1_client_pinned_delete ON public.uploads AS RESTRICTIVE FOR SELECT TO anon, authenticated"
        f" USING (client_id = '{DEFAULT_ORGANIZATION}')",
    ),
    _pin(
        "for one role",
        "delete",
        "ALTER POLICY phase_1_client_pinned_delete ON public.uploads TO anon",
    ),
    Case(
        "writes_are_pinned",
        "row security later",
        near_miss="CREATE TABLE public.news (client_id uuid); ALTER TABLE public.news ENABLE ROW LEVEL SECURITY",
        violation="ALTER TABLE public.uploads ENABLE ROW LEVEL SECURITY",
        object="public.uploads",
        problem="the roles of the web API may (insert|update|delete) rows of any client",
        mended_by="^CREATE POLICY phase_1_client_pinned.*",
    ),
)
