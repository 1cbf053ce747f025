"""What pins_lock_no_client_out finds, and what it does not."""

from __future__ import annotations

from tests.checks.states import KEPT_APART, OF_CLIENT, logged
from tests.support.cases import Case

BEFORE: tuple[Case, ...] = (
    *(
        Case(
            "pins_lock_no_client_out",
            title,
            near_miss=KEPT_APART + "ALTER TABLE public.email_logs ADD client_id uuid; UPDATE public.email_logs"
            " SET client_id = '11111111-1111-4111-8111-111111111111'; ALTER TABLE public.uploads ADD client_id uuid;"
            "CREATE POLICY fewer ON public.email_logs AS RESTRICTIVE TO authenticated USING (TRUE)",
            violation="DROP POLICY of_client ON public.products;" + violation,
            object="public.products",
            problem=r"^[1-9]\d* rows belong to other organizations than the default one, and authenticated, "
            rf"which may write them today, could not once it is kept to that one \({commands}\)$",
            mended_by="CREATE POLICY of_client ON public.products AS RESTRICTIVE TO authenticated",
            by_hand="DROP POLICY IF EXISTS of_client ON public.products;" + OF_CLIENT.format("AS RESTRICTIVE"),
            variant="deployed",
        )
        for title, violation, commands in (
            ("no policy by client", "", "DELETE, INSERT, UPDATE"),
            ("one beside another", OF_CLIENT.format("AS PERMISSIVE"), "DELETE, INSERT, UPDATE"),
            ("one for an update", OF_CLIENT.format("AS RESTRICTIVE FOR UPDATE"), "DELETE, INSERT"),
        )
    ),
    Case(
        "pins_lock_no_client_out",
        "left out",
        near_miss=KEPT_APART + "DROP POLICY of_client ON public.products;" + logged("add_client_id(products)"),
        violation="DROP TABLE public.migration_log; ALTER POLICY products_write ON public.products TO PUBLIC",
        object="public.products",
        problem="rows belong to other organizations than the default one",
        mended_by="--skip-table products",
        variant="deployed",
    ),
    Case(
        "pins_lock_no_client_out",
        "users",
        near_miss=KEPT_APART + "ALTER TABLE public.users DISABLE ROW LEVEL SECURITY, ADD client_id uuid;"
        "UPDATE public.users SET client_id = '11111111-1111-4111-8111-111111111111'",
        violation="ALTER TABLE public.users ENABLE ROW LEVEL SECURITY",
        object="public.users",
        problem=r"could not once it is kept to that one \(UPDATE\)$",
        mended_by=r"ON public.users AS RESTRICTIVE TO authenticated USING \(client_id = \.\.\.\)$",
        by_hand=OF_CLIENT.format("AS RESTRICTIVE").replace("products", "users"),
        variant="deployed",
    ),
)
