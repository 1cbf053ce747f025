"""A proxy between a client and the server: it writes down every statement, and can cut the wire around any.

The messages are those of https://www.postgresql.org/docs/current/protocol-message-formats.html.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from tests.plugins.server import Server

_CANCEL, _SSL, _GSS = 80877102, 80877103, 80877104  # what may come instead of a protocol version
_JOIN_TIMEOUT = 10.0  # seconds; longer than any callback should take
_ABORTIVE = struct.pack("ii", 1, 0)  # SO_LINGER on, for 0 s: close() sends RST, not FIN


class Statement(NamedTuple):
    """A statement that a client has asked the server to execute.

    ``connection`` counts the connections from 0, ``number`` the statements of one connection from 1.
    """

    connection: int
    application_name: str
    sql: str
    number: int


Callback = Callable[[Statement], Literal["cut"] | None]


class Proxy:
    """Stands on a port of 127.0.0.1 in front of a server that takes connections without TLS.

    ``server`` is the server as seen through it: ``proxy.server.connect(…)``, ``Database(proxy.server, …)``;
    ``behind`` the one that new connections go to, another one after a failover. A
    callback runs in a thread of the proxy while the client waits, for as long as it likes. An exception in
    one cuts the connection, and is raised when the proxy is closed.

    A client in the same process has to use ``cancel_safe()``: ``cancel()`` of psycopg keeps Python's lock
    while it waits for the proxy, which then cannot answer.
    """

    def __init__(self, server: Server) -> None:
        self.behind = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.server = server.seen_at(*self._listener.getsockname())
        self._lock = threading.Lock()
        self._statements: list[Statement] = []
        self._links: list[_Link] = []
        self._threads: list[threading.Thread] = []
        self._errors: list[BaseException] = []
        self._before: Callback | None = None
        self._after: Callback | None = None
        self._start(self._accept)

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def dsn(self, database: str, user: str | None = None) -> str:
        """The URI of a database by way of the proxy, as :meth:`Server.dsn` gives it."""
        return self.server.dsn(database, user)

    def before(self, callback: Callback | None) -> None:
        """Has ``callback`` called before a statement reaches the server; after "cut" it never does."""
        self._before = callback

    def after(self, callback: Callback | None) -> None:
        """Has ``callback`` called when the server has answered; after "cut" the client never learns what.

        With several statements in one round trip it is called for each, once all of them are answered.
        """
        self._after = callback

    def statements(self, application_name: str | None = None) -> list[Statement]:
        """The statements so far, of all connections or of those with that name, in the order they came."""
        with self._lock:
            return [each for each in self._statements if application_name in (None, each.application_name)]

    def pid(self, connection: int) -> int:
        """The server process of a connection that has been told of it."""
        with self._lock:
            return self._links[connection].pid

    def cut(self, connection: int) -> None:
        """Drops a connection, with RST on both sides."""
        with self._lock:
            link = self._links[connection]
        link.cut()

    def cut_all(self) -> None:
        """Drops every connection there is, with RST on both sides."""
        with self._lock:
            links = list(self._links)
        for link in links:
            link.cut()

    def refuse(self) -> None:
        """Drops every connection and takes no new one: the server cannot be reached any more."""
        # Only shutdown() wakes accept() on Linux, only close() does on macOS.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut_all()

    def close(self) -> None:
        """Drops every connection and stops listening; raises what a callback has raised."""
        self.refuse()
        for thread in self._threads:
            thread.join(_JOIN_TIMEOUT)
        if self._errors:
            raise self._errors[0]

    def _start(self, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # which is how a closed listener says so
            while True:
                client, _ = self._listener.accept()
                self._start(partial(self._serve, client))

    def _serve(self, client: socket.socket) -> None:
        try:
            client.settimeout(_JOIN_TIMEOUT)
            startup, code = _startup(client)
            client.settimeout(None)
            upstream = _connect(self.behind.host, self.behind.port)
            upstream.sendall(startup)
        except (OSError, EOFError):
            client.close()
            return
        if code == _CANCEL:
            upstream.close()
            client.close()
            return
        parameters = startup[8:].split(b"\0")
        names = dict(zip(parameters[::2], parameters[1::2], strict=False))
        with self._lock:
            link = _Link(len(self._links), names.get(b"application_name", b"").decode(), client, upstream)
            self._links.append(link)
        self._start(partial(self._pump, link, self._replies, client))
        self._pump(link, self._requests, upstream)

    def _pump(self, link: _Link, direction: Callable[[_Link], Literal["cut"] | None], receiver: socket.socket) -> None:
        try:
            cut = direction(link) == "cut"
            if not cut:
                # One side has closed. What the other still has to say, and to be told, comes first.
                receiver.shutdown(socket.SHUT_WR)
        except OSError:
            cut = True  # the other direction, or a test, has cut the link already
        except Exception as error:
            self._errors.append(error)  # for close() to raise
            cut = True
        if cut or link.half_closed.is_set():
            link.cut()
        link.half_closed.set()

    def _requests(self, link: _Link) -> Literal["cut"] | None:
        """From the client to the server."""
        parsed: dict[bytes, bytes] = {}
        bound: list[Statement] = []
        for batch in _batches(link.client):
            ready = bytearray()
            for message in batch:
                kind, body = message[:1], message[5:]
                sql = None
                if kind == b"Q":
                    sql = body.removesuffix(b"\0")
                elif kind == b"P":
                    name, text, _ = body.split(b"\0", 2)
                    parsed[name] = text
                elif kind == b"B":
                    # Not Parse: a prepared statement is parsed once and executed many times.
                    sql = parsed.get(body.split(b"\0", 2)[1])
                if sql is not None:
                    statement = self._record(link, sql)
                    link.upstream.sendall(ready)
                    ready.clear()
                    if self._before and self._before(statement) == "cut":
                        return "cut"
                    bound.append(statement)
                if kind in b"QSF":
                    # Each of these is answered by a ReadyForQuery. (Not so in an extended COPY FROM, which has
                    # one Sync too many; psycopg and psql use the simple protocol for COPY.)
                    link.unanswered.append(bound)
                    bound = []
                ready += message
            link.upstream.sendall(ready)
        return None

    def _replies(self, link: _Link) -> Literal["cut"] | None:
        """From the server to the client."""
        held = bytearray()
        for batch in _batches(link.upstream):
            for message in batch:
                held += message
                if message[:1] == b"K":
                    link.pid = int.from_bytes(message[5:9], "big")
                if message[:1] == b"G":
                    link.copying = True
                elif message[:1] == b"Z" and link.unanswered:
                    link.copying = False
                    for statement in link.unanswered.popleft():
                        if self._after and self._after(statement) == "cut":
                            return "cut"
                    link.client.sendall(held)
                    held.clear()
            # Held back is only what a callback may want to swallow; during COPY the client has to go on.
            if not (self._after and link.unanswered) or link.copying:
                link.client.sendall(held)
                held.clear()
        return None

    def _record(self, link: _Link, sql: bytes) -> Statement:
        with self._lock:
            link.count += 1
            text = sql.decode("utf-8", "surrogateescape")
            statement = Statement(link.index, link.application_name, text, link.count)
            self._statements.append(statement)
            return statement


class _Link:
    """A client's connection, and the one to the server that belongs to it."""

    def __init__(self, index: int, application_name: str, client: socket.socket, upstream: socket.socket) -> None:
        self.index = index
        self.application_name = application_name
        self.client = client
        self.upstream = upstream
        self.count = 0
        self.pid = 0
        #: For each ReadyForQuery to come, the statements that it answers.
        self.unanswered: deque[list[Statement]] = deque()
        self.copying = False
        self.half_closed = threading.Event()
        for end in (client, upstream):
            if end.family != socket.AF_UNIX:
                # Small messages go back and forth: with Nagle's algorithm each would wait 40 ms for an ACK.
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def cut(self) -> None:
        """Drops both connections with RST; nothing happens if they are gone."""
        for end in (self.client, self.upstream):
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORTIVE)
                # Wakes a thread that reads from it, and sends nothing.
                end.shutdown(socket.SHUT_RD)
            end.close()


