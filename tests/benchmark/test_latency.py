"""What the application's statements wait while the online mode is at work, as a picture."""

from __future__ import annotations

import statistics
import time
from itertools import groupby

import pytest

from phase_1.apply import Sessions, run
from phase_1.options import parse
from tests.plugins.database import Database, Templates
from tests.support.benchmark import Figures, sales_of
from tests.support.steps import Waits, plan_of
from tests.support.workload import Workload

pytestmark = pytest.mark.benchmark

_AROUND = 2.0  # seconds before and after
_MOMENT = 0.1  # seconds for each point of the picture
#: Statements a second, and the sales up to which a laptop can do so many: some of them read every sale.
_RATE, _SALES = 100.0, 500_000


@pytest.mark.parametrize("loaded", [1], indirect=True, ids=["sales=N"])
def test_latency_of_the_application_is_seen_beside_the_online_mode(
    loaded: Database, templates: Templates, figures: Figures
) -> None:
    """No statement fails while the online mode is at work, and how long each has waited is shown, and for which step.

    How slow the minute will be for customers is asked before it is allowed.
    """
    database = templates.copy(loaded)
    sessions, arguments = Sessions(database.owner_dsn), ["--online"]
    rate = _RATE * min(1.0, _SALES / sales_of(database))
    with Workload(database, rate=rate) as application, Waits(database, lambda: application.now) as waits:
        time.sleep(_AROUND)
        began = application.now
        run(plan_of(sessions, arguments), sessions, parse(arguments), waits)
        ended = application.now
        time.sleep(_AROUND)
    sessions.close()
    assert application.failures == {}
    phases = {"before": (0.0, began), "during the migration": (began, ended), "after": (ended, float("inf"))}
    before: dict[str, float] = {}
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
        seconds = own[-1].due - own[0].due
        taken = {
            "statements/s": (len(own) - 1) / seconds, "ms at p50": quantiles[49], "ms at p99": quantiles[98],
            "ms at most": max(latencies),
        }  # fmt: skip
        before = before or taken
        figures.row("latency summary", phase=phase, statements=len(own), **{
            name: f"{value:,.1f} ({value / before[name]:.1f}×)" for name, value in taken.items()
        })  # fmt: skip
    for second, step in waits.began:
        figures.row("latency steps", step=step, second=round(second, 3))
    for statement, waited in waits.waited.items():
        figures.row(
            "latency waits",
            statements=len(waited),
            **{"ms at most": round(1000 * max(waited.values()), 1), "while the migration was at": statement},
        )
    database.drop()
