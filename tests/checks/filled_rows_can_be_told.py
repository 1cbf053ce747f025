"""What filled_rows_can_be_told finds, and what it does not."""

from __future__ import annotations

from phase_1.problems import STOPPED
from tests.checks.states import ADOPTED, HISTORY, OURS, OWN_CLIENT_ID
from tests.plugins.database import Database
from tests.support.cases import Case
from tests.support.runner import run


def half_filled(database: Database) -> None:
    """A database where an online run was stopped: uploads are filled, email_logs begun with, products left out."""
    database.execute(
        ADOPTED
        + OWN_CLIENT_ID
        + OWN_CLIENT_ID.replace("email_logs", "products")
        + "ALTER TABLE public.uploads ADD COLUMN client_id uuid;"
        f"ALTER TABLE public.uploads ALTER client_id SET DEFAULT '{OURS}'; RESET ROLE;"
        + HISTORY.format(name="stop", table="email_logs", body="RAISE SQLSTATE '57014'")
    )
    stopped_run = run("--dsn", database.owner_dsn, "--force", "--online", "--skip-table", "products")
    assert stopped_run.status == STOPPED, stopped_run.err
    database.execute(
        "UPDATE public.uploads SET client_id = NULL WHERE id IN (SELECT id FROM public.uploads LIMIT 1);"
        "INSERT INTO public.email_logs (recipient) VALUES ('new@example.com')"
    )


BEFORE: tuple[Case, ...] = (
    Case(
        "filled_rows_can_be_told",
        "mixed",
        near_miss=half_filled,
        violation="UPDATE public.products SET client_id = o.id FROM public.organizations AS o"
        " WHERE o.slug = 'default-org' AND client_id IS NOT NULL",
        object="public.products.client_id",
        problem="1 rows belong to the default organization already",
        mended_by="keep a copy of the key of the rows without a client",
        by_hand="UPDATE public.products SET client_id = '11111111-1111-4111-8111-111111111111' WHERE client_id IS NULL",
    ),
)
