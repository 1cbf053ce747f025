"""The certificate as a document: what follows from the results, merging of runs, JSON and HTML."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib import metadata
from itertools import groupby
from pathlib import Path
from typing import Any

import jinja2
import jsonschema

from tests.claims import Claim, section_title

CERTIFIED, NOT_CERTIFIED = "certified", "not certified"
PASSED, FAILED, SKIPPED, XFAILED = "passed", "failed", "skipped", "xfailed"
NOT_APPLICABLE, DESELECTED, NOT_RUN = "not applicable", "deselected", "not run"

ROOT = Path(__file__).resolve().parents[2]
_HERE = Path(__file__).resolve().parent

Document = dict[str, Any]


class CertificateError(Exception):
    """The certificate cannot be written or merged; the message says why."""


@dataclass
class TestResult:
    """A test that certifies something, and what became of it."""

    __test__ = False  # not a test, whatever its name says

    nodeid: str
    claims: list[str]
    outcome: str = NOT_RUN
    seconds: float = 0.0
    evidence: list[dict[str, Any]] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The test as it stands in the document."""
        return {
            "nodeid": self.nodeid,
            "outcome": self.outcome,
            "seconds": round(self.seconds, 3),
            "evidence": self.evidence,
        }


def plain(value: Any) -> Any:
    """The value as JSON can hold it: sets as lists, and what JSON does not know as text.

    Raises ValueError for a figure that is no number, and TypeError for a key that is no name.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain)
    # Half of a surrogate pair, as in the output of a program, can neither be sent by a worker nor written.
    return json.loads(text.encode("utf-8", "replace"))


def _plain(value: Any) -> Any:
    return sorted(value, key=str) if isinstance(value, (set, frozenset)) else str(value)


def judge(results: Sequence[TestResult]) -> tuple[str, str]:
    """Whether the tests of a claim certify it, and why not.

    It takes one test that passed, and none that did anything else; one that does not apply to the version
    of the server is left aside.
    """
    if not results:
        return NOT_CERTIFIED, "no test certifies it"
    counts = Counter(result.outcome for result in results)
    bad = {outcome: number for outcome, number in counts.items() if outcome not in (PASSED, NOT_APPLICABLE)}
    if bad:
        return NOT_CERTIFIED, ", ".join(f"{number} {_tests(number)} {outcome}" for outcome, number in bad.items())
    if not counts[PASSED]:
        return NOT_CERTIFIED, "none of its tests applies to this server"
    return CERTIFIED, ""


def _tests(number: int) -> str:
    return "test" if number == 1 else "tests"


def document(
    claims: Iterable[Claim],
    results: Sequence[TestResult],
    *,
    server: Mapping[str, Any] | None,
    seconds: float,
    reasons: Sequence[str],
    totals: Mapping[str, int],
    not_applicable: Mapping[str, str] | None = None,
) -> Document:
    """The certificate of one run. ``reasons`` are what speaks against it beyond the claims.

    ``not_applicable`` says of claims why the run has nothing to do with them; they speak neither for nor against.
    """
    aside = not_applicable or {}
    judged = []
    for claim in claims:
        own = [result for result in results if claim.id in result.claims and claim.id not in aside]
        status, reason = (NOT_APPLICABLE, aside[claim.id]) if claim.id in aside else judge(own)
        run = {"run": 0, "status": status, "reason": reason, "tests": [result.as_dict() for result in own]}
        judged.append({**vars(claim), "status": status, "reason": reason, "runs": [run]})
    against = list(reasons)
    missing = sum(claim["status"] == NOT_CERTIFIED for claim in judged)
    if missing:
        against.append(f"{missing} of {len(judged) - len(aside)} claims are not certified")
    if len(judged) == len(aside):
        against.append("there is no claim to certify")
    if server is None:
        against.append("no test asked for a server")
    verdict = NOT_CERTIFIED if against else CERTIFIED
    run_of_it = {
        "server": dict(server) if server else None,
        "verdict": verdict,
        "reasons": against,
        "seconds": round(seconds, 1),
        "totals": dict(totals),
    }
    return {
        "schema": 1,
        "verdict": verdict,
        "reasons": against,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "git": git(),
        "subject": subject(),
        "tools": tools(),
        "runs": [run_of_it],
        "claims": judged,
    }


def merge(documents: Sequence[Document]) -> Document:
    """One certificate of several runs, in the order of their server versions.

    Raises CertificateError if they are not about the same files.
    """
    ordered = sorted(documents, key=lambda each: (each["runs"][0]["server"] or {}).get("version_num", 0))
    if len({json.dumps(each["subject"], sort_keys=True) for each in ordered}) != 1:
        raise CertificateError("the runs are not about the same files: certify all versions again")
    merged = dict(ordered[0])
    merged["created"] = max(each["created"] for each in ordered)
    merged["runs"] = [each["runs"][0] for each in ordered]
    merged["claims"] = []
    for position, claim in enumerate(ordered[0]["claims"]):
        runs = [{**each["claims"][position]["runs"][0], "run": number} for number, each in enumerate(ordered)]
        against = [
            f"{server_name(ordered[run['run']]['runs'][0]['server'])}: {run['reason']}"
            for run in runs
            if run["status"] != CERTIFIED
        ]
        status = NOT_CERTIFIED if against else CERTIFIED
        merged["claims"].append({**claim, "status": status, "reason": "; ".join(against), "runs": runs})
    merged["reasons"] = [
        f"{server_name(each['runs'][0]['server'])}: {reason}" for each in ordered for reason in each["reasons"]
    ]
    merged["verdict"] = NOT_CERTIFIED if merged["reasons"] else CERTIFIED
    return merged


def server_name(server: Mapping[str, Any] | None) -> str:
    """The server in a few words."""
    return f"PostgreSQL {server['version']}" if server else "no server"


def subject() -> list[dict[str, str]]:
    """The files that the certificate is about, with their SHA-256."""
    files = [*sorted((ROOT / "sql").glob("*.sql")), ROOT / "migrate.py", *sorted((ROOT / "phase_1").glob("*.py"))]
    return [
        {"name": str(path.relative_to(ROOT)), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()} for path in files
    ]


def git() -> dict[str, Any] | None:
    """The commit and whether the tree differs from it; None outside of a repository of the project's own."""
    try:
        top, commit = subprocess.run(
            ["git", "rev-parse", "--show-toplevel", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.splitlines()
        if Path(top).resolve() != ROOT:
            return None  # unpacked inside another repository, whose commit says nothing of these files
        status = subprocess.run(
            ["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"commit": commit, "dirty": bool(status.strip())}


def tools() -> dict[str, str]:
    """The versions of what made the certificate."""
    versions = {"python": platform.python_version(), "platform": platform.platform()}
    for name in ("pytest", "psycopg", "hypothesis", "testcontainers"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def render(certificate: Document) -> str:
    """The certificate as a page that needs nothing but itself."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    environment.filters["pretty"] = _pretty
    environment.filters["cell"] = _cell
    environment.tests["records"] = _is_records
    environment.filters["columns"] = _columns
    sections = [
        {"title": title, "claims": list(claims)}
        for title, claims in groupby(certificate["claims"], key=lambda claim: section_title(claim["section"]))
    ]
    return environment.get_template("certificate.html.j2").render(
        certificate=certificate, sections=sections, server_name=server_name
    )


def _pretty(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False, default=str)


def _cell(value: Any) -> str:
    """A value in a table: a list of words reads as words."""
    if isinstance(value, list) and not any(isinstance(each, (dict, list)) for each in value):
        return ", ".join(_pretty(each) for each in value)
    return _pretty(value)


def _is_records(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) and row for row in value)


def _columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The columns of all rows, in the order in which they first come: not every row need have each."""
    return list(dict.fromkeys(name for row in rows for name in row))


def write(certificate: Document, directory: Path, name: str = "certificate") -> list[Path]:
    """Writes ``<name>.json`` and ``<name>.html``: both whole, or neither.

    Raises CertificateError with the reason if they cannot be written.
    """
    schema = json.loads((_HERE / "certificate.schema.json").read_text(encoding="utf-8"))
    try:
        jsonschema.validate(certificate, schema)
        contents = {
            f"{name}.json": json.dumps(certificate, indent=2, ensure_ascii=False, allow_nan=False) + "\n",
            f"{name}.html": render(certificate),
        }
    except jsonschema.ValidationError as error:
        raise CertificateError(
            f"the certificate does not fit its schema: {error.json_path}: {error.message}"
        ) from error
    except (jinja2.TemplateError, TypeError, ValueError) as error:
        raise CertificateError(f"the certificate could not be rendered: {error}") from error
    temporary: dict[Path, Path] = {}
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for file_name, text in contents.items():
            with tempfile.NamedTemporaryFile(
                "w", dir=directory, prefix=f".{file_name}.", delete=False, encoding="utf-8"
            ) as file:
                temporary[Path(file.name)] = directory / file_name
                file.write(text)
        for written, final in temporary.items():
            written.chmod(0o644)  # a temporary file is its owner's alone
            os.replace(written, final)
    except (OSError, UnicodeError) as error:
        for path in (*temporary, *(final for final in temporary.values() if final.is_file())):
            path.unlink(missing_ok=True)
        why = getattr(error, "strerror", None) or error
        raise CertificateError(f"the certificate could not be written to {directory}: {why}") from error
    return list(temporary.values())


def remove(directory: Path, name: str = "certificate") -> None:
    """Removes an old certificate: it must not stand for a run that is yet to end.

    Raises CertificateError if it cannot be removed, or a new one could not be written: better now than after
    the run.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise CertificateError(f"no certificate can be written to {directory}: {error.strerror}") from error
    for old in (directory / f"{name}.json", directory / f"{name}.html"):
        try:
            old.unlink(missing_ok=True)
        except OSError as error:
            raise CertificateError(f"the old {old} cannot be removed: {error.strerror}") from error
