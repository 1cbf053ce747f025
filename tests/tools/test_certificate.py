"""The certificate says what the tests say: every way in which a claim can fail to be certified."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import certificate
from tests.support.certificate import ROOT, CertificateError, TestResult, judge, merge, write

_CONFTEST = """
import pytest
from tests.plugins.server import SERVER_FACTS

pytest_plugins = ["tests.plugins.server", "tests.plugins.certificate"]

@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    config.stash[SERVER_FACTS] = {
        "kind": "embedded", "version": "18.4", "version_num": 180004, "image": None, "reason": "in a test"
    }
"""
_CLAIMS = """
from tests.claims import Claim

CLAIMS = (Claim("first", "The first holds.", "2.1"), Claim("second", "The second holds.", "7"))
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

Run = Callable[..., tuple[subprocess.CompletedProcess[str], dict[str, Any] | None]]


@pytest.fixture
def certify(tmp_path: Path) -> Run:
    """A project of two claims, certified by ``pytest --certify``: the process and the certificate, if any."""

    def run(source: str, *arguments: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Any] | None]:
        (tmp_path / "pytest.ini").write_text(
            f"[pytest]\npythonpath = {ROOT} .\ntestpaths = tests_here\nclaims = the_claims:CLAIMS\n"
            "addopts = --import-mode=importlib -p no:cacheprovider\n"
        )
        (tmp_path / "conftest.py").write_text(_CONFTEST)
        (tmp_path / "the_claims.py").write_text(_CLAIMS)
        (tmp_path / "tests_here").mkdir(exist_ok=True)
        (tmp_path / "tests_here" / "test_it.py").write_text(source)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "COLUMNS": "80"}
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "--certify", "--pg=embedded", *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        written = tmp_path / "reports" / "certificate.json"
        return done, json.loads(written.read_text()) if written.exists() else None

    return run


def _reason(document: dict[str, Any] | None, claim: str) -> str:
    assert document is not None
    return str(next(each["reason"] for each in document["claims"] if each["id"] == claim))


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_certificate_certifies_when_every_claim_passes(certify: Run, tmp_path: Path, workers: tuple[str, ...]) -> None:
    """A run in which every claim has a passing test is certified, with its evidence, alone and in parallel.

    A certificate that nobody can get is as useless as one that everybody gets.
    """
    done, document = certify(_PASSING, *workers)
    assert document is not None, done.stdout + done.stderr
    assert (done.returncode, document["verdict"], document["reasons"]) == (0, "certified", [])
    page = (tmp_path / "reports" / "certificate.html").read_text()
    assert "✓ Certified" in page
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)" in page


_BROKEN = {
    "no-test": (_PASSING.replace('@pytest.mark.claim("second")\n', ""), (), "no test certifies it"),
    "failed": (_PASSING.replace("    pass", "    assert False"), (), "1 test failed"),
    "skipped": (_PASSING.replace("    pass", '    pytest.skip("no server")'), (), "1 test skipped"),
    "xfailed": (_PASSING.replace("    pass", '    pytest.xfail("known")'), (), "1 test xfailed"),
    "deselected": (_PASSING, ("-k", "first"), "1 test deselected"),
    "error-in-setup": (
        _PASSING.replace("def test_second():", "def test_second(nothing_of_that_name):"),
        (),
        "1 test failed",
    ),
    "error-in-teardown": (
        _PASSING + "\n@pytest.fixture(autouse=True)\ndef after(request):\n    yield\n"
        "    assert request.node.name != 'test_second'\n",
        (),
        "1 test failed",
    ),
    "interrupted": (_PASSING.replace("    pass", "    raise KeyboardInterrupt"), (), "1 test not run"),
    "stopped": (_PASSING.replace("    evidence(", "    assert False; evidence("), ("-x",), "1 test not run"),
}


#: The cases in which the controller of pytest-xdist has to be told by its workers.
_PARALLEL = ("no-test", "failed", "skipped", "deselected")


