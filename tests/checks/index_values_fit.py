"""What index_values_fit finds, and what it does not."""

from __future__ import annotations

from tests.support.cases import Case
from tests.support.generated import TOO_LONG

BEFORE: tuple[Case, ...] = (
    Case(
        "index_values_fit",
        "reseller",
        # PLAIN: as long as it looks, with the four bytes of its header.
        near_miss="ALTER TABLE public.sellout_entries2 ALTER COLUMN reseller SET STORAGE PLAIN;"
        " UPDATE public.sellout_entries2 SET reseller = repeat('x', 2596) WHERE id = 1",
        violation="ALTER TABLE public.sellout_entries2 ALTER COLUMN reseller SET STORAGE EXTENDED;"
        f" UPDATE public.sellout_entries2 SET reseller = '{TOO_LONG}' WHERE id = 1",
        object="public.sellout_entries2.reseller",
        problem="has 1 values of more than 2,600 bytes as they are stored",
        mended_by=r"pg_column_size\(reseller\) > 2600",
        by_hand="UPDATE public.sellout_entries2 SET reseller = left(reseller, 20)"
        " WHERE pg_column_size(reseller) > 2600",
    ),
    Case(
        "index_values_fit",
        "a domain",
        near_miss="DROP VIEW public.sales_by_month;"
        "CREATE DOMAIN public.shop AS text; CREATE DOMAIN public.reseller AS public.shop;"
        "ALTER TABLE public.sellout_entries2 ALTER reseller TYPE public.reseller",
        violation=f"UPDATE public.sellout_entries2 SET reseller = '{TOO_LONG}' WHERE id = 1",
        object="public.sellout_entries2.reseller",
        problem="has 1 values of more than 2,600 bytes as they are stored",
        mended_by=r"pg_column_size\(reseller\) > 2600",
        by_hand="UPDATE public.sellout_entries2 SET reseller = left(reseller, 20)"
        " WHERE pg_column_size(reseller) > 2600",
    ),
)
