"""``migrate.py --certificate``: what was certified gets through, and what was tampered with does not."""

from __future__ import annotations

import base64
import json
import marshal
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import closing
from copy import deepcopy
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import MAGIC_NUMBER, cache_from_source
from pathlib import Path
from typing import Any

import pytest

from phase_1.certificate import application
from phase_1.fingerprint import Fingerprint, difference, fingerprint, sha256
from phase_1.inventory import TABLES
from phase_1.problems import DONE, FAILED, REFUSED, USAGE
from tests.application.load import VARIANTS
from tests.claims import Claim
from tests.plugins.certificate import Evidence
from tests.plugins.database import Database, Templates
from tests.support.certificate import PASSED, STAGING, Document, TestResult, document, statement
from tests.support.keys import Keys, make_keys
from tests.support.runner import Run, at_a_terminal, copied, run, start, without_python

_TABLES = [table.name for table in TABLES]
_PATIENCE = 60.0  # seconds for a run as a program of its own; it takes one


def _catalog(templates: Templates, kind: str) -> Fingerprint:
    database = templates.clone(kind)
    with closing(database.connect()) as connection:
        found = fingerprint(connection, exclude=["public.migration_log"])
    database.drop()
    return found


@pytest.mark.claim("schema-is-known")
def test_schema_of_a_variant_is_the_same_part_before_and_after(
    templates: Templates,
    variant: str,
    keep_fingerprints: Callable[[str, Fingerprint, Fingerprint], None],
    evidence: Evidence,
) -> None:
    """The part of the schema that the gate compares is the same before and after the migration, and not empty.

    A run that goes on, and a rollback, would be refused for what the migration itself has added.
    """
    before, after = _catalog(templates, variant), _catalog(templates, f"{variant}-migrated")
    keep_fingerprints(variant, before, after)
    part = application(before, _TABLES)
    assert difference(part, application(after, _TABLES)) == []
    assert [name for name in _TABLES if f"table public.{name}" not in part] == []
    evidence("objects that the gate compares", len(part))


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Keys, Keys]:
    """The key that is trusted, and one that is not."""
    directory = tmp_path_factory.mktemp("keys")
    return make_keys(directory, "trusted"), make_keys(directory, "other")


@pytest.fixture(scope="module")
def certified(templates: Templates) -> Document:
    """A certificate of both variants on this server, as a run of the suite makes it, of three claims."""
    claims = [Claim(name, "It holds.", "2.1") for name in ("first", "second", "third")]
    results = [TestResult(f"test_it.py::test_{claim.id}", [claim.id], PASSED) for claim in claims]
    for variant in VARIANTS:
        before, after = _catalog(templates, variant), _catalog(templates, f"{variant}-migrated")
        results[0].fingerprints.append(
            {
                "variant": variant,
                "before": sha256(before),
                "after": sha256(after),
                "schema": application(before, _TABLES),
            }
        )
    server = {"kind": "embedded", "version": str(templates.server.major), "version_num": templates.server.major * 10000}
    ids = [claim.id for claim in claims]
    return document(claims, results, server=server, seconds=1.0, reasons=[], totals={"passed": 3}, controlled=ids)


@pytest.fixture(scope="module")
def untouched(templates: Templates) -> Iterator[Database]:
    """A database that nobody gets to migrate."""
    made = templates.clone("deployed-tiny")
    yield made
    made.drop()


def _write(path: Path, content: Any) -> str:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def _payload(made: Document) -> str:
    return base64.b64encode(json.dumps(made).encode()).decode()


