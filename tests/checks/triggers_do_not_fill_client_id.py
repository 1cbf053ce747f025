"""What triggers_do_not_fill_client_id finds, and what it does not."""

from __future__ import annotations

from phase_1.inventory import DEFAULT_ORGANIZATION
from tests.checks.states import logged
from tests.support.cases import Case

#: A trigger whose function looks at a column.
FILLING = """
CREATE FUNCTION public.{name}() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN NEW.{column} := coalesce(NEW.{column}); RETURN NEW; END $$;
CREATE TRIGGER {name} {when} EXECUTE FUNCTION public.{name}();
"""

BEFORE: tuple[Case, ...] = (
    Case(
        "triggers_do_not_fill_client_id",
        "in its body",
        near_miss="ALTER TABLE public.uploads ADD COLUMN client_id uuid;"
        + FILLING.format(name="other", when="BEFORE INSERT ON public.uploads FOR EACH ROW", column="filename")
        + FILLING.format(name="after", when="AFTER INSERT ON public.uploads FOR EACH ROW", column="client_id")
        + FILLING.format(name="on_update", when="BEFORE UPDATE ON public.uploads FOR EACH ROW", column="client_id")
        + FILLING.format(name="once", when="BEFORE INSERT ON public.uploads", column="client_id")
        # The column is added with its default, and is not there yet.
        + FILLING.format(name="elsewhere", when="BEFORE INSERT ON public.products FOR EACH ROW", column="client_id")
        + FILLING.format(name="off", when="BEFORE INSERT ON public.uploads FOR EACH ROW", column="client_id")
        + "ALTER TABLE public.uploads DISABLE TRIGGER off; ALTER TABLE public.email_logs ADD client_id uuid;"
        + FILLING.format(name="known", when="BEFORE INSERT ON public.email_logs FOR EACH ROW", column="client_id")
        + logged("set_client_id_default(email_logs)"),
        violation=FILLING.format(name="fills", when="BEFORE INSERT ON public.uploads FOR EACH ROW", column="client_id"),
        object="trigger fills on public.uploads",
        problem="finds the default organization there, and not NULL",
        mended_by="--skip-table uploads",
        by_hand="DROP TRIGGER fills ON public.uploads",
    ),
    Case(
        "triggers_do_not_fill_client_id",
        "in its condition",
        near_miss="ALTER TABLE public.uploads ADD client_id uuid;"
        f"ALTER TABLE public.uploads ALTER client_id SET DEFAULT '{DEFAULT_ORGANIZATION}';"
        + FILLING.format(
            name="fills",
            when="BEFORE INSERT ON public.uploads FOR EACH ROW WHEN (NEW.client_id IS NULL)",
            column="filename",
        ),
        violation="ALTER TABLE public.uploads ALTER client_id DROP DEFAULT",
        object="trigger fills on public.uploads",
        problem="finds the default organization there, and not NULL",
        mended_by="--skip-table uploads",
        by_hand="DROP TRIGGER fills ON public.uploads",
    ),
)
