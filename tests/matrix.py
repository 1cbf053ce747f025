"""``tox -e certify-matrix``: every supported version of PostgreSQL, one certificate.

Each version is a run of pytest of its own, in a container of its own; what they found is merged: versions
across, claims down, and signed once, if at all. Takes majors as arguments, else all of them. The points of
failure are divided among them, other ones on each.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.plugins.certificate import sign_key
from tests.plugins.selections import POINTS
from tests.plugins.server import MAJORS
from tests.support.certificate import CERTIFIED, ROOT, CertificateError, Document, merge, read, remove, signed_by, write


def main(arguments: list[str]) -> int:
    """Certifies the majors, and returns 0 if every claim is certified on each of them."""
    made = argparse.ArgumentParser(prog="python -m tests.matrix", description=(__doc__ or "").partition("\n\n")[0])
    made.add_argument("majors", nargs="*", help="versions of PostgreSQL; else all of them")
    made.add_argument("--sign-key", metavar="FILE", help="as that of pytest")
    given = made.parse_args(arguments)
    majors = given.majors or list(MAJORS)
    unknown = [each for each in majors if each not in MAJORS]
    if unknown:
        print(f"no such version: {', '.join(unknown)}; there are {', '.join(MAJORS)}", file=sys.stderr)
        return 2
    try:
        key = sign_key(given.sign_key)
    except CertificateError as problem:
        print(problem, file=sys.stderr)
        return 2
    reports = ROOT / "reports"
    try:
        remove(reports)
        with tempfile.TemporaryDirectory(prefix="phase_1_matrix_") as directory:
            points = math.ceil(POINTS / len(majors))
            documents = [_certify(major, points, Path(directory)) for major in majors]
        missing = [major for major, document in zip(majors, documents, strict=True) if document is None]
        if missing:
            print(f"no certificate: the runs on {', '.join(missing)} did not end (see above)", file=sys.stderr)
            return 1
        merged = merge([document for document in documents if document is not None])
        written = write(merged, reports, key=key)
    except CertificateError as problem:
        print(problem, file=sys.stderr)
        return 1
    for reason in merged["reasons"]:
        print(reason)
    print(f"verdict: {merged['verdict']} on PostgreSQL {', '.join(majors)}")
    print(signed_by(key))
    print("written: " + ", ".join(str(path) for path in written))
    return 0 if merged["verdict"] == CERTIFIED else 1


def _certify(major: str, points: int, directory: Path) -> Document | None:
    """The certificate of one version, or None if the run ended without one."""
    started = time.monotonic()
    command = [sys.executable, "-m", "pytest", "--certify", f"--pg={major}", f"--reports={directory / major}"]
    command += [f"--points={points}", f"--fault-seed={major}"]
    print(f"--- PostgreSQL {major}", flush=True)
    done = subprocess.run([*command, "-q"], cwd=ROOT, check=False)
    print(f"--- PostgreSQL {major}: exit code {done.returncode} after {time.monotonic() - started:.0f} s", flush=True)
    written = directory / major / "certificate.json"
    return read(written) if written.exists() else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
