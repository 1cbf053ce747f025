"""What row_type_is_not_a_column_type finds, and what it does not."""

from __future__ import annotations

from tests.support.cases import Case

BEFORE: tuple[Case, ...] = (
    Case(
        "row_type_is_not_a_column_type",
        "table",
        near_miss="ALTER TABLE public.products ADD client_id uuid; CREATE TABLE public.shelf (product public.products);"
        "CREATE TYPE public.size AS (width int); CREATE TABLE public.boxes (size public.size);"
        "CREATE VIEW public.whole AS SELECT u FROM public.uploads AS u;"
        "CREATE FUNCTION public.name_of(public.uploads) RETURNS text LANGUAGE sql AS 'SELECT $1.filename'",
        violation="CREATE TABLE public.history (was public.uploads); CREATE TABLE public.older (was public.history)",
        object="public.history.was",
        problem="is of the row type of public.uploads",
        mended_by="change that column first",
        by_hand="DROP TABLE public.older; ALTER TABLE public.history ALTER was TYPE text",
    ),
    Case(
        "row_type_is_not_a_column_type",
        "nested",
        near_miss="CREATE TYPE public.pair AS (before public.uploads, after public.uploads);"
        "CREATE VIEW public.pairs AS SELECT NULL::public.pair AS both;"
        "CREATE TYPE public.span AS RANGE (SUBTYPE = public.pairs); CREATE DOMAIN public.spans AS public.span[]",
        violation="CREATE TABLE public.history (changes public.spans)",
        object="public.history.changes",
        problem="is of the row type of public.uploads",
        mended_by="--skip-table uploads",
    ),
)
