"""The certificate as a document: what follows from the results, merging of runs, JSON and HTML."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib import metadata
from itertools import groupby
from pathlib import Path
from typing import Any

import jinja2
import jsonschema
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from markupsafe import Markup
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import Error as SigningError
from securesystemslib.signer import CryptoSigner, SSlibKey

from phase_1 import certificate as gate
from phase_1.certificate import MIGRATION, PAYLOAD_TYPE, SCHEMA, STATEMENT, TEST_RESULT, files
from phase_1.problems import Problem
from phase_1.shown import each_text, printable
from tests.claims import Claim, section_title

CERTIFIED, NOT_CERTIFIED = gate.CERTIFIED, "not certified"
PASSED, FAILED, SKIPPED, XFAILED = "passed", "failed", "skipped", "xfailed"
NOT_APPLICABLE, DESELECTED, NOT_RUN = "not applicable", "deselected", "not run"

ROOT = Path(__file__).resolve().parents[2]
_HERE = Path(__file__).resolve().parent

#: What the report of ``pytest -m staging`` is about.
STAGING = "a staging database"

#: Reports that a certificate takes in, if they are about the same files: reports/<name>.json.
_TAKEN_IN = ("controls", "mutants", "python_mutants")
#: What is left in another report: a list of thousands, of which the report has the figures too.
_LEFT_OUT = ("mutants",)

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
    fingerprints: list[dict[str, Any]] = field(default_factory=list)

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


def shown(value: Any) -> Any:
    """A piece of evidence as people may see it: each text in it is printable; one on its own may have several lines."""
    return _lines(value) if isinstance(value, str) else each_text(value, printable)


def _lines(value: Any) -> Any:
    """A text with each of its lines printable; what is no text, or is markup already, as it is."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return "\n".join(map(printable, value.split("\n")))


def as_json(value: Any, indent: int = 2) -> str:
    """JSON in which a character that is not printable is an escape: the value is the same, and the file can be read."""
    text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    # Outside of its strings JSON has no such character but the line feed. Half of a surrogate pair is no text.
    kept = re.compile("[\n\ud800-\udfff]")
    return "".join(each if each.isprintable() or kept.match(each) else json.dumps(each)[1:-1] for each in text)


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


def uncontrolled(claim: str, controlled: Collection[str], report: Any) -> str:
    """What the controls say against a claim: that there is none of it, or what is wrong with those that were run."""
    if claim not in controlled:
        return "no control shows that its tests can fail"
    rows = [] if report == NOT_RUN else report["controls"]
    bad = [row for row in rows if row["claim"] == claim and row["problem"]]
    return "; ".join(f"control “{row['sabotage']}”: {row['problem']}" for row in bad)


def document(
    claims: Iterable[Claim],
    results: Sequence[TestResult],
    *,
    server: Mapping[str, Any] | None,
    seconds: float,
    reasons: Sequence[str],
    totals: Mapping[str, int],
    controlled: Collection[str],
    not_applicable: Mapping[str, str] | None = None,
    about: str = MIGRATION,
) -> Document:
    """The certificate of one run. ``reasons`` are what speaks against it beyond the claims.

    ``controlled`` are the claims that have a control; no other claim about the migration is certified.
    ``not_applicable`` says of claims why the run has nothing to do with them; they speak neither for nor against.
    ``about`` is what the claims are about: nobody takes staging's report for a certificate of the migration.
    """
    aside = not_applicable or {}
    others: Document = dict.fromkeys(_TAKEN_IN, NOT_RUN)
    if about == MIGRATION:
        others = {name: taken_in(ROOT / "reports" / f"{name}.json") for name in _TAKEN_IN}
    judged = []
    for claim in claims:
        own = [result for result in results if claim.id in result.claims and claim.id not in aside]
        status, reason = (NOT_APPLICABLE, aside[claim.id]) if claim.id in aside else judge(own)
        if about == MIGRATION and status == CERTIFIED:
            reason = uncontrolled(claim.id, controlled, others["controls"])
            status = NOT_CERTIFIED if reason else CERTIFIED
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
        "fingerprints": [each for result in results if result.outcome == PASSED for each in result.fingerprints],
    }
    return {
        "schema": SCHEMA,
        "about": about,
        "verdict": verdict,
        "reasons": against,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "git": git(),
        "subject": subject(),
        "suite": suite(),
        "tools": tools(),
        "runs": [run_of_it],
        "claims": judged,
        "rehearsals": [],
        **others,
    }


def taken_in(path: Path) -> Any:
    """What another report says, without what it is about; ``not run`` where there is none about the same files.

    Such a report is an object with the ``subject`` and the ``suite`` of this module; the rest is its own.
    """
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return NOT_RUN
    if not isinstance(report, dict) or (report.pop("subject", None), report.pop("suite", None)) != (subject(), suite()):
        return NOT_RUN
    return {key: value for key, value in report.items() if key not in _LEFT_OUT}


