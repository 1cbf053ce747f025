"""A PostgreSQL server in a container, through testcontainers."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import secrets
import sys
import time
from collections.abc import Mapping
from urllib.parse import quote

import psycopg

from tests.support.embedded import SETTINGS
from tests.support.watchdog import Watchdog

# The reaper of testcontainers is a second image to pull and a container with the engine's socket in it. What
# it is for, our own watchdog does; whoever sets the variable to "false" has both.
os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
# Seconds between two looks at a starting server; the default of 1 doubles the time that a start takes. Read
# when testcontainers is imported, hence this line above that one.
os.environ.setdefault("TC_POOLING_INTERVAL", "0.1")
os.environ.setdefault("TC_MAX_TRIES", "600")  # a minute of them: a busy machine takes more than the default's 12 s

import docker.errors  # type: ignore[import-untyped] # there are no types for it
import requests.exceptions
from testcontainers.community.postgres import PostgresContainer
from testcontainers.core.docker_client import DockerClient

_PING_TIMEOUT = 5  # seconds; an engine that is there answers in milliseconds
_START_TIMEOUT = 60.0  # seconds
_REMOVE = (
    "import sys; from testcontainers.core.docker_client import DockerClient; "
    "DockerClient().client.api.remove_container(sys.argv[1], v=True, force=True)"
)

# It announces every container on stderr, in the middle of pytest's own lines.
logging.getLogger("testcontainers").setLevel(logging.WARNING)


class DockerUnavailable(RuntimeError):
    """A container cannot be had here; the message says why in one line."""


class EngineUnavailable(DockerUnavailable):
    """No Docker engine answers."""


class ImageUnavailable(DockerUnavailable):
    """The image is not on this machine and cannot be pulled."""


def require_engine() -> None:
    """Nothing happens if a Docker engine answers; otherwise raises EngineUnavailable."""
    try:
        client = DockerClient(timeout=_PING_TIMEOUT).client
        try:
            client.ping()
        finally:
            client.close()
    except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
        raise EngineUnavailable("no Docker engine answers") from error


def require_image(image: str, seconds: float) -> None:
    """Pulls an image unless it is there; raises ImageUnavailable if that fails or takes too long."""
    client = DockerClient(timeout=max(int(seconds), 1)).client
    try:
        with contextlib.suppress(docker.errors.ImageNotFound):
            client.images.get(image)
            return
        deadline = time.monotonic() + seconds
        # Without a tag Docker would pull every one that there is.
        tag = None if ":" in image.rpartition("/")[2] or "@" in image else "latest"
        for progress in client.api.pull(image, tag=tag, stream=True, decode=True):
            if "error" in progress:
                raise ImageUnavailable(f"the image {image} cannot be pulled: {_first_line(progress['error'])}")
            if time.monotonic() > deadline:
                raise ImageUnavailable(f"the image {image} is not pulled within {seconds:.0f} s")
    except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
        explanation = getattr(error, "explanation", None) or str(error)
        raise ImageUnavailable(f"the image {image} cannot be pulled: {_first_line(explanation)}") from error
    finally:
        client.close()


class Container:
    """A server in a container of its own, which is removed with this process at the latest.

    The superuser is ``postgres``, with a random password.
    """

    def __init__(self, image: str, settings: Mapping[str, str] | None = None) -> None:
        """Starts the container and returns once the server accepts connections; raises DockerUnavailable."""
        self.image = image
        self.password = secrets.token_urlsafe(16)
        self._creator = os.getpid()
        # By name, so that it can watch before there is an id.
        self.name = f"phase_1_{secrets.token_hex(6)}"
        self._watchdog = Watchdog([sys.executable, "-c", _REMOVE, self.name])
        options = [f"-c{name}={value}" for name, value in {**SETTINGS, **(settings or {})}.items()]
        self._container = (
            PostgresContainer(image, username="postgres", password=self.password, dbname="postgres", driver=None)
            .with_name(self.name)
            .with_command(["postgres", *options])
            # The embedded server's locale: the order of text is the same everywhere.
            .with_env("POSTGRES_INITDB_ARGS", "--encoding=UTF8 --no-locale --no-sync")
            # Parallel index builds share memory through /dev/shm, of which Docker gives 64 MB.
            .with_kwargs(shm_size="512m")
        )
        atexit.register(self.close)
        try:
            self._container.start()
            self._wait()
        except BaseException as error:
            log = self._log_text_or_nothing()
            self.close()
            if isinstance(error, Exception):
                raise DockerUnavailable(
                    f"a container of {image} does not start: {_first_line(str(error))}\n{log}".rstrip()
                ) from error
            raise

    def __enter__(self) -> Container:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def container_id(self) -> str:
        """The id by which Docker knows the container."""
        return self._container.get_container_id()

    @property
    def superuser_dsn(self) -> str:
        """A URI for the superuser and the database ``postgres``, with the password.

        Another one after :meth:`restart`: Docker then gives out another port.
        """
        host = self._container.get_container_host_ip()
        port = self._container.get_exposed_port(5432)
        return f"postgresql://postgres:{quote(self.password, safe='')}@{host}:{port}/postgres"

    def log_text(self) -> str:
        """Everything the container has written so far."""
        logs: bytes = self._container.get_wrapped_container().logs()
        return logs.decode("utf-8", "replace")

    def kill(self) -> None:
        """Kills every process of the container with SIGKILL."""
        self._container.get_wrapped_container().kill()

    def restart(self) -> None:
        """Stops the server if it runs and starts it again, crash recovery included."""
        self._container.get_wrapped_container().restart()
        self._wait()

    def close(self) -> None:
        """Removes the container and its volume; a second call does nothing."""
        if os.getpid() != self._creator:
            return  # a forked child inherits the exit handlers, and the container is not its own
        atexit.unregister(self.close)
        with contextlib.suppress(docker.errors.DockerException, requests.exceptions.RequestException):
            self._container.stop()
        self._watchdog.release()

    def _wait(self) -> None:
        deadline = time.monotonic() + _START_TIMEOUT
        while True:
            try:
                psycopg.connect(self.superuser_dsn, connect_timeout=10).close()
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return

    def _log_text_or_nothing(self) -> str:
        with contextlib.suppress(Exception):
            return self.log_text()
        return ""


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]
