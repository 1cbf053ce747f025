"""The wheel, as somebody uses it who has nothing else: run with ``pytest -m packaging``.

It is built from the source distribution, which is built from the repository, and installed in empty environments: of
the oldest Python that the runner promises, and of the one that runs the tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from phase_1 import __version__
from phase_1.certificate import files
from phase_1.problems import DONE, REFUSED, USAGE
from tests.claims import Claim
from tests.plugins.database import Database, Templates
from tests.support.certificate import PASSED, ROOT, TestResult, document, write
from tests.support.keys import Keys, make_keys
from tests.support.runner import Run, copied, without_python

pytestmark = pytest.mark.packaging

OLDEST = "3.8"
#: What the distributions are built from.
_SOURCES = ("pyproject.toml", "MANIFEST.in", "README.md", "CHANGELOG.md", "LICENSE", "migration_plan.md", "docs")
_PATIENCE = 300.0  # seconds for an installation from an index far away


def _call(*command: str | Path, directory: Path | None = None) -> str:
    """Runs a command that has to succeed, and returns what it said."""
    done = subprocess.run(
        list(map(str, command)),
        cwd=directory,
        env=without_python(),
        capture_output=True,
        text=True,
        check=False,
        timeout=_PATIENCE,
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
    return done.stdout


def _oldest_python() -> str:
    """An interpreter of the oldest version: one of pyenv's, whose shim is none, or the one on the path."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [*sorted(versions.glob(f"{OLDEST}.*/bin/python{OLDEST}")), shutil.which(f"python{OLDEST}")]
    if found[0] is None:
        pytest.fail(f"there is no Python {OLDEST} to install the wheel in: pyenv install {OLDEST}")
    return str(found[0])