def merge(documents: Sequence[Document]) -> Document:
    """One certificate of several runs, in the order of their server versions.

    Raises CertificateError if they are not about the same files.
    """
    ordered = sorted(documents, key=lambda each: (each["runs"][0]["server"] or {}).get("version_num", 0))
    if len({json.dumps([each["subject"], each["suite"]], sort_keys=True) for each in ordered}) != 1:
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
    return [{"name": name, "sha256": digest} for name, digest in files().items()]


def suite() -> str:
    """One SHA-256 over the files of the suite: what ``sha256sum`` prints of them, in the order of their names."""
    found = [*(ROOT / "tests").rglob("*"), ROOT / "conftest.py", ROOT / "pyproject.toml"]
    lines = sorted(
        (path.relative_to(ROOT).as_posix(), hashlib.sha256(path.read_bytes()).hexdigest())
        for path in found
        if path.is_file() and "__pycache__" not in path.parts
    )
    return hashlib.sha256("".join(f"{digest}  {name}\n" for name, digest in lines).encode()).hexdigest()


def statement(certificate: Document) -> Document:
    """The certificate as a statement of in-toto about the result of a test; a claim is what it calls a test."""
    claims = certificate["claims"]
    return {
        "_type": STATEMENT,
        "subject": [{"name": each["name"], "digest": {"sha256": each["sha256"]}} for each in certificate["subject"]],
        "predicateType": TEST_RESULT,
        "predicate": {
            "result": "PASSED" if certificate["verdict"] == CERTIFIED else "FAILED",
            "configuration": [{"name": "tests", "digest": {"sha256": certificate["suite"]}}],
            "passedTests": [each["id"] for each in claims if each["status"] == CERTIFIED],
            "failedTests": [each["id"] for each in claims if each["status"] == NOT_CERTIFIED],
            **{name: value for name, value in certificate.items() if name not in ("subject", "suite")},
        },
    }


def of_statement(made: Document) -> Document:
    """The certificate that a statement was made of."""
    derived = ("result", "configuration", "passedTests", "failedTests")
    predicate = made["predicate"]
    return {
        **{name: value for name, value in predicate.items() if name not in derived},
        "subject": [{"name": each["name"], "sha256": each["digest"]["sha256"]} for each in made["subject"]],
        "suite": predicate["configuration"][0]["digest"]["sha256"],
    }


class Key:
    """A private key that certificates are signed with, in PEM and without a passphrase: ed25519, ECDSA or RSA.

    Raises CertificateError if it is none.
    """

    def __init__(self, pem: bytes) -> None:
        try:
            self._signer = CryptoSigner(load_pem_private_key(pem, None))
        except (ValueError, TypeError, UnsupportedAlgorithm, SigningError) as error:
            raise CertificateError("is no private key in PEM without a passphrase") from error

    @property
    def public(self) -> SSlibKey:
        """What the signatures are checked with."""
        return self._signer.public_key

    @property
    def id(self) -> str:
        """The name of the key: a digest of its public half."""
        return self.public.keyid

    def envelope(self, payload: bytes) -> Document:
        """The payload in an envelope that is signed."""
        made = Envelope(payload, PAYLOAD_TYPE, {})
        made.sign(self._signer)
        envelope: Document = made.to_dict()
        return envelope


def signed_by(key: Key | None) -> str:
    """Whether a certificate is signed, in a line."""
    return f"signed: with the key {key.id}" if key else "UNSIGNED: whoever can change the file can change the verdict"


def read(path: Path, key: Key | None = None) -> Document:
    """The certificate in a file that :func:`write` has written, signed or not; with a key, signed by it.

    Raises CertificateError if it is none.
    """
    try:
        made = gate.read(str(path), key.public if key else None).statement
        jsonschema.validate(made, _schema())
    except (Problem, jsonschema.ValidationError) as error:
        why = error.message if isinstance(error, jsonschema.ValidationError) else str(error)
        raise CertificateError(why) from error
    return of_statement(made)


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
    for name in ("pytest", "psycopg", "hypothesis", "testcontainers", "securesystemslib", "cryptography"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def render(certificate: Document, key: Key | None = None, *, measured: bool = False) -> str:
    """The certificate as a page that needs nothing but itself; it says with what key the JSON is signed.

    ``measured``: a ``benchmark.html`` is beside it.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        finalize=_lines,
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
        certificate=certificate,
        sections=sections,
        server_name=server_name,
        signed=signed_by(key),
        measured=measured,
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


def _schema() -> Document:
    schema: Document = json.loads((_HERE / "certificate.schema.json").read_text(encoding="utf-8"))
    return schema


def write(certificate: Document, directory: Path, name: str = "certificate", key: Key | None = None) -> list[Path]:
    """Writes ``<name>.json``, with a key in an envelope that is signed, and ``<name>.html``: both whole, or neither.

    Raises CertificateError with the reason if they cannot be written.
    """
    try:
        made = statement(certificate)
        jsonschema.validate(made, _schema())
        text = as_json(made) + "\n"
        contents = {
            f"{name}.json": json.dumps(key.envelope(text.encode()), indent=2) + "\n" if key else text,
            f"{name}.html": render(certificate, key, measured=(directory / "benchmark.html").is_file()),
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
