"""What triggers_name_the_schema finds, and what it does not."""

from __future__ import annotations

from tests.checks.states import HISTORY, migrated_after
from tests.support.cases import Case

#: A function for event triggers, which writes down what was done.
DDL_AUDIT = """
CREATE TABLE IF NOT EXISTS public.ddl_audit (tag text);
GRANT INSERT ON public.ddl_audit TO PUBLIC;
CREATE FUNCTION public.{name}() RETURNS event_trigger LANGUAGE plpgsql {setting}
    AS $$ BEGIN {insert} VALUES (tg_tag); END $$;
CREATE EVENT TRIGGER {name} ON {event} EXECUTE FUNCTION public.{name}();
"""

BEFORE: tuple[Case, ...] = (
    *(
        Case(
            "triggers_name_the_schema",
            f"event trigger on {event}",
            near_miss=DDL_AUDIT.format(name="audit", setting="", insert='INSERT INTO "public" . ddl_audit', event=event)
            + DDL_AUDIT.format(
                name="fixed", setting="SET search_path = public", insert="INSERT INTO ddl_audit", event=event
            )
            + HISTORY.format(name="logged", table="uploads", body="UPDATE ddl_audit SET tag = ''"),
            violation="CREATE OR REPLACE FUNCTION public.audit() RETURNS event_trigger LANGUAGE plpgsql"
            ' AS $$ BEGIN insert into\n "ddl_audit" VALUES (tg_tag); END $$',
            object=r"public.audit\(\)",
            problem="is run by event trigger audit with an empty search_path, and names ddl_audit without its schema",
            mended_by=r"ALTER FUNCTION public.audit\(\) SET search_path = public",
            stages=("rollback",) if event == "sql_drop" else ("preflight",),
        )
        for event in ("ddl_command_start", "ddl_command_end", "sql_drop")
    ),
    Case(
        "triggers_name_the_schema",
        "on the rows that are filled",
        near_miss="CREATE TABLE public.changes (id uuid); ALTER TABLE public.products ADD COLUMN client_id uuid;"
        + HISTORY.format(name="logged", table="uploads", body="INSERT INTO changes VALUES (OLD.id)")
        + HISTORY.format(name="off", table="products", body="INSERT INTO changes VALUES (OLD.id)")
        + "ALTER TABLE public.products DISABLE TRIGGER off;"
        "CREATE TRIGGER on_insert BEFORE INSERT ON public.products FOR EACH ROW EXECUTE FUNCTION public.off();"
        "CREATE TRIGGER on_ean BEFORE UPDATE OF ean ON public.products FOR EACH ROW EXECUTE FUNCTION public.off();"
        # What is found without a path, and what is no table.
        "CREATE TYPE public.moment AS (at timestamptz);"
        + HISTORY.format(
            name="named",
            table="products",
            body="INSERT INTO public.changes WITH columns AS (SELECT OLD.id) SELECT id FROM columns;"
            " PERFORM extract(YEAR FROM moment) FROM pg_class, (SELECT now()) AS its (moment)",
        )
        # A client_id that has no NULL is not filled.
        + "TRUNCATE public.email_logs; ALTER TABLE public.email_logs ADD COLUMN client_id uuid NOT NULL;"
        "CREATE TRIGGER filled BEFORE UPDATE ON public.email_logs FOR EACH ROW EXECUTE FUNCTION public.off();"
        + DDL_AUDIT.format(name="rewritten", setting="", insert="INSERT INTO ddl_audit", event="table_rewrite")
        + DDL_AUDIT.format(name="past", setting="", insert="INSERT INTO ddl_audit", event="ddl_command_end")
        + "ALTER EVENT TRIGGER past DISABLE",
        # Another setting than that of the path is of no use.
        violation=HISTORY.format(name="changed", table="products", body="INSERT INTO changes VALUES (OLD.id)")
        + "ALTER FUNCTION public.changed() SET work_mem = '4MB'",
        object=r"public.changed\(\)",
        problem="is run by trigger changed on public.products with an empty search_path, and names changes without",
        mended_by=r"ALTER FUNCTION public.changed\(\) SET search_path = public",
        stages=("preflight",),
    ),
    Case(
        "triggers_name_the_schema",
        "on the rows that are emptied",
        near_miss=migrated_after(
            "CREATE TABLE public.changes (id uuid); ALTER TABLE public.products ADD COLUMN client_id uuid;"
            "TRUNCATE public.email_logs; ALTER TABLE public.email_logs ADD COLUMN client_id uuid NOT NULL",
            since=HISTORY.format(name="of_mails", table="email_logs", body="INSERT INTO changes VALUES (OLD.id)")
            + HISTORY.format(name="of_uploads", table="uploads", body="INSERT INTO changes VALUES (OLD.id)")
            + "ALTER TABLE public.uploads ALTER client_id DROP NOT NULL",
        ),
        violation=HISTORY.format(name="changed", table="products", body="INSERT INTO changes VALUES (OLD.id)"),
        object=r"public.changed\(\)",
        problem="is run by trigger changed on public.products with an empty search_path, and names changes without",
        mended_by=r"ALTER FUNCTION public.changed\(\) SET search_path = public",
        stages=("rollback",),
    ),
)
