"""``pytest -m staging`` certifies what is on a staging database, finds what is wrong there, and changes nothing."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from psycopg import errors

from phase_1.options import Options, parse
from phase_1.problems import DONE, REFUSED
from tests.claims import CLAIMS, STAGING_ALWAYS, STAGING_MIGRATED, STAGING_NOT_MIGRATED, Claim
from tests.plugins.database import Database, Templates
from tests.plugins.selections import is_asked_for
from tests.plugins.server import Choice
from tests.plugins.staging import addable, shown
from tests.staging import test_migrated, test_not_migrated, test_unchanged
from tests.support.certificate import ROOT, Document, Key, TestResult, document, read, write
from tests.support.embedded import wheel_bin_directory
from tests.support.keys import make_keys
from tests.support.rehearsal import CannotBeRehearsed, dumper, rehearse
from tests.support.rows import Figures, Filler, NoRows
from tests.support.runner import run as migrate
from tests.support.staging import Staging, given
from tests.tools.test_servers import children, free_port

SECRET = f"secret-{secrets.token_hex(4)}"
OTHER, THIRD = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"


@dataclass
class Site:
    """A staging database, with a role that may do no more than SELECT on it."""

    database: Database
    reader: str
    open: list[Staging] = field(default_factory=list)

    @property
    def dsn(self) -> str:
        return self.database.server.dsn(self.database.name, self.reader, SECRET)

    def look(self, options: Options | None = None) -> Staging:
        """The staging database as the plugin opens it, its first snapshot taken."""
        self.open.append(Staging(self.dsn, options or parse([])))
        assert self.open[-1].before
        return self.open[-1]


Make = Callable[[str], Site]


@contextmanager
def staged(templates: Templates, kind: str) -> Iterator[Site]:
    """A staging database of a kind; the role sees the rows behind row-level security, and changes none."""
    made = Site(templates.clone(kind), f"staging_{secrets.token_hex(4)}")
    try:
        made.database.execute(
            f"CREATE ROLE {made.reader} LOGIN PASSWORD '{SECRET}' BYPASSRLS;"
            f" GRANT SELECT ON ALL TABLES IN SCHEMA public TO {made.reader}"
        )
        yield made
    finally:
        for staging in made.open:
            staging.close()
        made.database.execute(f"DROP OWNED BY {made.reader}; DROP ROLE {made.reader}")
        made.database.drop()


@pytest.fixture
def site(templates: Templates) -> Iterator[Make]:
    """Makes staging databases of a kind."""
    with ExitStack() as stack:
        yield lambda kind: stack.enter_context(staged(templates, kind))


@dataclass(frozen=True)
class Run:
    """A run of ``pytest -m staging``: its exit code, what it printed, and its report, if there is one."""

    exit_code: int
    output: str
    report: Document | None
    page: str

    @property
    def claims(self) -> dict[str, str]:
        assert self.report is not None, self.output
        return {claim["id"]: claim["status"] for claim in self.report["claims"]}

    @property
    def evidence(self) -> dict[str, Any]:
        assert self.report is not None, self.output
        tests = [test for claim in self.report["claims"] for each in claim["runs"] for test in each["tests"]]
        return {piece["title"]: piece["value"] for test in tests for piece in test["evidence"]}


def run(reports: Path, *arguments: str, **environment: str) -> Run:
    """Runs ``pytest -m staging`` as a program of its own, on a terminal of 80 columns."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-m", "staging", f"--reports={reports}", "--pg=embedded", *arguments],
        cwd=ROOT,
        env={
            **{
                name: value
                for name, value in os.environ.items()
                if name not in ("STAGING_DATABASE_URL", "PYTEST_ADDOPTS")
            },
            "COLUMNS": "80",
            "NO_COLOR": "1",
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    report, page = reports / "staging.json", reports / "staging.html"
    assert report.exists() == page.exists()
    return Run(
        done.returncode,
        done.stdout,
        read(report) if report.exists() else None,
        page.read_text() if page.exists() else "",
    )


def _state(database: Database) -> Any:
    return database.dump(), database.rows_with_xmin()


def test_a_staging_that_is_not_migrated_is_rehearsed_and_left_as_it_was(site: Make, tmp_path: Path) -> None:
    """With SELECT only, preflight, rehearsal and estimate are certified; what is out of sight is named.

    A run that needs more rights, or leaves something behind, is one that nobody lets near staging.
    """
    staging = site("deployed")
    before = _state(staging.database)
    done = run(tmp_path, STAGING_DATABASE_URL=staging.dsn)
    assert done.exit_code == 0, done.output
    assert done.claims == {
        **{claim.id: "certified" for claim in (*STAGING_ALWAYS, *STAGING_NOT_MIGRATED)},
        **{claim.id: "not applicable" for claim in STAGING_MIGRATED},
    }
    assert done.report is not None
    assert done.report["runs"][0]["totals"] == {"passed": 5, "deselected": 4}
    assert {
        "what": "the rows of auth.users",
        "what to do": f"GRANT USAGE ON SCHEMA auth TO {staging.reader}; GRANT SELECT ON auth.users TO {staging.reader}",
    } in done.evidence["what could not be seen"]
    assert "auth.users is not there" in done.output
    assert "seconds of held locks" in done.output
    assert "not migrated" in done.page
    assert SECRET not in done.output + done.page + json.dumps(done.report)
    assert _state(staging.database) == before


def _certificate(directory: Path, major: int, key: Key | None = None, outcome: str = "passed") -> Path:
    """A certificate that knows no schema yet, of one claim."""
    made = document(
        [Claim("first", "It holds.", "2.1")],
        [TestResult("test_it.py::test_first", ["first"], outcome)],
        server={"version": str(major), "version_num": major * 10000},
        seconds=1.0,
        reasons=[],
        totals={},
        controlled=["first"],
    )
    return write(made, directory, key=key)[0]


def test_rehearsal_is_added_to_a_certificate_and_lets_its_schema_through(site: Make, tmp_path: Path) -> None:
    """A deployment unlike every variant is refused with --strict, and runs once staging's rehearsal was added.

    Otherwise --strict is for nobody: no deployment is quite like another.
    """
    staging = site("deployed")
    database = staging.database
    database.execute("CREATE INDEX extra ON public.email_logs (id)")
    keys = make_keys(tmp_path, "staging")
    file = _certificate(tmp_path / "reports", database.server.major, keys.key)
    gate = ("--dsn", database.owner_dsn, "--certificate", str(file), "--trusted-key", keys.public, "--strict")
    assert migrate(*gate, "--dry-run").status == REFUSED
    for _ in range(2):  # a second rehearsal takes the place of the first
        done = run(
            tmp_path / "staging",
            f"--dsn={staging.dsn}",
            f"--add-to-certificate={file}",
            f"--sign-key={keys.private}",
        )
        assert done.exit_code == 0, done.output
    assert "the rehearsal was added to" in done.output
    assert f"signed: with the key {keys.key.id}" in done.output
    [rehearsal] = read(file, keys.key)["rehearsals"]
    assert rehearsal["of"] in file.with_suffix(".html").read_text()
    assert SECRET not in json.dumps(rehearsal)
    assert migrate(*gate, "--dry-run").status == DONE
    # What was not rehearsed is as unknown as before.
    database.execute("CREATE INDEX another ON public.email_logs (id)")
    assert migrate(*gate, "--dry-run").status == REFUSED


def test_rehearsal_that_fails_is_not_added(site: Make, tmp_path: Path) -> None:
    """A staging that is not certified adds nothing, and the certificate stays as it was.

    --strict would let through a schema that the migration is known to fail on.
    """
    staging = site("deployed")
    staging.database.execute("ALTER TABLE public.products ADD client_id text")
    file = _certificate(tmp_path / "reports", staging.database.server.major)
    before = file.read_bytes()
    done = run(tmp_path / "staging", f"--dsn={staging.dsn}", f"--add-to-certificate={file}")
    assert done.exit_code == pytest.ExitCode.TESTS_FAILED, done.output
    assert "nothing was added: staging is not certified" in done.output
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("signed", "given", "words"),
    [
        pytest.param("", "", "", id="unsigned"),
        pytest.param("mine", "mine", "", id="signed"),
        pytest.param("mine", "", "is signed; give --sign-key", id="signed-without-the-key"),
        pytest.param("mine", "other", "is not signed with the trusted key", id="signed-with-another-key"),
        pytest.param("", "mine", "is UNSIGNED", id="unsigned-with-a-key"),
        pytest.param("failed", "", "says 'not certified'", id="not-certified"),
        pytest.param("changed", "", "changed since: ", id="of-other-files"),
        pytest.param("truncated", "", "is no JSON", id="truncated"),
        pytest.param("text", "", "is not called .json", id="of-another-name"),
    ],
)
def test_rehearsal_is_added_only_to_what_is_certified_and_signed_by_the_same(
    tmp_path: Path, signed: str, given: str, words: str
) -> None:
    """A certificate of other files, without the verdict, or without the signature of the same key is refused.

    Signing again what somebody else has changed would vouch for it.
    """
    keys = {name: make_keys(tmp_path, name).key for name in ("mine", "other")}
    file = _certificate(tmp_path, 18, keys.get(signed), "failed" if signed == "failed" else "passed")
    if signed == "changed":
        file.write_text(re.sub(r'"sha256": "[0-9a-f]{64}"', f'"sha256": "{"0" * 64}"', file.read_text(), count=1))
    if signed == "truncated":
        file.write_text(file.read_text()[:-100])
    if signed == "text":
        file = file.rename(tmp_path / "certificate.txt")
    if not words:
        assert addable(file, keys.get(given))["verdict"] == "certified"
        return
    with pytest.raises(pytest.UsageError, match=re.escape(words)):
        addable(file, keys.get(given))


