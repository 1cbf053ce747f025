"""What is to be true afterwards: every check of ``--verify`` finds its violation, and nothing but that."""

from __future__ import annotations

import re

import pytest

from phase_1.findings import ERROR, NOTICE, Finding
from phase_1.inventory import TABLES
from phase_1.problems import DONE, VIOLATIONS
from tests.checks import cases
from tests.plugins.database import OWNER, Templates
from tests.support.cases import Case, names, params, workbench
from tests.support.runner import run

#: The cases of every check, from tests/checks.
CASES = cases("AFTERWARDS")


#: The checks that are written in Python.
PYTHON = {"validate_client_data_integrity", "index_serves_its_query"}
#: A notice about what every database has after Phase 1, and so the other way round; below.
APART = {"default_is_still_there"}


@pytest.mark.claim("verify-finds-violations")
def test_verify_checks_have_each_a_case() -> None:
    """Every check of ``--verify`` is tested in its failing form.

    A check that cannot fail certifies a database in which the promise is broken.
    """
    assert {case.check for case in CASES} | APART == names("verify") | PYTHON


@pytest.mark.claim("verify-finds-violations")
def test_verify_finds_nothing_after_a_migration(variant: str, templates: Templates) -> None:
    """After a migration there is no error and no warning, and ``--verify`` exits with 0.

    A false alarm after every migration teaches people to read past the true ones.
    """
    with workbench(templates, f"{variant}-migrated") as bench:
        result = run("--dsn", bench.database.owner_dsn, "--verify", "--json")
        assert result.status == DONE
        assert [each for each in result.findings if each["level"] != NOTICE] == []


@pytest.mark.parametrize(("case", "stage"), list(params(CASES, "verify", python=PYTHON)))
def test_verify_finds_the_violation_and_not_the_near_miss(case: Case, stage: str, templates: Templates) -> None:
    """The check finds nothing in the near miss, names the violation, and is silent once its advice is taken.

    A promise that is broken unseen costs most: a client's rows in another's hands, or every query slow.
    """
    with workbench(templates, f"{case.variant}-migrated") as bench:

        def findings(*options: str) -> tuple[int, list[Finding]]:
            result = run("--dsn", bench.database.dsn(case.user), f"--{stage}", "--json", *options)
            # A notice of the same check says that there is nothing to do.
            return result.status, [Finding(**each) for each in result.of(case.check) if each["level"] != NOTICE]

        def alone(*options: str) -> list[Finding]:
            if case.check in PYTHON:
                return findings(*options)[1]
            found = bench.findings(case.check, stage, case.user, options)
            return [each for each in found if each.level != NOTICE]

        bench.do(case.near_miss)
        assert alone(*case.near_miss_options) == []

        bench.do(case.violation)
        before = bench.state()
        status, found = findings(*case.options)
        assert bench.state() == before
        assert found, f"{case.check} finds nothing: {case.title}"
        for finding in found:
            assert re.fullmatch(case.object, finding.object), finding
            assert re.search(case.problem, finding.problem), finding
            assert finding.level == case.level
        if case.level == ERROR:
            assert status == VIOLATIONS

        options = bench.mend(case, found)
        assert alone(*options) == []


@pytest.mark.claim("verify-finds-violations")
def test_verify_says_that_the_default_is_still_there_as_long_as_it_is(templates: Templates) -> None:
    """A notice says that client_id has a default; once a later phase has dropped it, there is no notice.

    The default is what keeps the old application working, and what hides an insert that forgets the client.
    """
    with workbench(templates, "founding-migrated") as bench:
        [found] = bench.findings("default_is_still_there", "verify", OWNER)
        assert found.level == NOTICE
        for table in TABLES:
            bench.do(f"ALTER TABLE public.{table.name} ALTER client_id DROP DEFAULT")
        assert bench.findings("default_is_still_there", "verify", OWNER) == []


@pytest.mark.claim("verify-finds-violations", "rerun-does-nothing")
@pytest.mark.parametrize("there_before", [False, True], ids=["column was added", "column was there"])
def test_default_that_a_later_phase_drops_stays_away(templates: Templates, there_before: bool) -> None:
    """Once a later phase has dropped the default, --verify warns and exits with 0, and a second run leaves it alone.

    A re-run that puts it back hides every insert that forgets the client, in the default organization's rows.
    """
    with workbench(templates, "founding") as bench:
        owner = bench.database.owner_dsn
        if there_before:
            bench.do("ALTER TABLE public.uploads ADD client_id uuid")
        assert run("--dsn", owner, "--force").status == DONE
        bench.do("ALTER TABLE public.uploads ALTER client_id DROP DEFAULT")
        before = bench.state()
        again = run("--dsn", owner, "--force")
        assert (again.status, "Nothing to do" in again.out) == (DONE, True), again.out + again.err
        verified = run("--dsn", owner, "--verify", "--json")
        assert verified.status == DONE, verified.err
        assert [each["object"] for each in verified.of("default_is_gone")] == ["public.uploads.client_id"]
        assert bench.state() == before
        assert run("--dsn", owner, "--rollback", "--force").status == DONE


@pytest.mark.claim("verify-finds-violations", "exit-codes")
def test_verify_before_a_migration_says_what_is_missing(variant: str, templates: Templates) -> None:
    """On a database without Phase 1 every new object and column is reported as missing, and the exit code is 4.

    A verification that passes there, or breaks off, is no verification.
    """
    with workbench(templates, variant) as bench:
        before = bench.state()
        result = run("--dsn", bench.database.owner_dsn, "--verify", "--json")
        assert result.status == VIOLATIONS, "the exit code of --verify"
        assert len(result.of("new_objects_are_there")) == 6
        assert len(result.of("client_id_is_required_and_has_its_default")) == len(TABLES)
        assert bench.state() == before


