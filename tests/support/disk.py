"""A small file system in memory, to be filled: what a server does when its disk is full."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path


class DiskUnavailable(RuntimeError):
    """No file system can be mounted here; the message says why."""


class Disk:
    """A file system of so many bytes, mounted in a temporary directory that everybody can reach. Linux, as root."""

    def __init__(self, size: int) -> None:
        """Raises DiskUnavailable."""
        self.directory = Path(tempfile.mkdtemp(prefix="phase_1_disk_", dir="/tmp"))
        self._filler = self.directory / "filler"
        try:
            subprocess.run(
                ["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "tmpfs", self.directory],
                check=True,
                capture_output=True,
                text=True,
            )
        except (OSError, subprocess.CalledProcessError) as error:
            self.directory.rmdir()
            raise DiskUnavailable(str(getattr(error, "stderr", "") or error).strip()) from error

    def fill(self, left: int) -> None:
        """Leaves so many bytes, or what there is."""
        space = os.statvfs(self.directory)
        with self._filler.open("ab") as file:
            os.posix_fallocate(file.fileno(), 0, max(space.f_bavail * space.f_frsize - left, 1))

    def free(self) -> None:
        """Takes back what :meth:`fill` has taken."""
        self._filler.unlink(missing_ok=True)

    def close(self) -> None:
        """Removes it with all that is on it."""
        subprocess.run(["umount", "--lazy", self.directory], check=True, capture_output=True)
        self.directory.rmdir()
