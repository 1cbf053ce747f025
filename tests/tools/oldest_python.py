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
from tests.support.embedded import Cluster  # noqa: E402

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
)


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
        owner = conninfo.make_conninfo(database, user="app_owner", password="app_owner")  # noqa: S106
        for arguments, code, words in CASES:
            command = [python, str(ROOT / "migrate.py"), "--dsn", owner, *arguments]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            passed = done.returncode == code and words in done.stdout + done.stderr
            failed += not passed
            print(("passed: " if passed else "FAILED: ") + " ".join(arguments))
            if not passed:
                print(f"exit code {done.returncode} instead of {code}:\n{done.stdout}{done.stderr}")
    print(f"{len(CASES) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
