"""The report of the benchmarks as a page that needs nothing but itself: its look is the certificate's."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import matplotlib as mpl
from markupsafe import Markup
from matplotlib.figure import Figure

from tests.support.benchmark import mean

_HERE = Path(__file__).resolve().parent

Row = Mapping[str, Any]

#: Colours that can be told apart on white and on black, and without colour by their marks.
_COLOURS = ("#2f81f7", "#bf8700", "#1a9e5c", "#d1477a", "#8b6fd6")
_MARKS = ("o", "s", "^", "D", "v")
_GREY = "#8b949e"
_LOOK: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: it can be searched, and takes the page's font and colour
    "font.size": 10,
    "axes.edgecolor": _GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": _GREY,
    "ytick.color": _GREY,
    "grid.color": _GREY,
    "grid.alpha": 0.3,
    "legend.frameon": False,
}


def render(found: Mapping[str, Any]) -> str:
    """The page of a document of ``tests/support/benchmark.py``."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    environment.filters["cell"] = _cell
    [style] = re.findall(r"<style>(.*?)</style>", (_HERE / "certificate.html.j2").read_text("utf-8"), re.DOTALL)
    tables = found["tables"]
    with mpl.rc_context(_LOOK):
        plots = {
            "migration": [
                _lines(tables.get("migration", []), "way", "sales", "seconds", "Time, s", log=True),
                _lines(tables.get("migration", []), "way", "sales", "WAL, MB", "WAL, MB", log=True),
            ],
            "costs": [_lines(tables.get("costs", []), "write", "connections", "left", "Rate left, of 1 before")],
            "indexes": [
                _bars(tables.get("indexes", []), "index", "bytes a row", "Size, bytes a row"),
                _bars(tables.get("indexes", []), "index", "WAL a row", "WAL, bytes an inserted row"),
            ],
            "latency": [_latency(tables.get("latency", []), tables.get("latency steps", []))],
        }
        queries = list(_queries(tables.get("queries", [])))
    return environment.get_template("benchmark.html.j2").render(
        found=found,
        style=Markup(style),  # noqa: S704 - our own file
        plots=plots,
        queries=queries,
        steps=list(_steps(tables.get("steps", []))),
        sentences=list(_sentences(tables)),
    )


def _sentences(tables: Mapping[str, Sequence[Row]]) -> Iterable[str]:
    """What it comes to, in words with units."""
    largest = max((row["sales"] for row in tables.get("migration", [])), default=0)
    ways = {row["way"]: row for row in tables.get("migration", []) if row["sales"] == largest}
    if {"transactional", "online", "the usual way", "the limit"} <= ways.keys():
        ours, online, usual, limit = (ways[w] for w in ("transactional", "online", "the usual way", "the limit"))
        yield (
            f"With {largest:,} sales the migration takes {ours['seconds']:.1f} s in one transaction and"
            f" {online['seconds']:.1f} s online; its index builds and validations alone take {limit['seconds']:.1f} s,"
            f" and the usual way takes {usual['seconds']:.1f} s."
        )
        yield (
            f"It writes {ours['WAL, MB']:,.0f} MB of WAL, of which {limit['WAL, MB']:,.0f} MB are indexes; the usual"
            f" way writes {usual['WAL, MB']:,.0f} MB, and its tables grow by {usual['tables grown, MB']:,.0f} MB."
        )
    for layout in dict.fromkeys(row["layout"] for row in tables.get("queries", [])):
        rows = [row for row in tables["queries"] if row["layout"] == layout]
        pages = mean(row["pages now"] / max(row["pages alone"], 1) for row in rows)
        yield (
            f"With the rows {layout}, a client's query reads {pages:.1f} times the pages of one that is alone, in"
            f" {mean(row['time against alone'] for row in rows):.1f} times its time; before the migration's indexes it"
            f" took {1 / mean(row['time against before'] for row in rows):.0f} times as long (geometric means)."
        )
    left = [row for row in tables.get("costs", []) if row["connections"] == 8]
    if left:
        shares = ", ".join(f"{row['left']:.0%} ({row['write']})" for row in left)
        yield f"Of the old application's rates with 8 connections are left: {shares}."
    once = [row for row in tables.get("functions", []) if "once a statement" in row["what"]]
    if once:
        yield "A function costs " + ", ".join(f"{row['times']} times ({row['what']})" for row in once) + "."


def _steps(rows: Sequence[Row]) -> Iterable[dict[str, Any]]:
    """For each step of a run its strongest lock, and what it held and wrote at each size, side by side."""
    for run, step in dict.fromkeys((row["run"], row["step"]) for row in rows):
        own = [row for row in rows if (row["run"], row["step"]) == (run, step)]
        # At the smaller sizes what is built CONCURRENTLY is done between two looks.
        made = {"run": run, "step": step, "times": own[0]["times"], "lock on a tenant table": own[-1]["lock"]}
        for what in ("held at most, ms", "WAL, kB"):
            made |= {f"{what}: {row['sales']:,}": row[what] for row in own}
        yield made


