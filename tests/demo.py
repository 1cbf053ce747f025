"""``python migrate.py --demo``: Phase 1 from the dry run to the rollback, on a server of its own."""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
from pathlib import Path
from typing import Any

import psycopg
from psycopg import conninfo

import migrate
from phase_1.verify import explain
from tests.application import load
from tests.support.embedded import Cluster, EmbeddedUnavailable

SALES = 200_000
_SHOWN_LINES = 24

_QUERY = "SELECT * FROM public.sellout_entries2 {client}ORDER BY created_at DESC LIMIT 50"
_CLIENT = "WHERE client_id = '00000000-0000-4000-8000-000000000001' "


def main() -> int:
    """Runs the demo and returns an exit code: 0 if every step went as it should."""
    try:
        with tempfile.TemporaryDirectory(prefix="phase_1_demo_") as directory:
            return _demo(Path(directory))
    except EmbeddedUnavailable as problem:
        print(problem, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nThe demo was interrupted; its server is gone.", file=sys.stderr)
        return 1


def _demo(directory: Path) -> int:
    _title("A PostgreSQL server of its own, with an application like a known deployment")
    with Cluster.create(directory) as cluster:
        superuser = cluster.superuser_dsn
        with psycopg.connect(superuser, autocommit=True) as connection:
            connection.execute(load.ROLES.read_bytes())
            connection.execute("CREATE DATABASE demo")
        superuser = conninfo.make_conninfo(superuser, dbname="demo")
        owner = conninfo.make_conninfo(superuser, user="app_owner", password="app_owner")  # noqa: S106 - its own server
        with psycopg.connect(superuser, autocommit=True) as connection:
            load.create(connection, "deployed")
            rows = load.load(connection, "deployed", sales=SALES)
            print(f"{rows.total:,} rows, {rows.sellout_entries2:,} of them sales. The role app_owner is no superuser.")
            return _acts(owner, connection)


def _acts(owner: str, connection: psycopg.Connection[Any]) -> int:
    _title("The dry run: the SQL that would run, nothing else", "--dry-run")
    script = io.StringIO()
    with contextlib.redirect_stdout(script):
        code = migrate.main(["--dsn", owner, "--dry-run"])
    lines = script.getvalue().splitlines()
    print("\n".join(lines[:_SHOWN_LINES]))
    print(f"… and {len(lines) - _SHOWN_LINES} lines more")

    _title("A query of the application, before")
    before = _explained(connection, "")

    _title("The migration, and the checks after it", "--force")
    code = code or migrate.main(["--dsn", owner, "--force"])

    _title("The same query for one client, after")
    after = _explained(connection, _CLIENT)
    print(f"Pages read: {before:,} before, {after:,} after.")

    _title("A second run has nothing to do", "--force")
    code = code or migrate.main(["--dsn", owner, "--force"])

    _title("The rollback", "--rollback --force")
    code = code or migrate.main(["--dsn", owner, "--rollback", "--force"])
    print("\nThe demo is over, and its server gone. README.md says how to run it on staging and on production.")
    return code


def _explained(connection: psycopg.Connection[Any], client: str) -> int:
    """Prints what a query costs, and returns the 8 kB pages that it read."""
    query = _QUERY.format(client=client)
    root = explain(connection, query, analyze=True)
    node = root["Plan"]
    pages: int = node["Shared Hit Blocks"] + node["Shared Read Blocks"]
    while "Plans" in node:
        node = node["Plans"][0]
    through = f" with {node['Index Name']}" if "Index Name" in node else ""
    print(f"{query}\n  {node['Node Type']}{through}, {pages:,} pages, {root['Execution Time']:.1f} ms")
    return pages


def _title(text: str, arguments: str = "") -> None:
    print(f"\n=== {text}")
    if arguments:
        print(f"$ python migrate.py {arguments}")
