"""What columns_are_not_granted_one_by_one finds, and what it does not."""

from __future__ import annotations

from tests.support.cases import Case

BEFORE: tuple[Case, ...] = (
    Case(
        "columns_are_not_granted_one_by_one",
        "every column",
        near_miss="GRANT SELECT (id, recipient) ON public.email_logs TO authenticator;"
        "GRANT INSERT (id, recipient, subject, status, sent_at, created_at) ON public.email_logs TO authenticator;"
        # as many as there are, with one that nobody counts
        "GRANT SELECT (id, recipient, subject, status, sent_at, tableoid) ON public.email_logs TO anon;"
        # that of this table, with its client_id
        "DROP VIEW public.sales_by_month; ALTER TABLE public.products ADD client_id uuid;"
        "GRANT SELECT (id, ean, name, functional_name, category, list_price_eur, is_active, created_at, client_id)"
        " ON public.products TO authenticator;"
        "ALTER TABLE public.email_logs ADD priority int; GRANT SELECT (priority) ON public.email_logs TO authenticator;"
        "GRANT SELECT (id, recipient, subject, status, priority) ON public.email_logs TO service_role;"
        "GRANT SELECT (sent_at) ON public.email_logs TO service_role; ALTER TABLE public.email_logs DROP priority",
        violation="GRANT SELECT (id, recipient, subject, status, sent_at, created_at) ON public.email_logs"
        " TO authenticator",
        object="public.email_logs",
        problem="granted to authenticator column by column",
        mended_by=r"GRANT SELECT \(client_id\) ON public.email_logs TO authenticator",
        by_hand="GRANT SELECT ON public.email_logs TO authenticator",
    ),
    Case(
        "columns_are_not_granted_one_by_one",
        "beside everybody",
        near_miss="GRANT SELECT ON public.email_logs TO PUBLIC;"
        "GRANT SELECT (id, recipient, subject, status, sent_at, created_at) ON public.email_logs TO authenticator",
        violation="REVOKE SELECT ON public.email_logs FROM PUBLIC;"
        # What another may see, or what else this one may do, is nothing to it.
        "GRANT SELECT ON public.email_logs TO anon; GRANT INSERT ON public.email_logs TO authenticator;"
        "GRANT SELECT (id, recipient, subject, status, sent_at, created_at) ON public.email_logs TO authenticator",
        object="public.email_logs",
        problem="granted to authenticator column by column",
        mended_by=r"GRANT SELECT \(client_id\) ON public.email_logs TO authenticator",
        by_hand="GRANT SELECT ON public.email_logs TO authenticator",
    ),
)
