"""What runs only when it is asked for by ``-m``: it takes long, or needs more than Python."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from typing import Any

import pytest

_OPT_IN = {
    "benchmark": "measures, at the scale of --sales; runs with `-m benchmark` only",
    "docker": "needs a Docker engine; runs with `-m docker` only",
    "packaging": "installs the wheel from a package index, on the oldest Python too; runs with `-m packaging` only",
    "staging": "looks at the staging database of --dsn, and at nothing else; runs with `-m staging` only",
    "faults": "the long run: --points of failure, and each system call of a backend; runs with `-m faults` only",
    "browser": "opens a page in Chromium; runs with `-m browser` only",
}

#: Points of failure that a certificate takes, that are tried on the way, and all night.
POINTS, _POINTS_ON_THE_WAY, _POINTS_OF_THE_LONG_RUN = 400, 40, 10_000
#: What a certificate says can be had again: only the long run wants other points each time.
_SEED = 20261124


def is_asked_for(config: pytest.Config, name: str) -> bool:
    """Whether the run is about what has that marker, as ``-m staging`` says and ``-m "not staging"`` does not."""
    words = re.findall(rf"(?:\bnot\s+)?\b{name}\b", config.option.markexpr)
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
    group = parser.getgroup("phase 1 faults")
    group.addoption(
        "--points",
        type=int,
        metavar="N",
        help=f"points of failure to try ({_POINTS_ON_THE_WAY}, with --certify {POINTS}, "
        f"with -m faults {_POINTS_OF_THE_LONG_RUN})",
    )
    group.addoption(
        "--fault-seed",
        type=int,
        metavar="N",
        help=f"what draws them ({_SEED}, with -m faults another one each time); it is in the header",
    )
    group.addoption("--fault-point", metavar="POINT", help="try this one only, as a failure has printed it")


def pytest_report_header(config: pytest.Config) -> str:
    return f"faults: --points={config.option.points} --fault-seed={config.option.fault_seed}"


def pytest_configure(config: pytest.Config) -> None:
    long_run, option = is_asked_for(config, "faults"), config.option
    if option.points is None:
        on_the_way = POINTS if option.certify else _POINTS_ON_THE_WAY
        option.points = _POINTS_OF_THE_LONG_RUN if long_run else on_the_way
    worker_input: Mapping[str, Any] | None = getattr(config, "workerinput", None)
    if worker_input is not None:
        option.fault_seed = worker_input["fault_seed"]
    if option.fault_seed is None:
        option.fault_seed = random.randrange(10**8) if long_run else _SEED  # noqa: S311 - a sample, not a secret
    for name, meaning in _OPT_IN.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tells a worker of pytest-xdist the seed: all of them draw from the same points."""
    node.workerinput["fault_seed"] = node.config.option.fault_seed


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Keeps a benchmark to itself: another worker would be measured with it."""
    if is_asked_for(config, "benchmark"):
        config.option.numprocesses = 0


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what nobody asked for."""
    unasked = [name for name in _OPT_IN if not is_asked_for(config, name)]
    left_out = [item for item in items if any(item.get_closest_marker(name) for name in unasked)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
