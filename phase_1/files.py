"""The files of the runner, each read once: what is hashed for a certificate is what is compiled and what is sent.

``migrate.py`` runs this module before it imports anything else of the package, and has it load the rest. Where the
package is imported without ``migrate.py``, as by some tests, Python loads it as it loads any other one.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec, PathFinder, all_suffixes
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Dict, List, Optional, Sequence

PACKAGE = "phase_1"
ROOT = Path(__file__).resolve().parent.parent
_PACKAGE_FOLDER = ROOT / PACKAGE
#: A wheel has its SQL in the package: `sql` at the top of site-packages may be somebody else's.
_INSTALLED = (_PACKAGE_FOLDER / "sql").is_dir() and not (ROOT / "sql" / "phase_1_multitenant_schema.sql").exists()
_SQL_FOLDER = _PACKAGE_FOLDER / "sql" if _INSTALLED else ROOT / "sql"

#: What has the name of a module at the top of the repository, and belongs there.
_RESIDENTS = ("conftest.py", "migrate.py", PACKAGE, "tests")
#: The endings that this Python imports, and those of other Pythons and systems.
_SUFFIXES = tuple({*all_suffixes(), ".py", ".pyc", ".pyd", ".pyo", ".pyw", ".so"})
#: What libraries import only where it is there, so that it need not be installed to be shadowed.
_OPTIONAL = {"_winapi", "cryptography", "msvcrt", "psycopg_binary", "psycopg_c", "securesystemslib", "winreg"}


def _read_once() -> Dict[str, bytes]:
    """The content of every file by its name in the repository, without those that cannot be read."""
    paths = [
        *((path, f"sql/{path.relative_to(_SQL_FOLDER).as_posix()}") for path in sorted(_SQL_FOLDER.rglob("*.sql"))),
        (ROOT / "migrate.py", "migrate.py"),
        *((path, f"{PACKAGE}/{path.name}") for path in sorted(_PACKAGE_FOLDER.glob("*.py"))),
    ]
    read = {}
    for path, name in paths:
        try:
            read[name] = path.read_bytes()
        except OSError:  # whoever needs it says that it is missing
            continue
    return read


#: What a certificate is about. Nothing of it is read again.
READ = _read_once()


class _FromMemory:
    """Finds and loads the modules of the package: from their source in ``READ``, and from nowhere else.

    A folder ``phase_1/x/`` and an extension module ``x.so`` go before ``x.py`` elsewhere, and a ``.pyc`` with the
    right time and size stands for it: here they are never looked at.
    """

    def find_spec(self, name: str, path: Optional[Sequence[str]] = None, target: object = None) -> Optional[ModuleSpec]:
        if name.partition(".")[0] != PACKAGE or sys.modules.get(__name__) is not _this:
            return None  # a process that has forgotten this module is about to load another copy of the package
        file = _source(name)
        if file not in READ:
            raise ModuleNotFoundError(f"No module named {name!r}: there is no {file}", name=name)
        spec = ModuleSpec(name, self, origin=str(ROOT / file), is_package=name == PACKAGE)  # type: ignore[arg-type]
        spec.has_location = True
        return spec

    def create_module(self, spec: ModuleSpec) -> None:
        """Leaves it to Python."""

    def exec_module(self, module: ModuleType) -> None:
        code = compile(READ[_source(module.__name__)], str(module.__file__), "exec", dont_inherit=True)
        exec(code, module.__dict__)  # noqa: S102 - as Python's own loaders do
        if module.__name__ == PACKAGE:
            vars(module)["files"] = _this  # it was loaded before the package that it is in


_this = sys.modules[__name__]


def _source(module: str) -> str:
    return f"{PACKAGE}/__init__.py" if module == PACKAGE else f"{module.replace('.', '/', 1)}.py"


def load_from_memory(own: bytes) -> None:
    """From now on the package is loaded from what was read; ``own`` is what this module was compiled from."""
    READ[_source(__name__)] = own
    finder = _FromMemory()
    _this.__spec__ = finder.find_spec(__name__)
    _this.__package__ = PACKAGE
    sys.meta_path.insert(0, finder)


def load_suite() -> None:
    """Loads ``tests`` from beside ``migrate.py``, which is not on the path. Raises ModuleNotFoundError without it."""
    folder = ROOT / "tests"
    spec = spec_from_file_location("tests", str(folder / "__init__.py"), submodule_search_locations=[str(folder)])
    if spec is None or spec.loader is None or not (folder / "__init__.py").is_file():
        raise ModuleNotFoundError(f"there is no {folder}", name="tests")
    sys.modules["tests"] = module_from_spec(spec)
    spec.loader.exec_module(sys.modules["tests"])


def strangers() -> List[str]:
    """What Python could import instead of these files, or of a library, by its path from the top of the repository.

    Nothing of it is imported, but what else would it be there for?
    """
    own = {
        "__pycache__",
        *(Path(name).name for name in READ if name.startswith(f"{PACKAGE}/")),
        *(["sql"] if _INSTALLED else []),
    }
    inside = [path for path in _PACKAGE_FOLDER.iterdir() if path.name not in own and (path.is_dir() or _module(path))]
    # Beside a wheel are the libraries themselves.
    beside = [] if _INSTALLED else [path for path in ROOT.iterdir() if path.name not in _RESIDENTS]
    found = sorted(inside) + sorted(path for path in beside if _shadows(_module(path)))
    return [path.relative_to(ROOT).as_posix() + "/" * path.is_dir() for path in found]


def _module(path: Path) -> str:
    """The name that a file or a folder is imported by, or ``""``."""
    if path.is_dir():
        return path.name if any((path / f"__init__{suffix}").exists() for suffix in _SUFFIXES) else ""
    return path.name.partition(".")[0] if path.name.endswith(_SUFFIXES) else ""


def _shadows(name: str) -> bool:
    """Whether this is the name of a module of this project, of Python or of a library that is installed."""
    if not name:
        return False
    own = {Path(each).stem for each in _RESIDENTS}
    if name in {*own, *_OPTIONAL, *sys.builtin_module_names, *getattr(sys, "stdlib_module_names", ())}:
        return True
    if name in sys.modules:
        return True
    elsewhere = PathFinder.find_spec(name, [each for each in sys.path if Path(each).resolve() != ROOT])
    return elsewhere is not None and elsewhere.origin is not None
