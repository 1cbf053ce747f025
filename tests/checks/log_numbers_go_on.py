"""What log_numbers_go_on finds, and what it does not."""

from __future__ import annotations

from tests.checks.states import LOG, entry
from tests.support.cases import Case

BEFORE: tuple[Case, ...] = (
    *(
        Case(
            "log_numbers_go_on",
            f"restored without its sequence, {stage}",
            near_miss=log
            + entry("migrate", "phase_0")
            + "ALTER TABLE public.migration_log ALTER COLUMN id RESTART WITH 1000",
            violation="ALTER TABLE public.migration_log ALTER COLUMN id RESTART WITH 1",
            object="public.migration_log.id",
            problem=r"has got as far as \d+, and its sequence would give 1 to the next entry",
            mended_by=r"SELECT setval\('public.migration_log_id_seq', \d+\)",
            stages=(stage,),
        )
        for stage, log in (("preflight", LOG), ("rollback", ""))
    ),
)

AFTERWARDS: tuple[Case, ...] = (
    Case(
        "log_numbers_go_on",
        "restored without its sequence",
        near_miss="INSERT INTO public.migration_log (phase, operation, status) VALUES ('phase_2', 'x', 'completed')",
        violation="ALTER TABLE public.migration_log ALTER COLUMN id RESTART WITH 1",
        object="public.migration_log.id",
        problem="its sequence would give 1 to the next entry",
        mended_by=r"SELECT setval\('public.migration_log_id_seq', \d+\)",
    ),
)
