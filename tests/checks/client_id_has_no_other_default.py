"""What client_id_has_no_other_default finds, and what it does not."""

from __future__ import annotations

from phase_1.inventory import DEFAULT_ORGANIZATION
from tests.checks.states import logged
from tests.support.cases import Case

BEFORE: tuple[Case, ...] = (
    *(
        Case(
            "client_id_has_no_other_default",
            title,
            near_miss="ALTER TABLE public.uploads ADD client_id uuid DEFAULT NULL, ADD o uuid DEFAULT md5('')::uuid;"
            "ALTER TABLE public.email_logs ADD client_id uuid;"
            f"ALTER TABLE public.email_logs ALTER client_id SET DEFAULT '{DEFAULT_ORGANIZATION}'",
            violation=f"ALTER TABLE public.uploads ALTER client_id SET DEFAULT {default}",
            object="public.uploads.client_id",
            problem="and goes to the default organization after the migration$",
            mended_by="ALTER TABLE public.uploads ALTER COLUMN client_id DROP DEFAULT",
        )
        for title, default in (
            ("of the session", "current_setting('app.client')::uuid"),
            ("another organization", "'11111111-1111-4111-8111-111111111111'"),
        )
    ),
    Case(
        "client_id_has_no_other_default",
        "left out",
        near_miss=logged("add_client_id(uploads)") + "ALTER TABLE public.uploads ADD client_id uuid;"
        "ALTER TABLE public.uploads ALTER client_id SET DEFAULT current_setting('app.client')::uuid",
        violation="DROP TABLE public.migration_log",
        object="public.uploads.client_id",
        problem="and goes to the default organization after the migration$",
        mended_by="--skip-table uploads",
    ),
    Case(
        "client_id_has_no_other_default",
        "users",
        near_miss="ALTER TABLE public.users ADD client_id uuid GENERATED ALWAYS AS (id) STORED",
        violation="ALTER TABLE public.users DROP client_id, ADD client_id uuid;"
        "ALTER TABLE public.users ALTER client_id SET DEFAULT current_setting('app.client')::uuid",
        object="public.users.client_id",
        problem="and goes to the default organization after the migration$",
        mended_by="ALTER TABLE public.users ALTER COLUMN client_id DROP DEFAULT, where the application .* itself$",
        by_hand="ALTER TABLE public.users ALTER COLUMN client_id DROP DEFAULT",
    ),
)
