"""What triggers_do_not_copy_whole_rows finds, and what it does not."""

from __future__ import annotations

from tests.checks.states import HISTORY, PARTITIONED
from tests.support.cases import Case

BEFORE: tuple[Case, ...] = (
    *(
        Case(
            "triggers_do_not_copy_whole_rows",
            title,
            near_miss="CREATE TABLE public.past AS SELECT * FROM public.products WHERE FALSE;"
            "CREATE TABLE public.changes (at timestamptz, change jsonb);"
            + HISTORY.format(
                name="as_json",
                table="products",
                body="IF NEW.* IS DISTINCT FROM OLD.* THEN INSERT INTO public.changes VALUES (now(), to_jsonb(NEW.*))"
                "; END IF",
            )
            + HISTORY.format(name="named", table="products", body="INSERT INTO public.past (ean) SELECT OLD.ean")
            + HISTORY.format(name="off", table="products", body="INSERT INTO public.past SELECT OLD.*")
            + "ALTER TABLE public.products DISABLE TRIGGER off;"
            + HISTORY.format(name="of_another", table="past", body="INSERT INTO public.past SELECT OLD.*"),
            violation=HISTORY.format(name="copied", table="products", body=body),
            object=r"public.copied\(\)",
            problem="is run by a trigger on public.products and inserts the whole row",
            mended_by="name the columns in it before the migration",
            by_hand="CREATE OR REPLACE FUNCTION public.copied() RETURNS trigger LANGUAGE plpgsql"
            " AS 'BEGIN INSERT INTO public.past (id, ean) VALUES (OLD.id, OLD.ean); RETURN NEW; END'",
        )
        for title, body in (
            ("SELECT", "INSERT INTO public.past SELECT OLD.*"),
            ("VALUES", "insert into public.past\n values(new.*)"),
            ("in brackets", "INSERT INTO public.past (ean) SELECT 'now', (OLD).*"),
        )
    ),
    Case(
        "triggers_do_not_copy_whole_rows",
        "where there is no client_id any more",
        near_miss="CREATE TABLE public.past AS SELECT * FROM public.products WHERE FALSE;"
        "ALTER TABLE public.products ADD COLUMN client_id uuid; ALTER TABLE public.uploads ADD COLUMN client_id uuid;"
        + HISTORY.format(name="copied", table="products", body="INSERT INTO public.past SELECT OLD.*"),
        violation="ALTER TABLE public.products DROP COLUMN client_id",
        object=r"public.copied\(\)",
        problem="is run by a trigger on public.products and inserts the whole row",
        mended_by="name the columns in it before the migration",
        by_hand="DROP TRIGGER copied ON public.products",
    ),
    Case(
        "triggers_do_not_copy_whole_rows",
        "of a partition",
        near_miss=f"{PARTITIONED}; CREATE TABLE public.mails_default PARTITION OF public.email_logs DEFAULT;"
        "CREATE TABLE public.past (id uuid, created_at timestamptz) PARTITION BY RANGE (created_at);"
        "CREATE TABLE public.past_default PARTITION OF public.past DEFAULT;"
        + HISTORY.format(name="kept", table="past_default", body="INSERT INTO public.past SELECT OLD.*"),
        violation=HISTORY.format(name="copied", table="mails_default", body="INSERT INTO public.past SELECT OLD.*"),
        object=r"public.copied\(\)",
        problem="is run by a trigger on public.email_logs and inserts the whole row",
        mended_by="name the columns in it before the migration",
        by_hand="DROP TRIGGER copied ON public.mails_default",
    ),
)
