"""What statistics_are_there finds, and what it does not."""

from __future__ import annotations

from tests.support.cases import Case

AFTERWARDS: tuple[Case, ...] = (
    Case(
        "statistics_are_there",
        "gone",
        near_miss="DELETE FROM public.email_logs;"
        "DELETE FROM pg_statistic WHERE starelid = 'public.email_logs'::regclass;"
        "UPDATE pg_class SET reltuples = 0 WHERE oid = 'public.email_logs'::regclass",
        violation="CREATE SCHEMA attic; CREATE TABLE attic.uploads AS TABLE public.uploads; ANALYZE attic.uploads;"
        "GRANT SELECT ON attic.uploads TO PUBLIC;"
        "DELETE FROM pg_statistic WHERE starelid = 'public.uploads'::regclass"
        " AND staattnum = (SELECT attnum FROM pg_attribute WHERE attrelid = starelid AND attname = 'client_id')",
        object="public.uploads.client_id",
        problem="has no statistics",
        mended_by="ANALYZE public.uploads",
    ),
)
