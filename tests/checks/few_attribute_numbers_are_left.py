"""What few_attribute_numbers_are_left finds, and what it does not."""

from __future__ import annotations

from tests.checks.states import add_columns
from tests.support.cases import Case

BEFORE: tuple[Case, ...] = (
    Case(
        "few_attribute_numbers_are_left",
        "hundred",
        near_miss=add_columns("email_logs", 1499),
        violation=add_columns("email_logs", 1500),
        object="public.email_logs",
        problem="has used up 1500 of the 1,600 columns",
        mended_by="do not rehearse on this very table",
        by_hand="CREATE TABLE public.fresh AS TABLE public.email_logs; DROP TABLE public.email_logs;"
        "ALTER TABLE public.fresh OWNER TO app_owner; ALTER TABLE public.fresh RENAME TO email_logs",
    ),
    Case(
        "few_attribute_numbers_are_left",
        "one",
        violation=add_columns("email_logs", 1599),
        object="public.email_logs",
        problem="has used up 1599 of the 1,600 columns",
        mended_by="do not rehearse on this very table",
        by_hand="CREATE TABLE public.fresh AS TABLE public.email_logs; DROP TABLE public.email_logs;"
        "ALTER TABLE public.fresh OWNER TO app_owner; ALTER TABLE public.fresh RENAME TO email_logs",
    ),
)
