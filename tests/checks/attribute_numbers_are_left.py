"""What attribute_numbers_are_left finds, and what it does not."""

from __future__ import annotations

from tests.checks.states import add_columns
from tests.support.cases import Case

BEFORE: tuple[Case, ...] = (
    Case(
        "attribute_numbers_are_left",
        "none",
        near_miss=add_columns("email_logs", 1599)
        + "; ALTER TABLE public.uploads ADD client_id uuid;"
        # The last one is the one that is needed.
        + add_columns("uploads", 1600),
        violation=add_columns("email_logs", 1600),
        object="public.email_logs",
        problem="has used up 1600 of the 1,600 columns",
        mended_by="copy the table into a new one",
        by_hand="CREATE TABLE public.fresh AS TABLE public.email_logs; DROP TABLE public.email_logs;"
        "ALTER TABLE public.fresh OWNER TO app_owner; ALTER TABLE public.fresh RENAME TO email_logs",
    ),
)
