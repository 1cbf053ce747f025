"""The runner's files are read once: what is hashed is what is loaded."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from phase_1.files import READ
from tests.support.certificate import ROOT
from tests.support.runner import copied, start, without_python

_PATIENCE = 60.0

#: Imports the runner from the folder that is given, as a console script does, and says what has come of it.
_IMPORT = """
import json, sys
sys.path.insert(0, sys.argv[1])
import migrate
from phase_1.certificate import files
modules = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "phase_1"}
print(json.dumps({
    "files": files(),
    "loaders": {name: type(module.__spec__.loader).__name__ for name, module in modules.items()},
    "attributes": sorted(name for name, module in vars(modules["phase_1"]).items() if module in modules.values()),
}))
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the runner."""
    return copied(tmp_path / "tree")


def _imported(tree: Path) -> dict[str, Any]:
    command = [sys.executable, "-I", "-c", _IMPORT, str(tree)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_PATIENCE)
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def _digests(tree: Path) -> dict[str, str]:
    """What ``sha256sum`` prints of the runner's files, by their names."""
    paths = [*(tree / "sql").rglob("*.sql"), tree / "migrate.py", *(tree / "phase_1").glob("*.py")]
    return {path.relative_to(tree).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def test_every_module_is_loaded_from_what_was_read(tree: Path) -> None:
    """Each file of the package is loaded from memory, none is left for later, and Python keeps nothing compiled.

    A module that Python loads itself may be another one than was hashed.
    """
    said = _imported(tree)
    assert said["files"] == _digests(tree)
    modules = {
        "phase_1" if path.stem == "__init__" else f"phase_1.{path.stem}" for path in (tree / "phase_1").glob("*.py")
    }
    assert said["loaders"] == dict.fromkeys(modules, "_FromMemory")
    assert said["attributes"] == sorted(name.partition(".")[2] for name in modules if "." in name)
    assert not list((tree / "phase_1").glob("**/*.pyc"))


def test_file_that_changes_before_it_is_imported_is_loaded_as_it_was_hashed(tree: Path) -> None:
    """A module that is written anew between the reading and its import is loaded, and hashed, as it was read.

    Whoever waits for that moment would have certified what does not run.
    """
    first = tree / "phase_1" / "__init__.py"
    overwritten = tree / "phase_1" / "plan.py"
    first.write_text(first.read_text() + f"\nopen({str(overwritten)!r}, 'w').write('raise SystemExit(7)')\n")
    before = _digests(tree)
    assert _imported(tree)["files"] == before
    assert overwritten.read_text() == "raise SystemExit(7)"


def test_files_are_those_of_the_repository() -> None:
    """The suite reads the files under the names that a certificate gives them.

    A certificate would be about other files than those that were tested.
    """
    assert {name: hashlib.sha256(content).hexdigest() for name, content in READ.items()} == _digests(ROOT)


def test_version_is_that_of_the_changes(tree: Path) -> None:
    """--version says which entry of CHANGELOG.md is the newest that is in.

    Whoever upgrades would read about another version.
    """
    with start("--version", environment=without_python(), directory=tree) as process:
        out, _ = process.communicate(timeout=_PATIENCE)
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert out == f"phase-1 {headings[0]}\n"


@pytest.mark.parametrize("flags", [(), ("-I", "-B")], ids=["python", "python -I -B"])
def test_demo_without_the_suite_says_what_it_needs(tree: Path, flags: tuple[str, ...]) -> None:
    """Where there is no suite, --demo says so in one message, with exit code 2.

    A traceback is the first thing that a visitor would see.
    """
    with start("--demo", environment=without_python(), directory=tree, flags=flags) as process:
        out, err = process.communicate(timeout=_PATIENCE)
    assert (process.returncode, out) == (2, ""), err
    assert err.startswith("--demo needs the test suite: there is no ")


def test_demo_finds_the_suite_and_the_runner(tree: Path) -> None:
    """--demo loads the suite from beside migrate.py, though that folder is on no path, and shows this very runner.

    The first command that a visitor tries would end in a traceback.
    """
    (tree / "tests").mkdir()
    (tree / "tests" / "__init__.py").touch()
    (tree / "tests" / "demo.py").write_text(
        "import sys, migrate\n\n\ndef main():\n    return 42 if migrate is sys.modules['__main__'] else 1\n"
    )
    with start("--demo", environment=without_python(), directory=tree, flags=("-I", "-B")) as process:
        _, err = process.communicate(timeout=_PATIENCE)
    assert process.returncode == 42, err