def _with_other_clients(database: Database) -> None:
    """Gives a third of the users with all that is theirs to a client, and three sales to one that is not active."""
    children = ("sellout_entries2", "processing_logs", "transform_logs")
    database.execute(
        "INSERT INTO public.organizations (id, name, slug, is_active)"
        f" VALUES ('{OTHER}', 'Other', 'other', TRUE), ('{THIRD}', 'Third', 'third', FALSE);"
        f"UPDATE public.users SET client_id = '{OTHER}' WHERE hashtext(id::text) % 3 = 0;"
        "INSERT INTO public.user_organizations (user_id, organization_id) SELECT id, client_id FROM public.users"
        " ON CONFLICT DO NOTHING;"
        "UPDATE public.uploads AS c SET client_id = p.client_id FROM public.users AS p WHERE p.id = c.user_id;"
        + "".join(
            f"UPDATE public.{child} AS c SET client_id = p.client_id FROM public.uploads AS p WHERE p.id = c.upload_id;"
            for child in children
        )
        + f"UPDATE public.sellout_entries2 SET client_id = '{THIRD}', upload_id = NULL WHERE id <= 3; ANALYZE"
    )


def test_a_staging_that_is_migrated_is_certified_but_for_what_is_broken(site: Make, tmp_path: Path) -> None:
    """Clients of every size are looked at; an invalid index fails two claims, by name, and the others are certified.

    A report that is green whatever it looks at is worse than none.
    """
    staging = site("deployed-migrated")
    _with_other_clients(staging.database)
    staging.database.execute(
        "UPDATE pg_catalog.pg_index SET indisvalid = FALSE"
        " WHERE indexrelid = 'public.idx_email_logs_client_created_at'::regclass"
    )
    before = _state(staging.database)
    done = run(tmp_path, f"--dsn={staging.dsn}")
    assert done.exit_code == pytest.ExitCode.TESTS_FAILED, done.output
    assert done.claims == {
        **{claim.id: "certified" for claim in STAGING_ALWAYS},
        **{claim.id: "not applicable" for claim in STAGING_NOT_MIGRATED},
        "staging-checks": "not certified",
        "staging-index-use": "not certified",
        "staging-functions": "certified",
    }
    assert "public.idx_email_logs_client_created_at: " in done.output
    assert "latest_emails of the largest client: no index can serve it" in done.output
    assert [title.split()[1] for title in done.evidence if " client, " in title] == ["largest", "median", "smallest"]
    assert "its text in the catalog" in done.evidence["validate_client_access"]["asked"]
    assert "Traceback" not in done.output
    assert SECRET not in done.output + done.page + json.dumps(done.report)
    assert _state(staging.database) == before


