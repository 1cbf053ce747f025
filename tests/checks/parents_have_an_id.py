"""What parents_have_an_id finds, and what it does not."""

from __future__ import annotations

from tests.support.cases import Case

BEFORE: tuple[Case, ...] = (
    Case(
        "parents_have_an_id",
        "other name",
        near_miss="ALTER TABLE public.products RENAME id TO product_id",
        violation="ALTER TABLE public.uploads RENAME id TO upload_id",
        object="public.uploads",
        problem="has no column id for (sellout_entries2|processing_logs|transform_logs).upload_id to be compared with",
        mended_by="--skip-table \\w+",
    ),
    Case(
        "parents_have_an_id",
        "other type",
        near_miss="CREATE DOMAIN public.upload AS uuid;"
        "ALTER TABLE public.transform_logs DROP CONSTRAINT transform_logs_upload_id_fkey,"
        " ALTER upload_id TYPE public.upload",
        violation="ALTER TABLE public.transform_logs ALTER upload_id TYPE macaddr USING NULL",
        object="public.transform_logs.upload_id",
        problem="is of type macaddr and cannot be compared with public.uploads.id of type uuid",
        mended_by="--skip-table transform_logs",
    ),
    Case(
        "parents_have_an_id",
        "type of another kind",
        near_miss="DROP VIEW public.sales_by_month;"
        + "".join(
            f"ALTER TABLE public.{table} DROP CONSTRAINT {table}_upload_id_fkey, ALTER upload_id TYPE varchar;"
            for table in ("sellout_entries2", "processing_logs", "transform_logs")
        )
        + "ALTER TABLE public.uploads ALTER id DROP DEFAULT, ALTER id TYPE text",
        violation="ALTER TABLE public.transform_logs ALTER upload_id TYPE integer USING 0",
        object="public.transform_logs.upload_id",
        problem="is of type integer and cannot be compared with public.uploads.id of type text",
        mended_by="--skip-table transform_logs",
    ),
)
