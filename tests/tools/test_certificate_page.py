"""The certificate in a real browser: ``pytest -m browser``, where Chromium is installed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.claims import CLAIMS
from tests.support.certificate import TestResult, document, render

pytestmark = pytest.mark.browser

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")

# What a person sees is asked of the browser itself: colours as computed, texts as laid out.
_PROBE = """
<script>
addEventListener("load", () => {
  const box = element => element.getBoundingClientRect();
  const seen = [...document.querySelectorAll("details.claim")].map(claim => ({
    id: claim.id,
    status: claim.querySelector(".status").innerText,
    colour: getComputedStyle(claim.querySelector(".status")).color,
    summary: claim.querySelector("summary").innerText,
    open: claim.open,
    focusable: claim.querySelector("summary").tabIndex === 0,
  }));
  const report = document.createElement("pre");
  report.id = "probe";
  report.textContent = JSON.stringify({
    claims: seen,
    verdict: document.querySelector(".word").innerText,
    background: getComputedStyle(document.body).backgroundColor,
    ink: getComputedStyle(document.body).color,
    overflow: document.documentElement.scrollWidth - innerWidth,
    headings: [...document.querySelectorAll("h1, h2")].map(heading => heading.tagName),
    captions: [...document.querySelectorAll("table")].every(table => table.caption || table.closest(".claim")),
    top: box(document.querySelector(".verdict")).top,
  });
  document.body.append(report);
});
</script>
"""


@dataclass(frozen=True)
class Page:
    """A page as a browser shows it, and what it wrote to its console."""

    probe: dict[str, Any]
    console: list[str]


def _browser() -> str:
    found = next((path for name in _BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.fail(f"there is no browser: install one of {', '.join(_BROWSERS)}, or leave out -m browser")
    return found


def _open(html: str, *, width: int = 1100, dark: bool = False) -> Page:
    with tempfile.TemporaryDirectory() as directory:
        page = Path(directory, "certificate.html")
        page.write_text(html.replace("</body>", f"{_PROBE}</body>"), encoding="utf-8")
        options = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-first-run",
            f"--user-data-dir={directory}/profile",
            f"--window-size={width},900",
            "--enable-logging=stderr",
            *(["--blink-settings=preferredColorScheme=0"] if dark else ["--blink-settings=preferredColorScheme=1"]),
        ]
        done = subprocess.run(
            [_browser(), *options, "--dump-dom", page.as_uri()], capture_output=True, text=True, check=True, timeout=60
        )
    [found] = re.findall(r'<pre id="probe">(.*?)</pre>', done.stdout, re.DOTALL)
    unescaped = found.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    return Page(json.loads(unescaped), [line for line in done.stderr.splitlines() if "CONSOLE" in line])


def _certificate(failing: str | None) -> str:
    results = [
        TestResult(
            f"tests/test_it.py::test_{claim.id}",
            [claim.id],
            "failed" if claim.id == failing else "passed",
            evidence=[{"title": "a plan", "value": "Index Scan " * 40}, {"title": "rows", "value": [{"a": 1}]}],
        )
        for claim in CLAIMS
    ]
    server = {"kind": "embedded", "version": "18.4", "version_num": 180004, "image": None}
    ids = [claim.id for claim in CLAIMS]
    made = document(CLAIMS, results, server=server, seconds=1.0, reasons=[], totals={}, controlled=ids)
    survivor = {"file": "phase_1/apply.py", "line": 7, "text": "> into >= " * 20, "why": "no test executes it"}
    made["controls"] = {"controls": [{"claim": each, "sabotage": "a lock is held", "says": "60 s"} for each in ids]}
    made["mutants"] = {"score": 0.99, "killed": 99, "survived": [survivor], "equivalent": [survivor], "of": 1500}
    made["python_mutants"] = {"score": 1.0, "killed": 4, "survived": [], "equivalent": [], "of": 3000}
    return render(made)


def _is_red(colour: str) -> bool:
    red, green, blue = map(int, re.findall(r"\d+", colour)[:3])
    return red > green + 60 and red > blue + 60


def _brightness(colour: str) -> float:
    return sum(map(int, re.findall(r"\d+", colour)[:3])) / 3


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_page_shows_every_claim_and_marks_the_failing_one(dark: bool) -> None:
    """Every claim is on the page; the one that fails is red, says so in words, and stands open.

    Who gates a release looks at colours, and who cannot see them reads.
    """
    page = _open(_certificate("writes-pinned"), dark=dark)
    assert page.console == []
    claims = {claim["id"]: claim for claim in page.probe["claims"]}
    assert list(claims) == [claim.id for claim in CLAIMS]
    failing = claims.pop("writes-pinned")
    assert _is_red(failing["colour"])
    assert "not certified" in failing["status"]
    assert "1 test failed" in failing["summary"]
    assert failing["open"]
    assert not any(_is_red(claim["colour"]) or "not" in claim["status"] or claim["open"] for claim in claims.values())
    assert page.probe["verdict"] == "✗ Not certified"
    assert (_brightness(page.probe["background"]) < 60) is dark
    assert abs(_brightness(page.probe["background"]) - _brightness(page.probe["ink"])) > 150


def test_page_fits_a_phone_and_can_be_read_without_a_mouse() -> None:
    """On a phone nothing runs over the edge; headings and captions are there, and summaries take the focus.

    The certificate is opened where the person on call is.
    """
    page = _open(_certificate(None), width=500)
    assert page.probe["verdict"] == "✓ Certified"
    assert page.probe["overflow"] <= 0
    assert page.probe["headings"][0] == "H1"
    assert page.probe["captions"]
    assert all(claim["focusable"] for claim in page.probe["claims"])
