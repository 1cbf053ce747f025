"""What role_may_create finds, and what it does not."""

from __future__ import annotations

from tests.support.cases import Case

BEFORE: tuple[Case, ...] = (
    Case(
        "role_may_create",
        "no privilege",
        near_miss="REVOKE ALL ON SCHEMA public FROM PUBLIC",
        violation="REVOKE CREATE ON SCHEMA public FROM app_owner",
        object="schema public",
        problem="app_owner may not create tables and functions in it",
        mended_by="GRANT USAGE, CREATE ON SCHEMA public TO app_owner",
    ),
)
