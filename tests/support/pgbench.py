"""pgbench: statements of the application at full speed, over any number of connections."""

from __future__ import annotations

import os
import re
import subprocess

from tests.plugins.database import OWNER, Database
from tests.support.embedded import client_program


def rate(
    database: Database, script: str, *, connections: int = 1, seconds: float = 0.0, transactions: int = 0
) -> float:
    """Transactions a second of a script that the owner of the tables runs, as prepared statements.

    It runs for whole ``seconds``, or so many ``transactions`` a connection. Raises AssertionError with pgbench's own
    words if one of them fails.
    """
    length = [f"--transactions={transactions}"] if transactions else [f"--time={max(1, round(seconds))}"]
    done = subprocess.run(
        [
            client_program("pgbench"), "--no-vacuum", "--protocol=prepared", "--file=-", *length,
            f"--client={connections}", f"--jobs={min(connections, 2)}",
            database.server.dsn_without_password(database.name, OWNER),
        ],
        input=script,
        env={**os.environ, "PGPASSWORD": OWNER},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    found = re.search(r"tps = ([\d.]+) \(without", done.stdout)
    assert done.returncode == 0, done.stderr
    assert found, done.stdout
    return float(found[1])
