"""What index_column_is_there finds, and what it does not."""

from __future__ import annotations

from tests.support.cases import Case

BEFORE: tuple[Case, ...] = (
    Case(
        "index_column_is_there",
        "other name",
        near_miss="ALTER TABLE public.sellout_entries2 RENAME country TO land;"
        "ALTER TABLE public.uploads RENAME created_at TO received_at",
        violation="ALTER TABLE public.uploads RENAME received_at TO created_at;"
        "ALTER TABLE public.sellout_entries2 RENAME reseller TO dealer",
        object="public.sellout_entries2",
        problem="has no column reseller, which idx_sellout_entries2_client_reseller is to be built on",
        mended_by="--skip-index idx_sellout_entries2_client_reseller",
    ),
    Case(
        "index_column_is_there",
        "the parent",
        near_miss='ALTER TABLE public.uploads RENAME created_at TO "When it Came"',
        near_miss_options=("--column", "uploads.created_at=When it Came"),
        violation='ALTER TABLE public.uploads RENAME "When it Came" TO created_at;'
        "ALTER TABLE public.processing_logs RENAME upload_id TO file_id",
        object="public.processing_logs",
        problem="has no column upload_id, which idx_processing_logs_client_upload_id is to be built on",
        mended_by="--skip-index idx_processing_logs_client_upload_id",
    ),
)
