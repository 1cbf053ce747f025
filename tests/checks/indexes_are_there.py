"""What indexes_are_there finds, and what it does not."""

from __future__ import annotations

from contextlib import closing

import pytest
from psycopg import errors

from tests.plugins.database import Database
from tests.support.cases import Case


def interrupted_build(database: Database) -> None:
    """An index of Phase 1 as an interrupted REINDEX or CREATE INDEX CONCURRENTLY leaves it."""
    database.execute("DROP INDEX public.idx_uploads_client_user_id")
    with closing(database.connect(autocommit=False)) as writer, closing(database.connect()) as builder:
        writer.execute("LOCK TABLE public.uploads IN ROW EXCLUSIVE MODE")
        builder.execute("SET lock_timeout = '10ms'")
        with pytest.raises(errors.LockNotAvailable):
            builder.execute(
                "CREATE INDEX CONCURRENTLY idx_uploads_client_user_id ON public.uploads (client_id, user_id)"
            )


AFTERWARDS: tuple[Case, ...] = (
    Case(
        "indexes_are_there",
        "dropped",
        near_miss="CREATE INDEX more ON public.products (client_id, name)",
        violation="DROP INDEX public.idx_products_client_ean",
        object="public.idx_products_client_ean",
        problem="there is no such index on public.products",
        mended_by="^run the migration again",
    ),
    Case(
        "indexes_are_there",
        "of another table",
        violation="DROP INDEX public.idx_products_client_ean; CREATE TABLE public.other (client_id uuid, ean text);"
        "CREATE INDEX idx_products_client_ean ON public.other (client_id, ean)",
        object="public.idx_products_client_ean",
        problem="there is no such index on public.products",
        mended_by="^run the migration again",
        by_hand="DROP TABLE public.other",
    ),
    Case(
        "indexes_are_there",
        "invalid",
        violation=interrupted_build,
        object="public.idx_uploads_client_user_id",
        problem="is invalid: it costs every write and serves no query",
        mended_by="^run the migration again",
    ),
    Case(
        "indexes_are_there",
        "taken for invalid",
        violation="UPDATE pg_index SET indisvalid = FALSE"
        " WHERE indexrelid = 'public.idx_uploads_client_user_id'::regclass",
        object="public.idx_uploads_client_user_id",
        problem="is invalid: it costs every write and serves no query",
        mended_by="^run the migration again",
    ),
    Case(
        "indexes_are_there",
        "unique",
        violation="DROP INDEX public.idx_uploads_client_created_at;"
        "CREATE UNIQUE INDEX idx_uploads_client_created_at ON public.uploads (client_id, created_at DESC)",
        object="public.idx_uploads_client_created_at",
        problem="is another index: CREATE UNIQUE INDEX",
        mended_by="DROP INDEX CONCURRENTLY public.idx_uploads_client_created_at",
    ),
    Case(
        "indexes_are_there",
        "columns swapped",
        near_miss="REINDEX INDEX public.idx_products_client_ean; CLUSTER public.products USING idx_products_client_ean",
        violation="DROP INDEX public.idx_products_client_ean;"
        "CREATE INDEX idx_products_client_ean ON public.products (ean, client_id)",
        object="public.idx_products_client_ean",
        problem="is another index: CREATE INDEX",
        mended_by="DROP INDEX CONCURRENTLY public.idx_products_client_ean",
    ),
    Case(
        "indexes_are_there",
        "other order",
        violation="DROP INDEX public.idx_users_client_created_at;"
        "CREATE INDEX idx_users_client_created_at ON public.users (client_id, created_at)",
        object="public.idx_users_client_created_at",
        problem="is another index: CREATE INDEX",
        mended_by="DROP INDEX CONCURRENTLY public.idx_users_client_created_at",
    ),
    Case(
        "indexes_are_there",
        "other rows",
        near_miss="DROP INDEX public.idx_uploads_client_status;"
        "CREATE INDEX idx_uploads_client_status ON public.uploads (client_id, status)"
        " WHERE status IN ('processing', 'pending')",
        violation="DROP INDEX public.idx_uploads_client_status;"
        "CREATE INDEX idx_uploads_client_status ON public.uploads (client_id, status) WHERE status = 'pending'",
        object="public.idx_uploads_client_status",
        problem="is another index: CREATE INDEX",
        mended_by="DROP INDEX CONCURRENTLY public.idx_uploads_client_status",
    ),
    Case(
        "indexes_are_there",
        "of another method",
        violation="DROP INDEX public.idx_uploads_client_user_id;"
        "CREATE INDEX idx_uploads_client_user_id ON public.uploads USING brin (client_id, user_id)",
        object="public.idx_uploads_client_user_id",
        problem="is another index: CREATE INDEX",
        mended_by="DROP INDEX CONCURRENTLY public.idx_uploads_client_user_id",
    ),
    Case(
        "indexes_are_there",
        "every other row",
        violation="DROP INDEX public.idx_uploads_client_status;"
        "CREATE INDEX idx_uploads_client_status ON public.uploads (client_id, status)"
        " WHERE status NOT IN ('pending', 'processing')",
        object="public.idx_uploads_client_status",
        problem="is another index: CREATE INDEX",
        mended_by="DROP INDEX CONCURRENTLY public.idx_uploads_client_status",
    ),
    Case(
        "indexes_are_there",
        "an expression",
        violation="DROP INDEX public.idx_products_client_ean;"
        "CREATE INDEX idx_products_client_ean ON public.products (client_id, lower(ean))",
        object="public.idx_products_client_ean",
        problem="is another index: CREATE INDEX",
        mended_by="DROP INDEX CONCURRENTLY public.idx_products_client_ean",
    ),
    Case(
        "indexes_are_there",
        "a column more",
        violation="DROP INDEX public.idx_products_client_ean;"
        "CREATE INDEX idx_products_client_ean ON public.products (client_id, ean) INCLUDE (name)",
        object="public.idx_products_client_ean",
        problem="is another index: CREATE INDEX",
        mended_by="DROP INDEX CONCURRENTLY public.idx_products_client_ean",
    ),
)
