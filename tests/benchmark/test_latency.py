"""What the application's statements wait while the online mode is at work, as a picture."""

from __future__ import annotations

import statistics
import time
from itertools import groupby

import pytest

from phase_1.problems import DONE
from tests.application import load
from tests.plugins.database import Templates
from tests.support.benchmark import Figures
from tests.support.runner import run
from tests.support.workload import Workload

pytestmark = pytest.mark.benchmark

_AROUND = 2.0  # seconds before and after
_MOMENT = 0.1  # seconds for each point of the picture


def test_latency_of_the_application_is_seen_beside_the_online_mode(
    templates: Templates, figures: Figures, pytestconfig: pytest.Config
) -> None:
    """No statement fails while the online mode is at work, and how long each has waited is shown.

    How slow the minute will be for customers is asked before it is allowed.
    """
    database = templates.clone("founding-empty")
    with database.connect() as connection:
        load.load(connection, "founding", sales=pytestconfig.option.sales, vacuum=True)
    with Workload(database) as application:
        time.sleep(_AROUND)
        began = application.now
        done = run("--dsn", database.owner_dsn, "--force", "--online")
        ended = application.now
        time.sleep(_AROUND)
    assert done.status == DONE, done.err
    assert application.failures == {}
    phases = {"before": (0.0, began), "during the migration": (began, ended), "after": (ended, float("inf"))}
    answers = sorted(application.answers, key=lambda each: each.due)
    for phase, (first, last) in phases.items():
        own = [each for each in answers if first <= each.due < last]
        for moment, several in groupby(own, key=lambda each: int(each.due / _MOMENT)):
            slowest = max(each.latency for each in several)
            figures.row(
                "latency", phase=phase, second=round(moment * _MOMENT, 1), **{"ms at most": round(1000 * slowest, 2)}
            )
        latencies = [1000 * each.latency for each in own]
        quantiles = statistics.quantiles(latencies, n=100)
        figures.row(
            "latency summary", phase=phase, statements=len(own),
            **{"ms at p50": round(quantiles[49], 1), "ms at p99": round(quantiles[98], 1),
               "ms at most": round(max(latencies), 1)},
        )  # fmt: skip
    database.drop()
