"""Courier as POP3 server over Dovecot's mailboxes, and what it delivers with; it runs without root.

It need not be installed (Debian allows one POP3 server only): the variable MAILPROTO_COURIER names a folder into
which its packages were merely unpacked. Its login asks a daemon at a path that is written into its library; a copy
of the library has another path there, as long as the first, and the daemon is a thread of ours. A wrapper around the
look-up of names (libnss_wrapper) shows it the user that its package would have made.
"""

import contextlib
import os
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

from tests import data
from tests.interop.dovecot import PASSWORD, Dovecot, Mailbox
from tests.interop.programs import HOST, Daemon, free_port, temporary_folder, unavailable

_LIBRARY = "usr/lib/libcourierauth.so.0"
_DAEMON = b"/run/courier/aut", b"thdaemon/socket\0"  # as the machine code has it: the two overlap by one octet
_DAEMON_LENGTH = 30


class _Authority(socketserver.ThreadingUnixStreamServer):
    """Courier's authentication daemon: it says where the mailbox of a user is, if the password is right."""

    daemon_threads = True

    def __init__(self, path: Path, dovecot: Dovecot) -> None:
        self.dovecot = dovecot
        super().__init__(str(path), _Question)
        path.chmod(0o666)


class _Question(socketserver.StreamRequestHandler):
    server: _Authority

    def handle(self) -> None:
        length = 0
        for line in self.rfile:
            if line.startswith(b"AUTH "):
                length = int(line[5:])
                break
        _, kind, user, password, *_ = self.rfile.read(length).decode().split("\n")
        dovecot = self.server.dovecot
        if kind != "login" or user not in dovecot.names or password != PASSWORD:
            self.wfile.write(b"FAIL\n")
            return
        uid, gid, home = dovecot.owner.pw_uid, dovecot.owner.pw_gid, dovecot.homes / user
        self.wfile.write(f"UID={uid}\nGID={gid}\nADDRESS={user}\nHOME={home}\n.\n".encode())


class Courier:
    """A running Courier: plain POP3, with STLS."""

    def __init__(self, folder: Path, dovecot: Dovecot) -> None:
        self._root = Path(os.environ.get("MAILPROTO_COURIER") or "/nowhere")
        if not self._root.is_dir():
            unavailable("Courier is not unpacked")
        self._owner = dovecot.owner
        self.port = free_port()
        path = folder / ("a" * (_DAEMON_LENGTH - len(f"{folder}/")))
        if len(str(path)) != _DAEMON_LENGTH:
            unavailable(f"{folder} has too long a name for Courier's library")
        self._copy_library(folder, os.fsencode(path))
        (folder / "server.pem").write_bytes(data.SERVER.certificate.read_bytes() + data.SERVER.key.read_bytes())
        uid, gid = dovecot.owner.pw_uid, dovecot.owner.pw_gid
        (folder / "passwd").write_text(f"courier:x:{uid}:{gid}::{folder}:/bin/sh\n")
        (folder / "group").write_text(f"courier:x:{gid}:\n")
        self._authority = _Authority(path, dovecot)
        threading.Thread(target=self._authority.serve_forever, daemon=True).start()
        for file in (folder, *folder.iterdir()):
            os.chown(file, uid, gid)
        lib = self._root / "usr/lib"
        self._daemon = Daemon(
            [
                *(self._root / "usr/sbin/couriertcpd", f"-address={HOST}", "-maxprocs=40", "-maxperip=40"),
                *("-nodnslookup", "-noidentlookup", str(self.port)),
                *(lib / "courier/courier/courierpop3login", lib / "courier/courier/courierpop3d", "Maildir"),
            ],
            log=folder / "log",
            user=dovecot.owner,
            environment={
                "LD_LIBRARY_PATH": os.pathsep.join(map(str, (folder, lib, *lib.glob("*-linux-gnu")))),
                "POP3AUTH": "PLAIN LOGIN",
                "POP3AUTH_TLS": "PLAIN LOGIN",
                "POP3_STARTTLS": "YES",
                "COURIERTLS": str(self._root / "usr/bin/couriertls"),
                "TLS_CERTFILE": str(folder / "server.pem"),
                "TLS_VERIFYPEER": "NONE",
                "LD_PRELOAD": "libnss_wrapper.so",
                "NSS_WRAPPER_PASSWD": str(folder / "passwd"),
                "NSS_WRAPPER_GROUP": str(folder / "group"),
                "MIME_UNICODE_MESSAGE_TYPE": "message/global",
            },
        )

    def deliver(self, mailbox: Mailbox, message: bytes) -> None:
        """Deliver a message into a Maildir, as Courier does it."""
        subprocess.run(
            [self._root / "usr/bin/deliverquota.courier", mailbox.maildir],
            input=message.replace(b"\r\n", b"\n"),
            check=True,
            user=self._owner.pw_uid if os.geteuid() == 0 else None,
        )

    def wait_until_ready(self) -> None:
        """Wait for the banner. RuntimeError with the log if it does not come."""
        self._daemon.wait_for_banner(self.port)

    def stop(self) -> None:
        """End Courier and its processes."""
        self._daemon.stop()
        self._authority.shutdown()
        self._authority.server_close()

    def _copy_library(self, folder: Path, path: bytes) -> None:
        library = (self._root / _LIBRARY).read_bytes()
        old, new = b"".join(_DAEMON), path[:16] + path[15:] + b"\0"
        if library.count(old) != 1:
            unavailable("Courier's library is not the one that is known here")
        (folder / Path(_LIBRARY).name).write_bytes(library.replace(old, new))


@contextlib.contextmanager
def running_courier(dovecot: Dovecot) -> Iterator[Courier]:
    """Start Courier in a temporary folder, and end it at the end."""
    with temporary_folder() as folder:
        courier = Courier(folder, dovecot)
        try:
            courier.wait_until_ready()
            yield courier
        finally:
            courier.stop()
