"""What index_serves_its_query finds, and what it does not."""

from __future__ import annotations

from tests.support.cases import Case

AFTERWARDS: tuple[Case, ...] = (
    Case(
        "index_serves_its_query",
        "no other index",
        near_miss="DROP INDEX public.uploads_user_id_idx",
        violation="DROP INDEX public.idx_users_client_created_at",
        object="public.idx_users_client_created_at",
        problem="does not serve the query latest_users, not even with sequential scans off",
        mended_by="see EXPLAIN of that query",
        by_hand="CREATE INDEX idx_users_client_created_at ON public.users (client_id, created_at DESC)",
    ),
)
