"""The certificate says what the tests say: every way in which a claim can fail to be certified."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.claims import CLAIMS, Claim
from tests.support import certificate
from tests.support.certificate import ROOT, CertificateError, Document, TestResult, judge, merge, plain, taken_in, write
from tests.support.keys import make_keys

_SERVER = {"kind": "embedded", "version": "18.4", "version_num": 180004, "image": None, "reason": "in a test"}
_SCHEMA = json.loads((ROOT / "tests" / "support" / "certificate.schema.json").read_text())

# The marker pg asks for the server; its facts are enough here, and starting one takes seconds.
_CONFTEST = f"""
import types
import pytest

pytest_plugins = ["tests.plugins.server", "tests.plugins.certificate"]

@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    from tests.plugins import server
    config.stash[server.SERVER_FACTS] = {_SERVER!r}
    server.running_server = lambda config: types.SimpleNamespace(major=18, version="18.4")
"""
_PASSING = """
import pytest

@pytest.mark.claim("first")
def test_first(evidence):
    evidence("figures", [{"table": "<script>alert(1)</script>", "rows": 3}])

@pytest.mark.claim("second")
def test_second():
    pass
"""
# Each claim of _PASSING has a test in this file too: leaving it out leaves no claim without a test.
_MORE = """
import pytest

@pytest.mark.claim("first", "second")
def test_more():
    pass
"""

_WORKERS = pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "xdist"])


@dataclass(frozen=True)
class Run:
    """A run of pytest: its exit code, what it printed, and the certificate, if there is one."""

    exit_code: int
    output: str
    document: Document | None

    @property
    def certificate(self) -> Document:
        assert self.document is not None, self.output
        return self.document

    def reason(self, claim: str) -> str:
        return str(next(each["reason"] for each in self.certificate["claims"] if each["id"] == claim))


Certify = Callable[..., Run]


@pytest.fixture
def certify(tmp_path: Path) -> Certify:
    """A project of a few claims, certified by ``pytest --certify``."""

    def run(
        files: str | dict[str, str],
        *arguments: str,
        claims: tuple[str, ...] = ("first", "second"),
        uncontrolled: str = "",
        start: str = ".",
    ) -> Run:
        (tmp_path / "pytest.ini").write_text(
            f"[pytest]\npythonpath = {ROOT} .\ntestpaths = tests_here\nclaims = the_claims:CLAIMS\n"
            "controls = the_claims:CONTROLS\n"
            # Half of the time of a start; and what comes first in a file has to be run first.
            "addopts = --import-mode=importlib -p no:hypothesispytest -p no:benchmark -p no:randomly\n"
        )
        (tmp_path / "conftest.py").write_text(_CONFTEST)
        listed = "".join(f"Claim({each!r}, 'It holds.', '2.1'), " for each in claims)
        controls = "".join(f"Namespace(claim={each!r}), " for each in claims if each != uncontrolled)
        (tmp_path / "the_claims.py").write_text(
            "from argparse import Namespace\nfrom tests.claims import Claim\n\n"
            f"CLAIMS = ({listed})\nCONTROLS = ({controls})\n"
        )
        for name, source in (files if isinstance(files, dict) else {"test_it.py": files}).items():
            path = tmp_path / "tests_here" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source)
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "--certify", "--pg=embedded", *arguments],
            cwd=tmp_path / start,
            env={**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "COLUMNS": "80"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        written = tmp_path / "reports" / "certificate.json"
        return Run(done.returncode, done.stdout, certificate.read(written) if written.is_file() else None)

    return run


_EVIDENCE = """
import datetime
import decimal

def test_evidence(evidence):
    evidence("ratio", decimal.Decimal("1.5"))
    evidence("day", datetime.date(2026, 1, 2))
    evidence("names", {"b", "a"})
    evidence("large", 2**70)
    evidence("half a character", "a\\udcff")
    evidence("rows", [{"a": 1}, {"b": 2}])
    evidence("mixed", [{"a": 1}, "x"])