@dataclass(frozen=True)
class Environment:
    """A virtual environment, and an empty folder to work in."""

    path: Path
    folder: Path

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.path / "bin" / "python"

    @property
    def command(self) -> Path:
        """The runner as it is installed there."""
        return self.path / "bin" / "phase-1"

    @property
    def packages(self) -> Path:
        """Its site-packages."""
        [found] = self.path.glob("lib/python*/site-packages")
        return found

    def run(self, *command: str | Path) -> Run:
        """Runs a command in the empty folder."""
        done = subprocess.run(
            list(map(str, command)),
            cwd=self.folder,
            env=without_python(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
            timeout=_PATIENCE,
        )
        return Run(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The source distribution, and the wheel that was built from it."""
    directory = tmp_path_factory.mktemp("build")
    sources = copied(directory / "sources")
    for name in _SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, sources / name)
    venv.create(directory / "builder", with_pip=True)
    builder = directory / "builder" / "bin" / "python"
    _call(builder, "-m", "pip", "install", "--quiet", "build>=1.2,<2")
    _call(builder, "-m", "build", "--outdir", directory / "made", sources)
    [archive], [wheel] = (directory / "made").glob("*.tar.gz"), (directory / "made").glob("*.whl")
    return archive, wheel


@pytest.fixture(scope="module", params=[OLDEST, "this"], ids=[f"python={OLDEST}", "python=this"])
def installed(
    request: pytest.FixtureRequest, distributions: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Environment:
    """An environment with the wheel, with what it needs, with what checks a signature, and with nothing else."""
    python = _oldest_python() if request.param == OLDEST else sys.executable
    made = Environment(tmp_path_factory.mktemp("installed") / "venv", tmp_path_factory.mktemp("empty"))
    _call(python, "-m", "venv", made.path)
    _call(made.python, "-m", "pip", "install", "--quiet", f"{distributions[1]}[signed]")
    return made


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Keys, Keys]:
    """The key that is trusted, and one that is not."""
    directory = tmp_path_factory.mktemp("keys")
    return make_keys(directory, "trusted"), make_keys(directory, "other")


@pytest.fixture
def gate(templates: Templates, keys: tuple[Keys, Keys], tmp_path: Path) -> Sequence[str]:
    """The options for a certificate of the repository on this server, signed with the trusted key."""
    server = {"kind": "embedded", "version": str(templates.server.major), "version_num": templates.server.major * 10000}
    claims = [Claim("one", "It holds.", "2.1")]
    result = TestResult("test_it.py::test_it", ["one"], PASSED)
    made = document(claims, [result], server=server, seconds=1.0, reasons=[], totals={}, controlled=["one"])
    write(made, tmp_path, key=keys[0].key)
    return ["--certificate", str(tmp_path / "certificate.json"), "--trusted-key", keys[0].public]


@pytest.fixture
def deployed(templates: Templates) -> Iterator[Database]:
    """A database like a known deployment, with few rows."""
    made = templates.clone("deployed-tiny")
    yield made
    made.drop()


def test_distributions_hold_the_files_of_the_repository(distributions: tuple[Path, Path]) -> None:
    """Both distributions hold each file that a certificate is about, byte for byte, and what to read before an upgrade.

    A wheel without its SQL installs, and then cannot migrate anything.
    """
    archive, wheel = distributions
    with tarfile.open(archive) as opened:
        sources = {name.partition("/")[2] for name in opened.getnames()}
    assert {*files(), "CHANGELOG.md", "docs/gate.md", "pyproject.toml"} <= sources
    with zipfile.ZipFile(wheel) as opened_wheel:
        for name in files():
            inside = f"phase_1/{name}" if name.startswith("sql/") else name
            assert opened_wheel.read(inside) == (ROOT / name).read_bytes(), name


def test_version_is_the_same_everywhere(installed: Environment) -> None:
    """--version and the metadata of the package say the same.

    Whoever reports a problem names the version.
    """
    assert installed.run(installed.command, "--version").out == f"phase-1 {__version__}\n"
    code = "from importlib.metadata import version; print(version('phase-1-migration'))"
    assert installed.run(installed.python, "-c", code).out == f"{__version__}\n"


#: The whole way, in an empty folder: the arguments, the exit code, and something that is said.
WAY: tuple[tuple[str, int, str], ...] = (
    ("--help", DONE, "usage: phase-1 "),
    ("--rollbck", USAGE, "See phase-1 --help."),
    ("--demo", USAGE, "--demo needs the test suite"),
    ("--dry-run", DONE, "ADD COLUMN client_id"),
    ("--force", DONE, "every row has a client"),
    ("--force", DONE, "Nothing to do"),
    ("--verify --json", DONE, '"status": "passed"'),
    ("--status", DONE, "Phase 1 is done"),
    ("--rollback --force", DONE, "as it was before"),
    ("--online --jobs 2 --force", DONE, "every row has a client"),
    ("--rollback --online --force", DONE, "as it was before"),
)


def test_wheel_goes_the_whole_way_and_back(installed: Environment, deployed: Database) -> None:
    """In an empty folder `phase-1` shows, migrates, checks and takes back, in both modes, and leaves no file.

    Who installs the runner has nothing else of the project at hand.
    """
    for arguments, status, words in WAY:
        ended = installed.run(installed.command, "--dsn", deployed.owner_dsn, *arguments.split())
        assert (ended.status, words in ended.out + ended.err) == (status, True), f"{arguments}: {ended}"
        assert "Traceback" not in ended.err, arguments
    assert list(installed.folder.iterdir()) == []


def test_certificate_of_the_repository_gates_the_wheel(
    installed: Environment, deployed: Database, gate: Sequence[str], keys: tuple[Keys, Keys]
) -> None:
    """A certificate that the repository was given lets the same files through as a wheel, however they are started.

    Else every installation would need a certificate of its own, and nobody would ask for one.
    """
    ways: tuple[tuple[str | Path, ...], ...] = (
        (installed.command,),
        (installed.python, "-I", "-B", installed.command),
        (installed.python, "-I", "-B", "-m", "migrate"),
    )
    for way in ways:
        through = installed.run(*way, "--dsn", deployed.owner_dsn, *gate, "--dry-run")
        assert (through.status, "ADD COLUMN client_id" in through.out) == (DONE, True), through
    other = installed.run(
        installed.command, "--dsn", deployed.owner_dsn, *gate[:2], "--trusted-key", keys[1].public, "--force"
    )
    assert (other.status, "is not signed with the trusted key" in other.err) == (REFUSED, True), other


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("phase_1/sql/phase_1_rollback.sql", "changed since: sql/phase_1_rollback.sql"),
        ("phase_1/sql/phase_1_more.sql", "new since: sql/phase_1_more.sql"),
        ("phase_1/plan.py", "changed since: phase_1/plan.py"),
        ("migrate.py", "changed since: migrate.py"),
        ("phase_1/apply/__init__.py", "does not cover phase_1/apply/"),
    ],
)
def test_wheel_that_was_changed_is_refused(
    name: str, words: str, installed: Environment, deployed: Database, gate: Sequence[str]
) -> None:
    """What was changed or added in site-packages is refused under the name that it has in the repository.

    An installation is edited in place when nobody is looking.
    """
    path = installed.packages / name
    before = path.read_bytes() if path.exists() else None
    path.parent.mkdir(exist_ok=True)
    path.write_bytes((before or b"") + b"\n")
    try:
        refused = installed.run(installed.command, "--dsn", deployed.owner_dsn, *gate, "--force")
    finally:
        if before is not None:
            path.write_bytes(before)
        elif path.parent == installed.packages / "phase_1" / "sql":
            path.unlink()
        else:
            shutil.rmtree(path.parent)
    assert (refused.status, words in refused.err) == (REFUSED, True), refused


@pytest.mark.parametrize("flags", [(), ("-I", "-B")], ids=["python", "python -I -B"])
def test_repository_runs_its_own_files_where_the_wheel_is_installed(
    flags: tuple[str, ...], installed: Environment, deployed: Database, tmp_path: Path
) -> None:
    """`python migrate.py` runs the files beside it, not those that are installed.

    Who has both would read one and run the other.
    """
    tree = copied(tmp_path / "tree")
    with (tree / "phase_1" / "problems.py").open("a") as file:
        file.write("\nDONE = 10\n")
    ended = installed.run(installed.python, *flags, tree / "migrate.py", "--dsn", deployed.owner_dsn, "--dry-run")
    assert ended.status == 10, ended


@pytest.mark.parametrize("flags", [(), ("-I", "-B")], ids=["python", "python -I -B"])
@pytest.mark.parametrize("name", ["json.py", "__future__.py", "msvcrt.py", "rich/__init__.py", "phase_1/plan.so"])
def test_code_beside_the_repository_is_not_run_by_any_python(
    name: str,
    flags: tuple[str, ...],
    installed: Environment,
    deployed: Database,
    gate: Sequence[str],
    tmp_path: Path,
) -> None:
    """What was put beside migrate.py is neither run nor let through, by the oldest Python and without its list either.

    Each version of Python imports other modules of its own before the first line of a program.
    """
    tree, mark = copied(tmp_path / "tree"), tmp_path / "mark"
    (tree / name).parent.mkdir(exist_ok=True)
    (tree / name).write_text(f"open({str(mark)!r}, 'w').close()\n")
    program = tree / "migrate.py"
    refused = installed.run(installed.python, *flags, program, "--dsn", deployed.owner_dsn, *gate, "--force")
    assert not mark.exists(), f"{name} was run"
    said = f"does not cover {name.partition('__init__')[0]}"
    assert (refused.status, said in refused.err) == (REFUSED, True), refused
