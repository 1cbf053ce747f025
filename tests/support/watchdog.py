"""A process that clears up after this one, should this one be killed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

# Blocks until the pipe closes, which the kernel sees to however its writer died; a byte in it is the all-clear.
_WAIT_THEN_RUN = (
    "import subprocess, sys\n"
    "if not sys.stdin.buffer.read(1): sys.exit(subprocess.call(sys.argv[1:], stdin=subprocess.DEVNULL))"
)


class Watchdog:
    """Runs a command when this process ends without having called :meth:`release`, SIGKILL included.

    PR_SET_PDEATHSIG would do on Linux only, fires when the *thread* that started the server ends, and kills
    the postmaster but not its children.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _WAIT_THEN_RUN, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=REPOSITORY,
            start_new_session=True,  # an interrupt from the terminal is for pytest, not for what follows it
        )

    def release(self) -> None:
        """Ends the watch without running the command.

        Nothing happens if it has ended already.
        """
        if self._process.returncode is None:
            try:
                self._process.communicate(b".")
            except (BrokenPipeError, ValueError):
                self._process.wait()
