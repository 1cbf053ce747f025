"""A server with a standby: when it is killed, the standby takes over, with everything that was acknowledged."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import psycopg

from tests.support.embedded import Cluster


class Pair:
    """An instance of a server: what is killed is the primary, and what is there afterwards was the standby.

    Replication is synchronous, so that nothing that was acknowledged is lost with the primary.
    """

    def __init__(self, create: Callable[[Mapping[str, str]], Cluster]) -> None:
        """``create`` makes a cluster with settings, as :meth:`Cluster.create` does."""
        self._primary = create({"synchronous_standby_names": "*"})
        self._standby = self._primary.standby()

    @property
    def superuser_dsn(self) -> str:
        """Another one after :meth:`restart`."""
        return self._primary.superuser_dsn

    def log_text(self) -> str:
        """What the one that is the primary now has logged."""
        return self._primary.log_text()

    def kill(self) -> None:
        """Kills the primary with SIGKILL."""
        self._primary.kill()

    def restart(self) -> None:
        """Promotes the standby, and gives it one of its own."""
        self._primary.close()
        self._primary = self._standby
        with psycopg.connect(self.superuser_dsn, autocommit=True) as connection:
            connection.execute("SELECT pg_promote()")
        self._standby = self._primary.standby()

    def close(self) -> None:
        """Removes both."""
        self._standby.close()
        self._primary.close()
