"""The proxy: what it writes down is what was executed, and it cuts the wire where it is told to."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event, Thread
from typing import Any, Literal

import psycopg
import pytest
from psycopg import errors
from psycopg.pq import TransactionStatus

from tests.plugins.server import Server
from tests.support.proxy import Proxy, Statement


@pytest.fixture
def table(server: Server) -> Iterator[str]:
    """A table in the maintenance database, which no test of the migration looks at."""
    with server.connect() as connection:
        connection.execute("CREATE TABLE public.proxied (i integer)")
        yield "public.proxied"
        connection.execute("DROP TABLE public.proxied")


def rows(server: Server) -> list[int]:
    with server.connect() as connection:
        return [i for (i,) in connection.execute("SELECT i FROM public.proxied ORDER BY i").fetchall()]


def test_statements_are_recorded_byte_for_byte_in_either_protocol(proxy: Proxy) -> None:
    """Every statement is written down as the client has sent it, once for each time it is executed.

    Otherwise the claim that the dry run prints what is executed compares with something else.
    """
    with proxy.server.connect(application_name="one") as connection:
        connection.execute("SELECT  'ü', E'\\t' -- as it is\n")
        connection.execute("SELECT %s::int", (1,))
        for i in range(3):
            connection.execute("SELECT %s::int + 1", (i,), prepare=True)
    assert [each.sql for each in proxy.statements("one")] == [
        "SELECT  'ü', E'\\t' -- as it is\n",
        "SELECT $1::int",
        *["SELECT $1::int + 1"] * 3,
    ]
    assert [each.number for each in proxy.statements()] == [1, 2, 3, 4, 5]


def test_connections_are_told_apart_by_number_and_application_name(proxy: Proxy) -> None:
    """A statement is attributed to the connection that has sent it.

    Otherwise what the log writes over its own connection is taken for a step of the migration.
    """
    with proxy.server.connect(application_name="one") as one, proxy.server.connect(application_name="two") as two:
        two.execute("SELECT 2")
        one.execute("SELECT 1")
    assert proxy.statements() == [Statement(1, "two", "SELECT 2", 1), Statement(0, "one", "SELECT 1", 1)]
    assert proxy.statements("two") == [Statement(1, "two", "SELECT 2", 1)]


@pytest.mark.parametrize("watched", [False, True], ids=["replies pass", "replies are held back"])
def test_copy_passes_unchanged_in_both_directions(proxy: Proxy, table: str, *, watched: bool) -> None:
    """More data than fits into any buffer arrives whole, with a callback that waits for replies and without.

    Otherwise a failure of the proxy is reported as one of the migration.
    """
    answered: list[Statement] = []
    if watched:
        proxy.after(answered.append)
    wanted = list(range(50_000))
    with proxy.server.connect() as connection:
        cursor = connection.cursor()
        with cursor.copy(f"COPY {table} FROM STDIN") as copy:
            for i in wanted:
                copy.write_row((i,))
        assert [i for (i,) in cursor.execute(f"SELECT i FROM {table} ORDER BY i")] == wanted
        with cursor.copy(f"COPY (SELECT i FROM {table} ORDER BY i) TO STDOUT") as copy:
            copy.set_types(["int4"])
            assert [i for (i,) in copy.rows()] == wanted
    assert answered == (proxy.statements() if watched else [])


def test_a_statement_cut_before_it_is_never_executed(proxy: Proxy, table: str, server: Server) -> None:
    """A cut before COMMIT leaves nothing committed, and the client sees a lost connection.

    Otherwise the tests of what happens at a fault test a fault that has not happened.
    """
    proxy.before(lambda statement: "cut" if statement.sql == "COMMIT" else None)
    with (
        pytest.raises(psycopg.OperationalError) as caught,
        proxy.server.connect(autocommit=False) as connection,
    ):
        connection.execute(f"INSERT INTO {table} VALUES (1)")
    assert caught.value.sqlstate is None
    assert rows(server) == []


def test_a_statement_cut_after_it_is_executed_unbeknown_to_the_client(proxy: Proxy, table: str, server: Server) -> None:
    """A cut after COMMIT leaves it committed, and the client sees the same lost connection.

    Otherwise the claim that a lost COMMIT is asked for, not guessed, is certified without one being lost.
    """

    def swallow(statement: Statement) -> Literal["cut"] | None:
        return "cut" if statement.sql == "COMMIT" else None

    proxy.after(swallow)
    with (
        pytest.raises(psycopg.OperationalError) as caught,
        proxy.server.connect(autocommit=False) as connection,
    ):
        connection.execute(f"INSERT INTO {table} VALUES (%s)", (1,))
    assert caught.value.sqlstate is None
    assert rows(server) == [1]


def test_a_backend_terminated_in_a_callback_reaches_the_client_as_such(proxy: Proxy, server: Server) -> None:
    """The last words of the server pass before the connection closes.

    Otherwise the SQLSTATE that the runner decides by is not the one that it meets in production.
    """
    with proxy.server.connect() as connection, server.connect() as administrator:
        backend, gone = connection.info.backend_pid, Event()

        def terminate(statement: Statement) -> None:
            administrator.execute("SELECT pg_terminate_backend(%s)", (backend,))
            while administrator.execute("SELECT FROM pg_stat_activity WHERE pid = %s", (backend,)).fetchall():
                pass
            gone.set()

        proxy.before(terminate)
        with pytest.raises(errors.AdminShutdown):
            connection.execute("SELECT 1")
        # The client may have its answer before the callback has seen that nobody is there any more.
        assert gone.wait(20)


def test_a_cancel_request_passes(proxy: Proxy, server: Server) -> None:
    """A client can cancel its statement by way of the proxy.

    Otherwise an interrupted runner hangs until its statement is through.
    """
    caught: list[BaseException] = []

    def sleep(connection: psycopg.Connection[Any]) -> None:
        try:
            connection.execute("SELECT pg_sleep(60)")
        except psycopg.Error as error:
            caught.append(error)

    with proxy.server.connect() as connection, server.connect() as administrator:
        thread = Thread(target=sleep, args=(connection,))
        thread.start()
        asleep = "SELECT FROM pg_stat_activity WHERE pid = %s AND wait_event = 'PgSleep'"
        while not administrator.execute(asleep, (connection.info.backend_pid,)).fetchall():
            pass
        connection.cancel_safe()
        thread.join()
        assert [type(each) for each in caught] == [errors.QueryCanceled]
        assert connection.info.transaction_status == TransactionStatus.IDLE


def test_cut_all_drops_every_connection_and_lets_new_ones_in(proxy: Proxy) -> None:
    """Every client loses its connection, and may come back.

    Otherwise a network failure is not what the tests of network failures bring about.
    """
    first, second = proxy.server.connect(), proxy.server.connect()
    proxy.cut_all()
    for connection in (first, second):
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
        connection.close()
    with proxy.server.connect() as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_an_exception_in_a_callback_is_raised_on_closing(server: Server) -> None:
    """A callback that fails fails the test.

    Otherwise an assertion in a callback is a check that cannot fail.
    """

    def fail(_: Statement) -> None:
        raise LookupError

    proxy = Proxy(server)
    proxy.before(fail)
    with pytest.raises(psycopg.OperationalError), proxy.server.connect() as connection:
        connection.execute("SELECT 1")
    with pytest.raises(LookupError):
        proxy.close()
