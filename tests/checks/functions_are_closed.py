"""What functions_are_closed finds, and what it does not."""

from __future__ import annotations

from tests.support.cases import Case

AFTERWARDS: tuple[Case, ...] = (
    Case(
        "functions_are_closed",
        "everybody",
        near_miss="GRANT EXECUTE ON FUNCTION public.get_user_organization_id(uuid) TO service_role",
        violation="GRANT EXECUTE ON FUNCTION public.get_user_organization_id(uuid) TO PUBLIC",
        object=r"public.get_user_organization_id\(uuid\)",
        problem="may be executed by PUBLIC",
        mended_by=r"^REVOKE EXECUTE ON FUNCTION public.get_user_organization_id\(uuid\) FROM PUBLIC$",
    ),
    Case(
        "functions_are_closed",
        "signed-in user",
        near_miss="GRANT EXECUTE ON FUNCTION public.get_user_organization_id(uuid) TO authenticator",
        near_miss_options=("--grant-execute-to", "authenticator"),
        options=("--grant-execute-to", "authenticator"),
        violation="GRANT EXECUTE ON FUNCTION public.validate_client_data_integrity() TO authenticated",
        object=r"public.validate_client_data_integrity\(\)",
        problem="may be executed by authenticated",
        mended_by=r"^REVOKE EXECUTE ON FUNCTION public.validate_client_data_integrity\(\) FROM authenticated",
    ),
    Case(
        "functions_are_closed",
        "made again",
        violation="ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT EXECUTE ON FUNCTIONS TO anon;"
        "DROP FUNCTION public.get_user_organization_id(uuid);"
        "CREATE FUNCTION public.get_user_organization_id(uuid) RETURNS uuid LANGUAGE sql STABLE SECURITY DEFINER"
        " SET search_path = '' AS 'SELECT $1';"
        "REVOKE ALL ON FUNCTION public.get_user_organization_id(uuid) FROM PUBLIC",
        object=r"public.get_user_organization_id\(uuid\)",
        problem="may be executed by anon",
        mended_by=r"^REVOKE EXECUTE ON FUNCTION public.get_user_organization_id\(uuid\) FROM anon",
    ),
)
