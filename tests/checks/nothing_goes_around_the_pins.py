"""What nothing_goes_around_the_pins finds, and what it does not."""

from __future__ import annotations

from tests.checks.states import ANON_LAST, SECOND
from tests.support.cases import Case

AFTERWARDS: tuple[Case, ...] = (
    Case(
        "nothing_goes_around_the_pins",
        "truncate",
        near_miss=SECOND + "GRANT SELECT, REFERENCES ON public.uploads TO anon",
        violation=ANON_LAST + "GRANT TRUNCATE ON public.uploads TO authenticated, anon",
        object="public.uploads",
        problem="anon, authenticated may TRUNCATE it",
        mended_by="^REVOKE TRUNCATE ON public.uploads FROM anon, authenticated",
    ),
    Case(
        "nothing_goes_around_the_pins",
        "some columns",
        near_miss=SECOND + "GRANT SELECT (filename) ON public.uploads TO anon",
        violation=ANON_LAST + "GRANT INSERT (filename) ON public.uploads TO authenticated, anon",
        object="public.uploads",
        problem="anon, authenticated may write rows of every client: it has no row-level security",
        mended_by="^REVOKE INSERT, UPDATE, DELETE ON public.uploads FROM anon, authenticated",
    ),
    Case(
        "nothing_goes_around_the_pins",
        "to delete only",
        near_miss=SECOND,
        violation="GRANT DELETE ON public.uploads TO anon",
        object="public.uploads",
        problem="anon may write rows of every client: it has no row-level security",
        mended_by="^REVOKE INSERT, UPDATE, DELETE ON public.uploads FROM anon",
    ),
    Case(
        "nothing_goes_around_the_pins",
        "no row security",
        near_miss="GRANT ALL ON public.uploads TO anon; REVOKE TRUNCATE ON public.uploads FROM anon",
        violation=SECOND,
        object="public.uploads",
        problem="anon may write rows of every client: it has no row-level security",
        mended_by="^REVOKE INSERT, UPDATE, DELETE ON public.uploads FROM anon",
    ),
    Case(
        "nothing_goes_around_the_pins",
        "view",
        near_miss=SECOND + "CREATE VIEW public.names AS SELECT id, filename FROM public.uploads;"
        "GRANT SELECT ON public.names TO anon;"
        "CREATE VIEW public.counts AS SELECT count(*) FROM public.uploads; GRANT ALL ON public.counts TO anon;"
        "CREATE TABLE public.inbox (id int); CREATE VIEW public.mails AS SELECT id FROM public.inbox;"
        "CREATE RULE keep AS ON DELETE TO public.inbox WHERE EXISTS (SELECT FROM public.uploads) DO INSTEAD NOTHING;"
        "GRANT ALL ON public.mails TO anon",
        violation="GRANT UPDATE (filename) ON public.names TO anon",
        object="public.names",
        problem="anon may write public.uploads through this view",
        mended_by="^REVOKE INSERT, UPDATE, DELETE ON public.names FROM anon",
    ),
    Case(
        "nothing_goes_around_the_pins",
        "view to delete by",
        near_miss=SECOND + "CREATE VIEW public.names AS SELECT id, filename FROM public.uploads",
        violation=ANON_LAST + "GRANT DELETE ON public.names TO authenticated, anon",
        object="public.names",
        problem="anon, authenticated may write public.uploads through this view",
        mended_by="^REVOKE INSERT, UPDATE, DELETE ON public.names FROM anon, authenticated",
    ),
    Case(
        "nothing_goes_around_the_pins",
        "view over a view",
        near_miss=SECOND + "CREATE VIEW public.some_names AS SELECT id, filename FROM public.uploads;"
        "CREATE VIEW public.names AS SELECT * FROM public.some_names; GRANT SELECT ON public.names TO anon",
        violation="GRANT INSERT ON public.names TO anon",
        object="public.names",
        problem="anon may write public.uploads through this view",
        mended_by="^REVOKE INSERT, UPDATE, DELETE ON public.names FROM anon",
    ),
    *(
        Case(
            "nothing_goes_around_the_pins",
            f"partition, {title}",
            near_miss=SECOND + "ALTER TABLE public.sellout_entries2 ENABLE ROW LEVEL SECURITY;"
            "GRANT INSERT, UPDATE, DELETE ON public.sellout_entries2 TO anon;"
            "CREATE VIEW public.sales AS SELECT * FROM public.sellout_entries2_2025",
            violation=f"GRANT {granted} TO anon",
            object=found,
            problem=problem,
            mended_by=f"REVOKE {revoked} ON {found} FROM anon",
            variant="founding-partitioned",
        )
        for title, granted, found, problem, revoked in (
            (
                "truncate",
                "TRUNCATE ON public.sellout_entries2_2025",
                "public.sellout_entries2_2025",
                "anon may TRUNCATE it",
                "TRUNCATE",
            ),
            (
                "no row security",
                "INSERT ON public.sellout_entries2_2025",
                "public.sellout_entries2_2025",
                "anon may write rows of every client: it has no row-level security",
                "INSERT, UPDATE, DELETE",
            ),
            (
                "view",
                "DELETE ON public.sales",
                "public.sales",
                "anon may write public.sellout_entries2_2025 through this view",
                "INSERT, UPDATE, DELETE",
            ),
        )
    ),
    Case(
        "nothing_goes_around_the_pins",
        "view with the rights of its owner",
        near_miss=SECOND + "CREATE VIEW public.names WITH (security_invoker = on) AS SELECT id FROM public.uploads;"
        "CREATE VIEW public.yes WITH (security_invoker = YES) AS SELECT id FROM public.uploads;"
        "CREATE VIEW public.more_names WITH (check_option = local) AS SELECT * FROM public.names;"
        "GRANT ALL ON public.names, public.yes, public.more_names TO anon",
        violation="ALTER VIEW public.names SET (security_invoker = off)",
        object=r"public.(more_)?names",
        problem="anon may write public.uploads through this view",
        mended_by=r"^REVOKE INSERT, UPDATE, DELETE ON public.(more_)?names FROM anon",
        pg=">= 15",
    ),
)
