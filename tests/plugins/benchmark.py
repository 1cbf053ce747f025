"""Benchmarks: where their figures go, what they are compared with, and the report at the end.

``pytest -m benchmark --sales N [--compare-with FILE]``; any other run has nothing to do with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.application import load
from tests.plugins.database import Database, Templates
from tests.plugins.server import SERVER_FACTS, Server
from tests.support import benchmark_page
from tests.support.benchmark import BenchmarkError, Document, Figures, differences, document, earlier, worse, write
from tests.support.clients import Clients

_FIGURES = pytest.StashKey[Figures]()
_BEFORE = pytest.StashKey[Document]()
_SAID = pytest.StashKey[list[tuple[str, bool]]]()
_SETTINGS = pytest.StashKey[dict[str, str]]()

#: The settings that pages, bytes and times depend on.
_DECISIVE = (
    "block_size", "fsync", "full_page_writes", "maintenance_work_mem", "shared_buffers", "synchronous_commit",
    "wal_level", "work_mem",
)  # fmt: skip

#: Bytes on disk for each sale at the most: the application's rows, their copy in another layout, the rows of one
#: client, every index, and the WAL that is kept.
_BYTES_A_SALE = 4_000
_BYTES_AT_LEAST = 2 * 2**30


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("phase 1 benchmarks").addoption(
        "--compare-with",
        metavar="FILE",
        help="fail if a ratio, or pages or bytes, are worse than in this reports/benchmark.json of an earlier run",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_FIGURES] = Figures()
    given = config.option.compare_with
    if given is not None:
        try:
            config.stash[_BEFORE] = earlier(config.invocation_params.dir / given, config.option.sales)
        except BenchmarkError as error:
            raise pytest.UsageError(f"--compare-with: {error}") from error
    if config.option.sales < 1000:
        raise pytest.UsageError(f"--sales {config.option.sales}: with fewer than 1000 there is nothing to be seen")


@pytest.fixture(scope="session")
def figures(pytestconfig: pytest.Config, server: Server) -> Figures:
    """Where a benchmark puts what it has measured; fails where the disk has no room for ``--sales``."""
    with server.connect() as connection:
        free = _free(connection)
        needed = _BYTES_AT_LEAST + _BYTES_A_SALE * pytestconfig.option.sales
        if free is not None and free < needed:
            pytest.fail(
                f"--sales {pytestconfig.option.sales} may take {needed / 2**30:.0f} GB, and the disk of the server's "
                f"data directory has {free / 2**30:.1f} GB: make room, or give fewer",
                pytrace=False,
            )
        pytestconfig.stash[_SETTINGS] = {
            str(name): str(value)
            for name, value in connection.execute(
                "SELECT name, current_setting(name) FROM pg_settings WHERE name = ANY (%s) ORDER BY name",
                [list(_DECISIVE)],
            )
        }
    return pytestconfig.stash[_FIGURES]


@pytest.fixture(scope="session", params=[100, 10, 1], ids=["sales=N/100", "sales=N/10", "sales=N"])
def loaded(
    templates: Templates, figures: Figures, pytestconfig: pytest.Config, request: pytest.FixtureRequest
) -> Iterator[Database]:
    """A founding database with ``--sales`` sales, or a part of them; it is only copied."""
    database = templates.clone("founding-empty")
    with database.connect() as connection:
        load.load(connection, "founding", sales=pytestconfig.option.sales // request.param, vacuum=True)
        connection.execute("CHECKPOINT")
    yield database
    database.drop()


@pytest.fixture(scope="module")
def clients(templates: Templates, figures: Figures, pytestconfig: pytest.Config) -> Iterator[Clients]:
    """A migrated database with ``--sales`` sales that can be dealt out."""
    database = templates.clone("founding-empty")
    yield Clients(database, pytestconfig.option.sales)
    database.drop()


def _free(connection: Any) -> int | None:
    """Free bytes where the server has its data, by its own word; None where it has no such program."""
    try:
        with connection.transaction(force_rollback=True):
            connection.execute("CREATE TEMP TABLE said (line text)")
            connection.execute("COPY said FROM PROGRAM 'df -Pk .'")
            [(line,)] = connection.execute("SELECT line FROM said OFFSET 1")
    except connection.Error:
        return None
    return int(line.split()[-3]) * 1024


def _provenance(config: pytest.Config) -> dict[str, Any]:
    machine = config.hook.pytest_benchmark_generate_machine_info(config=config)
    facts = config.stash[SERVER_FACTS]
    cpu = machine.get("cpu", {})
    return {
        "sales": config.option.sales,
        # Not its name: what it is, and nobody's.
        "machine": {"cpu": cpu.get("brand_raw", machine["processor"]), "cores": cpu.get("count"),
                    "architecture": machine["machine"], "system": machine["system"]},
        "server": {"version": facts["version"], "kind": facts["kind"]},
        "settings": config.stash[_SETTINGS],
    }  # fmt: skip


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    config = session.config
    figures = config.stash[_FIGURES]
    if not figures.tables or SERVER_FACTS not in config.stash or session.exitstatus == pytest.ExitCode.INTERRUPTED:
        return  # half of the figures are no report
    found = document(figures, _provenance(config))
    said: list[tuple[str, bool]] = [
        (f"{'met' if each['met'] else 'missed'}: {each['goal']}: {each['measured']:g} {each['unit']},"
         f" {each['limit']}{' (' + each['where'] + ')' if each['where'] else ''}", each["met"])
        for each in found["goals"]
    ]  # fmt: skip
    before = config.stash.get(_BEFORE, None)
    if before is not None:
        found["compared"] = {
            "with": before["created"],
            "apart": differences(before, found),
            "worse": worse(before, found),
        }
        said += [(f"only ratios are compared; {each}", True) for each in found["compared"]["apart"]]
        said += [(f"worse: {each}", False) for each in found["compared"]["worse"]]
    try:
        paths = write(found, benchmark_page.render, config.rootpath / str(config.option.reports))
        said += [(f"written: {path}", True) for path in paths]
    except BenchmarkError as error:
        said.append((str(error), False))
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    if before is not None and found["compared"]["worse"] and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    config.stash[_SAID] = said


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    said = config.stash.get(_SAID, None)
    if said:
        terminalreporter.section("benchmark")
        for line, good in said:
            terminalreporter.write_line(line, green=good, red=not good)
