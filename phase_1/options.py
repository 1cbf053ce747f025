"""What was asked: the command line, checked against the inventory before anything is connected to."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from typing import Dict, FrozenSet, List, NoReturn, Optional, Sequence, Tuple

from phase_1 import __version__
from phase_1.inventory import TABLES, TIME
from phase_1.problems import PROGRAM, UsageProblem

TRANSACTIONAL, ONLINE = "transactional", "online"

_EXITS = """\
exit codes:
  0  done, or nothing to do
  1  failed; the database is as it was
  2  wrong usage, no connection
  3  preflight refused; nothing was touched
  4  the checks found violations
  5  stopped on the way (online); run again to go on, or roll back
  6  another runner is at work, or another session holds its lock
"""
_DURATION = re.compile(r"(\d+)\s*(ms|s|min)")


@dataclass(frozen=True)
class Options:
    """The command line; times are in milliseconds."""

    action: str
    dsn: Optional[str]
    dry_run: bool
    online: bool
    force: bool
    columns: Dict[str, str]
    skipped_tables: FrozenSet[str]
    skipped_indexes: FrozenSet[str]
    lock_timeout: int
    lock_timeout_given: bool
    give_up_after: int
    concurrently_timeout: int
    jobs: int
    grantees: Tuple[str, ...]
    purge_log: bool
    json: bool
    certificate: Optional[str]
    trusted_key: Optional[str]
    strict: bool

    @property
    def mode(self) -> str:
        """``transactional`` or ``online``."""
        return ONLINE if self.online else TRANSACTIONAL


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageProblem(message)


def _milliseconds(text: str) -> int:
    match = _DURATION.fullmatch(text.strip())
    if not match or int(match[1]) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration; write it as 500ms, 2s or 1min")
    return int(match[1]) * {"ms": 1, "s": 1000, "min": 60_000}[match[2]]


def parser() -> argparse.ArgumentParser:
    """The command line of ``migrate.py``."""
    made = _Parser(
        prog=PROGRAM,
        description="Phase 1: gives every row of a PostgreSQL application to a client, and takes it back.",
        epilog=_EXITS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("--dsn", help="the database; else DATABASE_URL, SUPABASE_DB_*, or libpq's PG* and .pgpass")
    action = made.add_mutually_exclusive_group()
    action.add_argument("--rollback", action="store_true", help="take Phase 1 back; its data is lost")
    action.add_argument("--verify", action="store_true", help="check a migrated database; reads only")
    action.add_argument("--status", action="store_true", help="say what is done and what is not; reads only")
    action.add_argument("--demo", action="store_true", help="show it all on a server of its own")
    made.add_argument("--dry-run", action="store_true", help="print the SQL that would run, as a script for psql")
    made.add_argument(
        "--online", action="store_true", help="in short transactions, while the application runs; can be resumed"
    )
    made.add_argument("--force", action="store_true", help="ask nothing; roll back other clients' rows too")
    made.add_argument(
        "--column",
        action="append",
        default=[],
        metavar="T.created_at=ACTUAL",
        help="migrate: the time column of a table",
    )
    made.add_argument("--skip-table", action="append", default=[], metavar="T", help="migrate: leave a table out")
    made.add_argument("--skip-index", action="append", default=[], metavar="NAME", help="migrate: leave an index out")
    made.add_argument(
        "--lock-timeout",
        type=_milliseconds,
        metavar="500ms",
        help="how long to wait for a lock before giving way (500ms, online 200ms; at most half of deadlock_timeout)",
    )
    made.add_argument(
        "--give-up-after",
        type=_milliseconds,
        default=120_000,
        metavar="2min",
        help="how long to go on trying to get a lock (2min)",
    )
    made.add_argument(
        "--concurrently-timeout",
        type=_milliseconds,
        default=600_000,
        metavar="10min",
        help="how long an online index build may wait for older transactions to end (10min)",
    )
    made.add_argument("--jobs", type=int, default=1, metavar="N", help="online: build indexes of N tables side by side")
    made.add_argument(
        "--grant-execute-to", action="append", default=[], metavar="ROLE", help="who may call the functions"
    )
    made.add_argument(
        "--purge-log", action="store_true", help="with --rollback: drop migration_log too, if nobody else uses it"
    )
    made.add_argument(
        "--certificate", metavar="FILE", help="refuse unless it certifies these files on this version of the server"
    )
    made.add_argument(
        "--trusted-key", metavar="FILE", help="with --certificate: the public key that must have signed it"
    )
    made.add_argument(
        "--strict", action="store_true", help="with --certificate: refuse a schema that it does not know, too"
    )
    made.add_argument("--version", action="version", version=f"phase-1 {__version__}")
    made.add_argument("--json", action="store_true", help="write the result as JSON to standard output")
    return made


def parse(arguments: Sequence[str]) -> Options:
    """The options of a command line. Raises UsageProblem, with a message that says what there is instead."""
    given = parser().parse_args(arguments)
    action = next((name for name in ("rollback", "verify", "status", "demo") if getattr(given, name)), "migrate")
    if given.purge_log and action != "rollback":
        raise UsageProblem("--purge-log goes with --rollback")
    for option, values in (
        ("--skip-table", given.skip_table),
        ("--skip-index", given.skip_index),
        ("--column", given.column),
    ):
        if values and action == "rollback":
            raise UsageProblem(f"{option} goes with a migration: what a rollback has to undo, the log knows")
    if given.jobs < 1:
        raise UsageProblem(f"--jobs {given.jobs}: give the number of connections that build indexes, 1 or more")
    if given.jobs > 1 and not given.online:
        raise UsageProblem("--jobs goes with --online: one transaction cannot work side by side")
    if given.dry_run and action not in ("migrate", "rollback"):
        raise UsageProblem(f"--dry-run goes with a migration or --rollback; --{action} changes nothing anyway")
    if given.certificate and action not in ("migrate", "rollback"):
        raise UsageProblem(f"--certificate goes with a migration or --rollback; --{action} changes nothing anyway")
    if not given.certificate and (given.trusted_key or given.strict):
        raise UsageProblem(f"--{'trusted-key' if given.trusted_key else 'strict'} goes with --certificate")
    skipped = _known(given.skip_table, [table.name for table in TABLES], "--skip-table")
    if "users" in skipped:
        raise UsageProblem("--skip-table users: memberships and functions are built on users; it cannot be left out")
    return Options(
        action=action,
        dsn=given.dsn,
        dry_run=given.dry_run,
        force=given.force,
        columns=_columns(given.column),
        skipped_tables=skipped,
        skipped_indexes=_known(
            given.skip_index, [index.name for table in TABLES for index in table.indexes], "--skip-index"
        ),
        online=given.online,
        lock_timeout=given.lock_timeout or (200 if given.online else 500),
        lock_timeout_given=given.lock_timeout is not None,
        give_up_after=given.give_up_after,
        concurrently_timeout=given.concurrently_timeout,
        jobs=given.jobs,
        grantees=tuple(given.grant_execute_to),
        purge_log=given.purge_log,
        json=given.json,
        certificate=given.certificate,
        trusted_key=given.trusted_key,
        strict=given.strict,
    )


def _known(given: List[str], known: List[str], option: str) -> FrozenSet[str]:
    for name in given:
        if name not in known:
            raise UsageProblem(f"{option} {name}: there is no such name; there are {', '.join(known)}")
    return frozenset(given)


def _columns(given: List[str]) -> Dict[str, str]:
    """``uploads.created_at=received_at`` as {"uploads": "received_at"}."""
    timed = [table.name for table in TABLES if table.has_time]
    columns: Dict[str, str] = {}
    for text in given:
        match = re.fullmatch(r"(\w+)\.(\w+)=(.+)", text)
        if not match or match[2] != TIME:
            raise UsageProblem(f"--column {text}: write it as TABLE.{TIME}=ACTUAL, e.g. uploads.{TIME}=received_at")
        if match[1] not in timed:
            raise UsageProblem(
                f"--column {text}: {match[1]} has no index on a time column; there are {', '.join(timed)}"
            )
        columns[match[1]] = match[3]
    return columns
