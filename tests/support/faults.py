"""Faults on the way of a run: its working session is terminated before a statement of one's choice."""

from __future__ import annotations

from typing import Literal

from tests.plugins.database import OWNER, Database
from tests.support.proxy import Proxy, Statement
from tests.support.runner import Run, run

_DOES_SOMETHING = (
    "CREATE",
    "ALTER",
    "DROP",
    "INSERT",
    "REVOKE",
    "GRANT",
    "ANALYZE",
    "UPDATE",
    "DELETE",
    "LOCK",
    "COMMIT",
)


class Killer:
    """Terminates the working session of a runner before the ``point``-th statement that does something.

    The first connection of a runner is the one that works. ``seen`` are the statements up to there, ``killed``
    the one that was never reached.
    """

    def __init__(self, database: Database, point: int) -> None:
        self._database = database
        self._point = point
        self.seen: list[str] = []
        self.killed = ""

    def __call__(self, statement: Statement) -> Literal["cut"] | None:
        if statement.connection != 0 or not statement.sql.startswith(_DOES_SOMETHING):
            return None
        self.seen.append(statement.sql)
        if len(self.seen) == self._point:
            self.killed = statement.sql.splitlines()[0]
            self._database.query(
                "SELECT pg_terminate_backend(pid) FROM ("
                " SELECT pid FROM pg_stat_activity WHERE application_name = 'phase_1' AND datname = %s"
                " ORDER BY backend_start LIMIT 1) AS worker",
                self._database.name,
            )
        return None


def run_until(database: Database, point: int, *arguments: str) -> tuple[Run, Killer]:
    """A run as the owner of the tables that is killed at a point; 0 is never."""
    with Proxy(database.server) as proxy:
        killer = Killer(database, point)
        proxy.before(killer)
        return run("--dsn", proxy.dsn(database.name, OWNER), "--force", *arguments), killer
