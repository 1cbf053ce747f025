"""What prepared_transactions_hold_no_lock finds, and what it does not."""

from __future__ import annotations

from tests.checks.states import prepare
from tests.support.cases import Case

BEFORE: tuple[Case, ...] = (
    Case(
        "prepared_transactions_hold_no_lock",
        "reading",
        near_miss=prepare("pg_catalog.pg_description", "elsewhere"),
        violation=prepare("public.uploads", "here"),
        object="prepared transaction 'here_\\w+'",
        problem="holds AccessShareLock on public.uploads until somebody ends it",
        mended_by="ROLLBACK PREPARED 'here_\\w+'",
    ),
)