"""


@_WORKERS
def test_certificate_certifies_when_every_claim_passes(
    certify: Certify, tmp_path: Path, workers: tuple[str, ...]
) -> None:
    """A run in which every claim has a passing test is certified, with its evidence, alone and in parallel.

    A certificate that nobody can get is as useless as one that everybody gets.
    """
    marked = _EVIDENCE.replace("def test", 'import pytest\n\n@pytest.mark.claim("first")\ndef test')
    # Naming the whole suite is running the whole suite.
    run = certify({"test_it.py": _PASSING, "test_evidence.py": marked}, "tests_here", *workers)
    document = run.certificate
    assert (run.exit_code, document["verdict"], document["reasons"]) == (0, "certified", []), run.output
    assert document["runs"][0]["server"] == _SERVER
    assert document["runs"][0]["totals"] == {"passed": 3}
    jsonschema.validate(certificate.statement(document), _SCHEMA)

    tests = {test["nodeid"]: test["evidence"] for test in document["claims"][0]["runs"][0]["tests"]}
    kept = {piece["title"]: piece["value"] for piece in tests["tests_here/test_evidence.py::test_evidence"]}
    assert kept == {
        "ratio": "1.5",
        "day": "2026-01-02",
        "names": ["a", "b"],
        "large": 2**70,
        "half a character": "a?",
        "rows": [{"a": 1}, {"b": 2}],
        "mixed": [{"a": 1}, "x"],
    }
    page = (tmp_path / "reports" / "certificate.html").read_text()
    assert "✓ Certified" in page
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "verdict: certified" in run.output
    assert str(tmp_path / "reports" / "certificate.html") in run.output


_KEY_IS_GONE = _PASSING.replace("    pass", "    import os; assert 'CERTIFICATE_SIGN_KEY' not in os.environ")


@_WORKERS
@pytest.mark.parametrize("how", ["option", "environment", "unsigned"])
def test_certificate_is_signed_with_the_key_that_is_given(
    certify: Certify, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, workers: tuple[str, ...]
) -> None:
    """With a key the file is an envelope that its public half opens; without, page and terminal say UNSIGNED.

    A release that is gated on the signature waits for one, and a test that finds the key can sign what it likes.
    """
    keys = make_keys(tmp_path, "mine")
    if how == "environment":
        monkeypatch.setenv("CERTIFICATE_SIGN_KEY", Path(keys.private).read_text())
    run = certify(_KEY_IS_GONE, *workers, *([f"--sign-key={keys.private}"] if how == "option" else []))
    assert run.exit_code == 0, run.output
    reports = tmp_path / "reports"
    page, words = (reports / "certificate.html").read_text(), certificate.signed_by(None)
    if how == "unsigned":
        assert json.loads((reports / "certificate.json").read_text())["predicateType"].endswith("/test-result/v0.1")
        with pytest.raises(CertificateError, match="UNSIGNED"):
            certificate.read(reports / "certificate.json", keys.key)
    else:
        words = f"signed: with the key {keys.key.id}"
        assert certificate.read(reports / "certificate.json", keys.key) == run.document
    assert words in run.output
    assert words in page
    assert ("UNSIGNED" in run.output, "UNSIGNED" in page) == (how == "unsigned", how == "unsigned")


def test_key_that_cannot_sign_ends_the_run_before_its_tests(certify: Certify, tmp_path: Path) -> None:
    """A file without a private key, or a key without a certificate, is wrong usage, said before the first test.

    Half an hour later the certificate would be there, and not be signed.
    """
    keys = make_keys(tmp_path, "mine")
    for path, words in ((keys.public, "is no private key in PEM"), (tmp_path / "nowhere", "No such file")):
        run = certify(_PASSING, f"--sign-key={path}")
        assert (run.exit_code, run.document) == (pytest.ExitCode.USAGE_ERROR, None)
        assert f"ERROR: --sign-key {path}: {words}" in run.output


def test_other_report_is_taken_in_if_it_is_about_the_same_files(tmp_path: Path) -> None:
    """What controls and mutants have found is in the certificate, unless it was found in other files.

    A score of last month's files would stand beside this month's verdict.
    """
    path = tmp_path / "mutants.json"
    assert taken_in(path) == "not run"
    subject, suite = certificate.subject(), certificate.suite()
    for about, by, expected in (
        (subject, suite, {"score": 99.1}),
        (subject[1:], suite, "not run"),
        ([{**each, "sha256": "0" * 64} for each in subject], suite, "not run"),
        (subject, "0" * 64, "not run"),
    ):
        path.write_text(json.dumps({"subject": about, "suite": by, "score": 99.1}))
        assert taken_in(path) == expected
    path.write_text(json.dumps({"subject": subject, "suite": suite, "score": 99.1, "mutants": [{"by": "a test"}]}))
    assert taken_in(path) == {"score": 99.1}, "a list of thousands is left where it is"
    path.write_text('{"score": 99.1}')
    assert taken_in(path) == "not run"
    path.write_text("[")
    assert taken_in(path) == "not run"


# What pytest itself is content with: it would exit with 0.
_QUIET = {
    "passing": ("    pass", ""),
    "unclaimed": (None, "no test certifies it"),
    "skipped": ("    pytest.skip('no server')", "1 test skipped"),
    "xfailed": ("    pytest.xfail('known')", "1 test xfailed"),
    "other-version": ("pg", "none of its tests applies to this server"),
    "left-out": ("    pass", "1 test deselected"),
}
_LOUD = {
    "passing": ("    pass", ""),
    "failed": ("    assert False", "1 test failed"),
    "setup": ("error", "1 test failed"),
    "teardown": ("error", "1 test failed"),
}


def _suite(cases: dict[str, tuple[str | None, str]]) -> str:
    """A test module with a test for each claim that has one."""
    lines = ["import pytest", "@pytest.fixture", "def setup():", "    assert False"]
    lines += ["@pytest.fixture", "def teardown():", "    yield", "    assert False"]
    for claim, (body, _) in cases.items():
        if body is not None:
            lines += ["@pytest.mark.pg('< 12')"] if body == "pg" else []
            argument = claim if body == "error" else ""
            lines += [f"@pytest.mark.claim({claim!r})", f"def test_{claim.replace('-', '_')}({argument}):"]
            lines += [body if body.startswith(" ") else "    pass"]
    # A claim with a test that does not apply, and one that does, is certified by the latter.
    lines += ["@pytest.mark.pg('< 12')", "@pytest.mark.claim('passing')", "def test_of_another_version():", "    pass"]
    return "\n".join(lines)


@_WORKERS
@pytest.mark.parametrize("cases", [_QUIET, _LOUD], ids=["pytest-is-content", "pytest-fails"])
def test_claim_is_certified_by_passing_tests_only(
    certify: Certify, cases: dict[str, tuple[str | None, str]], workers: tuple[str, ...]
) -> None:
    """A claim whose test did anything but pass is not certified, nor is the whole, and the exit code says so.

    A release would go out on a promise that nobody has checked.
    """
    run = certify(_suite(cases), "-k", "not left_out", *workers, claims=tuple(cases))
    assert {claim: run.reason(claim) for claim in cases} == {claim: reason for claim, (_, reason) in cases.items()}
    statuses = {claim["id"]: claim["status"] for claim in run.certificate["claims"]}
    assert [claim for claim, status in statuses.items() if status == "certified"] == ["passing"]
    assert run.certificate["verdict"] == "not certified"
    assert ("tests failed" in run.certificate["reasons"]) is (cases is _LOUD)
    assert run.exit_code == pytest.ExitCode.TESTS_FAILED
    assert "verdict: not certified" in run.output


@pytest.mark.parametrize("outcome", ["failed", "skipped", "xfailed", "deselected", "not run", "not applicable", None])
def test_verdict_is_that_of_the_worst_claim(outcome: str | None) -> None:
    """One claim that is not certified is enough for the whole not to be.

    The one that is broken would be outvoted by those that are not.
    """
    assert _document("passed")["verdict"] == "certified"
    document = _document("passed", outcome)
    assert document["verdict"] == "not certified"
    assert document["reasons"] == ["1 of 2 claims are not certified"]


def test_verdict_needs_a_server_and_a_claim() -> None:
    """A run without a server, or about nothing, is not certified.

    Nothing contradicts a run in which nothing was tried.
    """
    assert _document("passed", server=None)["reasons"] == ["no test asked for a server"]
    assert _document()["reasons"] == ["there is no claim to certify"]


def _document(*outcomes: str | None, server: dict[str, Any] | None = _SERVER) -> Document:
    """A certificate with a claim for each outcome; None is a claim without a test."""
    claims = [Claim(f"claim-{number}", "It holds.", "2.1") for number in range(len(outcomes))]
    results = [
        TestResult(f"test_it.py::test_{claim.id}", [claim.id], outcome)
        for claim, outcome in zip(claims, outcomes, strict=True)
        if outcome is not None
    ]
    ids = [claim.id for claim in claims]
    return certificate.document(claims, results, server=server, seconds=1.0, reasons=[], totals={}, controlled=ids)


def test_claim_without_a_control_is_not_certified(certify: Certify) -> None:
    """A claim that no control has broken is not certified, however many of its tests pass, and that is said.

    Nobody has seen its tests fail: they may be such as cannot.
    """
    run = certify(_PASSING, uncontrolled="second")
    assert (run.reason("first"), run.reason("second")) == ("", "no control shows that its tests can fail")
    assert (run.exit_code, run.certificate["verdict"]) == (pytest.ExitCode.TESTS_FAILED, "not certified")
    assert "second: no control shows that its tests can fail" in run.output


def test_claim_with_a_control_that_nobody_notices_is_not_certified(monkeypatch: pytest.MonkeyPatch) -> None:
    """A control that was run on these files and is not as it should be counts against its claim, on every version.

    The claim has a control then, and its tests have been seen to pass where they should fail.
    """
    row = {"claim": "claim-1", "sabotage": "an index is dropped", "says": "", "problem": ""}
    rows = [{**row, "says": "idx_there"}]
    monkeypatch.setattr(
        certificate, "taken_in", lambda path: {"controls": rows} if path.stem == "controls" else "not run"
    )
    good = _document("passed", "passed", server={**_SERVER, "version": "12.22", "version_num": 120022})
    assert good["verdict"] == "certified"
    assert "idx_there" in certificate.render(good)
    rows[:] = [row, {**row, "problem": "no test of the claim notices"}]
    bad = _document("passed", "passed")
    why = "control “an index is dropped”: no test of the claim notices"
    assert [claim["reason"] for claim in bad["claims"]] == ["", why]
    assert bad["reasons"] == ["1 of 2 claims are not certified"]
    assert "no test of the claim notices" in certificate.render(bad)
    assert [claim["reason"] for claim in merge([bad, good])["claims"]] == ["", f"PostgreSQL 18.4: {why}"]


def test_report_of_staging_asks_for_no_control() -> None:
    """What is found on staging is found by looking at it, and certified without a control.

    Nobody sabotages a staging database to see whether the report would notice.
    """
    results = [TestResult("test_it.py::test", ["first"], "passed")]
    claims = [Claim("first", "It holds.", "10")]
    about: dict[str, Any] = {"server": _SERVER, "seconds": 1.0, "reasons": [], "totals": {}, "controlled": []}
    assert certificate.document(claims, results, **about, about=certificate.STAGING)["verdict"] == "certified"
    assert certificate.document(claims, results, **about)["verdict"] == "not certified"


def test_claim_is_not_certified_when_one_test_of_it_is_deselected(certify: Certify) -> None:
    """A test that was left out counts against its claims, even if others of theirs passed.

    The one test that fails could be left out until the certificate is there.
    """
    heavy = '\n@pytest.mark.heavy\n@pytest.mark.claim("first")\ndef test_heavy():\n    pass\n'
    files = {"test_it.py": _PASSING + heavy, "test_more.py": _MORE}
    run = certify(files, "-o", "markers=heavy", "-m", "not heavy", "--deselect", "tests_here/test_more.py")
    assert (run.reason("first"), run.reason("second")) == ("2 tests deselected", "1 test deselected")
    assert run.certificate["verdict"] == "not certified"
    assert run.exit_code == pytest.ExitCode.TESTS_FAILED


@pytest.mark.parametrize(
    ("arguments", "start", "named"),
    [
        (("tests_here/test_it.py",), ".", "tests_here/test_it.py"),
        (
            ("--ignore=tests_here/sub", "--ignore-glob=*more*", "-o", "testpaths=tests_here/test_it.py", "--lf"),
            ".",
            "--ignore=tests_here/sub, --ignore-glob=*more*, -o testpaths=tests_here/test_it.py, --last-failed",
        ),
        (("-c", "../pytest.ini"), "tests_here", "-c ../pytest.ini"),
        ((), "tests_here/sub", "tests_here/sub"),
    ],
    ids=["file", "options", "config", "subfolder"],
)
def test_certificate_says_that_only_part_was_run(
    certify: Certify, arguments: tuple[str, ...], start: str, named: str
) -> None:
    """A run of part of the suite is not certified, even if every claim in that part passed, and says which part.

    A test that was never collected is missed by no claim that has another.
    """
    run = certify({"test_it.py": _PASSING, "sub/test_more.py": _MORE}, *arguments, start=start)
    assert {claim["status"] for claim in run.certificate["claims"]} == {"certified"}, run.output
    assert run.certificate["verdict"] == "not certified"
    assert run.certificate["reasons"] == [f"only part of the suite was run: {named}"]
    assert run.exit_code == pytest.ExitCode.TESTS_FAILED


_CUT_SHORT = {
    "interrupted": (
        {"test_it.py": _PASSING.replace("    pass", "    raise KeyboardInterrupt")},
        ("first: ", "second: 1 test not run", "the run was interrupted"),
    ),
    "stopped": (
        {"test_it.py": _PASSING.replace("    evidence(", "    assert False; evidence(")},
        ("first: 1 test failed", "second: 1 test not run", "tests failed"),
    ),
    "collection-error": (
        {"test_it.py": _PASSING, "test_more.py": "import nothing_of_that_name"},
        ("first: 1 test not run", "second: 1 test not run", "could not be collected: tests_here/test_more.py"),
    ),
    "module-skipped": (
        {"test_it.py": _PASSING, "test_more.py": "import pytest; pytest.skip('no', allow_module_level=True)"},
        ("first: ", "second: ", "skipped as a whole: tests_here/test_more.py"),
    ),
    "files-changed": (
        {
            "test_it.py": _PASSING.replace(
                "    pass",
                "    import tests.plugins.certificate as it\n"
                "    it.subject = lambda: [{'name': 'sql/changed.sql', 'sha256': '0' * 64}]",
            )
        },
        ("first: ", "second: ", "changed while the suite ran: sql/changed.sql, "),
    ),
}


@pytest.mark.parametrize("case", _CUT_SHORT)
def test_certificate_is_refused_to_a_run_that_was_cut_short(certify: Certify, case: str) -> None:
    """A run that was interrupted, or did not see all of the suite or one state of the files, is not certified.

    What was not reached would count as kept.
    """
    files, (first, second, expected) = _CUT_SHORT[case]
    run = certify(files, "-x")
    assert (f"first: {run.reason('first')}", f"second: {run.reason('second')}") == (first, second)
    assert any(reason.startswith(expected) for reason in run.certificate["reasons"])
    assert run.certificate["verdict"] == "not certified"
    assert run.exit_code != 0


def test_certificate_is_refused_to_a_run_that_lost_a_worker(certify: Certify) -> None:
    """A worker that dies fails the test that it was at, and a module that is skipped in a worker is known.

    pytest-xdist reports such a test without saying which claims are its.
    """
    dying = '\n@pytest.mark.claim("second")\ndef test_dying():\n    import os; os._exit(3)\n'
    skipped = "import pytest; pytest.skip('no', allow_module_level=True)"
    run = certify({"test_it.py": _PASSING + dying, "test_more.py": skipped}, "-n", "2")
    assert run.reason("second") == "1 test failed"
    assert "skipped as a whole: tests_here/test_more.py" in run.certificate["reasons"]
    assert any("a worker of pytest-xdist was lost" in reason for reason in run.certificate["reasons"])
    assert run.exit_code != 0


@pytest.mark.parametrize(
    ("marker", "words", "workers"),
    [
        ('claim("secnd")', "there is no claim 'secnd' in tests/claims.py; did you mean 'second'?", ()),
        ('claim("secnd")', "there is no claim 'secnd' in tests/claims.py; did you mean 'second'?", ("-n", "2")),
        ("claim", "the marker claim takes ids of claims", ()),
        ('claim(id="second")', "the marker claim takes ids of claims", ()),
    ],
    ids=["unknown", "unknown-xdist", "without-id", "by-keyword"],
)
def test_unknown_claim_is_a_usage_error(certify: Certify, marker: str, words: str, workers: tuple[str, ...]) -> None:
    """A marker that names no claim of the list stops the run, naming the test and what was meant.

    A misspelt id would leave its claim without a test, and the test without a claim.
    """
    run = certify(_PASSING.replace('claim("second")', marker), *workers)
    assert run.exit_code == pytest.ExitCode.USAGE_ERROR, run.output
    assert f"ERROR: tests_here/test_it.py::test_second: {words}" in run.output
    assert "INTERNALERROR" not in run.output
    assert run.document is None


def test_old_certificate_does_not_survive_a_run_that_crashes(certify: Certify, tmp_path: Path) -> None:
    """A certificate from before is gone as soon as the next run starts.

    An old verdict would stand for a run that never ended.
    """
    old = [tmp_path / "reports" / name for name in ("certificate.json", "certificate.html")]
    old[0].parent.mkdir()
    for path in old:
        path.write_text('{"verdict": "certified"}')
    run = certify("import os; os._exit(1)")
    assert run.exit_code != 0
    assert not any(path.exists() for path in old)


def test_certificate_that_cannot_be_written_fails_the_run(certify: Certify, tmp_path: Path) -> None:
    """A folder that takes no certificate is said before the first test, or after the last, and the run fails.

    A run would be taken for certified by who only reads its exit code.
    """
    reports = tmp_path / "reports"
    reports.write_text("a file, where the folder should be")
    run = certify(_PASSING)
    assert run.exit_code == pytest.ExitCode.USAGE_ERROR
    assert "ERROR: no certificate can be written to" in run.output

    reports.unlink()
    # A folder in the way stops root too, whom permissions do not.
    in_the_way = "    import pathlib; pathlib.Path('reports/certificate.html').mkdir()"
    run = certify(_PASSING.replace("    pass", in_the_way))
    assert run.exit_code == pytest.ExitCode.TESTS_FAILED
    assert "the certificate could not be written to" in run.output
    assert [path.name for path in reports.iterdir()] == ["certificate.html"]


def test_certificate_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    """A certificate that cannot be rendered, written or understood leaves nothing of itself.

    Half a certificate is read as a whole one.
    """
    document = _document("passed")
    written = write(document, tmp_path / "good")
    assert sorted(path.name for path in written) == ["certificate.html", "certificate.json"]
    assert sorted(path.name for path in (tmp_path / "good").iterdir()) == ["certificate.html", "certificate.json"]

    broken = {
        "blocked": (document, "could not be written"),
        "no-verdict": ({**document, "verdict": "perhaps"}, "does not fit its schema"),
        "no-text": ({**document, "reasons": ["half a character: \udcff"]}, "could not be written"),
    }
    (tmp_path / "blocked" / "certificate.html").mkdir(parents=True)
    for name, (bad, words) in broken.items():
        with pytest.raises(CertificateError, match=words):
            write(bad, tmp_path / name)
        left = list((tmp_path / name).iterdir()) if (tmp_path / name).exists() else []
        assert [path for path in left if path.is_file()] == [], name


def test_schema_is_one_and_refuses_what_is_no_certificate() -> None:
    """The schema is a valid one, takes a certificate, and takes no verdict of another wording.

    Whoever gates a release by the file relies on its two verdicts.
    """
    jsonschema.Draft202012Validator.check_schema(_SCHEMA)
    document = _document("passed", "failed")
    made = certificate.statement(document)
    jsonschema.validate(made, _SCHEMA)
    assert certificate.of_statement(made) == document
    changes: list[Document] = [{"verdict": "passed"}, {"claims": None}, {"runs": []}, {"unknown": 1}]
    for change in changes:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**made, "predicate": {**made["predicate"], **change}}, _SCHEMA)


def test_page_needs_nothing_but_itself() -> None:
    """The page refers to nothing outside of it.

    It is opened from a mail, years later, where there is no network.
    """
    page = certificate.render(_document("passed", "failed"))
    assert not re.findall(r"""https?://|<link|\ssrc=|@import|url\(""", page)
    assert set(re.findall(r'href="(.)', page)) == {"#"}
    targets = set(re.findall(r'href="#([^"]+)"', page))
    assert targets <= set(re.findall(r'id="([^"]+)"', page))


