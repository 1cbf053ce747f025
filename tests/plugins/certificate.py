"""Claims, evidence and the certificate: which test certifies what, and what follows from the run."""

from __future__ import annotations

import difflib
import os
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from phase_1.certificate import MIGRATION, application
from phase_1.fingerprint import Fingerprint, sha256
from phase_1.inventory import TABLES
from phase_1.shown import printable
from tests.claims import Claim
from tests.plugins.server import SERVER_FACTS, version_matches
from tests.support.certificate import (
    CERTIFIED,
    DESELECTED,
    FAILED,
    NOT_APPLICABLE,
    NOT_CERTIFIED,
    NOT_RUN,
    PASSED,
    SKIPPED,
    XFAILED,
    CertificateError,
    Document,
    Key,
    TestResult,
    document,
    plain,
    remove,
    shown,
    signed_by,
    subject,
    write,
)

_RECORD = pytest.StashKey["Record"]()

#: What the files of a run are called that is about something else than the migration itself, and what that is.
REPORT = pytest.StashKey[str]()
ABOUT = pytest.StashKey[str]()

#: What the certificate is signed with, if with anything; read before the first test.
SIGN_KEY = pytest.StashKey["Key | None"]()
_KEY_IN_ENVIRONMENT = "CERTIFICATE_SIGN_KEY"

#: The folders that such a run takes its tests from; without it they are pytest's ``testpaths``.
WHOLE = pytest.StashKey[list[str]]()

#: Properties of a report; they reach the controller of pytest-xdist with it.
CLAIM, EVIDENCE, NOT_APPLICABLE_PROPERTY = "claim", "evidence", "not-applicable"
FINGERPRINTS = "fingerprints"

#: Settings of pytest that decide what is collected; the suite's own are in pyproject.toml.
_COLLECTION = {"testpaths", "python_files", "python_classes", "python_functions", "norecursedirs", "addopts"}
_WIDTH = 80  # columns: the summary is read in mails and build logs

Evidence = Callable[[str, Any], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("certificate")
    group.addoption("--certify", action="store_true", help="run what certifies a claim, and write reports/")
    group.addoption("--reports", metavar="DIR", default="reports", help="where the certificate goes (reports)")
    group.addoption(
        "--sign-key",
        metavar="FILE",
        help=f"sign the certificate with this private key in PEM; in CI it may be in {_KEY_IN_ENVIRONMENT} itself",
    )
    parser.addini("claims", "the list of claims, as module:NAME", default="tests.claims:CLAIMS")
    parser.addini("controls", "the list of their controls, as module:NAME", default="tests.controls:CONTROLS")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "claim(id, ...): the promises of tests/claims.py that the test certifies")
    config.stash[_RECORD] = Record(config)
    if config.option.sign_key and not config.option.certify:
        raise pytest.UsageError("--sign-key goes with --certify: nothing else is signed")
    if config.option.certify and not _is_worker(config):
        try:
            config.stash[SIGN_KEY] = sign_key(config.option.sign_key)
            # An old verdict must not stand for a run that crashes.
            remove(_reports(config), config.stash.get(REPORT, "certificate"))
        except CertificateError as error:
            raise pytest.UsageError(str(error)) from error
        config.stash[_RECORD].subject = subject()
        config.stash[_RECORD].controlled = {control.claim for control in _listed(config, "controls")}


def sign_key(path: str | None) -> Key | None:
    """The key in a file, else in the environment, where no test and no program of a test finds it afterwards.

    Raises CertificateError if it is none.
    """
    text = os.environ.pop(_KEY_IN_ENVIRONMENT, "")
    if not path and not text:
        return None
    try:
        return Key(Path(path).read_bytes() if path else text.encode())
    except (OSError, CertificateError) as error:
        source = f"--sign-key {path}" if path else _KEY_IN_ENVIRONMENT
        raise CertificateError(f"{source}: {getattr(error, 'strerror', None) or error}") from None


@pytest.fixture
def keep_fingerprints(request: pytest.FixtureRequest) -> Callable[[str, Fingerprint, Fingerprint], None]:
    """Keeps the catalogs of a variant before and after the migration: the gate compares a database with them."""

    def keep(variant: str, before: Fingerprint, after: Fingerprint) -> None:
        schema = application(before, [table.name for table in TABLES])
        kept = {"variant": variant, "before": sha256(before), "after": sha256(after), "schema": schema}
        request.node.user_properties.append((FINGERPRINTS, plain(kept)))

    return keep


@pytest.fixture
def evidence(request: pytest.FixtureRequest) -> Evidence:
    """Keeps a figure, a plan or a table under a title; the certificate shows it with the claim.

    The value is one of JSON; a list of dicts is shown as a table, a text of several lines as it is.
    """

    def keep(title: str, value: Any) -> None:
        # Here and not at the end: a worker of pytest-xdist dies of a report that it cannot send.
        request.node.user_properties.append((EVIDENCE, {"title": printable(title), "value": shown(plain(value))}))

    return keep


