"""The server that the suite runs on: which one, why that one, and the marker for what only some have."""

from __future__ import annotations

import copy
import operator
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import quote, unquote, urlencode

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.plugins.selections import is_asked_for
from tests.support import embedded

MAJORS = ("12", "13", "14", "15", "16", "17", "18")

#: What the certificate says of the server: ``kind``, ``version``, ``version_num``, ``image``, ``reason``.
#: Not there until a test has asked for the server.
SERVER_FACTS = pytest.StashKey[dict[str, Any]]()

_CHOICE = pytest.StashKey["Choice"]()
_SERVER = pytest.StashKey["Server | BaseException"]()

_CONNECT_TIMEOUT = 10  # seconds, for a server that somebody else started
_QUICK_PULL = 30.0  # seconds that an image may take before the embedded server, which is there, is taken
_PULL = 600.0  # seconds that an image may take which was asked for

_OPERATORS = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}

Kind = Literal["dsn", "docker", "installed", "embedded"]


class Instance(Protocol):
    """A server that the suite has started: a Cluster or a Container."""

    @property
    def superuser_dsn(self) -> str:
        """A URI for the superuser and the database ``postgres``, with the password."""

    def log_text(self) -> str:
        """Everything the server has logged."""

    def kill(self) -> None:
        """Kills it with SIGKILL."""

    def restart(self) -> None:
        """Starts it again."""

    def close(self) -> None:
        """Removes it."""


@dataclass(frozen=True)
class Choice:
    """Which server to use, before it is started."""

    kind: Kind
    reason: str
    image: str | None = None
    version: str | None = None
    programs: str | None = None
    dsn: str | None = field(default=None, repr=False)

    @property
    def label(self) -> str:
        """For people: ``PostgreSQL 18.4, embedded``; the reason is not in it."""
        what = {"dsn": "found running", "docker": f"image {self.image} in Docker"}
        name = f"PostgreSQL {self.version}" if self.version else "PostgreSQL"
        return f"{name}, {what.get(self.kind, self.kind)}"

    def start(self) -> Server:
        """Starts the server, or connects to the one that runs."""
        if self.kind == "dsn":
            assert self.dsn is not None
            return Server(self, self.dsn)
        instance: Instance
        if self.kind == "docker":
            from tests.support.docker import Container  # noqa: PLC0415 - 0.2 s that the others need not pay

            assert self.image is not None
            instance = Container(self.image)
        else:
            instance = self.cluster()
        return Server(self, instance.superuser_dsn, instance)

    def cluster(
        self, settings: Mapping[str, str] | None = None, directory: Path | None = None, wal_segment: int = 16
    ) -> embedded.Cluster:
        """A cluster of the installed programs, or of the wheel's where none were named."""
        programs = Path(self.programs) if self.programs else None
        return embedded.Cluster.create(directory, settings, programs, wal_segment)


