"""What what_is_referred_to_is_logged finds, and what it does not."""

from __future__ import annotations

from tests.checks.states import ORGANIZATIONS
from tests.support.cases import Case

BEFORE: tuple[Case, ...] = (
    Case(
        "what_is_referred_to_is_logged",
        "users",
        near_miss="ALTER TABLE public.email_logs SET UNLOGGED;"
        "ALTER TABLE public.uploads DROP CONSTRAINT uploads_user_id_fkey",
        violation="ALTER TABLE public.users SET UNLOGGED",
        object="public.users",
        problem="is UNLOGGED, and no table that is logged may refer to it",
        mended_by="ALTER TABLE public.users SET LOGGED",
    ),
    Case(
        "what_is_referred_to_is_logged",
        "organizations",
        near_miss=ORGANIZATIONS,
        violation="ALTER TABLE public.organizations SET UNLOGGED",
        object="public.organizations",
        problem="is UNLOGGED, and no table that is logged may refer to it",
        mended_by="ALTER TABLE public.organizations SET LOGGED",
    ),
)