class Record:
    """What became of each test that certifies something."""

    def __init__(self, config: pytest.Config) -> None:
        self.started = time.monotonic()
        self.results: dict[str, TestResult] = {}
        self.outcomes: dict[str, str] = {}
        self.against: list[str] = []
        self.subject: list[dict[str, str]] = []
        self.document: Document | None = None
        self.written: list[Path] = []
        self.problem = ""
        self.misused = ""
        self.not_applicable: dict[str, str] = {}
        self.controlled: set[str] = set()
        self.claims: tuple[Claim, ...] = _listed(config, "claims")
        module = config.getini("claims").partition(":")[0]
        self.known = {claim.id for each in _lists(module) for claim in each} | {claim.id for claim in self.claims}

    def expect(self, nodeid: str, claims: list[str], outcome: str | None = None) -> None:
        """A test that certifies claims; one that was left out says so at once."""
        if claims:
            result = self.results.setdefault(nodeid, TestResult(nodeid, claims))
            if outcome is not None:
                result.outcome = outcome

    def settle(self) -> None:
        """Gives a test whose worker was lost the outcome that pytest-xdist reported without its properties."""
        for nodeid, result in self.results.items():
            if result.outcome == NOT_RUN:
                result.outcome = self.outcomes.get(nodeid, NOT_RUN)

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
            result.fingerprints = [value for name, value in properties if name == FINGERPRINTS]


def _outcome(report: pytest.TestReport) -> str | None:
    if hasattr(report, "wasxfail"):
        return XFAILED
    if report.failed:
        return FAILED
    if report.skipped:
        applies = not any(name == NOT_APPLICABLE_PROPERTY for name, _ in report.user_properties)
        return SKIPPED if applies else NOT_APPLICABLE
    return PASSED if report.when == "call" else None


def _listed(config: pytest.Config, setting: str) -> Any:
    """The list that a setting names, as module:NAME."""
    module, _, name = config.getini(setting).partition(":")
    return getattr(import_module(module), name)


def _lists(module: str) -> Iterator[tuple[Claim, ...]]:
    """Every list of claims of a module: a marker may name one of a list that this run is not about."""
    for value in vars(import_module(module)).values():
        if isinstance(value, tuple) and value and isinstance(value[0], Claim):
            yield value


def certify_instead(config: pytest.Config, claims: Iterable[Claim], not_applicable: Mapping[str, str]) -> None:
    """Makes the run one about these claims; to those in ``not_applicable`` it has nothing to say, and why."""
    config.stash[_RECORD].claims = tuple(claims)
    config.stash[_RECORD].not_applicable = dict(not_applicable)


def certificate_of(config: pytest.Config) -> Document | None:
    """The certificate of the run, once the run has ended and it was written."""
    record = config.stash[_RECORD]
    return record.document if record.written else None


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def _reports(config: pytest.Config) -> Path:
    return config.rootpath / str(config.option.reports)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    record = config.stash[_RECORD]
    misused = next((problem for item in items if (problem := _misuse(item, record.known))), "")
    if misused and _is_worker(config):
        # Raised here, it would reach people as an internal error of pytest-xdist, without the words.
        record.misused = misused
        items.clear()
        return
    if misused:
        raise pytest.UsageError(misused)
    for item in items:
        claims = _claims_of(item)
        item.user_properties.extend((CLAIM, name) for name in claims)
        record.expect(item.nodeid, claims)
    if config.option.certify:
        # The tests of our own tools say nothing of the migration.
        others = [item for item in items if not item.get_closest_marker("claim")]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item.get_closest_marker("claim")]


def _claims_of(item: pytest.Item) -> list[str]:
    # A claim may be named by a class and by its test.
    return list(dict.fromkeys(str(name) for marker in item.iter_markers("claim") for name in marker.args))


def _misuse(item: pytest.Item, known: set[str]) -> str:
    """What is wrong with the claims that a test names, if anything."""
    if any(marker.kwargs or not marker.args for marker in item.iter_markers("claim")):
        return f"{item.nodeid}: the marker claim takes ids of claims, as in claim('exit-codes')"
    for name in _claims_of(item):
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            return f"{item.nodeid}: there is no claim {name!r} in tests/claims.py{hint}"
    return ""