@pytest.mark.claim("certificate-gates")
def test_certified_schema_gets_through_all_the_way(
    templates: Templates, variant: str, certified: Document, keys: tuple[Keys, Keys], tmp_path: Path
) -> None:
    """With its certificate a database is migrated, found done, taken back, and never warned about.

    A gate that stops what is certified is taken off its hinges.
    """
    signed = _write(tmp_path / "signed.json", keys[0].key.envelope(json.dumps(statement(certified)).encode()))
    database = templates.clone(variant)
    gate = ("--certificate", signed, "--trusted-key", keys[0].public, "--strict", "--json", "--force")
    for arguments in ((), (), ("--rollback",), ("--online",), ("--rollback", "--online")):
        ended = run("--dsn", database.owner_dsn, *gate, *arguments)
        assert ended.status == DONE, (arguments, ended.err)
        assert ended.of("schema_is_certified") == []
        assert "UNSIGNED" not in ended.err
    database.drop()


@pytest.mark.claim("schema-is-known")
def test_schema_that_was_not_certified_is_named_by_what_differs(
    templates: Templates, variant: str, certified: Document, tmp_path: Path
) -> None:
    """An index more on a tenant table is a warning that names it, and with --strict the run is refused.

    A deployment that nobody has tried the migration on passes for one of those that somebody has.
    """
    file = _write(tmp_path / "certificate.json", statement(certified))
    database = templates.clone(f"{variant}-tiny")
    database.execute("CREATE TABLE public.elsewhere (id int); CREATE INDEX ON public.elsewhere (id)")
    gate = ("--dsn", database.owner_dsn, "--certificate", file, "--json")
    # What else is in the database is its own affair.
    assert run(*gate, "--strict", "--dry-run").status == DONE

    database.execute("CREATE INDEX extra ON public.email_logs (id)")
    with closing(database.connect()) as connection:
        before = fingerprint(connection)
    warned = run(*gate, "--dry-run")
    assert warned.status == DONE
    named = f"nearest is the variant {variant}: index public.extra: is there in the database only"
    found = [(each["level"], named in each["problem"]) for each in warned.of("schema_is_certified")]
    assert found == [("warning", True)], f"not said: {named}"

    refused = run(*gate, "--strict", "--force")
    assert refused.status == REFUSED
    assert [each["level"] for each in refused.of("schema_is_certified")] == ["error"]
    with closing(database.connect()) as connection:
        assert difference(before, fingerprint(connection)) == []
    database.execute("CREATE INDEX extra_2 ON public.email_logs (id); CREATE INDEX extra_3 ON public.email_logs (id)")
    [finding] = run(*gate, "--dry-run").of("schema_is_certified")
    assert finding["problem"].endswith("; index public.extra_3: is there in the database only")
    database.execute("CREATE INDEX extra_4 ON public.email_logs (id)")
    [finding] = run(*gate, "--dry-run").of("schema_is_certified")
    assert finding["problem"].endswith("; index public.extra_3: is there in the database only; and 1 more")
    # A table that is left out on purpose is not compared.
    assert run(*gate, "--strict", "--dry-run", "--skip-table", "email_logs").status == DONE
    database.drop()


@pytest.mark.claim("certificate-gates")
def test_server_of_another_version_is_refused(certified: Document, untouched: Database, tmp_path: Path) -> None:
    """A major version that no run was made on is refused, with those that there are.

    A version writes its catalog, plans its queries and takes its locks differently.
    """
    other = deepcopy(certified)
    other["runs"][0]["server"]["version_num"] = 110000
    file = _write(tmp_path / "certificate.json", statement(other))
    ended = run("--dsn", untouched.owner_dsn, "--certificate", file, "--force", "--json")
    assert ended.status == REFUSED
    [finding] = ended.of("server_is_certified")
    assert finding["problem"] == "is not among the versions of the certificate, 11"


# What is done to what a certificate says, and what it leads to: without a key in a file that is not signed, and
# with the trusted key in one that was signed before.
Change = Callable[[Document], None]
CONTRADICTS, SIGNATURE = (REFUSED, "contradicts itself"), (REFUSED, "is not signed with the trusted key")
THROUGH = (DONE, "")


