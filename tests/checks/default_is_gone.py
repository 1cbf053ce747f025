"""What default_is_gone finds, and what it does not."""

from __future__ import annotations

from tests.support.cases import Case

AFTERWARDS: tuple[Case, ...] = (
    Case(
        "default_is_gone",
        "dropped",
        # Without its entry in the log it was never given by Phase 1.
        near_miss="ALTER TABLE public.organizations ALTER id DROP DEFAULT;"
        "ALTER TABLE public.products ALTER client_id DROP DEFAULT;"
        "DELETE FROM public.migration_log WHERE operation = 'add_client_id(products)'",
        violation="ALTER TABLE public.uploads ALTER client_id DROP DEFAULT",
        object="public.uploads.client_id",
        problem=r"has no default any more: an insert that does not name the client fails \(23502\)",
        mended_by="ALTER TABLE public.uploads ALTER COLUMN client_id SET DEFAULT '[^']*'",
    ),
)
