"""Faults at any moment of a run: of the server, of a backend, of the wire, of the runner, and of several."""

from __future__ import annotations

import math
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import pytest

from phase_1.problems import FAILED
from tests.plugins.database import OWNER
from tests.plugins.selections import is_asked_for
from tests.plugins.server import Server, choose_local
from tests.support.disk import Disk, DiskUnavailable
from tests.support.failover import Pair
from tests.support.faults import CALL, FILLS, KINDS, MODES, OPERATIONS, SHARES, Point, draw, draw_calls
from tests.support.proxy import Proxy, Statement
from tests.support.runner import run
from tests.support.survival import Bench

#: What strikes that not every server can be struck by, and the fixture of the server that can.
_OWN_BENCH = {"failover": "pair", CALL: "durable", **dict.fromkeys(FILLS, "cramped")}
#: The disk that is filled, in bytes: a cluster, its WAL, and the templates of a few rows.
_CRAMPED = 250 * 2**20

#: Each kind, operation and mode has its share of the points.
_CELLS = [(kind, operation, mode) for kind in KINDS for operation in OPERATIONS for mode in MODES]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "cell" not in metafunc.fixturenames:
        return
    # The same tests in the long run: then they are that, and in any other run they are not.
    marks = [pytest.mark.faults] if is_asked_for(metafunc.config, "faults") else []
    cells = [pytest.param(cell, id="-".join(cell), marks=marks) for cell in _CELLS]
    if metafunc.config.option.fault_point:
        cells = [pytest.param(None, id="replayed", marks=marks)]
    metafunc.parametrize("cell", cells)


@pytest.fixture(scope="module")
def bench(module_server: Server) -> Iterator[Bench]:
    made = Bench(module_server)
    yield made
    made.close()


@pytest.fixture(scope="module")
def pair(pytestconfig: pytest.Config) -> Iterator[Bench]:
    """A server with a standby, both of them here whatever the others are."""
    choice = choose_local(pytestconfig, "it has a standby")
    server = Server(choice, (instance := Pair(choice.cluster)).superuser_dsn, instance)
    made = Bench(server)
    yield made
    made.close()
    server.close()


@pytest.fixture(scope="module")
def durable(pytestconfig: pytest.Config) -> Iterator[Bench]:
    """A server that waits for its disk, and whose processes can be traced from here."""
    if shutil.which("strace") is None:
        pytest.skip("needs strace")
    choice = choose_local(pytestconfig, "its processes are traced")
    server = Server(choice, (instance := choice.cluster({"fsync": "on"})).superuser_dsn, instance)
    made = Bench(server)
    yield made
    made.close()
    server.close()


@pytest.fixture(scope="module")
def cramped(pytestconfig: pytest.Config) -> Iterator[Bench]:
    """A server on a disk of its own, which can be filled."""
    try:
        disk = Disk(_CRAMPED)
    except DiskUnavailable as error:
        pytest.skip(f"needs to mount a file system: {error}")
    choice = choose_local(pytestconfig, "its disk can be filled")
    # Small, so that it is filled in a moment; and no checkpoint that would make space.
    settings = {"max_wal_size": "32MB", "min_wal_size": "2MB", "checkpoint_timeout": "1h"}
    instance = choice.cluster(settings, disk.directory / "cluster", wal_segment=1)
    server = Server(choice, instance.superuser_dsn, instance)
    made = Bench(server, disk)
    yield made
    made.close()
    server.close()
    disk.close()


def _bench_of(request: pytest.FixtureRequest, point: Point) -> Bench:
    # Made where it is needed only.
    own = [_OWN_BENCH[fault.strike] for fault in point.faults if fault.strike in _OWN_BENCH]
    made: Bench = request.getfixturevalue(own[0] if own else "bench")
    return made


def _survive(request: pytest.FixtureRequest, points: Iterable[Point], what: str) -> None:
    """Tries every point; the evidence says how many were survived, and the failure how to try the others again."""
    tried: Counter[str] = Counter()
    survived: Counter[str] = Counter()
    failures: list[str] = []
    checked = ""
    for point in points:
        moment = point.faults[0].moment
        tried[moment] += 1
        made = _bench_of(request, point)
        checked = "with" if made.amcheck else "without"
        try:
            made.attempt(point)
        except AssertionError as error:
            failures.append(f"{error}\nreplay: pytest tests/certification/test_faults.py --fault-point '{point}'")
        else:
            survived[moment] += 1
    request.getfixturevalue("evidence")(
        f"{what}, seed {request.config.option.fault_seed}, indexes checked {checked} amcheck",
        [
            {"moment of the first": moment, "points tried": tried[moment], "survived": survived[moment]}
            for moment in sorted(tried)
        ],
    )
    assert failures == [], "\n\n".join(failures)