class Server:
    """A running server, and how to get at it as any user in any database.

    ``kind`` is ``dsn``, ``docker``, ``installed`` or ``embedded``; ``version`` is such as ``18.4``, ``version_num``
    such as ``180004``, ``major`` such as ``18``. No password is in its repr.
    """

    def __init__(self, choice: Choice, superuser_dsn: str, instance: Instance | None = None) -> None:
        """Connects once, to learn what the server is."""
        self.kind = choice.kind
        self.reason = choice.reason
        self.image = choice.image
        self._instance = instance
        self._learn(superuser_dsn)
        self.label = Choice(choice.kind, choice.reason, choice.image, self.version).label

    def __repr__(self) -> str:
        return f"<Server {self.label}, {self.host}:{self.port}>"

    def _learn(self, superuser_dsn: str) -> None:
        with psycopg.connect(superuser_dsn, connect_timeout=_CONNECT_TIMEOUT) as connection:
            info = connection.info
            self.version_num = info.server_version
            self.version = (info.parameter_status("server_version") or "").partition(" ")[0]
            self.host, self.port = info.host, info.port
            self.user, self.database = info.user, info.dbname
            self._password = info.password
        # What else it takes to get there, such as sslmode. As given: what libpq makes of it holds parameters
        # that an older psql does not know.
        given = conninfo_to_dict(superuser_dsn)
        known = {"host", "port", "user", "dbname", "password"}
        self._parameters = {name: str(value) for name, value in given.items() if name not in known}

    @property
    def major(self) -> int:
        """The major version, such as 18."""
        return self.version_num // 10000

    @property
    def superuser_dsn(self) -> str:
        """The URI of the superuser for the database that was named, or ``postgres``."""
        return self.dsn(self.database)

    @property
    def facts(self) -> dict[str, Any]:
        """What the certificate says of it."""
        return {
            "kind": self.kind,
            "version": self.version,
            "version_num": self.version_num,
            "image": self.image,
            "reason": self.reason,
        }

    def dsn(self, dbname: str, user: str | None = None, password: str | None = None) -> str:
        """A URI that any program of PostgreSQL takes; it holds the password.

        Without ``user`` it is the superuser's. The password of a role is, unless given, the role's name: so
        it is with the roles of the application.
        """
        if password is None:
            password = self._password if user is None else user
        return self._uri(dbname, user or self.user, password)

    def dsn_without_password(self, dbname: str, user: str | None = None) -> str:
        """The same for a command line, which every user of the machine can read; PGPASSWORD does the rest."""
        return self._uri(dbname, user or self.user, "")

    def _uri(self, dbname: str, user: str, password: str) -> str:
        credentials = quote(user, safe="") + (f":{quote(password, safe='')}" if password else "")
        # A numeric IPv6 address has colons of its own; a directory with a socket has slashes.
        host = f"[{self.host}]" if ":" in self.host else quote(self.host, safe="")
        query = f"?{urlencode(self._parameters, quote_via=quote)}" if self._parameters else ""
        return f"postgresql://{credentials}@{host}:{self.port}/{quote(dbname, safe='')}{query}"

    @property
    def superuser_password(self) -> str:
        """For PGPASSWORD; may be empty, where the server trusts."""
        return self._password

    def connect(
        self,
        dbname: str = "postgres",
        user: str | None = None,
        password: str | None = None,
        *,
        autocommit: bool = True,
        **parameters: Any,
    ) -> psycopg.Connection[tuple[Any, ...]]:
        """A connection as the superuser, or as ``user``; the caller closes it."""
        return psycopg.connect(self.dsn(dbname, user, password), autocommit=autocommit, **parameters)

    def seen_at(self, host: str, port: int) -> Server:
        """The same server by way of another address, where there is no TLS."""
        other = copy.copy(self)
        other.host, other.port = host, port
        other._parameters = {**self._parameters, "sslmode": "disable"}
        other._parameters.pop("hostaddr", None)
        return other

    def log_text(self) -> str:
        """Everything the server has logged; raises NotImplementedError for one that somebody else started."""
        return self._own_instance().log_text()

    def kill(self) -> None:
        """Kills the server with SIGKILL; raises NotImplementedError for one that somebody else started."""
        self._own_instance().kill()

    def restart(self) -> None:
        """Starts the server again, perhaps on another port; raises NotImplementedError as above."""
        instance = self._own_instance()
        instance.restart()
        self._learn(instance.superuser_dsn)

    def close(self) -> None:
        """Removes the server; nothing happens to one that somebody else started."""
        if self._instance is not None:
            self._instance.close()

    def _own_instance(self) -> Instance:
        if self._instance is None:
            raise NotImplementedError("the server was found running: its process and its log are not ours")
        return self._instance


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options that choose the server."""
    group = parser.getgroup("server", "PostgreSQL server")
    group.addoption("--dsn", metavar="DSN", help="run on this server; the role has to be a superuser")
    group.addoption(
        "--pg",
        choices=(*MAJORS, "embedded"),
        help="run on this major version in Docker, or on the embedded server (default: 18 in Docker, "
        "and the embedded one where that is not to be had)",
    )
    group.addoption("--pg-image", metavar="IMAGE", help="the image for Docker (default: postgres:<major>)")
    group.addoption(
        "--pg-bin", metavar="DIR", help="run on the PostgreSQL that is installed there: what pg_config --bindir prints"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Registers the marker."""
    config.addinivalue_line(
        "markers",
        'pg(condition): needs a server of such a version, as in pg(">= 13"); several go with commas between',
    )


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Chooses the server, so that a wrong choice ends the run before the first test; starts nothing."""
    config = session.config
    worker_input: Mapping[str, Any] | None = getattr(config, "workerinput", None)
    if worker_input is not None:
        config.stash[_CHOICE] = Choice(**worker_input["server_choice"])
    elif not config.option.collectonly and not is_asked_for(config, "staging"):
        config.stash[_CHOICE] = choose(
            dsn=config.option.dsn,
            pg=config.option.pg,
            image=config.option.pg_image,
            programs=config.option.pg_bin,
        )


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tells a worker of pytest-xdist the choice; it then starts a server of its own."""
    choice = node.config.stash.get(_CHOICE, None)
    if choice is not None:
        node.workerinput["server_choice"] = dict(vars(choice))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Takes what a worker of pytest-xdist has learned about its server."""
    facts = getattr(node, "workeroutput", {}).get("server_facts")
    if facts:
        node.config.stash[SERVER_FACTS] = facts


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hands what was learned about the server to the controller of pytest-xdist."""
    worker_output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if worker_output is not None:
        worker_output["server_facts"] = session.config.stash.get(SERVER_FACTS, None)


