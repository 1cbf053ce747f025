"""What nothing_refers_to_the_default_organization finds, and what it does not."""

from __future__ import annotations

from phase_1.inventory import DEFAULT_ORGANIZATION
from tests.checks.states import ORGANIZATIONS, OWN_CLIENT_ID, migrated_after
from tests.support.cases import Case

#: Organizations that belong to another one.
PARENTS = "ALTER TABLE public.organizations ADD COLUMN parent_id uuid REFERENCES public.organizations (id)"

BEFORE: tuple[Case, ...] = (
    Case(
        "nothing_refers_to_the_default_organization",
        "cascade, of another schema",
        near_miss=migrated_after(
            ORGANIZATIONS,
            "CREATE SCHEMA billing; GRANT USAGE ON SCHEMA billing TO app_owner;"
            'CREATE TABLE billing."Invoices" (org uuid REFERENCES public.organizations (id) ON DELETE CASCADE);'
            'GRANT SELECT ON billing."Invoices" TO app_owner;'
            'INSERT INTO billing."Invoices" SELECT id FROM public.organizations; INSERT INTO billing."Invoices"'
            " VALUES (NULL)",
            OWN_CLIENT_ID,
            since=PARENTS,
        ),
        violation=f"UPDATE public.organizations SET parent_id = '{DEFAULT_ORGANIZATION}' WHERE slug = 'default-org';"
        'INSERT INTO billing."Invoices" SELECT id FROM public.organizations, generate_series(1, 2)',
        object='constraint Invoices_org_fkey on billing."Invoices"',
        problem="2 rows refer to the default organization, which the rollback deletes: "
        r"FOREIGN KEY \(org\) REFERENCES public.organizations\(id\) ON DELETE CASCADE",
        mended_by=r'SELECT \* FROM billing."Invoices" WHERE \(org\) = \(SELECT id FROM public.organizations'
        f" WHERE id = '{DEFAULT_ORGANIZATION}'\\)",
        by_hand=f"DELETE FROM billing.\"Invoices\" WHERE org = '{DEFAULT_ORGANIZATION}'",
    ),
    Case(
        "nothing_refers_to_the_default_organization",
        "by two columns of a partitioned table",
        near_miss=migrated_after(
            ORGANIZATIONS,
            "ALTER TABLE public.organizations ADD UNIQUE (slug, id);"
            "CREATE TABLE public.bills (slug text, org uuid,"
            " FOREIGN KEY (slug, org) REFERENCES public.organizations (slug, id) ON DELETE SET NULL)"
            " PARTITION BY LIST (slug); CREATE TABLE public.bills_of_all PARTITION OF public.bills DEFAULT;"
            "GRANT SELECT ON public.bills TO app_owner;"
            "INSERT INTO public.bills SELECT slug, id FROM public.organizations;"
            f"INSERT INTO public.bills VALUES (NULL, '{DEFAULT_ORGANIZATION}')",
        ),
        violation="INSERT INTO public.bills SELECT slug, id FROM public.organizations",
        object="constraint bills_slug_org_fkey on public.bills",
        problem=r"1 rows refer .* FOREIGN KEY \(slug, org\) .* ON DELETE SET NULL",
        mended_by="delete them, and run the rollback again",
        by_hand="DELETE FROM public.bills WHERE slug = 'default-org'",
    ),
    Case(
        "nothing_refers_to_the_default_organization",
        "another organization",
        near_miss=migrated_after(ORGANIZATIONS, since=PARENTS),
        violation=f"UPDATE public.organizations SET parent_id = '{DEFAULT_ORGANIZATION}' WHERE slug = 'acme'",
        object="constraint organizations_parent_id_fkey on public.organizations",
        problem="1 rows refer to the default organization",
        mended_by="give them to another organization",
        by_hand="UPDATE public.organizations SET parent_id = NULL",
    ),
)