def _fail(made: Document) -> None:
    """What an honest run says whose first claim has failed."""
    predicate, claim = made["predicate"], made["predicate"]["claims"][0]
    claim["status"] = claim["runs"][0]["status"] = predicate["verdict"] = predicate["runs"][0]["verdict"] = (
        "not certified"
    )
    predicate["result"] = "FAILED"
    predicate["reasons"] = predicate["runs"][0]["reasons"] = ["1 of 3 claims are not certified"]
    predicate["failedTests"] = [predicate["passedTests"].pop(0)]


def _turn_the_verdict(made: Document) -> None:
    _fail(made)
    made["predicate"]["verdict"] = "certified"


def _turn_a_claim(made: Document) -> None:
    _fail(made)
    made["predicate"] |= {"verdict": "certified", "result": "PASSED", "reasons": []}
    made["predicate"]["claims"][0]["status"] = "certified"


def _remove_a_claim(made: Document) -> None:
    made["predicate"]["claims"].pop()


def _forge(made: Document) -> None:
    """A failure taken out of every place that it stands in: the claim was never there."""
    made["predicate"]["claims"].pop()
    made["predicate"]["passedTests"].pop()


def _widen(made: Document) -> None:
    runs = made["predicate"]["runs"]
    runs.append({**runs[0], "server": {"version": "19.0", "version_num": 190000}})


def _widen_everywhere(made: Document) -> None:
    _widen(made)
    for claim in made["predicate"]["claims"]:
        claim["runs"].append({**claim["runs"][0], "run": 1})


def _replace_a_digest(made: Document) -> None:
    made["subject"][0]["digest"]["sha256"] = "0" * 64


def _drop_a_file(made: Document) -> None:
    made["subject"].pop(0)


def _add_a_file(made: Document) -> None:
    made["subject"].append({"name": "sql/phase_2.sql", "digest": {"sha256": "0" * 64}})


def _replace_the_fingerprints(made: Document) -> None:
    for each in made["predicate"]["runs"][0]["fingerprints"]:
        each["schema"] = {"table public.users": {}}


def _take_those_of_another_version(made: Document) -> None:
    """What is known of this version is nothing, and of another one all."""
    _widen_everywhere(made)
    predicate = made["predicate"]
    [ours, other] = predicate["runs"]
    for each in other["fingerprints"]:
        predicate["rehearsals"].append({"of": "staging", "version_num": 190000, "schema": each["schema"]})
    predicate["runs"] = [{**ours, "fingerprints": []}, other, {**other, "server": None}]
    for claim in made["predicate"]["claims"]:
        claim["runs"].append({**claim["runs"][0], "run": 2})


def _fail_a_run(made: Document) -> None:
    made["predicate"]["runs"][0]["verdict"] = "not certified"


def _fail_the_result(made: Document) -> None:
    made["predicate"]["result"] = "FAILED"


def _give_a_reason(made: Document) -> None:
    made["predicate"]["reasons"] = ["the lights went out"]


def _change_the_version(made: Document) -> None:
    made["predicate"]["schema"] = 3


def _change_the_type(made: Document) -> None:
    made["predicateType"] = "https://in-toto.io/attestation/release/v0.1"


def _drop_what_is_read(made: Document) -> None:
    del made["predicate"]["runs"][0]["fingerprints"]


def _pass_for_staging(made: Document) -> None:
    made["predicate"]["about"] = STAGING


