"""The certificate as a gate: whether these files, this server and this schema are those that were certified.

The file is a statement of in-toto about the SQL files and the runner, in a DSSE envelope where it is signed.
Without a trusted key it is a check against mistakes: whoever can change the file can change all of it.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterable, List, NoReturn, Set, Tuple

import psycopg

from phase_1.files import READ, strangers
from phase_1.findings import ERROR, WARNING, Finding
from phase_1.fingerprint import Fingerprint, difference, fingerprint
from phase_1.inventory import TABLES
from phase_1.options import Options
from phase_1.problems import Refused, UsageProblem

STATEMENT = "https://in-toto.io/Statement/v1"
TEST_RESULT = "https://in-toto.io/attestation/test-result/v0.1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
#: The version of tests/support/certificate.schema.json that this runner understands.
SCHEMA = 2

CERTIFIED = "certified"
#: What the certificate is about; the report of a staging database is a statement too, and certifies no migration.
MIGRATION = "the migration"

_SHOWN = 3  # differences in a message; the first ones say what kind of database it is

#: Properties that do not decide how the migration goes: preflight asks for the rights, and the rest is storage.
_ASIDE = {
    *("owner", "grants", "comment"),
    *("options", "toast options", "access method", "tablespace", "storage", "compression", "clustered"),
    *("statistics target", "statistics targets"),
}


@dataclass(frozen=True)
class Certificate:
    """A certificate that was read; ``trusted`` says that the signature is that of the key that was given."""

    path: str
    statement: Dict[str, Any]
    signed: bool
    trusted: bool

    @property
    def predicate(self) -> Dict[str, Any]:
        """What it says of its subject."""
        predicate: Dict[str, Any] = self.statement["predicate"]
        return predicate

    @property
    def majors(self) -> Set[int]:
        """The major versions that every claim is certified on."""
        return {_major(run["server"]) for run in self.predicate["runs"] if run["server"]}

    def schemas(self, major: int) -> List[Tuple[str, Fingerprint]]:
        """The schemas of a server version that it knows, each under a name for people."""
        return [
            (f"the variant {each['variant']}", each["schema"])
            for run in self.predicate["runs"]
            if run["server"] and _major(run["server"]) == major
            for each in run["fingerprints"]
        ] + [
            (f"the rehearsal of {each['of']}", each["schema"])
            for each in self.predicate["rehearsals"]
            if _major(each) == major
        ]


def _major(server: Dict[str, Any]) -> int:
    return int(server["version_num"]) // 10000


def files() -> Dict[str, str]:
    """What a certificate is about: the SQL files and the runner's, each with the SHA-256 of what was read of it."""
    return {name: hashlib.sha256(content).hexdigest() for name, content in READ.items()}


def trusted_key(path: str) -> Any:
    """The public key of a file in PEM. Raises UsageProblem where it is none, or the library is not there."""
    try:
        # Here, so that the runner needs no cryptography unless it is asked for.
        from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
        from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415
        from securesystemslib.exceptions import Error  # noqa: PLC0415
        from securesystemslib.signer import SSlibKey  # noqa: PLC0415
    except ImportError:
        raise UsageProblem(
            "--trusted-key needs securesystemslib. What to do: pip install 'securesystemslib[crypto]'"
        ) from None
    try:
        return SSlibKey.from_crypto(load_pem_public_key(Path(path).read_bytes()))
    except OSError as error:
        raise UsageProblem(f"--trusted-key {path}: {error.strerror}") from None
    except (ValueError, TypeError, UnsupportedAlgorithm, Error):
        raise UsageProblem(f"--trusted-key {path}: is no public key in PEM") from None


