"""What event_triggers_are_trusted finds, and what it does not."""

from __future__ import annotations

from tests.support.cases import Case

BEFORE: tuple[Case, ...] = (
    *(
        Case(
            "event_triggers_are_trusted",
            f"{event}, {stage}",
            near_miss="CREATE FUNCTION public.audited() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';"
            f"CREATE EVENT TRIGGER audited ON {event} EXECUTE FUNCTION public.audited()",
            violation="ALTER FUNCTION public.audited() OWNER TO {role}",
            object="event trigger audited",
            problem=r"runs public.audited\(\), which belongs to \S+_role, at every step",
            mended_by="ALTER EVENT TRIGGER audited DISABLE",
            stages=(stage,),
        )
        for stage, event in (("preflight", "ddl_command_end"), ("rollback", "sql_drop"))
    ),
)