def test_page_shows_rows_of_different_columns() -> None:
    """Every column of a piece of evidence has its place, whichever row has it.

    A figure would stand under the name of another.
    """
    document = _document("passed")
    document["claims"][0]["runs"][0]["tests"][0]["evidence"] = [
        {"title": "rows", "value": [{"a": "one"}, {"b": "two", "locks": ["x", "y"]}]},
        {"title": "mixed", "value": [{"a": 1}, "x"]},
        {"title": "nothing", "value": None},
    ]
    page = certificate.render(document)
    assert "<caption>rows</caption>" in page
    assert re.search(r"<tr><td></td><td>two</td><td>x, y</td></tr>", page)


def test_report_shows_no_control_character_and_keeps_what_is_compared(tmp_path: Path) -> None:
    """Neither file of a certificate has a character that is not printable; what the JSON says is the same to a program.

    A staging database would write into the report about it, and a schema that is changed is not known again.
    """
    hostile = "a\n\x1b[2J\x7f\u202e"
    document = _document("passed")
    value = certificate.shown(plain([{"table": hostile, "columns": [hostile]}]))
    document["claims"][0]["runs"][0]["tests"][0]["evidence"] = [
        {"title": "rows", "value": value},
        {"title": "plan", "value": certificate.shown(f"Seq Scan\n  on {hostile}")},
    ]
    document["reasons"] = [hostile]
    document["rehearsals"] = [
        {
            "of": hostile,
            "created": document["created"],
            "version_num": 180004,
            "before": "0" * 64,
            "schema": {hostile: {}},
        }
    ]
    document["verdict"] = certificate.NOT_CERTIFIED
    for path in write(document, tmp_path):
        text = path.read_text(encoding="utf-8")
        assert {each for each in text if not each.isprintable()} == {"\n"}, path.name
    made = json.loads((tmp_path / "certificate.json").read_text(encoding="utf-8"))["predicate"]
    assert made["rehearsals"] == document["rehearsals"]
    shown = r"a\n\x1b[2J\x7f\u202e"
    assert made["claims"][0]["runs"][0]["tests"][0]["evidence"] == [
        {"title": "rows", "value": [{"table": shown, "columns": [shown]}]},
        {"title": "plan", "value": "Seq Scan\n  on a\n\\x1b[2J\\x7f\\u202e"},
    ]
    assert f"<td>{shown}</td>" in (tmp_path / "certificate.html").read_text(encoding="utf-8")


