"""What index_columns_can_be_indexed finds, and what it does not."""

from __future__ import annotations

from tests.support.cases import Case

BEFORE: tuple[Case, ...] = (
    *(
        Case(
            "index_columns_can_be_indexed",
            title,
            near_miss="CREATE OPERATOR CLASS public.leftmost FOR TYPE point USING btree AS OPERATOR 1 <<;"
            "DROP VIEW public.sales_by_month; CREATE DOMAIN public.place AS point;"
            "CREATE DOMAIN public.list AS int[]; CREATE DOMAIN public.lists AS public.list;"
            "ALTER TABLE public.sellout_entries2 DROP reseller, ADD reseller public.lists;"
            "ALTER TABLE public.products ALTER ean TYPE varchar(20)",
            violation=f"ALTER TABLE public.sellout_entries2 DROP reseller, ADD reseller {kind}",
            object="public.sellout_entries2.reseller",
            problem=f"is of type {kind}, which has no order, and idx_sellout_entries2_client_reseller is to be built",
            mended_by="--skip-index idx_sellout_entries2_client_reseller",
        )
        for title, kind in (("json", "json"), ("a domain", "public.place"))
    ),
    Case(
        "index_columns_can_be_indexed",
        "time",
        near_miss="ALTER TABLE public.email_logs DROP sent_at;"
        "ALTER TABLE public.email_logs RENAME created_at TO logged_at",
        violation="ALTER TABLE public.email_logs DROP logged_at, ADD created_at json",
        object="public.email_logs.created_at",
        problem="is of type json, which has no order, and idx_email_logs_client_created_at is to be built on it",
        mended_by="--skip-index idx_email_logs_client_created_at",
    ),
    Case(
        "index_columns_can_be_indexed",
        "virtual",
        near_miss="DROP VIEW public.sales_by_month; ALTER TABLE public.sellout_entries2 DROP year,"
        " ADD year int GENERATED ALWAYS AS (quantity) STORED, ADD half int GENERATED ALWAYS AS (quantity / 2) VIRTUAL",
        violation="ALTER TABLE public.sellout_entries2 DROP year, ADD year int GENERATED ALWAYS AS (quantity) VIRTUAL",
        object="public.sellout_entries2.year",
        problem="is a generated column that is not stored, and idx_sellout_entries2_client_\\w+ is to be built on it",
        mended_by="--skip-index idx_sellout_entries2_client_\\w+",
        pg=">= 18",
    ),
)
