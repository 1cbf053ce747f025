"""What foreign_keys_have_an_index finds, and what it does not."""

from __future__ import annotations

from tests.support.cases import Case

AFTERWARDS: tuple[Case, ...] = (
    Case(
        "foreign_keys_have_an_index",
        "organization",
        near_miss="CREATE TABLE public.bills (id int, upload_id uuid REFERENCES public.uploads (id))",
        violation="CREATE TABLE public.payments (client_id uuid CONSTRAINT payer REFERENCES public.organizations (id))",
        object="constraint payer on public.payments",
        problem="has no index that leads with its columns",
        mended_by="build the index that was left out",
        by_hand="CREATE INDEX ON public.payments (client_id)",
    ),
    Case(
        "foreign_keys_have_an_index",
        "left out",
        violation="DROP INDEX public.idx_products_client_ean;"
        "CREATE INDEX ON public.products (ean, client_id);"
        "CREATE INDEX ON public.products (client_id) WHERE is_active;"
        "CREATE INDEX broken ON public.products (client_id);"
        "UPDATE pg_index SET indisvalid = FALSE WHERE indexrelid = 'public.broken'::regclass",
        object="constraint products_client_id_fkey on public.products",
        problem="has no index that leads with its columns",
        mended_by="build the index that was left out",
        by_hand="CREATE INDEX idx_products_client_ean ON public.products (client_id, ean)",
    ),
)
