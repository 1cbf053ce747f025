"""Docker at its worst, as a user of the suite meets it: run with ``pytest -m docker``, on a machine that has it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from testcontainers.core.docker_client import DockerClient

from tests.plugins.database import Templates
from tests.support.certificate import read
from tests.support.watchdog import REPOSITORY

pytestmark = pytest.mark.docker

#: How long an image, a container or a run may take, in seconds: far longer than it ever does.
_PATIENCE = 120.0


def _containers() -> set[str]:
    """The containers of the suite that there are, by name."""
    client = DockerClient().client
    names = {each.name for each in client.containers.list(all=True) if each.name.startswith("phase_1_")}
    client.close()
    return names


@pytest.fixture
def others() -> Iterator[set[str]]:
    """The containers that were there before; afterwards there is no other."""
    before = _containers()
    yield before
    left = _containers() - before
    assert left == set()


def _suite(reports: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", "-q", "-n1", "--certify", f"--reports={reports}", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_image_that_cannot_be_pulled_is_a_usage_error(tmp_path: Path, others: set[str]) -> None:
    """One line names the image and the reason; there is no certificate and no container.

    Otherwise a typo in a pipeline looks like a failing migration.
    """
    image = "127.0.0.1:9/phase_1/postgres:18"
    run = _suite(tmp_path, "--pg=18", f"--pg-image={image}", "tests/certification/test_end_state.py")
    out, _ = run.communicate(timeout=_PATIENCE)
    assert run.returncode == pytest.ExitCode.USAGE_ERROR, out
    assert f"the image {image} cannot be pulled" in out
    assert "Traceback" not in out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dies", ["killed", "gone"])
def test_run_whose_server_dies_ends_without_a_certified_claim(tmp_path: Path, others: set[str], dies: str) -> None:
    """What was under way fails, the certificate is whole and certifies nothing, and no container is left.

    Otherwise a release is gated on what a run had found before it died.
    """
    run = _suite(tmp_path, "--pg=18", "tests/certification/test_end_state.py", "tests/certification/test_functions.py")
    told: list[str] = []
    assert run.stdout is not None
    reader = threading.Thread(target=lambda: told.extend(run.stdout or ()))
    reader.start()
    deadline = time.monotonic() + _PATIENCE
    while not (new := _containers() - others) or "." not in "".join(told):
        assert time.monotonic() < deadline, told
        assert run.poll() is None, told
        time.sleep(0.1)
    [name] = new
    client = DockerClient().client
    container = client.containers.get(name)
    if dies == "gone":
        # As after an engine that went down and came back.
        container.remove(force=True, v=True)
    else:
        container.kill()
    client.close()
    run.wait(_PATIENCE)
    reader.join()
    assert run.returncode == pytest.ExitCode.TESTS_FAILED, told
    document = read(tmp_path / "certificate.json")
    assert document["verdict"] == "not certified"


@pytest.mark.parametrize("dies", [False, True], ids=["ends", "killed"])
def test_rehearsal_leaves_no_container_behind(
    templates: Templates, tmp_path: Path, others: set[str], dies: bool
) -> None:
    """The container of a rehearsal is gone with the run, also if that is killed in the middle of it.

    Staging is looked at from somebody's laptop, again and again.
    """
    database = templates.clone("founding")
    run = _suite(tmp_path, "-m", "staging", f"--dsn={database.dsn()}")
    deadline = time.monotonic() + _PATIENCE
    while not _containers() - others:
        assert time.monotonic() < deadline
        assert run.poll() is None, run.communicate()
        time.sleep(0.1)
    if dies:
        run.kill()
    out, _ = run.communicate(timeout=_PATIENCE)
    while dies and _containers() - others:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert dies or run.returncode == pytest.ExitCode.OK, out
    assert (tmp_path / "staging.json").exists() is not dies
    database.drop()
