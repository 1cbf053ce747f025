"""What indexes_of_the_table_are_valid finds, and what it does not."""

from __future__ import annotations

from phase_1.problems import DONE
from tests.checks.states import invalid_index
from tests.plugins.database import Database
from tests.support.cases import Case
from tests.support.runner import run


def migrated_again(database: Database) -> None:
    """A second run, which does what is missing."""
    assert run("--dsn", database.owner_dsn, "--force").status == DONE


BEFORE: tuple[Case, ...] = (
    Case(
        "indexes_of_the_table_are_valid",
        "of the application",
        near_miss="CREATE INDEX whole ON public.uploads (filename)",
        violation=invalid_index("broken", "(filename)"),
        object="index public.broken",
        problem="on public.uploads is invalid: it costs every write and serves no query",
        mended_by="REINDEX INDEX CONCURRENTLY public.broken",
    ),
    *(
        Case(
            "indexes_of_the_table_are_valid",
            title,
            near_miss="CREATE INDEX whole ON public.sellout_entries2 (country)",
            violation=violation,
            object=f"index public.{name}",
            problem="on public.sellout_entries2 is invalid: it costs every write and serves no query",
            mended_by=action,
            by_hand=by_hand,
            variant="founding-partitioned-migrated",
            stages=("preflight",),
        )
        for title, name, violation, action, by_hand in (
            (
                "frame of the application",
                "broken",
                "CREATE INDEX broken ON ONLY public.sellout_entries2 (country)",
                "build it on each partition that lacks it, and attach that: ALTER INDEX public.broken ATTACH PARTITION",
                "DROP INDEX public.broken",
            ),
            (
                "frame of ours",
                "idx_sellout_entries2_client_upload_id",
                "DROP INDEX public.idx_sellout_entries2_client_upload_id;"
                "CREATE INDEX idx_sellout_entries2_client_upload_id ON ONLY public.sellout_entries2"
                " (client_id, upload_id)",
                "nothing to do: it is valid with the last of its parts, which are built",
                migrated_again,
            ),
        )
    ),
)
