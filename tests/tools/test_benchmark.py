"""The gate and the report of the benchmarks: worse figures are found, and figures that mean something else refused."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.benchmark import TOLERANCES, BenchmarkError, Figures, differences, document, earlier, worse, write
from tests.support.benchmark_page import render
from tests.support.certificate import render as render_certificate

_PROVENANCE = {
    "sales": 1000,
    "machine": {"cpu": "one", "cores": 2, "architecture": "x86_64", "system": "Linux"},
    "server": {"version": "18.4", "kind": "embedded"},
    "settings": {"shared_buffers": "256MB"},
}


@pytest.fixture
def found() -> dict[str, Any]:
    """A document with a figure of each kind, a goal that is met, one that is missed, and a table for each plot."""
    figures = Figures()
    for kind in TOLERANCES:
        figures.gate(f"a figure of {kind}", 100, kind)
    figures.goal("growth of the tables", 0, 0, "MB")
    figures.goal("rate left", 0.5, -0.85, where="<insert>")
    for way in ("the limit", "transactional", "online", "the usual way"):
        for sales in (10, 100, 1000):
            sizes = {"WAL, MB": sales / 100, "tables grown, MB": 0}
            figures.row("migration", way=way, sales=sales, seconds=sales / 500, **sizes)
    for clients in (1, 10):
        figures.row(
            "queries", layout="together", clients=clients, client="largest", query="latest <sales>",
            **{"pages now": 6, "pages alone": 5, "pages against alone": 1.2, "time against alone": 1.1,
               "time against before": 0.01},
        )  # fmt: skip
    figures.row("costs", write="insert", connections=8, left=0.9)
    figures.row("indexes", index="idx_users_client_created_at", **{"bytes a row": 40, "WAL a row": 70})
    figures.row("latency", phase="before", second=0.1, **{"ms at most": 3})
    figures.row("latency steps", step="add_client_id", second=0.1)
    for sales in (10, 1000):
        figures.row(
            "steps", run="migration", step="create_index", sales=sales, times=15, lock="none",
            **{"held at most, ms": 0.0, "WAL, kB": sales},
        )  # fmt: skip
    figures.row("functions", what="get, called once a statement", times=1.2)
    return document(figures, _PROVENANCE)


def test_figures_that_are_worse_by_more_than_their_tolerance_are_named(found: dict[str, Any]) -> None:
    """Each kind of figure fails beyond its tolerance and not within it, and so does one that is missing.

    A gate that never closes is worse than none: people rely on it.
    """
    for name, gate in found["gates"].items():
        share, slack = TOLERANCES[gate["kind"]]
        for factor, expected in ((1 + share, []), (1 + share + 0.01, [name]), (0.5, [])):
            now = copy.deepcopy(found)
            now["gates"][name]["value"] = 100 * factor + slack
            assert [each.partition(":")[0] for each in worse(found, now)] == expected, (name, factor)
        now = copy.deepcopy(found)
        del now["gates"][name]
        assert ["not measured" in each for each in worse(found, now)] == [True]


@pytest.mark.parametrize(
    ("part", "value"),
    [("machine", {"cpu": "another"}), ("server", {"version": "12.1", "kind": "docker"}), ("settings", {"fsync": "on"})],
)
def test_pages_and_bytes_of_another_machine_are_not_compared(found: dict[str, Any], part: str, value: Any) -> None:
    """Between two machines, servers or settings only ratios are compared, and it is said why.

    A figure of another machine is neither better nor worse.
    """
    now = copy.deepcopy(found)
    now[part] = value
    for gate in now["gates"].values():
        gate["value"] *= 10
    assert all(each.startswith(f"{part}: ") for each in differences(found, now))
    assert {each.partition(":")[0] for each in worse(found, now)} == {
        f"a figure of {kind}" for kind in TOLERANCES if kind.startswith("ratio")
    }


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file"),
        ("{", "not JSON"),
        ("[]", "no benchmark"),
        ('{"schema": 1}', "no benchmark"),
        ('{"schema": 1, "gates": {}, "sales": 5}', "Give --sales 5"),
    ],
)
def test_file_that_cannot_be_compared_with_is_refused_with_the_reason(
    tmp_path: Path, content: str | None, words: str
) -> None:
    """What is no benchmark, or one of another scale, is refused before anything is measured.

    Found out after an hour of measuring, it costs the hour.
    """
    path = tmp_path / "earlier.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(BenchmarkError, match=words):
        earlier(path, 1000)


def test_report_is_written_and_can_be_compared_with(found: dict[str, Any], tmp_path: Path) -> None:
    """The report says first what it comes to, has each plot, and needs nothing but itself.

    A report that loads something from elsewhere is empty in the mail that it is sent with.
    """
    paths = write(found, render, tmp_path)
    assert earlier(paths[0], 1000) == json.loads(json.dumps(found))
    page = paths[1].read_text(encoding="utf-8")
    assert "1 of 2 goals met" in page
    assert page.index("1 of 2 goals met") < page.index("<h2")
    assert page.count('<svg role="img"') == 7
    assert "<sales>" not in page
    assert "&lt;sales&gt;" in page
    assert "WAL, kB: 1,000" in page
    assert not re.search(r"<(script|link|img|iframe)\b|url\((?!#)|@import|(src|href)=\"(?!#)", page)
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    found["compared"] = {"with": "then", "apart": [], "worse": ["slower: 2 <times>"]}
    assert "slower: 2 &lt;times&gt;" in render(found)


def test_certificate_leads_to_the_report_that_is_beside_it() -> None:
    """The certificate's page links to the benchmark where there is one, and nowhere else.

    A link to nowhere on a certificate makes people doubt the rest of it.
    """
    certificate: dict[str, Any] = {key: [] for key in ("claims", "reasons", "subject", "rehearsals")} | {
        "about": "a test", "verdict": "certified", "created": "", "git": None, "tools": {},
        "runs": [{"server": None, "verdict": "", "totals": {}, "seconds": 1, "fingerprints": []}],
    }  # fmt: skip
    assert 'href="benchmark.html"' in render_certificate(certificate, measured=True)
    assert 'href="benchmark.html"' not in render_certificate(certificate)