TAMPERINGS: dict[str, tuple[Change, tuple[int, str], tuple[int, str]]] = {
    "an honest failure": (_fail, (REFUSED, "says 'not certified': 1 of 3 claims"), SIGNATURE),
    "the verdict turned": (_turn_the_verdict, CONTRADICTS, SIGNATURE),
    "a claim's result turned": (_turn_a_claim, CONTRADICTS, SIGNATURE),
    "a run's verdict turned": (_fail_a_run, CONTRADICTS, SIGNATURE),
    "the result turned": (_fail_the_result, CONTRADICTS, SIGNATURE),
    "a reason added": (_give_a_reason, CONTRADICTS, SIGNATURE),
    "a claim removed": (_remove_a_claim, CONTRADICTS, SIGNATURE),
    "a claim removed everywhere": (_forge, THROUGH, SIGNATURE),
    "a version added": (_widen, (REFUSED, "not certified on 19.0: first, second, third"), SIGNATURE),
    "a version added everywhere": (_widen_everywhere, THROUGH, SIGNATURE),
    "a digest replaced": (_replace_a_digest, (REFUSED, "changed since: sql/"), SIGNATURE),
    "a file left out": (_drop_a_file, (REFUSED, "new since: sql/"), SIGNATURE),
    "a file added": (_add_a_file, (REFUSED, "missing: sql/phase_2.sql"), SIGNATURE),
    "the fingerprints replaced": (
        _replace_the_fingerprints,
        (REFUSED, "matches no certified variant and no rehearsal"),
        SIGNATURE,
    ),
    "the fingerprints of another version": (
        _take_those_of_another_version,
        (REFUSED, "matches no certified variant and no rehearsal"),
        SIGNATURE,
    ),
    "the schema's version changed": (_change_the_version, (USAGE, "it is of version 3"), SIGNATURE),
    "the predicate's type changed": (_change_the_type, (USAGE, "no statement of in-toto"), SIGNATURE),
    "a part left out that is read": (_drop_what_is_read, (USAGE, "is no certificate"), SIGNATURE),
    "staging's report instead": (_pass_for_staging, (USAGE, "about a staging database"), SIGNATURE),
}


def _gate(database: Database, file: str, *arguments: str, expected: tuple[int, str]) -> str:
    """Runs into the gate, and returns in a few words what it led to; fails where that is not what is expected."""
    status, words = expected
    with closing(database.connect()) as connection:
        before = fingerprint(connection)
    # With --force, so that nothing but the gate stops it; what gets through is not to be migrated.
    how = "--dry-run" if status == DONE else "--force"
    ended = run("--dsn", database.owner_dsn, "--certificate", file, *arguments, "--strict", how)
    assert (ended.status, words in ended.err) == (status, True), f"not said: {words!r}; but: {ended}"
    assert "Traceback" not in ended.err
    with closing(database.connect()) as connection:
        assert difference(before, fingerprint(connection)) == []
    return "0, gets through" if status == DONE else f"{status}, “… {words} …”"


@pytest.mark.claim("certificate-gates")
@pytest.mark.parametrize("name", TAMPERINGS)
def test_tampering_with_what_it_says_is_refused(
    name: str, certified: Document, keys: tuple[Keys, Keys], untouched: Database, tmp_path: Path, evidence: Evidence
) -> None:
    """With the trusted key nothing that a certificate says can be changed; without it, nothing at one place only.

    Somebody in a hurry turns a verdict; somebody who means it turns everything that goes with it.
    """
    change, without, with_key = TAMPERINGS[name]
    made = statement(certified)
    envelope = keys[0].key.envelope(json.dumps(made).encode())
    changed = deepcopy(made)
    change(changed)
    assert changed != made
    swapped = _write(tmp_path / "signed.json", {**envelope, "payload": _payload(changed)})
    plain = _write(tmp_path / "plain.json", changed)
    evidence(
        "tampering",
        [
            {
                "what": name,
                "without a key": _gate(untouched, plain, expected=without),
                "with the trusted key": _gate(untouched, swapped, "--trusted-key", keys[0].public, expected=with_key),
            }
        ],
    )


def _without_signatures(envelope: Document, made: Document, keys: tuple[Keys, Keys]) -> Any:
    return {**envelope, "signatures": []}


def _not_signed_at_all(envelope: Document, made: Document, keys: tuple[Keys, Keys]) -> Any:
    return made


def _with_another_key(envelope: Document, made: Document, keys: tuple[Keys, Keys]) -> Any:
    return keys[1].key.envelope(json.dumps(made).encode())


