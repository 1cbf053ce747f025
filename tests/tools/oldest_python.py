"""The runner on the oldest Python that it promises: ``python oldest_python.py PYTHON-WITH-THE-RUNNER``.

Not a test of pytest, which does not run there any more: it starts the embedded server with this Python and
takes the whole way, from the dry run to the rollback, with the other one.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import psycopg
from psycopg import conninfo

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.application import load  # noqa: E402 - found through the line above
from tests.claims import Claim  # noqa: E402
from tests.support import certificate  # noqa: E402
from tests.support.embedded import Cluster  # noqa: E402
from tests.support.keys import make_keys  # noqa: E402

CASES = (
    (["--help"], 0, "exit codes"),
    (["--rollbck"], 2, "unrecognized arguments"),
    (["--dry-run"], 0, "ADD COLUMN client_id"),
    (["--force"], 0, "every row has a client"),
    (["--force"], 0, "Nothing to do"),
    (["--verify", "--json"], 0, '"status": "passed"'),
    (["--status"], 0, "Phase 1 is done"),
    (["--rollback", "--force"], 0, "as it was before"),
    (["--online", "--jobs", "2", "--force"], 0, "every row has a client"),
    (["--rollback", "--online", "--force"], 0, "as it was before"),
    (["--certificate", "certificate.json", "--trusted-key", "other.pub", "--force"], 3, "not signed with the trusted"),
    (["--certificate", "certificate.json", "--trusted-key", "trusted.pub", "--dry-run"], 0, "ADD COLUMN client_id"),
)


def make_certificate(directory: Path, version_num: int) -> None:
    """A certificate of one claim, signed by this Python's library, and two public keys."""
    trusted, _ = make_keys(directory, "trusted"), make_keys(directory, "other")
    result = certificate.TestResult("test_it.py::test_first", ["first"], certificate.PASSED)
    server = {"version": str(version_num // 10000), "version_num": version_num}
    claims = [Claim("first", "It holds.", "2.1")]
    made = certificate.document(
        claims, [result], server=server, seconds=1.0, reasons=[], totals={}, controlled=["first"]
    )
    certificate.write(made, directory, key=trusted.key)


def main(python: str) -> int:
    """Returns 0 if every case ends as it should."""
    failed = 0
    with tempfile.TemporaryDirectory() as directory, Cluster.create(Path(directory)) as cluster:
        with psycopg.connect(cluster.superuser_dsn, autocommit=True) as connection:
            connection.execute(load.ROLES.read_bytes())
            connection.execute("CREATE DATABASE application")
        database = conninfo.make_conninfo(cluster.superuser_dsn, dbname="application")
        with psycopg.connect(database, autocommit=True) as connection:
            load.create(connection, "deployed")
            load.load(connection, "deployed", sales=500)
            make_certificate(Path(directory), connection.info.server_version)
        owner = conninfo.make_conninfo(database, user="app_owner", password="app_owner")  # noqa: S106
        for arguments, code, words in CASES:
            command = [python, str(ROOT / "migrate.py"), "--dsn", owner, *arguments]
            done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
            passed = done.returncode == code and words in done.stdout + done.stderr
            failed += not passed
            print(("passed: " if passed else "FAILED: ") + " ".join(arguments))
            if not passed:
                print(f"exit code {done.returncode} instead of {code}:\n{done.stdout}{done.stderr}")
    print(f"{len(CASES) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    # Absolute, since the cases run in a directory of their own.
    sys.exit(main(str(Path(sys.argv[1]).absolute())))