def _points(config: pytest.Config, cell: tuple[str, str, str] | None, bench: Bench) -> list[Point]:
    if cell is None:
        return [Point.read(config.option.fault_point)]
    kind, operation, mode = cell
    ways = len(OPERATIONS) * len(MODES)
    count = math.ceil(config.option.points * SHARES[kind] / (ways * sum(SHARES.values())))
    return [draw(config.option.fault_seed, kind, operation, mode, index, bench.course) for index in range(count)]


@pytest.mark.claim("faults-are-survived", "acknowledged-rows-stay", "commit-verdict-is-read-from-server")
@pytest.mark.claim("online-resumes", "failure-leaves-no-trace")
def test_fault_at_any_moment_is_survived(
    request: pytest.FixtureRequest, cell: tuple[str, str, str] | None, bench: Bench
) -> None:
    """After any fault the database is as before, or a second run completes it, or takes it back; nothing is lost.

    What a power cut in the maintenance window leaves behind is otherwise found out in that night.
    """
    _survive(request, _points(request.config, cell, bench), KINDS[cell[0]] if cell else "replayed")


@pytest.mark.faults
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_system_call_that_fails_is_survived(
    request: pytest.FixtureRequest, operation: str, mode: str, durable: Bench, tmp_path: Path
) -> None:
    """Whichever system call of the backend fails, for want of space or by the disk, it is survived as any fault.

    A full disk is found by whoever writes next, and that may be the catalog, an index or the log of the server.
    """
    made = durable.calls(operation, mode, tmp_path)
    assert made["openat"], made
    option = request.config.option
    points = draw_calls(option.fault_seed, operation, mode, math.ceil(option.points / 20), made)
    _survive(request, points, f"system calls that failed once, of the {made.total()} of a run")


@pytest.mark.faults
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("kind", FILLS)
def test_full_disk_is_survived(
    request: pytest.FixtureRequest, kind: str, operation: str, mode: str, cramped: Bench
) -> None:
    """Whenever the disk of the server is full, the run says what became of it, and goes on or back once there is space.

    Indexes are what fills a disk, and the night of the migration is when it does.
    """
    option = request.config.option
    count = math.ceil(option.points / 1_000)  # half a minute each: a server without space is waited for
    points = [draw(option.fault_seed, kind, operation, mode, index, cramped.course) for index in range(count)]
    _survive(request, points, FILLS[kind])


@pytest.mark.claim("commit-verdict-is-read-from-server")
def test_verdict_is_true_where_a_killed_server_gives_out_a_transaction_id_again(
    module_server: Server, bench: Bench
) -> None:
    """A transaction that was lost with the server is rolled back, whoever has committed under its id since.

    Otherwise the run says that it got through, and nobody does what has not been done.
    """
    ids: list[int] = []
    reused: list[int] = []
    noting: list[bool] = []
    with module_server.connect() as session:
        session.execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
        session.execute("SELECT pg_reload_conf()")

    def kill(statement: Statement) -> Literal["cut"] | None:
        # Just after the first entry that tells of the transaction, before anything of it is on disk.
        noting.append("create_organizations" in statement.sql and "migration_log" in statement.sql)
        if ids or not any(noting[:-1]):
            return None
        with module_server.connect(database.name) as session:
            ids.extend(
                number
                for (number,) in session.execute(
                    "SELECT backend_xid::text::bigint FROM pg_stat_activity"
                    " WHERE application_name = 'phase_1' AND backend_xid IS NOT NULL"
                )
            )
        module_server.kill()
        module_server.restart()
        with module_server.connect(database.name) as session:
            while not reused or reused[-1] < ids[0]:
                reused.extend(number for (number,) in session.execute("SELECT txid_current()"))
        return "cut"

    with bench.clone("founding", "migrate") as database, Proxy(module_server) as proxy:
        proxy.before(kill)
        ended = run("--dsn", proxy.dsn(database.name, OWNER), "--force")
        assert ids[0] in reused
        assert ended.status == FAILED, ended.err
        assert "the database is as it was" in ended.err
        assert database.query("SELECT to_regclass('public.organizations')") == [(None,)]
