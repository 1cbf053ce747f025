"""What log_is_only_ours finds, and what it does not."""

from __future__ import annotations

from tests.checks.states import LOG, entry, migrated_after, taken_back
from tests.support.cases import Case

BEFORE: tuple[Case, ...] = (
    Case(
        "log_is_only_ours",
        "another phase",
        near_miss=entry("by hand"),
        near_miss_options=("--purge-log",),
        violation="INSERT INTO public.migration_log (phase, operation, status)"
        " VALUES ('phase_3', 'migrate', 'completed'), ('phase_2', 'migrate', 'completed'), ('phase_2', 'x', 'failed')",
        options=("--purge-log",),
        object="public.migration_log",
        problem="^has 3 entries of phase_2, phase_3$",
        mended_by="leave --purge-log out",
        by_hand="DELETE FROM public.migration_log WHERE phase <> 'phase_1'",
    ),
    Case(
        "log_is_only_ours",
        "there before",
        near_miss=taken_back,
        near_miss_options=("--purge-log",),
        violation=migrated_after(LOG + entry("create_migration_log", "phase_0")),
        options=("--purge-log",),
        object="public.migration_log",
        problem="^was there before Phase 1, and has 1 entries of phase_0$",
        mended_by="leave --purge-log out",
        by_hand="DROP TABLE IF EXISTS public.no_such_table",
        options_by_hand=("--json",),
    ),
)