def _with_another_key_under_the_name(envelope: Document, made: Document, keys: tuple[Keys, Keys]) -> Any:
    other = _with_another_key(envelope, made, keys)
    other["signatures"][0]["keyid"] = keys[0].key.id
    return other


def _signature_of_another_payload(envelope: Document, made: Document, keys: tuple[Keys, Keys]) -> Any:
    old = deepcopy(made)
    old["predicate"]["created"] = "2020-01-01T00:00:00+00:00"
    return {**envelope, "signatures": keys[0].key.envelope(json.dumps(old).encode())["signatures"]}


def _signature_half(envelope: Document, made: Document, keys: tuple[Keys, Keys]) -> Any:
    [signature] = envelope["signatures"]
    return {**envelope, "signatures": [{**signature, "sig": signature["sig"][:40]}]}


def _payload_type_changed(envelope: Document, made: Document, keys: tuple[Keys, Keys]) -> Any:
    return {**envelope, "payloadType": "application/json"}


def _truncated(envelope: Document, made: Document, keys: tuple[Keys, Keys]) -> Any:
    return json.dumps(envelope)[:-100]


def _signed_but_old(envelope: Document, made: Document, keys: tuple[Keys, Keys]) -> Any:
    old = deepcopy(made)
    _replace_a_digest(old)
    return keys[0].key.envelope(json.dumps(old).encode())


def _signed_but_not_certified(envelope: Document, made: Document, keys: tuple[Keys, Keys]) -> Any:
    failed = deepcopy(made)
    _fail(failed)
    return keys[0].key.envelope(json.dumps(failed).encode())


def _signed_nonsense(envelope: Document, made: Document, keys: tuple[Keys, Keys]) -> Any:
    return keys[0].key.envelope(b"[]")


ENVELOPES: dict[str, tuple[Callable[[Document, Document, tuple[Keys, Keys]], Any], tuple[int, str]]] = {
    "the signature stripped": (_without_signatures, SIGNATURE),
    "no envelope at all": (_not_signed_at_all, (REFUSED, "is UNSIGNED")),
    "signed with another key": (_with_another_key, SIGNATURE),
    "signed with another key under the trusted one's name": (_with_another_key_under_the_name, SIGNATURE),
    "the signature of an older certificate": (_signature_of_another_payload, SIGNATURE),
    "half a signature": (_signature_half, SIGNATURE),
    "the payload's type changed": (_payload_type_changed, (USAGE, "its payload is 'application/json'")),
    "the file truncated": (_truncated, (USAGE, "is no JSON, or not all of it is there")),
    "well signed, of older files": (_signed_but_old, (REFUSED, "changed since: sql/")),
    "well signed, not certified": (_signed_but_not_certified, (REFUSED, "says 'not certified'")),
    "well signed, no statement": (_signed_nonsense, (USAGE, "is no certificate")),
}


@pytest.mark.claim("certificate-gates")
@pytest.mark.parametrize("name", ENVELOPES)
def test_tampering_with_the_signature_is_refused(
    name: str, certified: Document, keys: tuple[Keys, Keys], untouched: Database, tmp_path: Path, evidence: Evidence
) -> None:
    """Only what the owner of the trusted key has signed, and as it was signed, gets as far as being read.

    The signature is the one thing in the file that its author cannot make up.
    """
    change, expected = ENVELOPES[name]
    made = statement(certified)
    envelope = keys[0].key.envelope(json.dumps(made).encode())
    whole = _write(tmp_path / "whole.json", envelope)
    assert _gate(untouched, whole, "--trusted-key", keys[0].public, expected=THROUGH)
    file = _write(tmp_path / "changed.json", change(envelope, made, keys))
    led_to = _gate(untouched, file, "--trusted-key", keys[0].public, expected=expected)
    evidence("tampering", [{"what": name, "with the trusted key": led_to}])


