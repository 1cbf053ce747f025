"""How a run can end: the exit codes, and the problems that lead to them."""

from __future__ import annotations

import sys
from pathlib import Path

#: What the person has typed: a wheel installs the runner as ``phase-1``.
PROGRAM = "phase-1" if Path(sys.argv[0]).stem == "phase-1" else "migrate.py"

DONE, FAILED, USAGE, REFUSED, VIOLATIONS, STOPPED, OCCUPIED = range(7)


class Problem(Exception):
    """What stops a run: one message for the person, and the exit code."""

    exit_code = FAILED


class UsageProblem(Problem):
    """The command line cannot be meant."""

    exit_code = USAGE


class ConnectionProblem(Problem):
    """The database cannot be reached, or is not named properly."""

    exit_code = USAGE


class NoTerminal(Problem):
    """There is nobody to ask."""

    exit_code = USAGE


class Refused(Problem):
    """Something speaks against the run; nothing was touched."""

    exit_code = REFUSED


class AnotherRunner(Problem):
    """Somebody else is running Phase 1 on this database."""

    exit_code = OCCUPIED
