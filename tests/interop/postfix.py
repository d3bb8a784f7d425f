"""Postfix as SMTP server in front of Dovecot's mailboxes, and as a relay that delivers to our servers.

Its master demands root, and the users postfix and postdrop that the package makes.
"""

import contextlib
import grp
import os
import pwd
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests import data
from tests.interop.dovecot import DOMAIN, PASSWORD, Dovecot
from tests.interop.programs import HOST, Daemon, find_program, free_port, temporary_folder, unavailable

UNKNOWN = f"nobody@{DOMAIN}"
"""An address that Postfix refuses at RCPT, because nobody has it."""

RELAY_USER = "relay"
"""The user, with PASSWORD, as whom Postfix logs in to our submission server."""

# No chroot, no DNS, no waiting: what is undeliverable is tried again after a second, and so is what failed inside of
# Postfix, which would rest for a minute.
_MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
daemon_directory = {daemons}
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
inet_interfaces = loopback-only
inet_protocols = ipv4
myhostname = postfix.{domain}
mydestination =
mynetworks =
alias_maps =
smtp_host_lookup = native
smtp_dns_support_level = disabled
smtpd_peername_lookup = no
smtpd_error_sleep_time = 0
in_flow_delay = 0
queue_run_delay = 1s
transport_retry_time = 1s
service_throttle_time = 1s
minimal_backoff_time = 1s
maximal_backoff_time = 2s
message_size_limit = 60000000
maximal_queue_lifetime = 1h
bounce_queue_lifetime = 1h
smtp_line_length_limit = 0
lmtp_line_length_limit = 0

smtpd_tls_security_level = may
smtpd_tls_chain_files = {folder}/server.pem
smtpd_tls_received_header = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = inet:{host}:{auth_port}
smtpd_sasl_auth_enable = yes
smtpd_authorized_xclient_hosts = {host}
smtpd_authorized_xforward_hosts = {host}
smtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination

virtual_mailbox_domains = {domain}
virtual_mailbox_base = {homes}
virtual_mailbox_maps = texthash:{folder}/mailboxes
virtual_mailbox_limit = 0
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}

relay_domains = starttls.test, plain.test, smtps.test, submission.test, lmtp.test, lmtp-unix.test
transport_maps = inline:{{
  {{ plain.test = relay-plain:[{host}]:{ports[plain]} }}
  {{ starttls.test = relay-starttls:[localhost]:{ports[starttls]} }}
  {{ smtps.test = relay-smtps:[localhost]:{ports[smtps]} }}
  {{ submission.test = relay-submission:[localhost]:{ports[submission]} }}
  {{ lmtp.test = lmtp:inet:{host}:{ports[lmtp]} }}
  {{ lmtp-unix.test = lmtp:unix:{socket} }} }}
smtp_tls_CAfile = {ca}
smtp_tls_loglevel = 1
"""

_MASTER = """\
{host}:{ports[smtp]} inet n - n - - smtpd
{host}:{ports[submission_in]} inet n - n - - smtpd
  -o smtpd_tls_security_level=encrypt -o smtpd_tls_auth_only=yes
  -o smtpd_client_restrictions=permit_sasl_authenticated,reject
{host}:{ports[submissions_in]} inet n - n - - smtpd
  -o smtpd_tls_wrappermode=yes -o smtpd_client_restrictions=permit_sasl_authenticated,reject
{host}:{ports[bare]} inet n - n - - smtpd
  -o smtpd_tls_security_level=none -o smtpd_sasl_auth_enable=no
  -o smtpd_discard_ehlo_keywords=pipelining,chunking,8bitmime,smtputf8,dsn,size,enhancedstatuscodes,xclient,xforward
{host}:{ports[proxied]} inet n - n - - smtpd
  -o smtpd_upstream_proxy_protocol=haproxy
{host}:{ports[hasty]} inet n - n - - smtpd
  -o smtpd_timeout=3s
relay-plain unix - - n - - smtp
  -o smtp_tls_security_level=none -o smtp_send_xforward_command=yes
relay-starttls unix - - n - - smtp
  -o smtp_tls_security_level=secure -o smtp_tls_secure_cert_match=hostname
relay-smtps unix - - n - - smtp
  -o smtp_tls_wrappermode=yes -o smtp_tls_security_level=secure -o smtp_tls_secure_cert_match=hostname
relay-submission unix - - n - - smtp
  -o smtp_tls_security_level=secure -o smtp_tls_secure_cert_match=hostname
  -o smtp_sasl_auth_enable=yes -o smtp_sasl_password_maps=static:{user}:{password}
  -o smtp_sasl_security_options=noanonymous
lmtp unix - - n - - lmtp
smtp unix - - n - - smtp
virtual unix - n n - - virtual
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""

