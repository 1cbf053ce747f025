"""What log_takes_known_states_only finds, and what it does not."""

from __future__ import annotations

from tests.checks.states import LOG
from tests.support.cases import Case

_STATES = "('started', 'completed', 'failed', 'skipped')"

BEFORE: tuple[Case, ...] = (
    Case(
        "log_takes_known_states_only",
        "any state",
        near_miss=LOG,
        violation="ALTER TABLE public.migration_log DROP CONSTRAINT migration_log_status_check,"
        " ADD CHECK (status IN ('started', 'completed', 'failed', 'skipped', 'forgotten'))",
        object="public.migration_log",
        problem="takes a status other than started, completed, failed, skipped",
        mended_by=r"ALTER TABLE public.migration_log ADD CHECK \(.*\)",
    ),
    Case(
        "log_takes_known_states_only",
        "any number",
        near_miss=LOG,
        # as bigserial makes it
        violation="SET ROLE app_owner; ALTER TABLE public.migration_log ALTER COLUMN id DROP IDENTITY;"
        "CREATE SEQUENCE public.numbers OWNED BY public.migration_log.id;"
        "ALTER TABLE public.migration_log ALTER COLUMN id SET DEFAULT nextval('public.numbers')",
        object="public.migration_log.id",
        problem="is not a generated identity",
        mended_by="ALTER TABLE .* DROP DEFAULT; DROP SEQUENCE .*; ALTER TABLE .* ALWAYS AS IDENTITY",
    ),
)

AFTERWARDS: tuple[Case, ...] = (
    Case(
        "log_takes_known_states_only",
        "any state",
        violation="ALTER TABLE public.migration_log DROP CONSTRAINT migration_log_status_check,"
        f" ADD CHECK (operation NOT IN {_STATES}), ADD EXCLUDE (id WITH =) WHERE (status IN {_STATES});"
        f"CREATE TABLE public.other (status text CHECK (status IN {_STATES}))",
        object="public.migration_log",
        problem="takes a status other than started, completed, failed, skipped",
        mended_by=r"^ALTER TABLE public.migration_log ADD CHECK \(.*\)",
    ),
)
