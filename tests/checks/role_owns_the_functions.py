"""What role_owns_the_functions finds, and what it does not."""

from __future__ import annotations

from tests.checks.states import entry
from tests.support.cases import Case

BEFORE: tuple[Case, ...] = (
    Case(
        "role_owns_the_functions",
        "finished by another role",
        near_miss="ALTER FUNCTION public.get_user_organization_id(uuid) OWNER TO {superuser};"
        "UPDATE public.migration_log SET phase = 'none' WHERE operation = 'create_get_user_organization_id'",
        violation="UPDATE public.migration_log SET phase = 'phase_1' WHERE phase = 'none'",
        object=r"public.get_user_organization_id\(uuid\)",
        problem="only with the rights of that role can it be dropped",
        mended_by=r"ALTER FUNCTION public.get_user_organization_id\(uuid\) OWNER TO app_owner",
    ),
    Case(
        "role_owns_the_functions",
        "extension of another role",
        # From PostgreSQL 13 on it stands in for one that Phase 1 has created before an upgrade.
        near_miss="INSERT INTO pg_extension SELECT 1, 'pgcrypto', 10, 11, TRUE, '1.3'"
        " WHERE NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'pgcrypto');"
        "UPDATE pg_extension SET extowner = 'app_owner'::regrole WHERE extname = 'pgcrypto';"
        + entry("create_pgcrypto"),
        violation="UPDATE pg_extension SET extowner = 10 WHERE extname = 'pgcrypto'",
        object="extension pgcrypto",
        problem="only with the rights of that role can it be dropped",
        mended_by=r"connect as \S+",
        by_hand="DELETE FROM public.migration_log WHERE operation = 'create_pgcrypto'",
    ),
)
