"""What the benchmarks found: figures, goals, what is compared with an earlier run, and the report."""

from __future__ import annotations

import json
import math
import os
import statistics
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from tests.plugins.database import Database
from tests.support.certificate import git, tools

SCHEMA = 1

#: What is compared, how much worse it may be, and how much worse in absolute terms before that counts. Pages and
#: bytes change where ANALYZE draws another sample and a plan with it; ratios of times where something else is at
#: work on the machine. Milliseconds are not compared at all.
TOLERANCES: Mapping[str, tuple[float, float]] = {
    "pages": (0.3, 2.0),
    "bytes": (0.15, 40.0),
    "ratio of pages": (0.3, 0.0),
    "ratio of bytes": (0.15, 0.0),
    "ratio of times": (0.6, 0.0),
}
#: Those that another machine has too.
RATIOS = tuple(kind for kind in TOLERANCES if kind.startswith("ratio"))

Document = dict[str, Any]
Row = Mapping[str, Any]


class BenchmarkError(Exception):
    """A file that cannot be compared with, or a report that cannot be written; the message says why."""


@dataclass
class Figures:
    """What the benchmarks of one run have measured."""

    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    goals: list[dict[str, Any]] = field(default_factory=list)
    gates: dict[str, dict[str, Any]] = field(default_factory=dict)

    def row(self, table: str, **values: Any) -> None:
        """A row of a table of the report."""
        self.tables.setdefault(table, []).append(values)

    def goal(self, goal: str, measured: float, limit: float, unit: str = "×", where: str = "") -> None:
        """What was wanted, and what it is; ``limit`` is the most, or with a minus sign in front the least.

        ``where`` says in which of the cases that were measured it is as bad as that.
        """
        met = measured <= limit if limit >= 0 else measured >= -limit
        least = "at most" if limit >= 0 else "at least"
        self.goals.append({
            "goal": goal, "measured": float(f"{measured:.3g}"), "limit": f"{least} {abs(limit):g}", "unit": unit,
            "met": met, "where": where,
        })  # fmt: skip

    def gate(self, name: str, value: float, kind: str) -> None:
        """A figure that a later run is compared by; more is worse."""
        assert kind in TOLERANCES, kind
        self.gates[name] = {"value": float(f"{value:.4g}"), "kind": kind}


def mean(ratios: Iterable[float]) -> float:
    """The geometric mean: twice as much here and half as much there are the same."""
    return statistics.geometric_mean([max(each, 1e-9) for each in ratios])


def document(figures: Figures, provenance: Row) -> Document:
    """The figures with what they were measured by, as JSON holds them."""
    return {
        "schema": SCHEMA,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "git": git(),
        "tools": tools(),
        **provenance,
        "goals": figures.goals,
        "gates": figures.gates,
        "tables": figures.tables,
    }


def earlier(path: Path, sales: int) -> Document:
    """The earlier run to compare with.

    Raises BenchmarkError where there is none, or it was of another scale: no figure of it would mean the same.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BenchmarkError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise BenchmarkError(f"{path} is not JSON: {error}") from error
    if not isinstance(found, dict) or found.get("schema") != SCHEMA or not isinstance(found.get("gates"), dict):
        raise BenchmarkError(f"{path} is no benchmark of this suite: give a reports/benchmark.json of an earlier run")
    if found.get("sales") != sales:
        raise BenchmarkError(
            f"{path} was measured with {found.get('sales')} sales, and this run has {sales}: ratios and pages depend "
            f"on it. Give --sales {found.get('sales')}"
        )
    return found


def differences(before: Document, now: Document) -> list[str]:
    """What keeps pages and bytes of the two from being compared; ratios within one run still can be."""
    return [
        f"{what}: {before.get(what)} then, {now.get(what)} now"
        for what in ("machine", "server", "settings")
        if before.get(what) != now.get(what)
    ]


def worse(before: Document, now: Document) -> list[str]:
    """What has become worse by more than its tolerance, or is not measured any more; in words."""
    absolute = not differences(before, now)
    found = []
    for name, gate in before["gates"].items():
        kind, value = gate["kind"], gate["value"]
        if not absolute and kind not in RATIOS:
            continue
        if name not in now["gates"]:
            found.append(f"{name}: {value:g} {kind}, and not measured in this run")
            continue
        share, slack = TOLERANCES[kind]
        current = now["gates"][name]["value"]
        if current > value * (1 + share) + slack:
            found.append(f"{name}: {current:g} {kind}, was {value:g}; {share:.0%} more are tolerated")
    return found


def write(found: Document, render: Callable[[Document], str], directory: Path) -> list[Path]:
    """Writes ``benchmark.json`` and ``benchmark.html``, each whole or not at all. Raises BenchmarkError.

    The figures go first: they took an hour, and a page can be made of them again.
    """
    written = []
    for name in ("benchmark.json", "benchmark.html"):
        figures = name.endswith(".json")
        content = json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False) + "\n" if figures else render(found)
        try:
            directory.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(
                "w", dir=directory, prefix=f".{name}.", delete=False, encoding="utf-8"
            ) as file:
                file.write(content)
            Path(file.name).chmod(0o644)  # a temporary file is its owner's alone
            os.replace(file.name, directory / name)
        except OSError as error:
            raise BenchmarkError(f"{directory / name} cannot be written: {error.strerror}") from error
        written.append(directory / name)
    return written


def sales_of(database: Database) -> int:
    """How many sales it has."""
    [(sales,)] = database.query("SELECT count(*) FROM public.sellout_entries2")
    return int(sales)


def median(values: Sequence[float]) -> float:
    """The median; NaN of nothing."""
    return statistics.median(values) if values else math.nan
