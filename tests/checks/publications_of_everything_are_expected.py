"""What publications_of_everything_are_expected finds, and what it does not."""

from __future__ import annotations

from tests.support.cases import Case

BEFORE: tuple[Case, ...] = (
    *(
        Case(
            "publications_of_everything_are_expected",
            title,
            near_miss="CREATE SCHEMA attic; CREATE TABLE attic.news (id int PRIMARY KEY);"
            "CREATE PUBLICATION others FOR TABLE attic.news, public.uploads;" + near_miss,
            violation="CREATE PUBLICATION ours FOR " + violation,
            object="publication ours",
            problem="and so public.organizations, public.user_organizations, public.migration_log as soon as",
            mended_by="create them on the subscribers before the migration",
            by_hand="DROP PUBLICATION ours",
            pg=pg,
        )
        for title, near_miss, violation, pg in (
            ("all tables", "", "ALL TABLES", ""),
            (
                "schema",
                "CREATE PUBLICATION past FOR TABLES IN SCHEMA attic",
                "TABLES IN SCHEMA public, attic",
                ">= 15",
            ),
        )
    ),
)