def _no_evidence(title: str, value: Any) -> None:
    pass


def _functions(staging: Staging) -> None:
    for parameters in test_migrated.COMPARED:
        test_migrated.test_function_agrees_with_a_straightforward_query(staging, _no_evidence, *parameters)


def _rows(staging: Staging) -> None:
    test_unchanged.test_rows_are_as_many_after_the_run(staging, staging.snapshot(), _no_evidence)


def _catalog(staging: Staging) -> None:
    test_unchanged.test_catalog_is_the_same_after_the_run(staging, staging.snapshot(), _no_evidence)


_BROKEN: dict[str, tuple[str, str, Callable[[Staging], None], str]] = {
    "preflight: a client_id of another type": (
        "founding",
        "ALTER TABLE public.products ADD client_id text",
        lambda staging: test_not_migrated.test_preflight_finds_no_error_on_staging(staging, _no_evidence),
        "public.products",
    ),
    "checks: a sale of another client than its upload": (
        "founding-migrated",
        f"INSERT INTO public.organizations (id, name, slug) VALUES ('{OTHER}', 'Other', 'other');"
        f"UPDATE public.sellout_entries2 SET client_id = '{OTHER}' WHERE id = (SELECT min(id)"
        " FROM public.sellout_entries2 WHERE upload_id IS NOT NULL)",
        lambda staging: test_migrated.test_every_check_passes_on_staging(staging, _no_evidence),
        "1 of the rows of public.sellout_entries2",
    ),
    "functions: access for everybody": (
        "founding-migrated",
        "CREATE OR REPLACE FUNCTION public.validate_client_access(user_id uuid, client_id uuid) RETURNS boolean"
        " LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = ''"
        " AS '#variable_conflict use_column\nBEGIN RETURN TRUE; END;'",
        _functions,
        "validate_client_access was not called, since it is not what the migration creates",
    ),
    "functions: one in another language": (
        "founding-migrated",
        "CREATE OR REPLACE FUNCTION public.get_user_organization_id(user_id uuid) RETURNS uuid"
        " LANGUAGE sql STABLE AS 'SELECT NULL::uuid'",
        _functions,
        "get_user_organization_id was not called, since it is SECURITY INVOKER",
    ),
}