def test_evidence_is_refused_when_json_cannot_hold_it() -> None:
    """A figure that is no number fails the test that brings it.

    The certificate would be no JSON, and be noticed where it is read.
    """
    assert plain({"a": (1, 2.5, None, True)}) == {"a": [1, 2.5, None, True]}
    with pytest.raises(ValueError, match="JSON"):
        plain([float("nan")])
    with pytest.raises(TypeError):
        plain({(1, 2): 3})


def test_claims_are_ordered_by_section_and_named_once() -> None:
    """Every claim has an id of its own and stands where its section is.

    Two promises under one id would be kept by a test of either.
    """
    ids = [claim.id for claim in CLAIMS]
    assert len(set(ids)) == len(ids)
    sections = [[int(part) for part in claim.section.split(".")] for claim in CLAIMS]
    assert sections == sorted(sections)
    assert all(claim.sentence.endswith(".") for claim in CLAIMS)


def test_test_that_does_not_apply_to_the_version_is_left_aside() -> None:
    """A test that a version cannot run does not count against it, but does not certify the claim either.

    PostgreSQL 12 could never be certified, or would be by tests that it never ran.
    """

    def result(outcome: str) -> TestResult:
        return TestResult("tests/test_it.py::test", ["first"], outcome)

    assert judge([result("passed"), result("not applicable")]) == ("certified", "")
    assert judge([result("not applicable")])[0] == "not certified"


def test_merged_certificate_is_as_good_as_its_worst_run() -> None:
    """Several versions make one certificate, in their order, that is certified if every one of them is.

    The version on which it fails would be hidden behind those on which it does not.
    """
    good = _document("passed", "passed", server={**_SERVER, "version": "12.22", "version_num": 120022})
    bad = _document("passed", "failed")
    merged = merge([bad, good])
    jsonschema.validate(certificate.statement(merged), _SCHEMA)
    assert [run["server"]["version"] for run in merged["runs"]] == ["12.22", "18.4"]
    assert merged["verdict"] == "not certified"
    assert [claim["reason"] for claim in merged["claims"]] == ["", "PostgreSQL 18.4: 1 test failed"]
    assert merge([good, good])["verdict"] == "certified"
    page = certificate.render(merged)
    assert "Claims by version" in page
    for other in ({"subject": [{**good["subject"][0], "sha256": "0" * 64}]}, {"suite": "0" * 64}):
        with pytest.raises(CertificateError, match="not about the same files"):
            merge([{**good, **other}, good])