#: A deployment that differs, and with what it is migrated.
_DIFFERENT = (
    "ALTER TABLE public.uploads RENAME created_at TO received_at; ALTER TABLE public.users ADD sent_at timestamptz"
)
_OPTIONS = (
    *("--column", "uploads.created_at=received_at", "--column", "users.created_at=sent_at"),
    *("--skip-table", "email_logs", "--skip-index", "idx_products_client_ean"),
    *("--grant-execute-to", "authenticator"),
)
_LEFT_OUT = "--skip-table email_logs --skip-index idx_products_client_ean"
_TIMES = "--column users.created_at=sent_at --column uploads.created_at=received_at"


def _told(*arguments: str) -> tuple[int, str]:
    """The exit code of a run, and which options it says it has taken from the log."""
    done = run(*arguments)
    said = re.findall(r"^Options taken from the log of the last migration: (.*)$", done.out + done.err, re.MULTILINE)
    assert len(said) <= 1
    return done.status, "".join(said)


@pytest.mark.claim("verify-finds-violations", "rerun-does-nothing")
@pytest.mark.parametrize("mode", [[], ["--online"]], ids=["transactional", "online"])
def test_verify_takes_what_the_migration_was_told_from_the_log(templates: Templates, mode: list[str]) -> None:
    """Without options --verify checks what was migrated, says which options it took from the log, and exits with 0.

    The advice to drop a valid index CONCURRENTLY, or to revoke what was granted on purpose, is followed by somebody.
    """
    with workbench(templates, "founding") as bench:
        owner = bench.database.owner_dsn
        bench.do(_DIFFERENT)
        assert _told("--dsn", owner, "--force", *mode, *_OPTIONS) == (DONE, "")
        assert bench.database.query(
            "SELECT operation FROM public.migration_log WHERE status = 'skipped' ORDER BY id"
        ) == [("email_logs",), ("idx_products_client_ean",)]
        everything = f"{_TIMES} {_LEFT_OUT} --grant-execute-to authenticator"
        assert _told("--dsn", owner, "--verify") == (DONE, everything)
        assert run("--dsn", owner, "--verify", "--json").json["options_from_the_log"] == _each(everything)
        assert _told("--dsn", owner, "--verify", *_OPTIONS) == (DONE, "")
        # What is given wins.
        given = ("--grant-execute-to", "service_role", "--skip-table", "transform_logs")
        result = run("--dsn", owner, "--verify", "--json", *given)
        assert {each["object"] for each in result.of("functions_are_closed")} == {
            "public.get_user_organization_id(uuid)",
            "public.validate_client_access(uuid,uuid)",
        }
        assert "public.email_logs.client_id" in {
            each["object"] for each in result.of("client_id_is_required_and_has_its_default")
        }
        assert result.json["options_from_the_log"] == _each(f"{_TIMES} --skip-index idx_products_client_ean")
        # So the advice names those who were named before as well.
        bench.do("GRANT EXECUTE ON FUNCTION public.get_user_organization_id(uuid) TO anon")
        [found] = run("--dsn", owner, "--verify", "--json").of("functions_are_closed")
        advice = re.findall(r"(--grant-execute-to) (\w+)", found["action"])
        assert run("--dsn", owner, "--verify", *(each for option in advice for each in option)).status == DONE


@pytest.mark.claim("verify-finds-violations", "rerun-does-nothing")
def test_second_run_remembers_columns_and_roles_and_does_what_was_left_out(templates: Templates) -> None:
    """A run without options mends what it finds as it was, and migrates what was left out; then nothing is left out.

    Built anew, an index of another time column serves nobody, and the application is denied its functions.
    """
    with workbench(templates, "founding") as bench:
        owner = bench.database.owner_dsn
        bench.do(_DIFFERENT)
        assert run("--dsn", owner, "--force", *_OPTIONS).status == DONE
        before = bench.database.query("SELECT pg_get_indexdef('public.idx_users_client_created_at'::regclass)")
        assert "sent_at" in str(before)
        bench.do(
            "DROP INDEX public.idx_users_client_created_at; DROP FUNCTION public.validate_client_access(uuid, uuid)"
        )
        remembered = f"{_TIMES} --grant-execute-to authenticator"
        assert _told("--dsn", owner, "--status") == (DONE, remembered)
        skipping = ("--skip-table", "uploads", "--skip-index", "idx_products_client_ean")
        times = "--column users.created_at=sent_at"
        assert _told("--dsn", owner, "--force", *skipping) == (DONE, f"{times} --grant-execute-to authenticator")
        assert before == bench.database.query("SELECT pg_get_indexdef('public.idx_users_client_created_at'::regclass)")
        assert bench.database.query(
            "SELECT has_function_privilege('authenticator', 'public.validate_client_access(uuid, uuid)', 'EXECUTE')"
        ) == [(True,)]
        # uploads was done before: only now it was left out.
        assert _told("--dsn", owner, "--verify") == (
            DONE,
            f"{_TIMES} --skip-index idx_products_client_ean --grant-execute-to authenticator",
        )
        assert _told("--dsn", owner, "--force") == (DONE, remembered)
        assert _told("--dsn", owner, "--verify") == (DONE, remembered)
        assert "Nothing to do" in run("--dsn", owner, "--force").out
        # Taken back, nothing is remembered.
        assert _told("--dsn", owner, "--rollback", "--force") == (DONE, "")
        assert _told("--dsn", owner, "--rollback", "--force") == (DONE, "")
        assert _told("--dsn", owner, "--status")[1] == ""


def _each(options: str) -> list[str]:
    """Options with their arguments."""
    return [f"--{each.strip()}" for each in options.split("--") if each]