@pytest.mark.claim("certificate-gates")
@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(None, "No such file", id="absent"),
        pytest.param("-----BEGIN", "is no JSON", id="text"),
        pytest.param([], "no statement of in-toto", id="list"),
        pytest.param({}, "no statement of in-toto", id="empty"),
        pytest.param({"payload": 1, "payloadType": "application/vnd.in-toto+json"}, "cannot be read", id="payload"),
        pytest.param({"_type": "https://in-toto.io/Statement/v1", "predicate": 1}, "no statement", id="predicate"),
    ],
)
def test_file_that_is_no_certificate_is_wrong_usage(
    content: Any, words: str, untouched: Database, tmp_path: Path
) -> None:
    """Whatever else is in the file, it is said in one message, with exit code 2.

    A traceback before a migration is taken for one from its middle.
    """
    file = tmp_path / "certificate.json"
    if content is not None:
        _write(file, content)
    _gate(untouched, str(file), expected=(USAGE, words))


@pytest.mark.claim("certificate-gates")
@pytest.mark.parametrize("which", ["absent", "nonsense", "private"])
def test_key_that_is_none_is_wrong_usage(
    which: str, certified: Document, keys: tuple[Keys, Keys], untouched: Database, tmp_path: Path
) -> None:
    """A file that holds no public key is named, with exit code 2, whether or not the certificate is signed.

    A gate that cannot read its key stands open.
    """
    key = Path(keys[0].private) if which == "private" else tmp_path / "trusted.pub"
    if which == "nonsense":
        key.write_text("no key")
    file = _write(tmp_path / "certificate.json", statement(certified))
    _gate(untouched, file, "--trusted-key", str(key), expected=(USAGE, f"--trusted-key {key}: "))


@pytest.mark.claim("certificate-gates")
def test_unsigned_certificate_says_so(
    certified: Document, keys: tuple[Keys, Keys], untouched: Database, tmp_path: Path
) -> None:
    """Who gives no key is told that nobody has checked who made the certificate.

    An unsigned one looks like any other.
    """
    made = json.dumps(statement(certified))
    plain = _write(tmp_path / "plain.json", made)
    signed = _write(tmp_path / "signed.json", keys[0].key.envelope(made.encode()))
    gate = ("--dsn", untouched.owner_dsn, "--dry-run", "--certificate")
    assert "the certificate is UNSIGNED" in run(*gate, plain).err
    assert "nobody asked by whom: give --trusted-key" in run(*gate, signed).err
    assert "note: the certificate" not in run(*gate, signed, "--trusted-key", keys[0].public).err


# What is done to the files that a certificate is about, in a copy of them.
def _one_byte(tree: Path) -> None:
    path = tree / "sql" / "phase_1_rollback.sql"
    path.write_bytes(path.read_bytes() + b"\n")


def _one_file_more(tree: Path) -> None:
    (tree / "phase_1" / "extra.py").write_text("")


