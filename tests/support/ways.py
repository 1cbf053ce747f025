"""The ways to run the migration, for tests that hold whichever it is: every value, and every pair of two values.

Each value of the variant, the direction and the mode meets each of the others' in some test; all three at once
are left to the tests that are about one of them.
"""

from __future__ import annotations

import pytest

_THERE: list[str] = []
_BACK = ["--rollback"]
_TRANSACTIONAL: list[str] = []
_ONLINE = ["--online"]

#: ``variant``, ``direction`` and ``mode``: arguments of the command line.
WAYS = pytest.mark.parametrize(
    ("variant", "direction", "mode"),
    [
        pytest.param("founding", _THERE, _TRANSACTIONAL, id="founding-there-transactional"),
        pytest.param("founding", _BACK, _ONLINE, id="founding-back-online"),
        pytest.param("deployed", _THERE, _ONLINE, id="deployed-there-online"),
        pytest.param("deployed", _BACK, _TRANSACTIONAL, id="deployed-back-transactional"),
    ],
    indirect=["variant"],
)

#: ``variant`` and ``direction``.
DIRECTIONS = pytest.mark.parametrize(
    ("variant", "direction"),
    [pytest.param("founding", _BACK, id="founding-back"), pytest.param("deployed", _THERE, id="deployed-there")],
    indirect=["variant"],
)

#: ``variant`` and ``mode``.
MODES = pytest.mark.parametrize(
    ("variant", "mode"),
    [
        pytest.param("founding", _ONLINE, id="founding-online"),
        pytest.param("deployed", _TRANSACTIONAL, id="deployed-transactional"),
    ],
    indirect=["variant"],
)
