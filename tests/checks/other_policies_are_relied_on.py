"""What other_policies_are_relied_on finds, and what it does not."""

from __future__ import annotations

from tests.checks.states import OF_CLIENT, logged
from tests.support.cases import Case

BEFORE: tuple[Case, ...] = (
    Case(
        "other_policies_are_relied_on",
        "restrictive",
        near_miss="ALTER TABLE public.products ADD client_id uuid; ALTER TABLE public.email_logs ADD client_id uuid;"
        + OF_CLIENT.format("AS PERMISSIVE")
        + OF_CLIENT.format("AS RESTRICTIVE FOR SELECT").replace("products", "email_logs")
        + "".join(
            f"ALTER TABLE public.{table} ADD client_id uuid;"
            + OF_CLIENT.format("AS RESTRICTIVE FOR UPDATE").replace("products", table)
            for table in ("transform_logs", "processing_logs")
        )
        + "ALTER TABLE public.transform_logs DISABLE ROW LEVEL SECURITY;"
        + logged("pin_client(processing_logs)")
        # What is no tenant table has another column in the place of the client.
        + "CREATE TABLE public.attic (client_id uuid); ALTER TABLE public.attic ENABLE ROW LEVEL SECURITY;"
        + OF_CLIENT.format("").replace("products", "attic"),
        # Beside it one that looks at something else, one of another command, and one of another table.
        violation="DROP TABLE public.migration_log; DROP POLICY of_client ON public.processing_logs;"
        "DROP POLICY of_client ON public.products;"
        + OF_CLIENT.format("AS RESTRICTIVE FOR UPDATE")
        + "CREATE POLICY by_id ON public.products FOR UPDATE TO authenticated USING (id IS NOT NULL);"
        "CREATE POLICY seen ON public.products FOR SELECT TO authenticated USING (client_id IS NOT NULL);"
        "CREATE POLICY elsewhere ON public.attic FOR UPDATE TO authenticated"
        " USING (client_id IN (SELECT client_id FROM public.products))",
        object="public.products",
        problem=r"does not keep anon, authenticated to the default organization here \(UPDATE\), and relies on what "
        "looks at client_id: policy of_client$",
        mended_by="see that it lets nobody write a row of another client",
        by_hand="DROP POLICY of_client ON public.products",
        variant="deployed",
    ),
)
