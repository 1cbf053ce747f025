"""What publications_carry_no_tenant_table finds, and what it does not."""

from __future__ import annotations

from tests.support.cases import Case

BEFORE: tuple[Case, ...] = (
    Case(
        "publications_carry_no_tenant_table",
        "one",
        near_miss="CREATE TABLE public.news (id int PRIMARY KEY); CREATE PUBLICATION others FOR TABLE public.news;"
        "CREATE SCHEMA attic; CREATE TABLE attic.uploads (id int); CREATE PUBLICATION past FOR TABLE attic.uploads;"
        "ALTER TABLE public.products ADD client_id uuid; CREATE PUBLICATION known FOR TABLE public.products",
        violation="CREATE PUBLICATION ours FOR TABLE public.news, public.uploads",
        object="publication ours",
        problem="carries public.uploads: its subscribers stop at the first row with client_id",
        mended_by="add client_id on the subscribers first",
        by_hand="ALTER PUBLICATION ours DROP TABLE public.uploads",
    ),
    Case(
        "publications_carry_no_tenant_table",
        "some columns",
        near_miss="CREATE PUBLICATION ours FOR TABLE public.uploads (id, filename)",
        violation="CREATE PUBLICATION whole FOR TABLE public.uploads, public.users (id)",
        object="publication whole",
        problem="carries public.uploads",
        mended_by="add client_id on the subscribers first",
        by_hand="DROP PUBLICATION whole",
        pg=">= 15",
    ),
)
