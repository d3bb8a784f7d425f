"""A simulation of a system that is not POSIX, in a process of its own: it hides what only POSIX has.

    python -m tests.portability.elsewhere MODULE [ARGUMENT …]

runs a module there. This is no Windows: only what the project could lean on without knowing is taken away, or fails
as it does on Windows. What a real one does otherwise, its event loop of its own first of all, no simulation tells.
"""

from __future__ import annotations

import os
import runpy
import select
import shutil
import signal
import socket
import sys
from pathlib import Path
from typing import Any, NoReturn, cast

_MODULES = ("fcntl", "grp", "pwd", "resource", "syslog", "termios", "tty", "pty")
_OF_OS = (
    "O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "chown", "fchdir", "fchmod", "fchown", "fork", "getegid",
    "geteuid", "getgid", "getuid", "killpg", "mkfifo", "pread", "pwrite", "statvfs", "sync", "uname", "wait",
)  # fmt: skip
_OF_SOCKET = ("AF_UNIX", "CMSG_LEN", "MSG_DONTWAIT", "MSG_NOSIGNAL", "SO_REUSEPORT", "send_fds", "recv_fds")
_OF_SELECT = ("devpoll", "epoll", "kqueue", "poll")
_SIGNALS = ("SIGALRM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2")
_FORBIDDEN = frozenset('<>:"|?*')
_OF_LOOP = (
    "add_reader", "add_signal_handler", "add_writer", "create_unix_connection", "create_unix_server", "remove_reader",
    "remove_signal_handler",
)  # fmt: skip
# But remove_writer, which the loop calls itself.


def become() -> None:
    """Have this process be elsewhere, from now on and for good."""
    cast(Any, sys.modules).update(dict.fromkeys(_MODULES))
    for module, names in ((os, _OF_OS), (socket, _OF_SOCKET), (select, _OF_SELECT), (signal, _SIGNALS)):
        for name in names:
            vars(module).pop(name, None)
    vars(socket)["socketpair"] = _socketpair
    _change_files()
    _change_loops()
    vars(os)["name"] = "elsewhere"  # for on "nt" pathlib would have paths that this machine has not


def _socketpair(*_: Any) -> tuple[socket.socket, socket.socket]:
    """Return two ends of a connection over TCP, which is what Windows has."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ours = socket.create_connection(listening.getsockname())
        return ours, listening.accept()[0]


def _change_files() -> None:
    """Have files be as on Windows: some names are none, directories cannot be opened, and what is open stays."""
    really = {name: getattr(os, name) for name in ("open", "rename", "unlink")}

    def open_(path: Any, *arguments: Any, **keywords: Any) -> int:
        _check_name(path)
        if Path(path).is_dir():
            raise PermissionError(13, "Permission denied", path)
        return int(really["open"](path, *arguments, **keywords))

    def rename(source: Any, target: Any, **keywords: Any) -> None:
        _check_name(target)
        _check_closed(source)
        if Path(target).exists():
            raise FileExistsError(17, "File exists", target)
        really["rename"](source, target, **keywords)

    def unlink(path: Any, **keywords: Any) -> None:
        _check_closed(path)
        really["unlink"](path, **keywords)

    vars(os).update(open=open_, rename=rename, unlink=unlink, remove=unlink)
    vars(shutil)["_use_fd_functions"] = False  # which opens directories


def _check_name(path: Any) -> None:
    if _FORBIDDEN & set(Path(os.fsdecode(path)).name):
        raise OSError(22, "Invalid argument", path)


def _check_closed(path: Any) -> None:
    for descriptor in Path("/proc/self/fd").iterdir():
        if descriptor.is_file() and descriptor.samefile(path):
            raise PermissionError(13, "The process cannot access the file because it is being used", path)


def _change_loops() -> None:
    """Have the event loops know no signals, no unix sockets, and no sockets that are watched for others."""
    import asyncio

    def absent(*_: Any, **__: Any) -> NoReturn:
        raise NotImplementedError

    changed = type("Loop", (asyncio.SelectorEventLoop,), dict.fromkeys(_OF_LOOP, absent))

    class Policy(asyncio.DefaultEventLoopPolicy):
        _loop_factory = changed

    asyncio.set_event_loop_policy(Policy())


if __name__ == "__main__":
    become()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
