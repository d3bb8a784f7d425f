"""Find, start and stop real programs: nothing of theirs outside of a temporary folder, nothing beyond loopback."""

import atexit
import contextlib
import functools
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, NoReturn, TextIO

import pytest

HOST = "127.0.0.1"
STARTUP_SECONDS = 60.0
SHUTDOWN_SECONDS = 10.0

# Daemons live in sbin, which is not on everybody's path.
_SEARCH_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])

# Below what Linux hands to outgoing connections, so that none of those takes a port between here and its use.
_PORTS = range(20000, 32000)
_SHARE = 500
_ports_given: set[int] = set()


def unavailable(reason: str) -> NoReturn:
    """Skip the test for this reason; fail it where MAILPROTO_REQUIRE_INTEROP=1 says that all must be here."""
    if os.environ.get("MAILPROTO_REQUIRE_INTEROP") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def find_program(name: str) -> str:
    """Return the path of a program, or skip the test that needs it."""
    path = shutil.which(name, path=_SEARCH_PATH)
    if path is None:
        unavailable(f"{name} is not installed")
    return path


@functools.cache
def _own_ports() -> range:
    """Return the ports of this test run. Who holds the first port of a share has the others, too."""
    for start in _PORTS[::_SHARE]:
        holder = socket.socket()
        try:
            holder.bind((HOST, start))
            holder.listen()
        except OSError:
            holder.close()
            continue
        atexit.register(holder.close)
        return range(start + 1, start + _SHARE)
    raise RuntimeError("too many test runs at once")


def free_port() -> int:
    """Return a TCP port of loopback that nothing listens on, never the same one twice."""
    for _ in range(200):
        port = random.choice(_own_ports())
        if port in _ports_given:
            continue
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            _ports_given.add(port)
            return port
    raise RuntimeError("no free port found")


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Make a folder that daemons under any user can enter; its path is short, as unix sockets need."""
    with tempfile.TemporaryDirectory(prefix="mailproto-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def unprivileged_user() -> pwd.struct_passwd:
    """Return whom a server that needs no root runs as: us, or nobody when we are root."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())


@contextlib.contextmanager
def acting_as(user: pwd.struct_passwd) -> Iterator[None]:
    """Let this whole process make and read files as that user; nothing changes unless we are root."""
    if os.geteuid() != 0:
        yield
        return
    group = os.getegid()
    os.setegid(user.pw_gid)
    os.seteuid(user.pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)


class Daemon:
    """A server process in the foreground; its standard output and error go to a log file.

    A server that keeps another log besides names it in ``own_log``.
    """

    running: ClassVar[list["Daemon"]] = []

    def __init__(
        self,
        arguments: Sequence[str | Path],
        *,
        log: Path,
        own_log: Path | None = None,
        user: pwd.struct_passwd | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = Path(arguments[0]).name
        if user is not None and user.pw_uid == os.geteuid():
            user = None
        # Open from here on, because a test may be somebody who must not open them.
        self._logs = [_new_file(path, user) for path in (log, own_log) if path is not None]
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
                user=user and user.pw_uid,
                group=user and user.pw_gid,
                extra_groups=user and [],
            )
        self.running.append(self)

    def wait_for_banner(self, port: int) -> None:
        """Wait until a connection to the port is greeted. RuntimeError with the log if that does not come."""
        give_up = time.monotonic() + STARTUP_SECONDS
        while time.monotonic() < give_up and self._process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=5) as connection:
                if connection.recv(1):
                    return
            time.sleep(0.02)
        raise RuntimeError(f"no banner on port {port}; the log says:\n{self.log()}")

    def log(self) -> str:
        """Return what the server has logged so far."""
        for file in self._logs:
            file.seek(0)
        return "".join(file.read() for file in self._logs)

    def stop(self) -> None:
        """Ask the server to end; after SHUTDOWN_SECONDS kill it with all of its children."""
        self.running.remove(self)
        self._process.terminate()
        try:
            self._process.wait(SHUTDOWN_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        for file in self._logs:
            file.close()


def _new_file(path: Path, owner: pwd.struct_passwd | None) -> TextIO:
    path.touch()
    if owner is not None:
        os.chown(path, owner.pw_uid, owner.pw_gid)
    return path.open(errors="replace")
