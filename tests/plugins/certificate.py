"""Claims, evidence and the certificate: which test certifies what, and what follows from the run."""

from __future__ import annotations

import difflib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.claims import Claim
from tests.plugins.server import SERVER_FACTS
from tests.support.certificate import (
    CERTIFIED,
    DESELECTED,
    FAILED,
    NOT_APPLICABLE,
    PASSED,
    SKIPPED,
    XFAILED,
    CertificateError,
    Document,
    TestResult,
    document,
    remove,
    write,
)

_RECORD = pytest.StashKey["Record"]()

#: Properties of a report; they reach the controller of pytest-xdist with it.
CLAIM, EVIDENCE, NOT_APPLICABLE_PROPERTY = "claim", "evidence", "not-applicable"

Evidence = Callable[[str, Any], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("certificate")
    group.addoption("--certify", action="store_true", help="run what certifies a claim, and write reports/")
    group.addoption("--reports", metavar="DIR", default="reports", help="where the certificate goes (reports)")
    parser.addini("claims", "the list of claims, as module:NAME", default="tests.claims:CLAIMS")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "claim(id, ...): the promises of tests/claims.py that the test certifies")
    config.stash[_RECORD] = Record(config)
    if config.option.certify and not _is_worker(config):
        try:
            # An old verdict must not stand for a run that crashes.
            remove(_reports(config))
        except CertificateError as error:
            raise pytest.UsageError(str(error)) from error


@pytest.fixture
def evidence(request: pytest.FixtureRequest) -> Evidence:
    """Keeps a figure, a plan or a table under a title; the certificate shows it with the claim."""

    def keep(title: str, value: Any) -> None:
        request.node.user_properties.append((EVIDENCE, {"title": title, "value": value}))

    return keep


class Record:
    """What became of each test that certifies something."""

    def __init__(self, config: pytest.Config) -> None:
        self.started = time.monotonic()
        self.results: dict[str, TestResult] = {}
        self.outcomes: dict[str, str] = {}
        self.collection_failed: list[str] = []
        self.document: Document | None = None
        self.written: list[Path] = []
        self.problem = ""
        module, _, name = config.getini("claims").partition(":")
        self.claims: tuple[Claim, ...] = getattr(import_module(module), name)
        self.known = {claim.id for each in _lists(module) for claim in each} | {claim.id for claim in self.claims}

    def expect(self, nodeid: str, claims: list[str], outcome: str | None = None) -> None:
        """A test that certifies claims; one that was left out says so at once."""
        if claims:
            result = self.results.setdefault(nodeid, TestResult(nodeid, claims))
            if outcome is not None:
                result.outcome = outcome

    def add(self, report: pytest.TestReport) -> None:
        """A phase of a test: the worst of them counts, and the call has to be there."""
        properties: list[tuple[str, Any]] = list(report.user_properties)
        outcome = _outcome(report)
        if outcome is not None:
            worse = {FAILED, SKIPPED, XFAILED, NOT_APPLICABLE}
            before = self.outcomes.get(report.nodeid)
            if before not in worse or outcome == FAILED:
                self.outcomes[report.nodeid] = outcome
        claims = [value for name, value in properties if name == CLAIM]
        self.expect(report.nodeid, claims)
        if report.nodeid in self.results:
            result = self.results[report.nodeid]
            result.seconds += report.duration
            result.outcome = self.outcomes.get(report.nodeid, result.outcome)
            result.evidence = [value for name, value in properties if name == EVIDENCE]


def _outcome(report: pytest.TestReport) -> str | None:
    if hasattr(report, "wasxfail"):
        return XFAILED
    if report.failed:
        return FAILED
    if report.skipped:
        applies = not any(name == NOT_APPLICABLE_PROPERTY for name, _ in report.user_properties)
        return SKIPPED if applies else NOT_APPLICABLE
    return PASSED if report.when == "call" else None


