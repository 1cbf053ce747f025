"""The cases of each check, in a module of its name: what it finds, what it does not, and what mends it."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from tests.support.cases import Case

#: Modules of the folder that are about no check.
_SHARED = {"states"}


def names() -> set[str]:
    """The checks that have a module here."""
    return {module.name for module in iter_modules(__path__)} - _SHARED


def cases(when: str) -> tuple[Case, ...]:
    """The cases ``BEFORE`` the migration or the rollback, or those ``AFTERWARDS``, of every check."""
    found: list[Case] = []
    for name in sorted(names()):
        found += (mine := getattr(import_module(f"{__name__}.{name}"), when, ()))
        assert {case.check for case in mine} <= {name}, f"tests/checks/{name}.py has a case of another check"
    return tuple(found)
