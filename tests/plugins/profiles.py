"""How far hypothesis digs: ``--hypothesis-profile dev`` (which is the default), ``ci`` or ``deep``."""

from __future__ import annotations

import pytest
from hypothesis import settings

_EXAMPLES = {"dev": 20, "ci": 100, "deep": 2_000}


def pytest_configure(config: pytest.Config) -> None:
    for name, examples in _EXAMPLES.items():
        # What a certificate says can be had again: only who digs wants other examples each time.
        settings.register_profile(
            name, max_examples=examples, deadline=None, print_blob=True, derandomize=name != "deep"
        )
    settings.load_profile(config.getoption("--hypothesis-profile") or "dev")
