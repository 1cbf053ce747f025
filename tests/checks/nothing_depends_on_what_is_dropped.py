"""What nothing_depends_on_what_is_dropped finds, and what it does not."""

from __future__ import annotations

from tests.checks.states import ORGANIZATIONS, migrated_after
from tests.support.cases import Case


def _dependent(title: str, violation: str, object: str, problem: str, drop: str) -> Case:  # noqa: A002 - as Case has it
    return Case(
        "nothing_depends_on_what_is_dropped",
        title,
        near_miss="""
            CREATE VIEW public.names AS SELECT id, filename FROM public.uploads;
            CREATE FUNCTION public.clients() RETURNS SETOF uuid LANGUAGE plpgsql
                AS 'BEGIN RETURN QUERY SELECT id FROM public.organizations; END';
            CREATE INDEX on_names ON public.uploads (filename);
            CREATE TABLE public.notes (upload_id uuid REFERENCES public.uploads (id));
            INSERT INTO public.organizations (name, slug) VALUES ('Acme', 'acme');
            CREATE TABLE public.past (id uuid, client_id uuid);
        """,
        violation=violation,
        object=object,
        problem=f"was built on {problem}",
        mended_by="drop it, or change it",
        by_hand=drop,
    )


_COLUMN = "column client_id of table (public.)?uploads"

_CLIENTS = "table (public.)?organizations"

BEFORE: tuple[Case, ...] = (
    _dependent(
        "view",
        "CREATE VIEW public.mine AS SELECT id FROM public.uploads WHERE client_id IS NOT NULL",
        "view (public.)?mine",
        _COLUMN,
        "DROP VIEW public.mine",
    ),
    _dependent(
        "materialized view",
        "CREATE MATERIALIZED VIEW public.mine AS SELECT count(*) FROM public.organizations",
        "materialized view (public.)?mine",
        _CLIENTS,
        "DROP MATERIALIZED VIEW public.mine",
    ),
    _dependent(
        "index",
        "CREATE INDEX mine ON public.uploads (client_id, filename)",
        "index (public.)?mine",
        _COLUMN,
        "DROP INDEX public.mine",
    ),
    _dependent(
        "statistics",
        "CREATE STATISTICS public.mine ON client_id, status FROM public.uploads",
        "statistics object (public.)?mine",
        _COLUMN,
        "DROP STATISTICS public.mine",
    ),
    _dependent(
        "check",
        "ALTER TABLE public.uploads ADD CONSTRAINT mine CHECK (client_id <> id)",
        "constraint mine on table (public.)?uploads",
        _COLUMN,
        "ALTER TABLE public.uploads DROP CONSTRAINT mine",
    ),
    _dependent(
        "generated column",
        "ALTER TABLE public.uploads ADD COLUMN mine text GENERATED ALWAYS AS (client_id::text) STORED",
        # PostgreSQL 12 to 14 name its expression instead
        "(default value for )?column mine of table (public.)?uploads",
        _COLUMN,
        "ALTER TABLE public.uploads DROP COLUMN mine",
    ),
    _dependent(
        "policy",
        "CREATE POLICY mine ON public.uploads USING (client_id = id)",
        "policy mine on table (public.)?uploads",
        _COLUMN,
        "DROP POLICY mine ON public.uploads",
    ),
    _dependent(
        "trigger",
        "CREATE FUNCTION public.stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
        "CREATE TRIGGER mine BEFORE UPDATE OF client_id ON public.uploads FOR EACH ROW EXECUTE FUNCTION public.stamp()",
        "trigger mine on table (public.)?uploads",
        _COLUMN,
        "DROP TRIGGER mine ON public.uploads",
    ),
    _dependent(
        "foreign key",
        "CREATE TABLE public.bills (client_id uuid CONSTRAINT mine REFERENCES public.organizations (id))",
        "constraint mine on table (public.)?bills",
        f"(index organizations_pkey|{_CLIENTS})|column id of {_CLIENTS}",
        "DROP TABLE public.bills",
    ),
    _dependent(
        "policy of a new table",
        # by its name it might be one of Phase 1
        "CREATE POLICY phase_1_client_pinned_mine ON public.organizations USING (is_active)",
        "policy phase_1_client_pinned_mine on table (public.)?organizations",
        _CLIENTS,
        "DROP POLICY phase_1_client_pinned_mine ON public.organizations",
    ),
    _dependent(
        "rule",
        "CREATE RULE mine AS ON DELETE TO public.notes DO ALSO UPDATE public.uploads SET client_id = OLD.upload_id",
        "rule mine on table (public.)?notes",
        _COLUMN,
        "DROP RULE mine ON public.notes",
    ),
    _dependent(
        "row type",
        "CREATE TABLE public.mine (was public.organizations)",
        "column was of table (public.)?mine",
        "type (public.)?organizations",
        "DROP TABLE public.mine",
    ),
    _dependent(
        "function",
        # at the place of a client_id
        "CREATE TABLE public.mine (id uuid, client uuid DEFAULT public.get_user_organization_id(NULL))",
        "default value for column client of table (public.)?mine",
        r"function (public.)?get_user_organization_id\(uuid\)",
        "DROP TABLE public.mine",
    ),
    Case(
        "nothing_depends_on_what_is_dropped",
        "what was there before",
        near_miss=migrated_after(
            ORGANIZATIONS,
            "ALTER TABLE public.email_logs ADD client_id uuid;"
            "CREATE VIEW public.mine AS SELECT recipient FROM public.email_logs WHERE client_id IS NOT NULL;"
            "CREATE VIEW public.names AS SELECT name FROM public.organizations;"
            "CREATE TABLE public.past (was public.organizations)",
        ),
        violation="CREATE VIEW public.members AS SELECT * FROM public.user_organizations",
        object="view (public.)?members",
        problem="was built on table (public.)?user_organizations",
        mended_by="drop it, or change it",
        by_hand="DROP VIEW public.members",
    ),
    Case(
        "nothing_depends_on_what_is_dropped",
        "another key of a partition",
        near_miss="ALTER TABLE public.sellout_entries2_2025"
        " RENAME CONSTRAINT sellout_entries2_2025_client_id_fkey TO its",
        # the one that is ours comes last, in the catalog and by its name; of the other partitions in the catalog only
        violation="ALTER TABLE public.sellout_entries2 ADD CONSTRAINT owner FOREIGN KEY (client_id)"
        " REFERENCES public.organizations (id);"
        "ALTER TABLE public.sellout_entries2_2025 ADD CONSTRAINT another FOREIGN KEY (client_id)"
        " REFERENCES public.organizations (id);"
        "ALTER TABLE public.sellout_entries2_2025 RENAME CONSTRAINT its TO ours",
        object="constraint (another|owner) on table .*",
        problem="was built on",
        mended_by="drop it, or change it",
        by_hand="ALTER TABLE public.sellout_entries2_2025 DROP CONSTRAINT another;"
        "ALTER TABLE public.sellout_entries2 DROP CONSTRAINT owner",
        variant="founding-partitioned",
    ),
)
