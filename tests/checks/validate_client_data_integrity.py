"""What validate_client_data_integrity finds, and what it does not."""

from __future__ import annotations

from phase_1.inventory import DEFAULT_ORGANIZATION
from tests.checks.states import SECOND
from tests.plugins.database import Database
from tests.support.cases import Case


def integrity_of_fewer_tables(database: Database) -> None:
    """The function as it was made by a run that left email_logs out."""
    [(definition,)] = database.query(
        "SELECT pg_get_functiondef('public.validate_client_data_integrity()'::regprocedure)"
    )
    assert ", 'email_logs'" in definition
    database.execute(definition.replace(", 'email_logs'", ""))


AFTERWARDS: tuple[Case, ...] = (
    Case(
        "validate_client_data_integrity",
        "parent of another client",
        near_miss=SECOND + "UPDATE public.email_logs SET client_id = '11111111-1111-4111-8111-111111111111';"
        "UPDATE public.processing_logs SET client_id = '11111111-1111-4111-8111-111111111111', upload_id = NULL",
        violation="UPDATE public.transform_logs SET client_id = '11111111-1111-4111-8111-111111111111'"
        " WHERE id IN (SELECT id FROM public.transform_logs LIMIT 2)",
        object="public.transform_logs",
        problem="2 rows belong to another client than what they belong to",
        mended_by="see who wrote them, and correct client_id",
        by_hand=f"UPDATE public.transform_logs SET client_id = '{DEFAULT_ORGANIZATION}'",
    ),
    Case(
        "validate_client_data_integrity",
        "made for fewer tables",
        near_miss="ALTER FUNCTION public.validate_client_data_integrity() COST 200",
        violation=integrity_of_fewer_tables,
        object="public.email_logs",
        problem=r"is not looked at by validate_client_data_integrity\(\)",
        mended_by="^run the migration again",
    ),
    Case(
        "validate_client_data_integrity",
        "table gone",
        violation="ALTER TABLE public.email_logs RENAME TO mails",
        object="public.email_logs",
        problem=r"is not there any more, and validate_client_data_integrity\(\) fails",
        mended_by="give the table its name back",
        by_hand="ALTER TABLE public.mails RENAME TO email_logs",
    ),
)
