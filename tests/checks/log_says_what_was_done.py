"""What log_says_what_was_done finds, and what it does not."""

from __future__ import annotations

from tests.checks.states import entry
from tests.support.cases import Case

BEFORE: tuple[Case, ...] = (
    Case(
        "log_says_what_was_done",
        "lost",
        near_miss=entry("migrate", "phase_2"),
        violation="ALTER TABLE public.migration_log RENAME TO lost",
        object="public.migration_log",
        problem="but (public\\.)?get_user.* is there, (public\\.)?user_organizations is there, (public\\.)?validate",
        mended_by="restore the log from a backup",
        by_hand="ALTER TABLE public.lost RENAME TO migration_log",
    ),
)
