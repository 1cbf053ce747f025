"""What client_id_references_organizations finds, and what it does not."""

from __future__ import annotations

from tests.support.cases import Case

AFTERWARDS: tuple[Case, ...] = (
    Case(
        "client_id_references_organizations",
        "not at all",
        near_miss="ALTER TABLE public.uploads RENAME CONSTRAINT uploads_client_id_fkey TO of_client",
        violation="ALTER TABLE public.products DROP CONSTRAINT products_client_id_fkey",
        object="public.products.client_id",
        problem="has no foreign key to organizations",
        mended_by="^run the migration again",
        by_hand="ALTER TABLE public.uploads RENAME CONSTRAINT of_client TO uploads_client_id_fkey",
    ),
    Case(
        "client_id_references_organizations",
        "not validated",
        near_miss="ALTER TABLE public.uploads ADD sponsor uuid REFERENCES public.organizations (id)",
        violation="ALTER TABLE public.products DROP CONSTRAINT products_client_id_fkey,"
        " ADD CONSTRAINT products_client_id_fkey FOREIGN KEY (client_id) REFERENCES public.organizations (id)"
        " ON DELETE RESTRICT NOT VALID",
        object="public.products.client_id",
        problem="has a foreign key that was never validated",
        mended_by="^run the migration again",
    ),
    Case(
        "client_id_references_organizations",
        "not enforced",
        violation="ALTER TABLE public.products ALTER CONSTRAINT products_client_id_fkey NOT ENFORCED",
        object="public.products.client_id",
        problem="has a foreign key that is not enforced",
        mended_by="ALTER TABLE public.products DROP CONSTRAINT products_client_id_fkey",
        pg=">= 18",
    ),
    Case(
        "client_id_references_organizations",
        "cascades",
        near_miss="CREATE TABLE public.other (id uuid PRIMARY KEY);"
        "INSERT INTO public.other SELECT id FROM public.organizations;"
        "ALTER TABLE public.uploads ADD FOREIGN KEY (client_id) REFERENCES public.other (id)",
        violation="ALTER TABLE public.products DROP CONSTRAINT products_client_id_fkey,"
        " ADD CONSTRAINT products_client_id_fkey FOREIGN KEY (client_id) REFERENCES public.organizations (id)"
        " ON DELETE CASCADE",
        object="public.products.client_id",
        problem="has a foreign key that does not restrict the deletion of an organization",
        mended_by="ALTER TABLE public.products DROP CONSTRAINT products_client_id_fkey",
        by_hand="ALTER TABLE public.products DROP CONSTRAINT products_client_id_fkey; DROP TABLE public.other CASCADE",
    ),
)