@pytest.mark.parametrize("case", _BROKEN)
def test_what_is_broken_on_staging_fails_its_claim(site: Make, case: str) -> None:
    """Each claim of staging fails where it does not hold, and says on what.

    A check that cannot fail certifies nothing.
    """
    kind, breaking, test, words = _BROKEN[case]
    staging = site(kind)
    test(staging.look())  # the near miss: without the change it passes
    staging.database.execute(breaking)
    with pytest.raises(pytest.fail.Exception, match=words):
        test(staging.look())


@pytest.mark.parametrize("executable", [True, False], ids=["called", "by-its-text"])
def test_function_that_answers_otherwise_than_the_specification_fails_its_claim(site: Make, executable: bool) -> None:
    """Where the function and the specification, read as a query, disagree, the claim fails and says for whom.

    The function is the migration's own, or it is not asked; so here it is the specification that differs.
    """
    made = site("founding-migrated")
    if executable:
        made.database.execute(f"GRANT EXECUTE ON FUNCTION public.validate_client_access TO {made.reader}")
    [(function, arguments, comparison)] = [each for each in test_migrated.COMPARED if "access" in each[0]]
    other = comparison.replace("m.is_active IS TRUE", "m.is_active IS FALSE")
    with pytest.raises(pytest.fail.Exception, match=r"\d+ of \d+ answers differ"):
        test_migrated.test_function_agrees_with_a_straightforward_query(
            made.look(), _no_evidence, function, arguments, other
        )


