"""Dovecot as POP3, LMTP and submission server, as SASL authority for Postfix, and as a proxy in front of our servers.

It runs without root.
"""

import contextlib
import grp
import os
import pwd
import time
from collections.abc import Iterator
from pathlib import Path

from tests import data
from tests.interop.programs import Daemon, find_program, free_port, temporary_folder, unprivileged_user

DOMAIN = "example.test"
PASSWORD = "open-sesame"
MAILBOXES = 400
DELIVERY_SECONDS = 60.0
BEHIND = ("ada", "grace", "full", "stranger")
"""The users whose mailboxes are not Dovecot's."""
POP3_BEHIND = "relay"
"""One of the kind for POP3."""

_CONFIGURATION = """\
base_dir = {folder}/run
state_dir = {folder}/state
log_path = /dev/stderr
auth_verbose = yes
default_internal_user = {user}
default_internal_group = {group}
default_login_user = {user}
first_valid_uid = {uid}
protocols = pop3 lmtp submission
listen = 127.0.0.1
login_trusted_networks = 127.0.0.1
haproxy_trusted_networks = 127.0.0.1
hostname = dovecot.{domain}
postmaster_address = postmaster@{domain}

ssl = yes
ssl_cert = <{folder}/server.pem
ssl_key = <{folder}/server.key

disable_plaintext_auth = no
auth_mechanisms = plain login cram-md5 apop scram-sha-1 scram-sha-256
auth_username_format = %Ln
auth_failure_delay = 0
passdb {{
  driver = passwd-file
  args = scheme=PLAIN {folder}/users
  default_fields = nodelay=yes
}}
passdb {{
  driver = static
  args = proxy=yes host=127.0.0.1 port={ports[pop3]} nopassword=yes nodelay=yes
  username_filter = {pop3_behind}
}}
userdb {{
  driver = passwd-file
  args = {folder}/users
}}
lmtp_proxy = yes
submission_relay_host = 127.0.0.1
submission_relay_port = {ports[submission]}
submission_relay_ssl = no
mail_location = maildir:~/Maildir
mail_max_userip_connections = 100
pop3_uidl_format = %g

service pop3-login {{
  chroot =
  process_min_avail = 1
  inet_listener pop3 {{
    port = {pop3_port}
  }}
  inet_listener pop3s {{
    port = {pop3s_port}
    ssl = yes
  }}
  inet_listener pop3_proxied {{
    port = {proxied_port}
    haproxy = yes
  }}
}}
service submission-login {{
  chroot =
  inet_listener submission {{
    port = {submission_port}
  }}
  inet_listener submissions {{
    port = 0
  }}
}}
service lmtp {{
  inet_listener lmtp {{
    port = {lmtp_port}
  }}
  unix_listener {folder}/lmtp {{
    mode = 0666
  }}
}}
service auth {{
  inet_listener {{
    port = {auth_port}
  }}
}}
service anvil {{
  chroot =
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service stats {{
  chroot =
}}
"""


