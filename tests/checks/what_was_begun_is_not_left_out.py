"""What what_was_begun_is_not_left_out finds, and what it does not."""

from __future__ import annotations

from collections.abc import Callable

from phase_1.problems import STOPPED
from tests.plugins.database import Database
from tests.support.cases import Case
from tests.support.runner import run


def stopped(statement: str, *arguments: str) -> Callable[[Database], None]:
    """A database in which an online run was stopped by a transaction with this statement."""

    def stop(database: Database) -> None:
        with database.connect(autocommit=False) as application:
            application.execute(statement.encode())
            limits = ("--give-up-after", "100ms", "--concurrently-timeout", "100ms")
            assert run("--dsn", database.owner_dsn, "--force", "--online", *limits, *arguments).status == STOPPED

    return stop


BEFORE: tuple[Case, ...] = (
    Case(
        "what_was_begun_is_not_left_out",
        "table",
        near_miss=stopped("LOCK TABLE public.email_logs IN ACCESS SHARE MODE"),
        near_miss_options=("--skip-table", "email_logs"),
        violation="",
        options=("--skip-table", "uploads"),
        object="public.uploads",
        problem="a run that was stopped has begun with it",
        mended_by="run the migration again and do not leave it out",
        options_by_hand=("--skip-table", "email_logs"),
    ),
    Case(
        "what_was_begun_is_not_left_out",
        "index",
        near_miss=stopped("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT 1"),
        near_miss_options=("--skip-index", "idx_uploads_client_user_id"),
        violation="",
        options=("--skip-index", "idx_users_client_created_at"),
        object="public.idx_users_client_created_at",
        problem="a run that was stopped has begun with it",
        mended_by="run the migration again and do not leave it out",
        options_by_hand=("--online",),
    ),
)