def _connect(host: str, port: int) -> socket.socket:
    if host.startswith("/"):
        upstream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        upstream.connect(f"{host}/.s.PGSQL.{port}")
        return upstream
    return socket.create_connection((host, port))


def _startup(client: socket.socket) -> tuple[bytes, int]:
    """The first message, and the number in it; encryption is declined as often as it is asked for."""
    while True:
        length = _exactly(client, 4)
        message = length + _exactly(client, int.from_bytes(length, "big") - 4)
        code = int.from_bytes(message[4:8], "big")
        if code not in (_SSL, _GSS):
            return message, code
        client.sendall(b"N")


def _exactly(end: socket.socket, count: int) -> bytes:
    received = b""
    while len(received) < count:
        chunk = end.recv(count - len(received))
        if not chunk:
            raise EOFError
        received += chunk
    return received


def _batches(end: socket.socket) -> Iterator[list[bytes]]:
    """The complete messages of what has come, each time something has, until the other side closes."""
    buffer = bytearray()
    while chunk := end.recv(65536):
        buffer += chunk
        batch, start = [], 0
        while len(buffer) - start >= 5:
            stop = start + 1 + int.from_bytes(buffer[start + 1 : start + 5], "big")
            if stop > len(buffer):
                break
            batch.append(bytes(buffer[start:stop]))
            start = stop
        del buffer[:start]
        yield batch
