"""What new_objects_are_there finds, and what it does not."""

from __future__ import annotations

from tests.support.cases import Case

AFTERWARDS: tuple[Case, ...] = (
    Case(
        "new_objects_are_there",
        "table",
        near_miss="CREATE SCHEMA attic; CREATE TABLE attic.user_organizations (id uuid)",
        violation="DROP TABLE public.user_organizations",
        object="public.user_organizations",
        problem="there is no such table",
        mended_by="^run the migration again",
    ),
    Case(
        "new_objects_are_there",
        "log",
        violation="ALTER TABLE public.migration_log RENAME TO lost",
        object="public.migration_log",
        problem="there is no such table",
        mended_by="restore it from a backup",
        by_hand="ALTER TABLE public.lost RENAME TO migration_log",
    ),
    Case(
        "new_objects_are_there",
        "function",
        near_miss="CREATE FUNCTION public.validate_client_access(text) RETURNS boolean LANGUAGE sql AS 'SELECT TRUE'",
        violation="DROP FUNCTION public.validate_client_access(uuid, uuid)",
        object=r"public.validate_client_access\(uuid, uuid\)",
        problem="there is no such function",
        mended_by="^run the migration again",
    ),
)