class Mailbox:
    """One of Dovecot's users, with the Maildir that is the mailbox."""

    def __init__(self, name: str, maildir: Path, owner: pwd.struct_passwd) -> None:
        self.name = name
        self.address = f"{name}@{DOMAIN}"
        self.password = PASSWORD
        self.maildir = maildir
        self._owner = owner

    def put(self, message: bytes, name: str) -> None:
        """Lay a message into the mailbox as it is, behind the server's back; Maildirs are ordered by name."""
        self._make_folders()
        path = self.maildir / "tmp" / name
        path.write_bytes(message)
        os.chown(path, self._owner.pw_uid, self._owner.pw_gid)
        path.rename(self.maildir / "new" / name)

    def messages(self) -> list[bytes]:
        """Return the messages that lie in the mailbox now, with the line ends that they have on the wire."""
        paths = [path for part in ("new", "cur") for path in (self.maildir / part).glob("*")]
        contents = (path.read_bytes() for path in sorted(paths, key=lambda path: path.name))
        return [content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") for content in contents]

    def wait(self, count: int = 1) -> list[bytes]:
        """Wait until so many messages have come, and return them. TimeoutError after DELIVERY_SECONDS."""
        give_up = time.monotonic() + DELIVERY_SECONDS
        while len(messages := self.messages()) < count:
            if time.monotonic() > give_up:
                raise TimeoutError(f"{len(messages)} of {count} messages have come to {self.address}")
            time.sleep(0.02)
        return messages

    def _make_folders(self) -> None:
        for folder in (self.maildir.parent, self.maildir, *(self.maildir / part for part in ("tmp", "new", "cur"))):
            if not folder.exists():
                folder.mkdir(mode=0o700)
                os.chown(folder, self._owner.pw_uid, self._owner.pw_gid)


class Dovecot:
    """A running Dovecot: plain POP3 with STLS, POP3 under TLS, and LMTP over TCP and on a unix socket.

    It takes our word for whom we speak for: by XCLIENT, and on ``proxied_port`` by a PROXY header, which has to come.

    By LMTP it is a proxy for the users in BEHIND: their mail goes to ``relay_ports["lmtp"]``, where a test lets our
    own server listen. What is submitted goes to ``relay_ports["submission"]``, which it wants when a user logs in.
    By POP3 it is a proxy for POP3_BEHIND, to ``relay_ports["pop3"]``, whatever the password.
    """

    def __init__(self, folder: Path) -> None:
        self.pop3_port, self.pop3s_port, self.lmtp_port, self.auth_port = (free_port() for _ in range(4))
        self.proxied_port, self.submission_port = free_port(), free_port()
        self.relay_ports = {kind: free_port() for kind in ("lmtp", "submission", "pop3")}
        self.lmtp_socket = folder / "lmtp"
        self.homes = folder / "homes"
        self.owner = unprivileged_user()
        self.names = [f"box{number:03}" for number in range(1, MAILBOXES + 1)]
        self._unused = iter(self.names)
        self._write_files(folder)
        self._daemon = Daemon(
            [find_program("dovecot"), "-F", "-c", folder / "dovecot.conf"], log=folder / "log", user=self.owner
        )

    def mailbox(self) -> Mailbox:
        """Return a mailbox that nobody has used before."""
        name = next(self._unused, None)
        if name is None:
            raise RuntimeError(f"all {MAILBOXES} mailboxes are used up")
        return Mailbox(name, self.homes / name / "Maildir", self.owner)

    def wait_until_ready(self) -> None:
        """Wait for the banner. RuntimeError with the log if it does not come."""
        self._daemon.wait_for_banner(self.pop3_port)
        self._daemon.wait_for_banner(self.lmtp_port)

    def log(self) -> str:
        """Return what Dovecot has logged so far."""
        return self._daemon.log()

    def stop(self) -> None:
        """End Dovecot and its processes."""
        self._daemon.stop()

    def _write_files(self, folder: Path) -> None:
        owner, group = self.owner, self.owner.pw_gid
        (folder / "server.pem").write_bytes(data.SERVER.certificate.read_bytes())
        (folder / "server.key").write_bytes(data.SERVER.key.read_bytes())
        proxied = f"proxy=y host=127.0.0.1 port={self.relay_ports['lmtp']}"
        users = [(name, "") for name in self.names]
        users += [(name, f"{proxied} destuser={name}@{DOMAIN}") for name in BEHIND]
        ids = f"{PASSWORD}:{owner.pw_uid}:{group}"
        lines = (f"{name}:{ids}::{self.homes / name}::{extra}\n" for name, extra in users)
        (folder / "users").write_text("".join(lines))
        configuration = _CONFIGURATION.format(
            folder=folder,
            domain=DOMAIN,
            user=owner.pw_name,
            uid=owner.pw_uid,
            group=grp.getgrgid(group).gr_name,
            pop3_port=self.pop3_port,
            pop3s_port=self.pop3s_port,
            lmtp_port=self.lmtp_port,
            auth_port=self.auth_port,
            proxied_port=self.proxied_port,
            submission_port=self.submission_port,
            ports=self.relay_ports,
            pop3_behind=POP3_BEHIND,
        )
        (folder / "dovecot.conf").write_text(configuration)
        self.homes.mkdir()
        for path in (folder, *folder.iterdir()):
            os.chown(path, owner.pw_uid, group)


@contextlib.contextmanager
def running_dovecot() -> Iterator[Dovecot]:
    """Start Dovecot in a temporary folder, and end it at the end."""
    with temporary_folder() as folder:
        dovecot = Dovecot(folder)
        try:
            dovecot.wait_until_ready()
            yield dovecot
        finally:
            dovecot.stop()
