"""Staging: the database of ``--dsn``, looked at and left as it is, and a throwaway server for the rehearsal.

``pytest -m staging --dsn …`` (or STAGING_DATABASE_URL); any other run has nothing to do with it.
"""

from __future__ import annotations

import os
import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from phase_1 import certificate as gate
from phase_1.fingerprint import sha256
from phase_1.problems import Problem
from phase_1.shown import printable
from tests.claims import STAGING_ALWAYS, STAGING_MIGRATED, STAGING_NOT_MIGRATED
from tests.plugins.certificate import ABOUT, EVIDENCE, REPORT, SIGN_KEY, WHOLE, certificate_of, certify_instead
from tests.plugins.selections import is_asked_for
from tests.plugins.server import SERVER_FACTS, Choice, choose_like
from tests.support.certificate import (
    CERTIFIED,
    STAGING,
    CertificateError,
    Document,
    Key,
    plain,
    read,
    signed_by,
    write,
)
from tests.support.rehearsal import CannotBeRehearsed, Rehearsal, rehearse
from tests.support.staging import MIGRATED, NOT_MIGRATED, Staging, given

_NARROWEST = 20  # columns for a text in the last cell: with less a table is told line by line

_STAGING = pytest.StashKey[Staging]()
_THROWAWAY = pytest.StashKey[Choice]()
_ADDED = pytest.StashKey[str]()  # what became of --add-to-certificate


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("staging", "staging (-m staging --dsn DSN, or STAGING_DATABASE_URL)")
    group.addoption(
        "--scale",
        type=float,
        metavar="SHARE",
        help="the share of the real rows that the rehearsal generates, such as 0.01 (default: 100,000 rows at most)",
    )
    group.addoption(
        "--migrate-options",
        metavar="OPTIONS",
        default="",
        help="what migrate.py will be given there, in one string, such as '--skip-table email_logs'",
    )
    group.addoption(
        "--add-to-certificate",
        metavar="FILE",
        help="add the rehearsal, if it passes, to this certificate: migrate.py --strict then knows staging's schema",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Makes the run one of its own: its tests, its report, and no worker to be measured beside another."""
    if not is_asked_for(config, "staging"):
        if config.option.add_to_certificate:
            raise pytest.UsageError("--add-to-certificate goes with -m staging: it adds staging's rehearsal")
        return
    config.option.numprocesses = 0
    config.option.certify = True
    config.stash[REPORT] = "staging"
    config.stash[ABOUT] = STAGING
    config.stash[WHOLE] = ["tests/staging"]
    if config.args_source is pytest.Config.ArgsSource.TESTPATHS:
        config.args = [str(config.rootpath / "tests" / "staging")]


def pytest_sessionstart(session: pytest.Session) -> None:
    """Connects, so that a DSN to nowhere ends the run before the first test."""
    config = session.config
    if not is_asked_for(config, "staging") or config.option.collectonly:
        return
    option = config.option
    if option.scale is not None and not 0 < option.scale <= 1:
        raise pytest.UsageError(f"--scale {option.scale:g}: give a share above 0 and up to 1")
    staging = Staging(*given(option.dsn, os.environ, option.migrate_options))
    config.add_cleanup(staging.close)
    config.stash[_STAGING] = staging
    if option.add_to_certificate:
        if staging.state == MIGRATED:
            raise pytest.UsageError(f"--add-to-certificate: {staging} is migrated; nothing is rehearsed there")
        addable(Path(option.add_to_certificate), config.stash[SIGN_KEY])  # now, rather than after the rehearsal
    if staging.state == NOT_MIGRATED:
        config.stash[_THROWAWAY] = choose_like(staging.major, pg=option.pg, image=option.pg_image)
    config.stash[SERVER_FACTS] = {
        "kind": "dsn",
        "version": staging.version,
        "version_num": staging.version_num,
        "image": None,
        "reason": f"{staging}, {staging.state}",
        "staging": True,
    }
    other = STAGING_NOT_MIGRATED if staging.state == MIGRATED else STAGING_MIGRATED
    certify_instead(
        config,
        (*STAGING_ALWAYS, *STAGING_NOT_MIGRATED, *STAGING_MIGRATED),
        {claim.id: f"the database is {staging.state}" for claim in other},
    )


def addable(path: Path, key: Key | None) -> Document:
    """The certificate that the rehearsal is added to. Raises UsageError if it cannot be, without losing what it says.

    With a key it has to be signed by that key already: signing it again would vouch for whatever it says.
    """
    if path.suffix != ".json":
        raise pytest.UsageError(f"--add-to-certificate: {path} is not called .json, as a certificate is")
    try:
        made = read(path, key)
        certified = gate.read(str(path))
        gate.require(certified)
    except (CertificateError, Problem) as problem:
        raise pytest.UsageError(f"--add-to-certificate: {problem}") from None
    if certified.signed and not key:
        raise pytest.UsageError(
            f"--add-to-certificate: {path} is signed; give --sign-key, to sign it with the same key"
        )
    return made


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Adds the rehearsal to the certificate, once the report of the run says that all of it holds."""
    config = session.config
    document = certificate_of(config)
    if not config.option.add_to_certificate or document is None or document["verdict"] != CERTIFIED:
        return
    staging, path, key = config.stash[_STAGING], Path(config.option.add_to_certificate), config.stash[SIGN_KEY]
    catalog = staging.before.catalog
    rehearsal = {
        "of": str(staging),
        "created": document["created"],
        "version_num": staging.version_num,
        "before": sha256(catalog),
        "schema": plain(gate.application(catalog, staging.tables)),
    }
    try:
        made = addable(path, key)
        # The last one counts: a schema from before is not vouched for by a rehearsal of the one that is there now.
        others = [each for each in made["rehearsals"] if each["of"] != rehearsal["of"]]
        write({**made, "rehearsals": [*others, rehearsal]}, path.parent, path.stem, key)
    except (CertificateError, pytest.UsageError) as problem:
        config.stash[_ADDED] = str(problem)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        return
    config.stash[_ADDED] = f"the rehearsal was added to {path}; {signed_by(key)}"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what is about the other state, and puts the comparison with the first snapshot at the end."""
    if _STAGING not in config.stash:
        return
    state = config.stash[_STAGING].state
    chosen: list[pytest.Item] = []
    others: list[pytest.Item] = []
    for item in items:
        marker = item.get_closest_marker("staging")
        (chosen if marker and (not marker.args or state in marker.args) else others).append(item)
    config.hook.pytest_deselected(items=others)
    last = {claim.id for claim in STAGING_ALWAYS}
    items[:] = sorted(chosen, key=lambda item: any(last & set(each.args) for each in item.iter_markers("claim")))


def pytest_report_header(config: pytest.Config) -> list[str]:
    staging = config.stash.get(_STAGING, None)
    if staging is None:
        return []
    lines = [f"staging: {staging}, PostgreSQL {staging.version}, {staging.state}; read only"]
    if _THROWAWAY in config.stash:
        choice = config.stash[_THROWAWAY]
        lines.append(f"rehearsal on: {choice.label} ({choice.reason})")
    return lines


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Shows what was found: most people look at staging in a terminal."""
    if _STAGING not in config.stash:
        return
    terminalreporter.ensure_newline()
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, piece in getattr(report, "user_properties", ()):
                if name == EVIDENCE and getattr(report, "when", "") == "call":
                    terminalreporter.section(piece["title"], sep="-")
                    terminalreporter.write_line(shown(piece["value"]))
    if config.option.add_to_certificate:
        terminalreporter.section("certificate of the migration")
        terminalreporter.write_line(config.stash.get(_ADDED, "nothing was added: staging is not certified"))


def shown(value: Any) -> str:
    """A piece of evidence for a terminal: a table; lines, where that would be too wide or has no columns."""
    width = shutil.get_terminal_size().columns
    if isinstance(value, Mapping):
        value = [f"{name}: {_cell(each)}" for name, each in value.items()]
    if not isinstance(value, list):
        return str(value)
    if all(isinstance(row, Mapping) for row in value):
        columns = list(dict.fromkeys(name for row in value for name in row))
        figures = [all(isinstance(row.get(name, 0), (int, float)) for row in value) for name in columns]
        rows = [columns, *([_cell(row.get(name, "")) for name in columns] for row in value)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        room = width - sum(widths[:-1]) - 2 * (len(widths) - 1)
        if room >= min(widths[-1], _NARROWEST):
            widths[-1] = min(widths[-1], room)
            return "\n".join(line for row in rows for line in _folded(row, widths, figures))
        value = [": ".join(row) for row in rows[1:]]
    return "\n".join(textwrap.fill(str(row), width, subsequent_indent="    ", break_on_hyphens=False) for row in value)


def _folded(row: Sequence[str], widths: Sequence[int], figures: Sequence[bool]) -> Iterator[str]:
    """The lines of a row, of which the last cell may take several."""
    *first, last = zip(row, widths, figures, strict=True)
    start = "".join(f"{text:{'><'[not right]}{wide}}  " for text, wide, right in first)
    for part in textwrap.wrap(last[0], last[1], break_on_hyphens=False) or [""]:
        yield f"{start}{part:{'><'[not last[2]]}{last[1]}}".rstrip()
        start = " " * len(start)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, (int, float)) else str(value)


@pytest.fixture(scope="session")
def staging(pytestconfig: pytest.Config) -> Staging:
    """The staging database; its first snapshot is taken."""
    found = pytestconfig.stash[_STAGING]
    assert found.before
    return found


@pytest.fixture(scope="session")
def rehearsal_or_problem(staging: Staging, pytestconfig: pytest.Config) -> Rehearsal | CannotBeRehearsed:
    """The rehearsal, done once on a throwaway server; where it could not be, why."""
    option = pytestconfig.option
    try:
        return rehearse(staging, pytestconfig.stash[_THROWAWAY], option.migrate_options, option.scale)
    except CannotBeRehearsed as problem:
        return problem


@pytest.fixture
def rehearsal(rehearsal_or_problem: Rehearsal | CannotBeRehearsed) -> Rehearsal:
    """The rehearsal; fails the test where it could not be done."""
    if isinstance(rehearsal_or_problem, CannotBeRehearsed):
        pytest.fail(printable(f"could not be rehearsed: {rehearsal_or_problem}"), pytrace=False)
    return rehearsal_or_problem