def _lists(module: str) -> Iterator[tuple[Claim, ...]]:
    """Every list of claims of a module: a marker may name one of a list that this run is not about."""
    for value in vars(import_module(module)).values():
        if isinstance(value, tuple) and value and isinstance(value[0], Claim):
            yield value


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def _reports(config: pytest.Config) -> Path:
    return config.rootpath / str(config.option.reports)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    record = config.stash[_RECORD]
    for item in items:
        claims = [str(name) for marker in item.iter_markers("claim") for name in marker.args]
        for name in claims:
            if name not in record.known:
                close = difflib.get_close_matches(name, record.known, 1)
                hint = f"; did you mean {close[0]!r}?" if close else ""
                raise pytest.UsageError(f"{item.nodeid}: there is no claim {name!r} in tests/claims.py{hint}")
        item.user_properties.extend((CLAIM, name) for name in claims)
        record.expect(item.nodeid, claims)
    if config.option.certify:
        # The tests of our own tools say nothing of the migration.
        others = [item for item in items if not item.get_closest_marker("claim")]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item.get_closest_marker("claim")]


def pytest_deselected(items: list[pytest.Item]) -> None:
    for item in items:
        record = item.config.stash[_RECORD]
        record.expect(item.nodeid, [str(value) for name, value in item.user_properties if name == CLAIM], DESELECTED)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.failed:
        _collection_failures.append(report.nodeid)


# The hook is not told of the configuration.
_collection_failures: list[str] = []


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if _current is not None:
        _current.add(report)


_current: Record | None = None


def pytest_sessionstart(session: pytest.Session) -> None:
    global _current  # noqa: PLW0603 - the hook for reports is not told of the configuration either
    _current = session.config.stash[_RECORD]
    _collection_failures.clear()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    record = node.config.stash[_RECORD]
    if error:
        record.collection_failed.append(f"a worker of pytest-xdist was lost: {error}")
    handed_over = getattr(node, "workeroutput", {}).get("certificate", {})
    for nodeid, claims, outcome in handed_over.get("results", []):
        if nodeid not in record.results or record.results[nodeid].outcome == "not run":
            record.expect(nodeid, claims, outcome if outcome == DESELECTED else None)
    record.collection_failed += handed_over.get("failed", [])


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    config = session.config
    record = config.stash[_RECORD]
    if _is_worker(config):
        config.workeroutput["certificate"] = {  # type: ignore[attr-defined]
            "results": [(each.nodeid, each.claims, each.outcome) for each in record.results.values()],
            "failed": list(_collection_failures),
        }
        return
    if not config.option.certify or config.option.collectonly or exitstatus == pytest.ExitCode.USAGE_ERROR:
        return
    record.document = document(
        record.claims,
        list(record.results.values()),
        server=config.stash.get(SERVER_FACTS, None),
        seconds=time.monotonic() - record.started,
        reasons=_reasons(config, record, int(exitstatus)),
        totals=Counter(record.outcomes.values()),
    )
    try:
        record.written = write(record.document, _reports(config))
    except CertificateError as error:
        record.problem = str(error)
    if session.exitstatus == 0 and (record.problem or record.document["verdict"] != CERTIFIED):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _reasons(config: pytest.Config, record: Record, exitstatus: int) -> list[str]:
    """What speaks against the run as a whole."""
    meanings = {1: "tests failed", 2: "the run was interrupted", 3: "pytest failed", 4: "wrong usage", 5: "no test ran"}
    reasons = [meanings.get(exitstatus, f"pytest ended with {exitstatus}")] if exitstatus else []
    reasons += [f"could not be collected: {each}" for each in {*_collection_failures, *record.collection_failed}]
    if config.args_source is pytest.Config.ArgsSource.ARGS:
        reasons.append(f"only part of the suite was run: {' '.join(config.args)}")
    return reasons


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    record = config.stash[_RECORD]
    if record.document is None:
        return
    certified = record.document["verdict"] == CERTIFIED
    terminalreporter.section("certificate")
    for claim in record.document["claims"]:
        if claim["status"] != CERTIFIED:
            terminalreporter.write_line(f"{claim['id']}: {claim['reason']}", red=True)
    for reason in record.document["reasons"]:
        terminalreporter.write_line(reason, red=True)
    terminalreporter.write_line(f"verdict: {record.document['verdict']}", green=certified, red=not certified, bold=True)
    for path in record.written:
        terminalreporter.write_line(f"written: {path}")
    if record.problem:
        terminalreporter.write_line(record.problem, red=True)