def pytest_report_header(config: pytest.Config) -> str | None:
    """Which server, and why that one."""
    choice = config.stash.get(_CHOICE, None)
    return f"server: {choice.label} ({choice.reason})" if choice else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The exact version, which is known for a container only once it has run."""
    facts = config.stash.get(SERVER_FACTS, None)
    if facts and not facts.get("staging"):
        choice = Choice(facts["kind"], facts["reason"], facts["image"], facts["version"])
        terminalreporter.write_line(f"server: {choice.label} ({choice.reason})")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips what this version of PostgreSQL does not have: the one reason to skip that there is."""
    for marker in item.iter_markers("pg"):
        server = running_server(item.config)
        try:
            matches = version_matches(server.major, *marker.args, **marker.kwargs)
        except (TypeError, ValueError) as error:
            pytest.fail(str(error), pytrace=False)
        if not matches:
            pytest.skip(f"needs PostgreSQL {marker.args[0]}, this is {server.version}")


def version_matches(major: int, condition: str) -> bool:
    """Whether a major version fulfils a condition such as ``>= 13`` or ``>= 13, < 16``.

    Raises ValueError for what is no condition.
    """
    result = True
    for part in condition.split(","):
        found = re.fullmatch(r"\s*(>=|<=|==|!=|>|<)\s*(\d+)\s*", part)
        if not found:
            raise ValueError(f'pg({condition!r}): not a condition such as ">= 13"')
        result = result and _OPERATORS[found[1]](major, int(found[2]))
    return result


def choose(*, dsn: str | None, pg: str | None, image: str | None, programs: str | None = None) -> Choice:
    """Settles which server the options mean; raises UsageError where it is not to be had.

    Without any option it is Docker where an engine answers and the image is there or quickly pulled, and the
    embedded server otherwise.
    """
    if dsn is not None:
        if pg or image or programs:
            raise pytest.UsageError("--dsn names a server that runs: --pg, --pg-image and --pg-bin do not go with it")
        return _choose_running(dsn)
    if programs is not None:
        if pg or image:
            raise pytest.UsageError("--pg-bin says which PostgreSQL: --pg and --pg-image do not go with it")
        return _choose_installed(programs)
    if pg == "embedded":
        if image:
            raise pytest.UsageError("--pg-image is for Docker: it does not go with --pg embedded")
        return _choose_embedded("--pg embedded")
    wanted = image or f"postgres:{pg or embedded.MAJOR}"
    asked = bool(pg or image)
    reason = _why_no_container(wanted, _PULL if asked else _QUICK_PULL)
    if reason is None:
        version = None if image else pg or str(embedded.MAJOR)
        why = " ".join(([f"--pg {pg}"] if pg else []) + ([f"--pg-image {image}"] if image else []))
        return Choice("docker", why or "a Docker engine answers", wanted, version)
    if asked:
        raise pytest.UsageError(f"{reason}; start Docker or make the image available, or use --pg embedded or --dsn")
    return _choose_embedded(reason)


def choose_like(major: int, *, pg: str | None, image: str | None) -> Choice:
    """A server of that major version or the nearest that is to be had, unless the options name one."""
    if pg or image:
        return choose(dsn=None, pg=pg, image=image)
    wanted = f"postgres:{major}"
    reason = _why_no_container(wanted, _PULL)
    if reason is None:
        return Choice("docker", f"PostgreSQL {major} as on staging", wanted, str(major))
    return _choose_embedded(reason)