@pytest.mark.parametrize(
    ("meanwhile", "test", "words"),
    [
        (
            "DELETE FROM public.email_logs WHERE id = (SELECT min(id::text)::uuid FROM public.email_logs)",
            _rows,
            "email_logs",
        ),
        ("CREATE TABLE public.left_behind ()", _catalog, "left_behind"),
    ],
    ids=["rows", "catalog"],
)
def test_a_change_during_the_run_is_noticed(
    site: Make, meanwhile: str, test: Callable[[Staging], None], words: str
) -> None:
    """What comes or goes between the first look and the last one fails the claim that nothing did.

    Whether the run itself or somebody else changed something could not be told from a claim that always holds.
    """
    made = site("founding")
    staging = made.look()
    test(staging)
    made.database.execute(meanwhile)
    with pytest.raises(pytest.fail.Exception, match=words):
        test(staging)


def test_a_staging_session_cannot_write(site: Make) -> None:
    """Even as a superuser, and even before a transaction is begun, the session refuses to write.

    Rights are granted by the dozen on staging; what keeps the run from using them must not depend on them.
    """
    made = site("founding")
    made.database.execute(f"GRANT ALL ON public.users TO {made.reader}")
    staging = made.look()
    with staging.looking():
        assert staging.rights["could write, were its sessions not read only"] == "users"
    with pytest.raises(errors.ReadOnlySqlTransaction):
        staging.value("DELETE FROM public.users RETURNING id")


@pytest.mark.parametrize(
    ("breaking", "problem", "remedy"),
    [
        (
            "REVOKE SELECT ON public.uploads FROM {reader}",
            "public.uploads",
            "GRANT SELECT ON public.uploads TO {reader}",
        ),
        ("ALTER ROLE {reader} NOBYPASSRLS", "public.users", "ALTER ROLE {reader} BYPASSRLS"),
        ("DROP TABLE public.email_logs", "public.email_logs", "--skip-table email_logs"),
        ("DROP TABLE public.users CASCADE", "public.users", "name the application's own database"),
        ("ALTER ROLE {reader} PASSWORD 'another'", "authentication failed", "check the user and the password"),
        ("ALTER ROLE {reader} NOLOGIN", "not permitted to log in", "What to do"),
    ],
)
def test_a_staging_that_cannot_be_looked_at_is_one_message(
    site: Make, breaking: str, problem: str, remedy: str
) -> None:
    """A role without rights, and a database without the tables, are refused with what, where and what to do.

    At night nobody guesses from ten failing tests that one GRANT is missing.
    """
    made = site("deployed")
    made.database.execute(breaking.format(reader=made.reader))
    with pytest.raises(pytest.UsageError) as caught:
        made.look()
    message = str(caught.value)
    assert message.startswith("staging: ")
    assert problem in message
    assert remedy.format(reader=made.reader) in message
    assert made.database.name in message
    assert SECRET not in message
    assert "\n" not in message


def test_a_table_that_is_left_out_on_purpose_is_not_missed(site: Make) -> None:
    """With ``--migrate-options '--skip-table email_logs'`` a database without that table is looked at.

    Deployments differ, and the migration has the same option.
    """
    made = site("founding")
    made.database.execute("DROP TABLE public.email_logs")
    _, options = given(made.dsn, {}, "--skip-table email_logs")
    staging = made.look(options)
    assert "email_logs" not in staging.before.rows
    assert staging.findings("preflight") == []


