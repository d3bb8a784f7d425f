"""Exim as SMTP server in front of Dovecot's mailboxes, and as a relay that delivers to our servers.

It runs without root. It need not be installed (Debian allows one mail server only): the variable MAILPROTO_EXIM
names a binary that was merely unpacked. It insists on users that its package would have made; a wrapper around
the look-up of names (libnss_wrapper) shows them to it.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from tests import data
from tests.interop.dovecot import DOMAIN, PASSWORD, Dovecot
from tests.interop.postfix import RELAY_USER
from tests.interop.programs import HOST, Daemon, find_program, free_port, temporary_folder

_CONFIGURATION = """\
exim_path = {folder}/exim
spool_directory = {folder}/spool
log_file_path = {folder}/%slog
pid_file_path =
primary_hostname = exim.{domain}
local_interfaces = {host}
daemon_smtp_ports = {port} : {smtps_port}
tls_on_connect_ports = {smtps_port}
tls_certificate = {folder}/server.pem
tls_privatekey = {folder}/server.key
tls_advertise_hosts = *
keep_environment = LD_PRELOAD : ^NSS_WRAPPER_
deliver_drop_privilege = true
disable_ipv6 = true
host_lookup =
rfc1413_query_timeout = 0s
message_size_limit = 60M
chunking_advertise_hosts = *
dsn_advertise_hosts = *
pipelining_advertise_hosts = *
pipelining_connect_advertise_hosts = *
prdr_enable = true
smtputf8_advertise_hosts = *
acl_smtp_rcpt = recipient
acl_smtp_data_prdr = each
log_selector = +smtp_confirmation +tls_peerdn +pipelining

begin acl
recipient:
  accept domains = {domain}
         local_parts = lsearch;{folder}/mailboxes
  accept domains = plain.test : starttls.test : smtps.test : submission.test : lmtp.test : lmtp-unix.test
  accept authenticated = *
  deny message = 5.7.1 not here
each:
  deny condition = ${{if eq{{$h_X-Not-For:}}{{$local_part}}}}
       message = 5.7.1 not for me
  accept

begin routers
local:
  driver = accept
  domains = {domain}
  local_parts = lsearch;{folder}/mailboxes
  transport = maildir
ours:
  driver = manualroute
  # By name and without IPv6, which here means without DNS.
  route_list = plain.test localhost byname plain; starttls.test localhost byname starttls; \
    smtps.test localhost byname smtps; submission.test localhost byname submission; \
    lmtp.test localhost byname lmtp; lmtp-unix.test localhost byname lmtp_unix
  self = send

begin transports
maildir:
  driver = appendfile
  directory = {homes}/$local_part_data/Maildir
  maildir_format
plain:
  driver = smtp
  port = {ports[plain]}
  hosts_avoid_tls = *
  message_linelength_limit = 1000000
starttls:
  driver = smtp
  port = {ports[starttls]}
  hosts_require_tls = *
  tls_verify_certificates = {folder}/ca.pem
  tls_verify_hosts = *
  message_linelength_limit = 1000000
smtps:
  driver = smtp
  port = {ports[smtps]}
  protocol = smtps
  hosts_require_tls = *
  tls_verify_certificates = {folder}/ca.pem
  tls_verify_hosts = *
  message_linelength_limit = 1000000
submission:
  driver = smtp
  port = {ports[submission]}
  hosts_require_tls = *
  hosts_require_auth = *
  tls_verify_certificates = {folder}/ca.pem
  tls_verify_hosts = *
  message_linelength_limit = 1000000
lmtp:
  driver = smtp
  port = {ports[lmtp]}
  protocol = lmtp
  message_linelength_limit = 1000000
lmtp_unix:
  driver = lmtp
  socket = {socket}
  batch_max = 100

begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${{if eq{{$auth3}}{{{password}}}}}
  server_set_id = $auth2
  server_advertise_condition = ${{if def:tls_in_cipher}}
  client_send = ^{user}^{password}

begin retry
* * F,1h,1s
"""


class Exim:
    """A running Exim; mail to box001@example.test ends in Dovecot's mailbox of that name.

    ``port`` offers STARTTLS, ``smtps_port`` is under TLS. Mail for KIND.test is relayed to ``relay_ports[KIND]``, on
    which a test lets our own server listen: plain, starttls, smtps, submission (STARTTLS, and logs in as RELAY_USER)
    and lmtp; mail for lmtp-unix.test to a server on ``relay_socket``.

    With PRDR it refuses a message for the recipient whose local part stands in the field X-Not-For.
    """

    def __init__(self, folder: Path, dovecot: Dovecot) -> None:
        # A copy, because the original may be setuid, and then the loader would leave the wrapper out.
        program = Path(shutil.copyfile(find_program(os.environ.get("MAILPROTO_EXIM", "exim4")), folder / "exim"))
        program.chmod(0o755)
        self.port, self.smtps_port = free_port(), free_port()
        self.relay_ports = {kind: free_port() for kind in ("plain", "starttls", "smtps", "submission", "lmtp")}
        self.relay_socket = folder / "relay"
        self._folder = folder
        self._write_files(dovecot)
        self._daemon = Daemon(
            [program, "-C", folder / "exim.conf", "-bdf", "-q1s"],
            log=folder / "startup",
            own_log=folder / "mainlog",
            user=dovecot.owner,
            environment={
                "LD_PRELOAD": "libnss_wrapper.so",
                "NSS_WRAPPER_PASSWD": str(folder / "passwd"),
                "NSS_WRAPPER_GROUP": str(folder / "group"),
            },
        )

    def wait_until_ready(self) -> None:
        """Wait for the banner. RuntimeError with the log if it does not come."""
        self._daemon.wait_for_banner(self.port)

    def log(self) -> str:
        """Return what Exim has logged so far."""
        return self._daemon.log()

    def stop(self) -> None:
        """End Exim and its processes."""
        self._daemon.stop()

    def _write_files(self, dovecot: Dovecot) -> None:
        folder, owner = self._folder, dovecot.owner
        configuration = _CONFIGURATION.format(
            folder=folder,
            domain=DOMAIN,
            host=HOST,
            port=self.port,
            smtps_port=self.smtps_port,
            homes=dovecot.homes,
            ports=self.relay_ports,
            socket=self.relay_socket,
            user=RELAY_USER,
            password=PASSWORD,
        )
        files = {
            "exim.conf": configuration,
            # übox001@ is the mailbox of box001@ too; only SMTPUTF8 (RFC 6531) can name it.
            "mailboxes": "".join(f"{u}{name}: {name}\n" for name in dovecot.names for u in ("", "ü")),
            "server.pem": data.SERVER.certificate.read_text(),
            "server.key": data.SERVER.key.read_text(),
            "ca.pem": data.CA.read_text(),
            "passwd": f"root:x:0:0::/:/bin/sh\nDebian-exim:x:{owner.pw_uid}:{owner.pw_gid}::{folder}:/bin/sh\n",
            "group": f"root:x:0:\nDebian-exim:x:{owner.pw_gid}:\nmail:x:{owner.pw_gid}:\n",
        }
        for name, content in files.items():
            (folder / name).write_text(content, encoding="utf-8")
        (folder / "spool").mkdir()
        for path in (folder, *folder.iterdir()):
            os.chown(path, owner.pw_uid, owner.pw_gid)


@contextlib.contextmanager
def running_exim(dovecot: Dovecot) -> Iterator[Exim]:
    """Start Exim in a temporary folder, and end it at the end."""
    with temporary_folder() as folder:
        exim = Exim(folder, dovecot)
        try:
            exim.wait_until_ready()
            yield exim
        finally:
            exim.stop()