def _queries(rows: Sequence[Row]) -> Iterable[dict[str, Any]]:
    """For each query and layout its means, its worst, and a small plot of the pages against the number of clients."""
    for layout, query in dict.fromkeys((row["layout"], row["query"]) for row in rows):
        own = [row for row in rows if (row["layout"], row["query"]) == (layout, query)]
        worst = max(own, key=lambda row: float(row["pages against alone"]))
        yield {
            "layout": layout,
            "query": query,
            "pages": round(mean(row["pages against alone"] for row in own), 2),
            "worst": f"{worst['pages now']} against {worst['pages alone']} ({worst['client']} of {worst['clients']})",
            "time": round(mean(row["time against alone"] for row in own), 2),
            "before": round(1 / mean(row["time against before"] for row in own), 1),
            "plot": _small(own, f"{query}, {layout}"),
        }


def _small(rows: Sequence[Row], name: str) -> Markup:
    """Pages against alone over the number of clients, one line a size of client; the goal is dashed."""
    figure = Figure(figsize=(1.7, 0.5))
    axes = figure.add_axes((0.02, 0.06, 0.96, 0.88))
    axes.axis("off")
    axes.axhline(1.3, color=_GREY, linewidth=0.7, linestyle="--")
    for colour, size in zip(_COLOURS, ("largest", "median", "smallest", "constant"), strict=False):
        own = [row for row in rows if row["client"] == size]
        axes.plot(
            [row["clients"] for row in own], [row["pages against alone"] for row in own],
            color=colour, marker="o", markersize=2, linewidth=1,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(0.4, 100)
    return _svg(figure, f"pages against alone by the number of clients: {name}")


def _lines(rows: Sequence[Row], group: str, x: str, y: str, title: str, log: bool = False) -> Markup:
    """One line for each value of ``group``."""
    if not rows:
        return Markup("")
    figure = Figure(figsize=(4.6, 3.3), layout="constrained")
    axes = figure.subplots()
    for number, name in enumerate(dict.fromkeys(row[group] for row in rows)):
        own = [row for row in rows if row[group] == name]
        axes.plot(
            [row[x] for row in own], [row[y] for row in own], label=name,
            color=_COLOURS[number % len(_COLOURS)], marker=_MARKS[number % len(_MARKS)], markersize=5, linewidth=1.5,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xticks(sorted({row[x] for row in rows}), [f"{each:,}" for each in sorted({row[x] for row in rows})])
    axes.minorticks_off()
    if log:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_xlabel(x)
    axes.grid(True, axis="y")
    axes.legend(fontsize=9)
    return _svg(figure, f"{title} by {x}")


def _bars(rows: Sequence[Row], name: str, value: str, title: str) -> Markup:
    """A bar for each row, the first one on top."""
    if not rows:
        return Markup("")
    figure = Figure(figsize=(4.6, 0.4 + 0.24 * len(rows)), layout="constrained")
    axes = figure.subplots()
    labels = [str(row[name]).removeprefix("idx_").replace("_client_", ": ", 1) for row in rows]
    axes.barh(labels, [row[value] for row in rows], color=_COLOURS[0])
    axes.invert_yaxis()
    axes.tick_params(axis="y", labelsize=8, length=0)
    axes.set_title(title, loc="left", fontsize=10)
    axes.grid(True, axis="x")
    return _svg(figure, title)


def _latency(rows: Sequence[Row], steps: Sequence[Row]) -> Markup:
    """The slowest statement of each moment, while the online mode is at work and around it, and where steps begin."""
    if not rows:
        return Markup("")
    figure = Figure(figsize=(10, 5), layout="constrained")
    axes, lanes = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    for number, phase in enumerate(dict.fromkeys(row["phase"] for row in rows)):
        own = [row for row in rows if row["phase"] == phase]
        axes.plot(
            [row["second"] for row in own], [row["ms at most"] for row in own], label=phase, linestyle="none",
            color=_COLOURS[number], marker=_MARKS[number], markersize=4,
        )  # fmt: skip
    axes.set_yscale("log")
    axes.set_title(
        "Slowest statement in each tenth of a second, ms; below, where each step begins", loc="left", fontsize=10
    )
    axes.grid(True, axis="y")
    axes.legend(fontsize=9)
    lanes.scatter([row["second"] for row in steps], [row["step"] for row in steps], color=_COLOURS[0], marker="|")
    lanes.invert_yaxis()
    lanes.tick_params(axis="y", labelsize=7, length=0)
    lanes.set_xlabel("seconds")
    return _svg(figure, "latency of the application's statements during an online migration")


def _svg(figure: Figure, label: str) -> Markup:
    """A figure as a part of the page, with ids of its own, and only those that something refers to."""
    out = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": label}):
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    used = set(re.findall(r"#([\w-]+)", text))
    text = re.sub(r' id="([^"]+)"', lambda found: found[0] if found[1] in used else "", text)
    described = str(Markup.escape(label))
    return Markup(text.replace("<svg", f'<svg role="img" aria-label="{described}"', 1))  # noqa: S704 - made here


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, (int, float)) else str(value)
