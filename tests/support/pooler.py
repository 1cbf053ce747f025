"""A pooler as PgBouncer is one: many clients, few server sessions, the one that was free last goes first.

The messages are those of https://www.postgresql.org/docs/current/protocol-message-formats.html.
"""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import struct
import threading
from typing import Any, Literal

import psycopg

_SSL, _GSS = 80877103, 80877104  # what a client asks for before it starts
_PARAMETERS = (
    "server_version",
    "client_encoding",
    "server_encoding",
    "standard_conforming_strings",
    "DateStyle",
    "integer_datetimes",
    "TimeZone",
    "is_superuser",
    "session_authorization",
    "IntervalStyle",
)


class Pooler:
    """Stands on a port of 127.0.0.1, lets everybody in, and works as one role in one database.

    In the mode ``transaction`` a client has a server session from the first statement of a transaction to its
    end, and perhaps another one for the next; in the mode ``session`` until it goes. A client that
    wants one waits until one is free.
    """

    def __init__(self, dsn: str, mode: Literal["transaction", "session"], sessions: int = 2) -> None:
        self._mode = mode
        self._free: queue.LifoQueue[socket.socket] = queue.LifoQueue()
        # libpq does what it takes to get in; the wire is then used without it.
        self._authenticated = [psycopg.connect(dsn, sslmode="disable") for _ in range(sessions)]
        for connection in self._authenticated:
            session = socket.socket(fileno=os.dup(connection.fileno()))
            session.setblocking(True)  # libpq has it otherwise
            self._free.put(session)
        info = self._authenticated[0].info
        self._greeting = _message(b"R", struct.pack("!i", 0))
        for name in _PARAMETERS:
            value = info.parameter_status(name) or ""
            self._greeting += _message(b"S", f"{name}\0{value}\0".encode())
        self._greeting += _message(b"K", struct.pack("!ii", 0, 0)) + _message(b"Z", b"I")
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.dsn = f"postgresql://{info.user}@127.0.0.1:{self._listener.getsockname()[1]}/{info.dbname}"
        self._clients: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> Pooler:
        return self

    def __exit__(self, *exception: object) -> None:
        for each in (self._listener, *self._clients):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join(10)
        while not self._free.empty():
            self._free.get().close()
        for connection in self._authenticated:
            connection.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the listener is closed
            while True:
                client, _ = self._listener.accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # an answer is many small messages
                self._clients.append(client)
                self._threads.append(threading.Thread(target=self._serve, args=(client,), daemon=True))
                self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        session: socket.socket | None = None
        try:
            while struct.unpack("!i", _body(client)[:4])[0] in (_SSL, _GSS):
                client.sendall(b"N")
            client.sendall(self._greeting)
            while True:
                kind, request = _next(client)
                if kind == b"X":
                    return
                session = session or self._free.get()
                session.sendall(request)
                if kind in b"QS":  # what the server answers with ReadyForQuery
                    ready = _relay(session, client)
                    if ready[-1:] == b"I" and self._mode == "transaction":
                        # First, as PgBouncer hears no client in between.
                        self._free.put(session)
                        session = None
                    client.sendall(ready)
        except (OSError, EOFError):
            return
        finally:
            client.close()
            if session is not None:
                self._free.put(session)


def _relay(session: socket.socket, client: socket.socket) -> bytes:
    """Passes the answer on but for its end, which tells the state of the transaction: that is returned."""
    while True:
        kind, answer = _next(session)
        if kind == b"Z":
            return answer
        client.sendall(answer)


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


def _next(wire: socket.socket) -> tuple[bytes, bytes]:
    """A message: its kind, and the whole of it."""
    kind = _read(wire, 1)
    return kind, _message(kind, _body(wire))


def _body(wire: socket.socket) -> bytes:
    return _read(wire, struct.unpack("!i", _read(wire, 4))[0] - 4)


def _read(wire: socket.socket, count: int) -> bytes:
    got = b""
    while len(got) < count:
        part: Any = wire.recv(count - len(got))
        if not part:
            raise EOFError
        got += part
    return got
