"""Benchmarks: a selection of their own, at the scale that is asked for."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("phase 1 benchmarks")
    group.addoption(
        "--sales",
        type=int,
        metavar="N",
        default=100_000,
        help="the rows of sellout_entries2 that benchmarks run on (100000)",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "benchmark: measures; runs with `-m benchmark` only")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves benchmarks out where nobody asked for them: they take long, and hold for a quiet machine only."""
    if "benchmark" in config.option.markexpr:
        return
    left_out = [item for item in items if item.get_closest_marker("benchmark")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