def read(path: str, key: Any = None) -> Certificate:
    """The certificate in a file; with a key, whatever it says is what the owner of that key has signed.

    Raises UsageProblem for what is no certificate, and Refused where the signature is missing or wrong.
    """
    try:
        content = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise UsageProblem(f"--certificate {path}: {error.strerror}") from None
    except ValueError:  # no JSON, or no UTF-8
        raise UsageProblem(f"--certificate {path}: is no JSON, or not all of it is there") from None
    signed = isinstance(content, dict) and "payload" in content
    if signed and content.get("payloadType") != PAYLOAD_TYPE:
        _no_certificate(path, f"its payload is {content.get('payloadType')!r}, not {PAYLOAD_TYPE!r}")
    if key is not None and not signed:
        raise Refused(
            f"the certificate {path} is UNSIGNED, and --trusted-key asks for a signature. Nothing was touched."
        )
    try:
        payload = _verified(path, content, key) if key is not None else _payload(content) if signed else None
        statement = content if payload is None else json.loads(payload)
        made = Certificate(path, statement, signed, key is not None)
        _require_shape(path, made)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        _no_certificate(path, f"it cannot be read as one ({type(error).__name__}: {error})")
    return made


def _no_certificate(path: str, why: str) -> NoReturn:
    raise UsageProblem(f"--certificate {path}: is no certificate that this runner understands: {why}")


def _payload(envelope: Dict[str, Any]) -> bytes:
    return base64.b64decode(envelope["payload"], validate=True)


def _verified(path: str, envelope: Dict[str, Any], key: Any) -> bytes:
    """The bytes that were signed with this key: those are read, and no other ones."""
    from securesystemslib.dsse import Envelope  # noqa: PLC0415 - as in trusted_key
    from securesystemslib.exceptions import Error  # noqa: PLC0415

    try:
        opened = Envelope.from_dict(json.loads(json.dumps(envelope)))  # it changes what it is given
        opened.verify([key], 1)
    except (Error, ValueError, KeyError, TypeError, AttributeError):
        _refuse(path, "is not signed with the trusted key, or says something else than what was signed")
    return bytes(opened.payload)


def _require_shape(path: str, made: Certificate) -> None:
    """Asks for what is read later on; the suite checks all of it against the schema before it writes."""
    statement = made.statement
    if not isinstance(statement, dict) or (statement.get("_type"), statement.get("predicateType")) != (
        STATEMENT,
        TEST_RESULT,
    ):
        _no_certificate(path, "it is no statement of in-toto about a test result")
    predicate = made.predicate
    if predicate.get("schema") != SCHEMA:
        _no_certificate(path, f"it is of version {predicate.get('schema')!r}, and this runner reads {SCHEMA}")
    # Whatever is asked for later on is touched here, so that a file that lacks it is found now.
    _ = predicate["about"], _subject(made), _contradictions(predicate), [made.schemas(major) for major in made.majors]


def _subject(certificate: Certificate) -> Dict[str, str]:
    return {str(each["name"]): str(each["digest"]["sha256"]) for each in certificate.statement["subject"]}


def require(certificate: Certificate) -> None:
    """Raises Refused unless the certificate certifies exactly the files that are about to be used.

    UsageProblem where it is about something else than the migration.
    """
    predicate = certificate.predicate
    if predicate["about"] != MIGRATION:
        _no_certificate(certificate.path, f"it is about {predicate['about']}, not about {MIGRATION}")
    if predicate["verdict"] != CERTIFIED:
        why = "; ".join(map(str, predicate["reasons"])) or "without a reason"
        _refuse(certificate.path, f"says {predicate['verdict']!r}: {why}")
    against = _contradictions(predicate)
    if against:
        _refuse(certificate.path, f"contradicts itself: {'; '.join(against)}")
    there, certified = files(), _subject(certificate)
    told = {
        "changed since": [name for name in there if name in certified and there[name] != certified[name]],
        "missing": [name for name in certified if name not in there],
        "new since": [name for name in there if name not in certified],
    }
    if any(told.values()):
        which = "; ".join(f"{what}: {', '.join(names)}" for what, names in told.items() if names)
        _refuse(certificate.path, f"is about other files than these: {which}")
    others = strangers()
    if others:
        _refuse(
            certificate.path,
            f"does not cover {', '.join(others)}, and Python could import that instead of what it covers. "
            "What to do: remove it",
        )


