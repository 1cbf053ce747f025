"""What functions_are_hardened finds, and what it does not."""

from __future__ import annotations

from tests.support.cases import Case


def _function(name: str, arguments: str, change: str, problem: str, near_miss: str = "") -> Case:
    return Case(
        "functions_are_hardened",
        change.lower(),
        near_miss=near_miss,
        violation=f"ALTER FUNCTION public.{name}({arguments}) {change}",
        object=f"public.{name}",
        problem=problem,
        mended_by=rf"DROP FUNCTION public.{name}\({arguments.replace(' ', '')}\)",
    )


AFTERWARDS: tuple[Case, ...] = (
    _function("get_user_organization_id", "uuid", "VOLATILE", "is not STABLE"),
    _function("get_user_organization_id", "uuid", "SECURITY INVOKER", "is SECURITY INVOKER"),
    _function("validate_client_access", "uuid, uuid", "RESET search_path", 'does not fix search_path=""'),
    _function("validate_client_access", "uuid, uuid", "SET search_path = public", 'does not fix search_path=""'),
    _function("validate_client_data_integrity", "", "SECURITY DEFINER", "is SECURITY DEFINER"),
    _function(
        "validate_client_data_integrity",
        "",
        "RESET row_security",
        "does not fix .*row_security=off",
        near_miss="ALTER FUNCTION public.validate_client_data_integrity() SET work_mem = '64MB'",
    ),
    Case(
        "functions_are_hardened",
        "other type",
        violation="DROP FUNCTION public.validate_client_access(uuid, uuid);"
        "CREATE FUNCTION public.validate_client_access(uuid, uuid) RETURNS text LANGUAGE sql STABLE SECURITY DEFINER"
        " SET search_path = '' AS 'SELECT $$yes$$'",
        object="public.validate_client_access",
        problem="returns text",
        mended_by=r"DROP FUNCTION public.validate_client_access\(uuid,uuid\)",
    ),
    _function("validate_client_access", "uuid, uuid", "STRICT", "is not what the migration creates"),
    Case(
        "functions_are_hardened",
        "other body",
        near_miss="ALTER FUNCTION public.validate_client_access(uuid, uuid) OWNER TO {superuser}",
        violation="CREATE OR REPLACE FUNCTION public.validate_client_access(user_id uuid, client_id uuid)"
        " RETURNS boolean LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = ''"
        " AS 'BEGIN RETURN TRUE; END'",
        object="public.validate_client_access",
        problem="is not what the migration creates: its body, its language or STRICT differs",
        mended_by=r"DROP FUNCTION public.validate_client_access\(uuid,uuid\)",
    ),
    Case(
        "functions_are_hardened",
        "other language",
        violation="CREATE OR REPLACE FUNCTION public.get_user_organization_id(user_id uuid) RETURNS uuid"
        " LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = '' AS 'SELECT user_id'",
        object="public.get_user_organization_id",
        problem="is not what the migration creates",
        mended_by=r"DROP FUNCTION public.get_user_organization_id\(uuid\)",
    ),
)
