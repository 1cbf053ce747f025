"""What role_owns_the_table finds, and what it does not."""

from __future__ import annotations

from tests.checks.states import ORGANIZATIONS, PARTITIONED
from tests.support.cases import Case

BEFORE: tuple[Case, ...] = (
    Case(
        "role_owns_the_table",
        "of another role",
        violation="ALTER TABLE public.email_logs OWNER TO {superuser}",
        object="public.email_logs",
        problem="and app_owner is not a member of that role",
        mended_by=r"connect as \S+",
        by_hand="ALTER TABLE public.email_logs OWNER TO app_owner",
    ),
    Case(
        "role_owns_the_table",
        "of a role whose rights are not inherited",
        near_miss="GRANT {role} TO app_owner; REASSIGN OWNED BY app_owner TO {role}",
        violation="GRANT {role} TO app_owner WITH INHERIT FALSE",
        object=r"public\.\w+",
        problem=r"and app_owner is a member of that role without its rights \(NOINHERIT\)",
        mended_by=r"connect as \S+, or begin the session as that role: add options=-crole=\S+ to the connection",
        by_hand="GRANT {role} TO app_owner WITH INHERIT TRUE",
        # Before a rollback the log is asked for, and cannot be read.
        stages=("preflight",),
        pg=">=16",
    ),
    Case(
        "role_owns_the_table",
        "partition of another role",
        near_miss=f"{PARTITIONED}; CREATE TABLE public.mails_default PARTITION OF public.email_logs DEFAULT",
        violation=f"{PARTITIONED}; CREATE TABLE public.mails_default PARTITION OF public.email_logs DEFAULT;"
        " RESET ROLE; ALTER TABLE public.mails_default OWNER TO {superuser}",
        object="public.mails_default",
        problem="and app_owner is not a member of that role",
        mended_by=r"connect as \S+",
        by_hand="ALTER TABLE public.mails_default OWNER TO app_owner",
        stages=("preflight",),
    ),
    Case(
        "role_owns_the_table",
        "organizations of another role",
        near_miss=ORGANIZATIONS,
        violation="ALTER TABLE public.organizations OWNER TO {superuser};"
        "GRANT ALL ON public.organizations TO app_owner;"
        "ALTER TABLE public.organizations DISABLE ROW LEVEL SECURITY",
        object="public.organizations",
        problem="and app_owner is not a member of that role",
        mended_by=r"connect as \S+",
        stages=("preflight",),
        by_hand="ALTER TABLE public.organizations OWNER TO app_owner;"
        "ALTER TABLE public.organizations ENABLE ROW LEVEL SECURITY",
    ),
)