def pytest_deselected(items: list[pytest.Item]) -> None:
    for item in items:
        record = item.config.stash[_RECORD]
        record.expect(item.nodeid, [str(value) for name, value in item.user_properties if name == CLAIM], DESELECTED)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if _current is not None and not report.passed:
        # What was in it is not known, so that no claim would miss it.
        what = "could not be collected" if report.failed else "skipped as a whole"
        _current.against.append(f"{what}: {report.nodeid}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Tells a skip by the marker ``pg`` from any other: the version of the server has nothing to be tested."""
    report = yield
    facts = item.config.stash.get(SERVER_FACTS, None)
    if call.when == "setup" and report.skipped and not hasattr(report, "wasxfail") and facts:
        major = facts["version_num"] // 10000
        missed = [str(each.args[0]) for each in item.iter_markers("pg") if not version_matches(major, *each.args)]
        if missed:
            item.user_properties.append((NOT_APPLICABLE_PROPERTY, f"needs PostgreSQL {', '.join(missed)}"))
            report.user_properties = list(item.user_properties)
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if _current is not None:
        _current.add(report)


_current: Record | None = None


def pytest_sessionstart(session: pytest.Session) -> None:
    global _current  # noqa: PLW0603 - the hooks for reports are not told of the configuration
    _current = session.config.stash[_RECORD]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    record = node.config.stash[_RECORD]
    if error:
        record.against.append(f"a worker of pytest-xdist was lost: {error}")
    handed_over = getattr(node, "workeroutput", {}).get("certificate", {})
    if handed_over.get("misused"):
        raise pytest.UsageError(handed_over["misused"])
    for nodeid, claims, outcome in handed_over.get("results", []):
        if nodeid not in record.results or record.results[nodeid].outcome == NOT_RUN:
            record.expect(nodeid, claims, outcome if outcome == DESELECTED else None)
    record.against += handed_over.get("against", [])


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    config = session.config
    record = config.stash[_RECORD]
    if _is_worker(config):
        config.workeroutput["certificate"] = {  # type: ignore[attr-defined]
            "results": [(each.nodeid, each.claims, each.outcome) for each in record.results.values()],
            "against": record.against,
            "misused": record.misused,
        }
        return
    if not config.option.certify or config.option.collectonly or exitstatus == pytest.ExitCode.USAGE_ERROR:
        return
    record.settle()
    asked = {claim.id for claim in record.claims}
    results = [result for result in record.results.values() if asked.intersection(result.claims)]
    record.document = document(
        record.claims,
        results,
        server=config.stash.get(SERVER_FACTS, None),
        seconds=time.monotonic() - record.started,
        reasons=_reasons(config, record, int(exitstatus)),
        totals=Counter(result.outcome for result in results),
        controlled=record.controlled,
        not_applicable=record.not_applicable,
        about=config.stash.get(ABOUT, MIGRATION),
    )
    try:
        name = config.stash.get(REPORT, "certificate")
        record.written = write(record.document, _reports(config), name, config.stash[SIGN_KEY])
    except CertificateError as error:
        record.problem = str(error)
    if session.exitstatus == 0 and (record.problem or record.document["verdict"] != CERTIFIED):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _reasons(config: pytest.Config, record: Record, exitstatus: int) -> list[str]:
    """What speaks against the run as a whole."""
    meanings = {1: "tests failed", 2: "the run was interrupted", 3: "pytest failed", 4: "wrong usage", 5: "no test ran"}
    reasons = [meanings.get(exitstatus, f"pytest ended with {exitstatus}")] if exitstatus else []
    reasons += dict.fromkeys(record.against)  # each worker of pytest-xdist says the same
    narrowed = _narrowed(config)
    if narrowed:
        reasons.append(f"only part of the suite was run: {', '.join(narrowed)}")
    changed = [each["name"] for each in subject() if each not in record.subject]
    changed += [each["name"] for each in record.subject if each["name"] not in {now["name"] for now in subject()}]
    if changed:
        # Their hashes would be those of files that no test has seen.
        reasons.append(f"changed while the suite ran: {', '.join(changed)}")
    return reasons


def _narrowed(config: pytest.Config) -> list[str]:
    """What on the command line keeps tests from being collected at all, so that no claim can miss them.

    A test that was collected and then left out, as by ``-k``, is counted with its claims.
    """
    root, start, option = config.rootpath, config.invocation_params.dir, config.option
    found = []
    if config.args_source is not pytest.Config.ArgsSource.TESTPATHS:
        given = {(start / each).resolve() for each in config.args}
        whole = {(root / each).resolve() for each in config.stash.get(WHOLE, config.getini("testpaths"))} or {root}
        if not all(given.intersection((each, *each.parents)) for each in whole):
            found += [os.path.relpath(start / each, root) for each in config.args]
    found += [f"--ignore={each}" for each in option.ignore or ()]
    found += [f"--ignore-glob={each}" for each in option.ignore_glob or ()]
    found += [f"-o {each}" for each in option.override_ini or () if each.partition("=")[0] in _COLLECTION]
    if option.inifilename:
        found.append(f"-c {option.inifilename}")
    if getattr(option, "lf", False):  # not there without pytest's cache
        found.append("--last-failed")
    return found


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    record = config.stash[_RECORD]
    if record.document is None:
        return
    certified = record.document["verdict"] == CERTIFIED
    terminalreporter.section("certificate")
    claims = record.document["claims"]
    problems = [f"{each['id']}: {each['reason']}" for each in claims if each["status"] == NOT_CERTIFIED]
    for problem in (*problems, *record.document["reasons"]):
        for line in textwrap.wrap(problem, _WIDTH, subsequent_indent="    ", break_on_hyphens=False):
            terminalreporter.write_line(line, red=True)
    terminalreporter.write_line(f"verdict: {record.document['verdict']}", green=certified, red=not certified, bold=True)
    terminalreporter.write_line(signed_by(config.stash[SIGN_KEY]))
    for path in record.written:
        terminalreporter.write_line(f"written: {path}")
    if record.problem:
        terminalreporter.write_line(record.problem, red=True)
