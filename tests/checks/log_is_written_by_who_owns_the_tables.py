"""What log_is_written_by_who_owns_the_tables finds, and what it does not."""

from __future__ import annotations

from tests.checks.states import LOG
from tests.plugins.database import OWNER
from tests.support.cases import Case

BEFORE: tuple[Case, ...] = (
    *(
        Case(
            "log_is_written_by_who_owns_the_tables",
            f"{title}, {stage}",
            near_miss=f"{log} GRANT SELECT, REFERENCES ON public.migration_log TO {{role}};"
            "GRANT ALL ON public.migration_log TO {superuser}",
            violation=violation,
            object="public.migration_log",
            problem=r"^\S+_role may write to it",
            mended_by=mended_by,
            user=user,
            user_by_hand=user,
            stages=(stage,),
        )
        for stage, log in (("preflight", LOG), ("rollback", "SET ROLE app_owner;"))
        for title, violation, mended_by, user in (
            ("a grant", "GRANT INSERT (operation) ON public.migration_log TO {role}", "REVOKE .* FROM .*", OWNER),
            ("triggers", "GRANT TRIGGER ON public.migration_log TO {role}", "REVOKE .* FROM .*", OWNER),
        )
    ),
)

AFTERWARDS: tuple[Case, ...] = (
    Case(
        "log_is_written_by_who_owns_the_tables",
        "everybody",
        near_miss="GRANT SELECT ON public.migration_log TO {role}; GRANT UPDATE (name) ON public.products TO {role}",
        violation="GRANT UPDATE ON public.migration_log TO PUBLIC",
        object="public.migration_log",
        problem="^PUBLIC may write to it",
        mended_by="^REVOKE .* FROM PUBLIC",
    ),
)
