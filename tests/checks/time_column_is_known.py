"""What time_column_is_known finds, and what it does not."""

from __future__ import annotations

from tests.support.cases import Case

BEFORE: tuple[Case, ...] = (
    Case(
        "time_column_is_known",
        "other name",
        near_miss="ALTER TABLE public.uploads RENAME created_at TO logged_at;"
        "ALTER ROLE app_owner IN DATABASE {database} SET enable_indexscan = off",
        violation="ALTER TABLE public.uploads RENAME logged_at TO received_at",
        object="public.uploads",
        problem="has no column created_at or uploaded_at or logged_at or sent_at, .* it has received_at, finished_at",
        mended_by="--column uploads.created_at=ACTUAL",
    ),
    Case(
        "time_column_is_known",
        "left out",
        near_miss="ALTER TABLE public.products DROP COLUMN created_at",
        violation="ALTER TABLE public.processing_logs DROP COLUMN created_at",
        object="public.processing_logs",
        problem="it has no time column at all",
        mended_by="--skip-index idx_processing_logs_client_created_at",
    ),
    Case(
        "time_column_is_known",
        "wrong option",
        near_miss_options=("--column", "uploads.created_at=finished_at"),
        violation="ALTER TABLE public.uploads RENAME created_at TO received_at",
        options=("--column", "uploads.created_at=recieved_at"),
        object="public.uploads",
        problem="has no column recieved_at",
        mended_by="--column uploads.created_at=ACTUAL",
    ),
)
