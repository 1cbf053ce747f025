"""What users_have_a_membership finds, and what it does not."""

from __future__ import annotations

from tests.support.cases import Case

AFTERWARDS: tuple[Case, ...] = (
    Case(
        "users_have_a_membership",
        "later user",
        near_miss="UPDATE public.user_organizations SET is_active = FALSE",
        violation="INSERT INTO public.users (email) VALUES ('new@example.com')",
        object="public.user_organizations",
        problem="1 users have no membership row at all",
        mended_by="expected of users that the old application has added since",
        by_hand="DELETE FROM public.users WHERE email = 'new@example.com'",
    ),
)
