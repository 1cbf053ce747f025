"""What runs only when it is asked for by ``-m``: it takes long, or needs more than Python."""

from __future__ import annotations

import re

import pytest

_OPT_IN = {
    "benchmark": "measures, at the scale of --sales; runs with `-m benchmark` only",
    "docker": "needs a Docker engine; runs with `-m docker` only",
    "staging": "looks at the staging database of --dsn, and at nothing else; runs with `-m staging` only",
    "browser": "opens a page in Chromium; runs with `-m browser` only",
}


def staging_is_asked_for(config: pytest.Config) -> bool:
    """Whether the run is about a staging database, as ``-m staging`` says and ``-m "not staging"`` does not."""
    words = re.findall(r"(?:\bnot\s+)?\bstaging\b", config.option.markexpr)
    return words != [] and not any(word.startswith("not") for word in words)


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
