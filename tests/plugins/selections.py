"""What runs only when it is asked for by ``-m``: it takes long, or needs more than Python."""

from __future__ import annotations

import pytest

_OPT_IN = {
    "benchmark": "measures, at the scale of --sales; runs with `-m benchmark` only",
    "docker": "needs a Docker engine; runs with `-m docker` only",
    "browser": "opens a page in Chromium; runs with `-m browser` only",
}


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
    for name, meaning in _OPT_IN.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Keeps a benchmark to itself: another worker would be measured with it."""
    if "benchmark" in config.option.markexpr:
        config.option.numprocesses = 0


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what nobody asked for."""
    unasked = [name for name in _OPT_IN if name not in config.option.markexpr]
    left_out = [item for item in items if any(item.get_closest_marker(name) for name in unasked)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
