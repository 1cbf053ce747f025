"""What index_name_is_free finds, and what it does not."""

from __future__ import annotations

from tests.support.cases import Case

BEFORE: tuple[Case, ...] = (
    Case(
        "index_name_is_free",
        "other columns",
        near_miss="ALTER TABLE public.uploads ADD COLUMN client_id uuid;"
        "CREATE INDEX idx_uploads_client_user_id ON public.uploads (client_id, user_id);"
        "CREATE INDEX idx_uploads_client_status ON public.uploads (client_id, status)"
        " WHERE status = 'processing' OR status = 'pending';"
        # A plan that has the columns by their numbers.
        "ALTER ROLE app_owner IN DATABASE {database} SET enable_nestloop = off;"
        "ALTER ROLE app_owner IN DATABASE {database} SET enable_hashjoin = off",
        violation="ALTER TABLE public.products ADD client_id uuid;"
        "CREATE INDEX idx_products_client_ean ON public.products (client_id, ean) INCLUDE (name)",
        object="public.idx_products_client_ean",
        problem="is another index: CREATE INDEX",
        mended_by="ALTER INDEX public.idx_products_client_ean RENAME TO former_idx_products_client_ean",
    ),
    Case(
        "index_name_is_free",
        "other order",
        near_miss="ALTER TABLE public.uploads ADD COLUMN client_id uuid;"
        "CREATE INDEX idx_uploads_client_created_at ON public.uploads (client_id, created_at DESC)",
        violation="DROP INDEX public.idx_uploads_client_created_at;"
        "CREATE INDEX idx_uploads_client_created_at ON public.uploads (client_id, created_at DESC NULLS LAST)",
        object="public.idx_uploads_client_created_at",
        problem="is another index: CREATE INDEX",
        mended_by="--skip-index idx_uploads_client_created_at",
    ),
    *(
        Case(
            "index_name_is_free",
            title,
            violation="ALTER TABLE public.uploads ADD COLUMN client_id uuid;"
            f"CREATE INDEX idx_uploads_client_status ON public.uploads (client_id, status) WHERE status {rows}",
            object="public.idx_uploads_client_status",
            problem="is another index: CREATE INDEX",
            mended_by="ALTER INDEX public.idx_uploads_client_status RENAME TO former_idx_uploads_client_status",
        )
        for title, rows in (
            ("other rows", "NOT IN ('pending', 'processing')"),
            ("fewer rows", "= 'pending'"),
        )
    ),
    Case(
        "index_name_is_free",
        "unique",
        violation="ALTER TABLE public.products ADD COLUMN client_id uuid;"
        "CREATE UNIQUE INDEX idx_products_client_ean ON public.products (client_id, ean)",
        object="public.idx_products_client_ean",
        problem="is another index: CREATE UNIQUE INDEX",
        mended_by="--skip-index idx_products_client_ean",
    ),
    Case(
        "index_name_is_free",
        "the same columns of another table",
        violation="CREATE TABLE public.attic (client_id uuid, ean text);"
        "CREATE INDEX idx_products_client_ean ON public.attic (client_id, ean)",
        object="public.idx_products_client_ean",
        problem="is another index: CREATE INDEX idx_products_client_ean ON public.attic",
        mended_by="--skip-index idx_products_client_ean",
    ),
    Case(
        "index_name_is_free",
        "a view",
        near_miss="CREATE SCHEMA attic; CREATE TABLE attic.idx_products_client_ean (ean text)",
        violation="CREATE VIEW public.idx_products_client_ean AS SELECT 1 AS one",
        object="public.idx_products_client_ean",
        problem="is the name of another object",
        mended_by="--skip-index idx_products_client_ean",
    ),
    Case(
        "index_name_is_free",
        "of a partition",
        near_miss='CREATE INDEX "idx_Sales 2026_client_reseller" ON public."Sales 2026" (reseller);'
        'ALTER TABLE public.sellout_entries2 DETACH PARTITION public."Sales 2026"',
        violation="CREATE INDEX idx_sellout_entries2_2025_client_upload_id ON public.sellout_entries2_2025 (upload_id)",
        object="public.idx_sellout_entries2_2025_client_upload_id",
        problem="is another index: CREATE INDEX",
        mended_by="ALTER INDEX public.idx_sellout_entries2_2025_client_upload_id"
        " RENAME TO former_idx_sellout_entries2_2025_client_upload_id",
        variant="founding-partitioned",
    ),
    Case(
        "index_name_is_free",
        "a table in the place of one of a partition",
        violation="CREATE TABLE public.idx_sellout_entries2_2025_client_upload_id ()",
        object="public.idx_sellout_entries2_2025_client_upload_id",
        problem="is the name of another object",
        mended_by="--skip-index idx_sellout_entries2_client_upload_id",
        variant="founding-partitioned",
    ),
    Case(
        "index_name_is_free",
        "of another kind",
        violation="ALTER TABLE public.products ADD COLUMN client_id uuid;"
        "CREATE INDEX idx_products_client_ean ON public.products USING brin (client_id, ean)",
        object="public.idx_products_client_ean",
        problem="is another index: CREATE INDEX",
        mended_by="--skip-index idx_products_client_ean",
    ),
)