_QUEUES = ("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "saved", "trace")


class Postfix:
    """A running Postfix; mail to box001@example.test ends in Dovecot's mailbox of that name.

    ``port`` takes mail for example.test from anybody, ``submission_port`` (STARTTLS) and ``submissions_port``
    (implicit TLS) take mail for anywhere from who logs in with a name and password of Dovecot's, and ``bare_port``
    offers no extension at all. On ``proxied_port`` every connection has to begin with a PROXY header; ``hasty_port``
    hangs up on who says nothing for three seconds.

    Mail for KIND.test is relayed to ``relay_ports[KIND]``, on which a test lets our own server listen: plain,
    starttls, smtps, submission (STARTTLS, and logs in as RELAY_USER) and lmtp; mail for lmtp-unix.test to a server on
    ``relay_socket``.
    """

    def __init__(self, folder: Path, dovecot: Dovecot) -> None:
        daemons = _daemon_folder()
        if os.geteuid() != 0:
            unavailable("Postfix runs only as root")
        self.port, self.submission_port, self.submissions_port = (free_port() for _ in range(3))
        self.bare_port, self.proxied_port, self.hasty_port = (free_port() for _ in range(3))
        self.relay_ports = {kind: free_port() for kind in ("plain", "starttls", "smtps", "submission", "lmtp")}
        self.relay_socket = folder / "relay"
        self._make_folders(folder)
        self._write_files(folder, daemons, dovecot)
        self._daemon = Daemon(
            [daemons / "master", "-d", "-c", folder], log=folder / "startup", own_log=folder / "log"
        )

    def wait_until_ready(self) -> None:
        """Wait for the banner. RuntimeError with the log if it does not come."""
        self._daemon.wait_for_banner(self.port)

    def log(self) -> str:
        """Return what Postfix has logged so far."""
        return self._daemon.log()

    def stop(self) -> None:
        """End Postfix and its processes."""
        self._daemon.stop()

    def _make_folders(self, folder: Path) -> None:
        owner, postdrop = pwd.getpwnam("postfix").pw_uid, grp.getgrnam("postdrop").gr_gid
        queue = folder / "queue"
        (queue / "pid").mkdir(parents=True)
        for path in (folder / "data", queue / "private", *(queue / name for name in _QUEUES)):
            path.mkdir(mode=0o700)
            os.chown(path, owner, 0)
        for name, mode in (("maildrop", 0o730), ("public", 0o710)):
            (queue / name).mkdir()
            (queue / name).chmod(mode)
            os.chown(queue / name, owner, postdrop)

    def _write_files(self, folder: Path, daemons: Path, dovecot: Dovecot) -> None:
        (folder / "server.pem").write_bytes(data.SERVER.key.read_bytes() + data.SERVER.certificate.read_bytes())
        (folder / "ca.pem").write_bytes(data.CA.read_bytes())
        # übox001@ is the mailbox of box001@ too; only SMTPUTF8 (RFC 6531) can name it.
        addresses = ((f"{u}{name}@{DOMAIN}", name) for name in dovecot.names for u in ("", "ü"))
        (folder / "mailboxes").write_text("".join(f"{address} {name}/Maildir/\n" for address, name in addresses))
        main = _MAIN.format(
            folder=folder,
            daemons=daemons,
            domain=DOMAIN,
            host=HOST,
            auth_port=dovecot.auth_port,
            homes=dovecot.homes,
            uid=dovecot.owner.pw_uid,
            gid=dovecot.owner.pw_gid,
            ports=self.relay_ports,
            socket=self.relay_socket,
            ca=folder / "ca.pem",
        )
        (folder / "main.cf").write_text(main)
        ports = {
            "smtp": self.port,
            "submission_in": self.submission_port,
            "submissions_in": self.submissions_port,
            "bare": self.bare_port,
            "proxied": self.proxied_port,
            "hasty": self.hasty_port,
        }
        (folder / "master.cf").write_text(_MASTER.format(host=HOST, ports=ports, user=RELAY_USER, password=PASSWORD))


def _daemon_folder() -> Path:
    """Return where the package at hand keeps Postfix's own programs."""
    postconf = subprocess.run(
        [find_program("postconf"), "-d", "-h", "daemon_directory"], capture_output=True, text=True, check=True
    )
    return Path(postconf.stdout.rstrip("\n"))


@contextlib.contextmanager
def running_postfix(dovecot: Dovecot) -> Iterator[Postfix]:
    """Start Postfix in a temporary folder, and end it at the end."""
    with temporary_folder() as folder:
        postfix = Postfix(folder, dovecot)
        try:
            postfix.wait_until_ready()
            yield postfix
        finally:
            postfix.stop()