def _refuse(path: str, what: str) -> NoReturn:
    raise Refused(f"refused: the certificate {path} {what}. Nothing was touched.") from None


def _contradictions(predicate: Dict[str, Any]) -> List[str]:
    """What in a certificate speaks against its verdict: nobody who only turns the verdict gets through."""
    claims, runs = predicate["claims"], predicate["runs"]
    names = [each["id"] for each in claims]
    against = [f"{each['id']} is {each['status']}" for each in claims if each["status"] != CERTIFIED]
    for number, run in enumerate(runs):
        missing = [
            each["id"]
            for each in claims
            if [its["status"] for its in each["runs"] if its["run"] == number] != [CERTIFIED]
        ]
        if run["verdict"] != CERTIFIED or missing:
            what = f"not certified on {(run['server'] or {}).get('version', 'any server')}"
            against.append(f"{what}: {', '.join(missing)}" if missing else what)
    if names != predicate["passedTests"] or predicate["failedTests"]:
        against.append("the claims are not those that passed")
    if predicate["result"] != "PASSED" or predicate["reasons"]:
        against.append(f"the result is {predicate['result']}")
    if not claims or not runs:
        against.append("nothing was certified")
    return against


def application(found: Fingerprint, tables: Iterable[str]) -> Fingerprint:
    """The part of a schema that decides how the migration goes, the same before, during and after it.

    These are the tables of ``public`` that get a client, with their columns, constraints, indexes, triggers,
    policies and rules, and the event triggers, which see every DDL. Other tables, views and functions are the
    deployment's own affair. What Phase 1 adds is left out by its names, so that a run that goes on, and a
    rollback, are measured against the same; what preflight asks itself, owners and grants, is left out too.
    """
    names = tuple(f"table public.{table}" for table in tables)
    added = {f"index public.{index.name}" for table in TABLES for index in table.indexes}
    kept = {}
    for name, properties in found.items():
        owner, _, part = name.partition(": ")
        mine = owner in names or f"table {properties.get('table')}" in names or name.startswith("event trigger ")
        ours = (
            name in added
            or part == "column client_id"
            or part.startswith(("policy phase_1_", "constraint phase_1_"))
            or str(properties.get("definition", "")).startswith("FOREIGN KEY (client_id)")
        )
        if mine and not ours:
            kept[name] = {key: value for key, value in properties.items() if key not in _ASIDE}
    return kept


def compare(connection: psycopg.Connection[Any], certificate: Certificate, options: Options) -> List[Finding]:
    """What of the server and its schema was not certified, for a transaction that ``begin_reading`` started.

    A schema matches when its :func:`application` equals that of a variant or a rehearsal on the same major
    version: another one writes its catalog differently. Another schema is a warning, with ``--strict`` an error.
    """
    major = connection.info.server_version // 10000
    if major not in certificate.majors:
        certified = ", ".join(map(str, sorted(certificate.majors)))
        return [
            Finding(
                "server_is_certified",
                ERROR,
                f"PostgreSQL {major}",
                f"is not among the versions of the certificate, {certified}",
                f"certify it: pytest --certify --pg {major}, or tox -e certify-matrix",
            )
        ]
    tables = [table.name for table in TABLES if table.name not in options.skipped_tables]
    here = application(fingerprint(connection), tables)
    differences = [
        (difference(application(schema, tables), here, ("certificate", "database")), name)
        for name, schema in certificate.schemas(major)
    ]
    lines, nearest = min(differences, key=lambda each: len(each[0]), default=(["it knows no schema at all"], "none"))
    if not lines:
        return []
    more = f"; and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
    return [
        Finding(
            "schema_is_certified",
            ERROR if options.strict else WARNING,
            "schema public",
            "matches no certified variant and no rehearsal. The nearest is "
            f"{nearest}: {'; '.join(lines[:_SHOWN])}{more}",
            "rehearse it: pytest -m staging --add-to-certificate FILE, on a database with the same schema",
        )
    ]