def _choose_running(dsn: str) -> Choice:
    try:
        conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:
        # The driver's message would repeat the string, and the password with it.
        raise pytest.UsageError("--dsn: neither a URI nor keywords and values that libpq understands") from None
    if _password_is_ambiguous(dsn):
        # libpq would take the rest of the password for the host, and print that.
        raise pytest.UsageError("--dsn: percent-encode the special characters of the password, such as @ : /")
    try:
        server = Server(Choice("dsn", "--dsn"), dsn)
    except psycopg.OperationalError as error:
        message = str(error).strip().replace("\n", " ")
        raise pytest.UsageError(f"--dsn: {message}") from None
    if server.major < int(MAJORS[0]):
        raise pytest.UsageError(f"--dsn: PostgreSQL {server.version} is older than {MAJORS[0]}")
    return Choice("dsn", "--dsn", version=server.version, dsn=dsn)


def _password_is_ambiguous(dsn: str) -> bool:
    """Whether libpq sees another password in a URI than whoever wrote it."""
    credentials, at, _ = dsn.partition("://")[2].rpartition("@")
    _, colon, password = credentials.partition(":")
    return bool(at and colon) and unquote(password) != conninfo_to_dict(dsn).get("password")


def _choose_installed(programs: str) -> Choice:
    reason = f"--pg-bin {programs}"
    try:
        version = embedded.server_version(Path(programs))
    except embedded.EmbeddedUnavailable as error:
        raise pytest.UsageError(f"{reason}: {error}; give what pg_config --bindir prints") from None
    if int(re.match(r"\d+", version)[0]) < int(MAJORS[0]):  # type: ignore[index]
        raise pytest.UsageError(f"{reason}: PostgreSQL {version} is older than {MAJORS[0]}")
    return Choice("installed", reason, version=version, programs=programs)


def choose_local(config: pytest.Config, reason: str) -> Choice:
    """A server whose processes and files are here: the installed one if it was chosen, else the embedded one."""
    choice = config.stash[_CHOICE]
    return replace(choice, reason=reason) if choice.kind == "installed" else _choose_embedded(reason)


def _choose_embedded(reason: str) -> Choice:
    try:
        return Choice("embedded", reason, version=embedded.server_version())
    except embedded.EmbeddedUnavailable as error:
        raise pytest.UsageError(f"no server to run on: {reason}; {error}") from None


def _why_no_container(image: str, seconds: float) -> str | None:
    """Why there will be no container of this image; None if there will."""
    try:
        from tests.support import docker  # noqa: PLC0415 - testcontainers is optional, and slow to import
    except ImportError:
        return "testcontainers is not installed: pip install '.[suite]'"
    try:
        docker.require_engine()
        docker.require_image(image, seconds)
    except docker.DockerUnavailable as error:
        return str(error)
    return None


def running_server(config: pytest.Config) -> Server:
    """The session's server, started when first asked for; a failure to start is remembered."""
    found = config.stash.get(_SERVER, None)
    if found is None:
        try:
            found = config.stash[_CHOICE].start()
        except Exception as error:
            config.stash[_SERVER] = error
            raise
        config.add_cleanup(found.close)
        config.stash[_SERVER] = found
        config.stash[SERVER_FACTS] = found.facts
        wanted = config.option.pg
        if wanted in MAJORS and found.major != int(wanted):
            config.stash[_SERVER] = pytest.UsageError(f"--pg {wanted}, but {found.image} is {found.version}")
    if isinstance(found := config.stash[_SERVER], BaseException):
        raise found
    return found


@pytest.fixture(scope="session")
def server(pytestconfig: pytest.Config) -> Server:
    """The server of the session."""
    return running_server(pytestconfig)


@pytest.fixture
def private_server(pytestconfig: pytest.Config) -> Iterator[Server]:
    """A server of the test's own, to be stopped, killed and restarted.

    Of the same kind and version as the session's; but with ``--dsn`` it is the embedded one.
    """
    yield from _private(pytestconfig)


@pytest.fixture(scope="module")
def module_server(pytestconfig: pytest.Config) -> Iterator[Server]:
    """The same for all tests of a module, each of which leaves it running."""
    yield from _private(pytestconfig)


def _private(pytestconfig: pytest.Config) -> Iterator[Server]:
    choice = pytestconfig.stash[_CHOICE]
    if choice.kind == "dsn":
        choice = choose_local(pytestconfig, "--dsn names a server that must not be killed")
    own = choice.start()
    yield own
    own.close()