def _one_file_less(tree: Path) -> None:
    (tree / "sql" / "queries.sql").unlink()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the files that a certificate is about."""
    return copied(tmp_path / "tree")


def _program(tree: Path, *arguments: str, flags: tuple[str, ...] = ()) -> Run:
    """Runs the copy as a program. Nobody listens at its DSN: a run that gets through the gate says so."""
    arguments = ("--dsn", "postgresql://127.0.0.1:1/app", *arguments)
    with start(*arguments, environment=without_python(), directory=tree, flags=flags) as process:
        out, err = process.communicate(timeout=_PATIENCE)
    return Run(process.returncode, out, err)


@pytest.mark.claim("certificate-gates")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(_one_byte, "changed since: sql/phase_1_rollback.sql", id="one byte in an SQL file"),
        pytest.param(_one_file_more, "new since: phase_1/extra.py", id="a file more"),
        pytest.param(_one_file_less, "missing: sql/queries.sql", id="a file less"),
    ],
)
def test_change_of_a_file_is_refused(
    change: Callable[[Path], None],
    words: str,
    certified: Document,
    keys: tuple[Keys, Keys],
    tree: Path,
    tmp_path: Path,
    evidence: Evidence,
    request: pytest.FixtureRequest,
) -> None:
    """A file that is not byte for byte the one that was certified is named, before anything is connected to.

    The last-minute correction is the one that nobody has tested.
    """
    file = _write(tmp_path / "c.json", keys[0].key.envelope(json.dumps(statement(certified)).encode()))

    def ended() -> Run:
        return _program(tree, "--certificate", file, "--trusted-key", keys[0].public)

    through = ended()
    assert (through.status, "no connection" in through.err) == (USAGE, True), through
    change(tree)
    refused = ended()
    assert (refused.status, words in refused.err) == (REFUSED, True), f"not said: {words!r}; but: {refused}"
    evidence("tampering", [{"what": request.node.callspec.id, "with the trusted key": f"{REFUSED}, “… {words} …”"}])


# What is planted in a copy of the files: code that leaves a mark if it is run.
Plant = Callable[[Path, bytes], None]


def _file(name: str) -> Plant:
    def plant(tree: Path, code: bytes) -> None:
        path = tree / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(code)

    return plant


def _sourceless(name: str) -> Plant:
    """Compiled code where a module would be, with no source that it could be compared with."""
    return lambda tree, code: _file(name)(tree, MAGIC_NUMBER + bytes(12) + marshal.dumps(compile(code, name, "exec")))


def _forged(header: Callable[[bytes, os.stat_result], bytes]) -> Plant:
    """What Python keeps of a module that it has compiled, with something before it, under a header that is in order."""

    def plant(tree: Path, code: bytes) -> None:
        path = tree / "phase_1" / "plan.py"
        source = path.read_bytes()
        compiled = marshal.dumps(
            compile(code + source.replace(b"from __future__ import annotations", b""), path, "exec")
        )
        kept = Path(cache_from_source(str(path))).relative_to(tree)
        _file(kept.as_posix())(tree, MAGIC_NUMBER + header(source, path.stat()) + compiled)

    return plant


def _of_this_source(source: bytes, stat: os.stat_result) -> bytes:
    return struct.pack("<III", 0, int(stat.st_mtime), len(source))


def _not_to_be_compared(source: bytes, stat: os.stat_result) -> bytes:
    return struct.pack("<I", 1) + bytes(8)


_EXTENSION = EXTENSION_SUFFIXES[0]
IGNORED = "no connection"
PLANTED: dict[str, tuple[Plant, str]] = {
    "a library beside migrate.py": (_file("rich/__init__.py"), "does not cover rich/"),
    "a library that is only tried": (_file("psycopg_c/__init__.py"), "does not cover psycopg_c/"),
    "a part of Python": (_file("json.py"), "does not cover json.py"),
    "a part of Python that is needed first": (_file("typing.py"), "does not cover typing.py"),
    "a part of Python that hides as syntax": (_file("__future__.py"), "does not cover __future__.py"),
    "a part of Python, compiled": (_sourceless("json.pyc"), "does not cover json.pyc"),
    "the package once more": (_file(f"phase_1{_EXTENSION}"), f"does not cover phase_1{_EXTENSION}"),
    "a folder before a module": (_file("phase_1/apply/__init__.py"), "does not cover phase_1/apply/"),
    "a folder that is no package": (_file("phase_1/more/extra.py"), "does not cover phase_1/more/"),
    "an extension module before a module": (
        _file(f"phase_1/apply{_EXTENSION}"),
        f"does not cover phase_1/apply{_EXTENSION}",
    ),
    "an extension module of another Python": (_file("phase_1/apply.abi3.so"), "does not cover phase_1/apply.abi3.so"),
    "a compiled module without a source": (_sourceless("phase_1/extra.pyc"), "does not cover phase_1/extra.pyc"),
    "a module compiled at the right time": (_forged(_of_this_source), IGNORED),
    "a module compiled, not to be compared": (_forged(_not_to_be_compared), IGNORED),
}


@pytest.mark.claim("certificate-gates")
@pytest.mark.parametrize("flags", [(), ("-I", "-B")], ids=["python", "python -I -B"])
@pytest.mark.parametrize("name", PLANTED)
def test_code_that_is_planted_is_not_run(
    name: str,
    flags: tuple[str, ...],
    certified: Document,
    keys: tuple[Keys, Keys],
    tree: Path,
    tmp_path: Path,
    evidence: Evidence,
) -> None:
    """What Python would import instead of a certified file or of a library is not imported, and is refused by its path.

    One file beside those that were certified would run as the owner of the tables.
    """
    plant, words = PLANTED[name]
    mark = tmp_path / "mark"
    plant(tree, f"open({str(mark)!r}, 'w').close()\n".encode())
    file = _write(tmp_path / "c.json", keys[0].key.envelope(json.dumps(statement(certified)).encode()))
    ended = _program(tree, "--certificate", file, "--trusted-key", keys[0].public, flags=flags)
    assert not mark.exists(), f"{name} was run: {ended}"
    expected = USAGE if words == IGNORED else REFUSED
    assert (ended.status, words in ended.err) == (expected, True), f"not said: {words!r}; but: {ended}"
    led_to = "not run" if words == IGNORED else f"not run; {REFUSED}, “… {words} …”"
    evidence("tampering", [{"what": name, "with the trusted key": led_to}])


@pytest.mark.claim("certificate-gates")
def test_file_that_changes_while_it_is_asked_is_not_what_runs(
    templates: Templates, certified: Document, keys: tuple[Keys, Keys], tree: Path, tmp_path: Path, evidence: Evidence
) -> None:
    """Every file, changed while the question stands, runs as it was when the certificate was compared with it.

    The question may stand all night, and the answer was given to what was certified.
    """
    mark = tmp_path / "mark"
    database = templates.clone("founding-tiny")

    def change() -> None:
        for path in sorted(tree.rglob("*.py")):
            path.write_text(f"open({str(mark)!r}, 'w').close()\n")
        for path in sorted((tree / "sql").rglob("*.sql")):
            text = path.read_text(encoding="utf-8")
            for header in ("done", "sample"):
                text = text.replace(f"-- {header}: ", f"-- {header}: COMMIT; CREATE TABLE public.planted (); ")
            path.write_text(text.replace(";\n\n", ";\nCREATE TABLE public.planted ();\n\n"), encoding="utf-8")

    file = _write(tmp_path / "c.json", keys[0].key.envelope(json.dumps(statement(certified)).encode()))
    gate = ("--certificate", file, "--trusted-key", keys[0].public, "--strict")
    status, said = at_a_terminal(
        "--dsn",
        database.owner_dsn,
        *gate,
        answers=["y", "y"],
        environment=without_python() | {"TERM": "xterm"},
        directory=tree,
        meanwhile=change,
    )
    assert database.query("SELECT to_regclass('public.planted')") == [(None,)], "what was written meanwhile was run"
    assert (status, mark.exists()) == (DONE, False), said
    database.drop()
    evidence("tampering", [{"what": "every file, while it is asked", "with the trusted key": "runs as certified"}])


@pytest.mark.claim("certificate-gates")
def test_runner_without_its_sql_stops_before_it_connects(tree: Path) -> None:
    """Where a file in ``sql/`` is missing, it is named before anything is connected to, without a certificate too.

    The queries come last: their file would be missed when all is committed.
    """
    _one_file_less(tree)
    ended = _program(tree)
    assert (ended.status, ended.out) == (FAILED, ""), ended
    assert ended.err.startswith("failed: sql/queries.sql: is not there, or cannot be read. Nothing was touched.")
