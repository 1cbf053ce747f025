"""What uuids_can_be_generated finds, and what it does not."""

from __future__ import annotations

from tests.plugins.database import OWNER
from tests.support.cases import Case

#: A server that has this one extension to offer.
AVAILABLE = """
SET allow_system_table_mods = on;
CREATE OR REPLACE VIEW pg_catalog.pg_available_extensions AS
SELECT '{}'::name AS name, NULL::text AS default_version, NULL::text COLLATE "C" AS installed_version,
    NULL::text AS comment;
"""

BEFORE: tuple[Case, ...] = (
    Case(
        "uuids_can_be_generated",
        "no pgcrypto",
        near_miss="CREATE SCHEMA extensions; GRANT USAGE ON SCHEMA extensions TO app_owner;"
        "ALTER EXTENSION pgcrypto SET SCHEMA extensions",
        violation="DROP EXTENSION pgcrypto",
        object=r"gen_random_uuid\(\)",
        problem="PostgreSQL 12 has none of its own, and app_owner may not create the extension pgcrypto",
        mended_by="CREATE EXTENSION pgcrypto WITH SCHEMA public",
        pg="< 13",
    ),
    *(
        Case(
            "uuids_can_be_generated",
            title,
            near_miss=f"ALTER FUNCTION pg_catalog.gen_random_uuid() OWNER TO {trusted};" + AVAILABLE.format("pgcrypto"),
            # as if PostgreSQL had none of its own, but one that somebody has made, and one that is something else
            violation="CREATE FUNCTION public.gen_random_uuid(int) RETURNS uuid LANGUAGE sql AS 'SELECT NULL::uuid';"
            "ALTER FUNCTION pg_catalog.gen_random_uuid() OWNER TO {role};" + AVAILABLE.format(available),
            object=r"gen_random_uuid\(\)",
            problem="may not create the extension pgcrypto",
            mended_by="CREATE EXTENSION pgcrypto WITH SCHEMA public",
            by_hand="ALTER FUNCTION pg_catalog.gen_random_uuid() OWNER TO {superuser}",
            user=user,
            user_by_hand=user,
            pg=">= 13",
        )
        for title, user, trusted, available in (
            ("somebody else's", OWNER, OWNER, "pgcrypto"),
            ("no pgcrypto to be had", None, "{role}", "hstore"),
        )
    ),
)
