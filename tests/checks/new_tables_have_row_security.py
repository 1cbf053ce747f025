"""What new_tables_have_row_security finds, and what it does not."""

from __future__ import annotations

import re

from tests.checks.states import ORGANIZATIONS
from tests.support.cases import Case

_DENY = (
    "CREATE POLICY phase_1_denied ON public.organizations AS RESTRICTIVE FOR ALL TO anon, authenticated USING (FALSE)"
)


def _denial(title: str, violation: str) -> Case:
    """A policy phase_1_denied that is there and denies less than it has to."""
    return Case(
        "new_tables_have_row_security",
        title,
        violation=violation,
        object="public.organizations",
        problem="has no policy phase_1_denied",
        mended_by=f"DROP POLICY phase_1_denied ON public.organizations; {re.escape(_DENY)}",
    )


BEFORE: tuple[Case, ...] = (
    Case(
        "new_tables_have_row_security",
        "off",
        near_miss=ORGANIZATIONS,
        violation="ALTER TABLE public.organizations DISABLE ROW LEVEL SECURITY",
        object="public.organizations",
        problem="has no row-level security",
        mended_by="ALTER TABLE public.organizations ENABLE ROW LEVEL SECURITY",
    ),
    Case(
        "new_tables_have_row_security",
        "no policy",
        near_miss=ORGANIZATIONS + "CREATE POLICY more ON public.organizations USING (TRUE)",
        violation="DROP POLICY phase_1_denied ON public.organizations",
        object="public.organizations",
        problem="has no policy phase_1_denied that denies the roles of the web API",
        mended_by="CREATE POLICY phase_1_denied ON public.organizations .*",
    ),
)

AFTERWARDS: tuple[Case, ...] = (
    Case(
        "new_tables_have_row_security",
        "off",
        near_miss="CREATE POLICY more ON public.user_organizations USING (TRUE)",
        violation="ALTER TABLE public.user_organizations DISABLE ROW LEVEL SECURITY",
        object="public.user_organizations",
        problem="has no row-level security",
        mended_by="^ALTER TABLE public.user_organizations ENABLE ROW LEVEL SECURITY",
    ),
    Case(
        "new_tables_have_row_security",
        "no policy",
        violation="DROP POLICY phase_1_denied ON public.organizations",
        object="public.organizations",
        problem="has no policy phase_1_denied",
        mended_by=f"^{re.escape(_DENY)}",
    ),
    Case(
        "new_tables_have_row_security",
        "of another name",  # a later step that drops phase_1_denied by its name would leave it
        violation="ALTER POLICY phase_1_denied ON public.organizations RENAME TO denied",
        object="public.organizations",
        problem="has no policy phase_1_denied",
        mended_by=f"^{re.escape(_DENY)}",
    ),
    _denial(
        "for reading only",
        "DROP POLICY phase_1_denied ON public.organizations;"
        "CREATE POLICY phase_1_denied ON public.organizations AS RESTRICTIVE FOR SELECT TO PUBLIC USING (FALSE)",
    ),
    _denial(
        "permissive",  # beside another policy it denies nothing
        "DROP POLICY phase_1_denied ON public.organizations;"
        "CREATE POLICY phase_1_denied ON public.organizations TO PUBLIC USING (FALSE)",
    ),
    _denial(
        "for one role",
        "ALTER POLICY phase_1_denied ON public.organizations TO anon",
    ),
    _denial(
        "lets through",
        "ALTER POLICY phase_1_denied ON public.organizations USING (is_active)",
    ),
    _denial(
        "lets write",
        "ALTER POLICY phase_1_denied ON public.organizations WITH CHECK (TRUE)",
    ),
)
