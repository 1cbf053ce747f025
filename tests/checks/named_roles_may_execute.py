"""What named_roles_may_execute finds, and what it does not."""

from __future__ import annotations

from tests.support.cases import Case

BEFORE: tuple[Case, ...] = (
    Case(
        "named_roles_may_execute",
        "named too late",
        near_miss_options=("--grant-execute-to", "service_role"),
        violation="",
        options=("--grant-execute-to", "authenticator"),
        object=r"public\.(get_user_organization_id|validate_client_access)\(.*\)",
        problem="not granted to it now",
        mended_by="GRANT EXECUTE ON FUNCTION .* TO authenticator",
        variant="founding-migrated",
    ),
)