@pytest.mark.parametrize(
    ("case", "workers"),
    [
        *(pytest.param(case, (), id=case) for case in _BROKEN),
        *(pytest.param(case, ("-n", "2"), id=f"{case}-xdist") for case in _PARALLEL),
    ],
)
def test_claim_is_not_certified(certify: Run, case: str, workers: tuple[str, ...]) -> None:
    """A claim whose test did anything but pass is not certified, nor is the whole, and the exit code says so.

    A release would go out on a promise that nobody has checked.
    """
    source, arguments, reason = _BROKEN[case]
    done, document = certify(source, *arguments, *workers)
    assert document is not None, done.stdout + done.stderr
    assert document["verdict"] == "not certified"
    assert done.returncode != 0
    assert _reason(document, "second") == reason
    assert "verdict: not certified" in done.stdout


def test_certificate_says_that_only_part_was_run(certify: Run) -> None:
    """A run of named files is not certified, even if every claim in them passed.

    A certificate of one file would look like one of the whole.
    """
    done, document = certify(_PASSING, "tests_here/test_it.py")
    assert document is not None, done.stdout
    assert document["verdict"] == "not certified"
    assert any("only part of the suite was run" in reason for reason in document["reasons"])
    assert done.returncode == 1


def test_unknown_claim_is_a_usage_error(certify: Run) -> None:
    """A marker with an id that is not in the list stops the run, naming the test and what was meant.

    A misspelt id would leave its claim without a test, and the test without a claim.
    """
    done, document = certify(_PASSING.replace('"second"', '"secnd"'))
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "test_it.py::test_second: there is no claim 'secnd'" in done.stderr
    assert "'second'" in done.stderr
    assert document is None


def test_old_certificate_does_not_survive_a_run_that_crashes(certify: Run, tmp_path: Path) -> None:
    """A certificate from before is gone as soon as the next run starts.

    An old verdict would stand for a run that never ended.
    """
    _, document = certify(_PASSING)
    assert document is not None
    done, document = certify("import os; os._exit(1)")
    assert document is None
    assert done.returncode != 0
    assert not (tmp_path / "reports" / "certificate.html").exists()


def test_certificate_is_written_whole_or_not_at_all(certify: Run, tmp_path: Path) -> None:
    """A certificate that cannot be written is a failure with its reason, and leaves no part of it.

    Half a certificate is read as a whole one.
    """
    _, document = certify(_PASSING)
    assert document is not None
    blocked = tmp_path / "blocked"
    # A folder in the way stops root too, whom permissions do not.
    (blocked / "certificate.html").mkdir(parents=True)
    with pytest.raises(CertificateError, match="could not be written"):
        write(document, blocked)
    assert [path.name for path in blocked.iterdir() if path.is_file()] == []


def _result(outcome: str) -> TestResult:
    return TestResult("tests/test_it.py::test", ["first"], outcome)


def test_test_that_does_not_apply_to_the_version_is_left_aside() -> None:
    """A test that a version cannot run does not count against it, but does not certify the claim either.

    PostgreSQL 12 could never be certified, or would be by tests that it never ran.
    """
    assert judge([_result("passed"), _result("not applicable")]) == ("certified", "")
    assert judge([_result("not applicable")])[0] == "not certified"


def test_merged_certificate_is_as_good_as_its_worst_run(certify: Run) -> None:
    """Several versions make one certificate, in their order, that is certified if every one of them is.

    The version on which it fails would be hidden behind those on which it does not.
    """
    _, good = certify(_PASSING)
    _, bad = certify(_BROKEN["failed"][0])
    assert good is not None
    assert bad is not None
    good["runs"][0]["server"].update(version="12.22", version_num=120022)
    merged = merge([bad, good])
    assert [run["server"]["version"] for run in merged["runs"]] == ["12.22", "18.4"]
    assert merged["verdict"] == "not certified"
    assert _reason(merged, "second") == "PostgreSQL 18.4: 1 test failed"
    assert merge([good, good])["verdict"] == "certified"
    page = certificate.render(merged)
    assert "Claims by version" in page
    bad["subject"][0]["sha256"] = "0" * 64
    with pytest.raises(CertificateError, match="not about the same files"):
        merge([bad, good])