def test_a_server_that_is_too_old_is_refused(site: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server older than Phase 1 can use is a usage error that names both versions.

    There is no such server to be had here: this one is declared to be too old instead.
    """
    monkeypatch.setattr("phase_1.connection.OLDEST_MAJOR", 99)
    with pytest.raises(pytest.UsageError, match=r"PostgreSQL \d+.*needs 99 or later.*upgrade"):
        site("founding").look()


@pytest.mark.parametrize(
    ("dsn", "environment", "options", "words"),
    [
        (None, {}, "", "give it with --dsn or in STAGING_DATABASE_URL"),
        (None, {"DATABASE_URL": "postgresql://production/app"}, "", "Nothing was run"),
        (None, {"STAGING_DATABASE_URL": f"postgresql://u:a@{SECRET}@h/d"}, "", "STAGING_DATABASE_URL is not"),
        (f"postgresql://u:a@{SECRET}@h/d", {}, "", "--dsn is not a connection string"),
        ("postgresql://h/d", {}, "--rollback", "those of a migration only"),
        ("postgresql://h/d", {}, "--skip-table nothing", "there is no such name"),
    ],
    ids=["not named", "production", "ambiguous variable", "ambiguous --dsn", "rollback", "unknown table"],
)
def test_a_staging_that_is_not_named_properly_is_refused(
    dsn: str | None, environment: dict[str, str], options: str, words: str
) -> None:
    """Without a DSN of its own, or with one that cannot be meant, nothing is run; DATABASE_URL is not taken.

    That one is production's, as often as not.
    """
    with pytest.raises(pytest.UsageError, match=words) as caught:
        given(dsn, environment, options)
    assert SECRET not in str(caught.value)


def test_a_staging_that_is_nowhere_is_a_usage_error_and_leaves_no_report(tmp_path: Path) -> None:
    """A DSN to nowhere ends the run with exit code 4, one line, and neither half a report nor an old one.

    An old verdict would stand for a run that has seen nothing.
    """
    for name in ("staging.json", "staging.html"):
        (tmp_path / name).write_text("{}")
    done = run(tmp_path, f"--dsn=postgresql://u:{SECRET}@127.0.0.1:{free_port()}/app")
    assert done.exit_code == pytest.ExitCode.USAGE_ERROR
    [line] = [line for line in done.output.splitlines() if line.strip()]
    assert "staging: no connection to database app" in line
    assert "What to do: check the host" in line
    assert SECRET not in done.output
    assert list(tmp_path.iterdir()) == []


def test_a_rehearsal_fails_where_the_migration_would_and_leaves_no_server(site: Make) -> None:
    """What no check knows of, and stops the migration all the same, is found by doing it; the server is gone then.

    Here it is a guard of the house against new indexes; it could be anything.
    """
    made = site("founding")
    made.database.execute(
        "CREATE FUNCTION public.forbid() RETURNS event_trigger LANGUAGE plpgsql"
        " AS $$BEGIN RAISE EXCEPTION 'no index without a ticket'; END$$;"
        "CREATE EVENT TRIGGER forbid ON ddl_command_start WHEN TAG IN ('CREATE INDEX') EXECUTE FUNCTION public.forbid()"
    )
    staging, before = made.look(), children(os.getpid())
    done = rehearse(staging, Choice("embedded", "of the test's own"), "", None)
    assert children(os.getpid()) <= before
    with pytest.raises(pytest.fail.Exception, match=r"the migration ended with 1: failed at .*ticket"):
        test_not_migrated.test_rehearsal_migrates_verifies_and_goes_back(done, _no_evidence)
    with pytest.raises(pytest.fail.Exception, match="the rehearsal failed"):
        test_not_migrated.test_estimate_follows_from_the_rehearsal_and_the_real_sizes(staging, done, _no_evidence)


def test_a_rehearsal_goes_back_where_a_table_was_left_out(site: Make) -> None:
    """The way back of the rehearsal takes no --skip-table, and knows what was left out.

    Otherwise whoever has to leave a table out is told that the rollback does not work.
    """
    made = site("founding")
    made.database.execute("DROP TABLE public.email_logs")
    _, options = given(made.dsn, {}, "--skip-table email_logs --online")
    rehearsed = rehearse(made.look(options), Choice("embedded", "of the test's own"), "--skip-table email_logs", None)
    test_not_migrated.test_rehearsal_migrates_verifies_and_goes_back(rehearsed, _no_evidence)


def test_a_dump_needs_a_pg_dump_as_new_as_the_server() -> None:
    """The pg_dump that is taken is as new as staging; for a newer server it is said what to install.

    An older one refuses with a message that names no remedy.
    """
    assert dumper(12).startswith(str(wheel_bin_directory()))
    with pytest.raises(CannotBeRehearsed, match=r"PostgreSQL 99.*What to do: install the client programs"):
        dumper(99)


def test_generated_rows_have_the_widths_shares_and_keys_that_were_asked_for(site: Make) -> None:
    """Types of every kind are filled, foreign keys point to rows, keys are unique, and shares are about right.

    An estimate from rows of another shape is one for another database.
    """
    database = site("founding-empty").database
    database.execute(
        "CREATE TYPE public.mood AS ENUM ('sad', 'glad'); CREATE DOMAIN public.code AS varchar(8);"
        "CREATE TABLE public.parent (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY);"
        "CREATE TABLE public.child (parent_id bigint NOT NULL REFERENCES public.parent, position integer,"
        " mood public.mood NOT NULL, code public.code, wide text NOT NULL, rare numeric(4, 2), at timestamptz NOT NULL,"
        " on_day date, flag boolean, key uuid UNIQUE, tags text[], span int4range, facts jsonb, addr inet,"
        " twice integer GENERATED ALWAYS AS (position * 2) STORED, PRIMARY KEY (parent_id, position))"
    )
    figures = {
        ("public.child", "wide"): Figures(0.0, 101, -1),
        ("public.child", "rare"): Figures(0.75, 8, 10),
        ("public.child", "at"): Figures(0.0, 8, -1),
    }
    real = {"public.child": 1000, "public.parent": 100}
    with closing(database.connect()) as connection:
        connection.execute("SET session_replication_role = replica")
        made = Filler(connection, {"public.child": 500}, real, figures).fill()
        connection.execute("CREATE TABLE public.odd (place circle NOT NULL)")
        with pytest.raises(NoRows, match=r"public\.odd\.place: no rule makes values of type circle"):
            Filler(connection, {"public.odd": 1}, {"public.odd": 1}, {}).fill()
    assert made == {"public.child": 500, "public.parent": 50}
    [row] = database.query(
        "SELECT avg(length(wide))::integer, count(DISTINCT wide), count(rare), count(DISTINCT key), count(DISTINCT at),"
        " count(*) FILTER (WHERE parent_id IN (SELECT id FROM public.parent)), max(length(code)) <= 8"
        " FROM public.child"
    )
    width, different, not_null, keys, times, with_parent, short = row
    assert (width, different, keys, times, with_parent, short) == (100, 500, 500, 500, 500, True)
    assert 75 <= not_null <= 175  # a quarter of 500, give or take five standard deviations


def test_claims_of_staging_are_asked_of_a_run_about_staging_only() -> None:
    """No claim is in both lists, and ``-m "not staging"`` is not about staging.

    Otherwise ``pytest --certify`` could never be green, or would look for a database that nobody named.
    """
    staging = {claim.id for claim in (*STAGING_ALWAYS, *STAGING_NOT_MIGRATED, *STAGING_MIGRATED)}
    assert not staging & {claim.id for claim in CLAIMS}
    expressions = {"staging": True, "staging and not slow": True, "not staging": False, "benchmark": False, "": False}
    for expression, about in expressions.items():
        config: Any = SimpleNamespace(option=Namespace(markexpr=expression))
        assert is_asked_for(config, "staging") is about, expression


def test_evidence_fits_a_terminal_of_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that fits is shown as one; what is too wide is broken into lines.

    A report that wraps in the middle of a word is not read.
    """
    monkeypatch.setenv("COLUMNS", "80")
    assert shown([{"table": "users", "rows": 1234}, {"table": "x", "rows": 5}]).splitlines() == [
        "table   rows",
        "users  1,234",
        "x          5",
    ]
    wide = shown([{"level": "error", "finding": "word " * 40}]).splitlines()
    assert max(map(len, wide)) <= 80
    assert [line[:12] for line in wide[:3]] == ["level  findi", "error  word ", "       word "]
    assert shown([{"name": "n" * 90, "finding": "word"}]) == "n" * 80 + "\n    " + "n" * 10 + ": word"
    assert shown({"superuser": False}) == "superuser: no"
