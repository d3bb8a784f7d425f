"""Command-line programs that send a message over SMTP, each behind the same signature."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from tests import data
from tests.interop.clients import Endpoint, Outcome, on_off, on_the_wire, run, write_configuration


class Sender(Protocol):
    """Sends one message from one address to some; options go to the program as they are."""

    def __call__(
        self,
        endpoint: Endpoint,
        sender: str,
        recipients: Sequence[str],
        message: bytes,
        folder: Path,
        *options: str,
    ) -> Outcome:
        """Run the program in the folder and return its outcome."""
        ...


def curl(
    endpoint: Endpoint, sender: str, recipients: Sequence[str], message: bytes, folder: Path, *options: str
) -> Outcome:
    """Send with curl; it dot-stuffs, but leaves line ends alone."""
    scheme = "smtps" if endpoint.tls == "implicit" else "smtp"
    login = [] if endpoint.user is None else ["--user", f"{endpoint.user}:{endpoint.password}"]
    return run(
        "curl",
        "--disable", "--silent", "--show-error", "--verbose",
        "--url", f"{scheme}://{endpoint.host}:{endpoint.port}/curl.example.test",
        "--cacert", data.CA,
        *(["--ssl-reqd"] if endpoint.tls == "starttls" else []),
        *login,
        "--mail-from", sender,
        *(option for recipient in recipients for option in ("--mail-rcpt", recipient)),
        "--upload-file", "-",
        *options,
        folder=folder,
        stdin=message,
    )  # fmt: skip


def swaks(
    endpoint: Endpoint, sender: str, recipients: Sequence[str], message: bytes, folder: Path, *options: str
) -> Outcome:
    """Send with swaks; it makes CRLF of LF and dot-stuffs, once it has taken one final dot for the end of data."""
    tls = {"none": [], "starttls": ["--tls"], "implicit": ["--tls-on-connect"]}[endpoint.tls]
    login = ["--auth-user", endpoint.user, "--auth-password", endpoint.password] if endpoint.user else []
    return run(
        "swaks",
        "--server", endpoint.host, "--port", str(endpoint.port),
        "--helo", "swaks.example.test",
        *tls, *(["--tls-verify", "--tls-ca-path", str(data.CA)] if tls else []),
        *(["--auth", *login] if login else []),
        "--from", sender, "--to", ",".join(recipients),
        "--data", "-",
        *options,
        folder=folder,
        stdin=on_the_wire(message) + b".\r\n",
    )  # fmt: skip


def msmtp(
    endpoint: Endpoint, sender: str, recipients: Sequence[str], message: bytes, folder: Path, *options: str
) -> Outcome:
    """Send with msmtp; it makes CRLF of LF and dot-stuffs. In clear it would not take PLAIN by itself."""
    auth = "off" if endpoint.user is None else "on" if endpoint.tls != "none" else "plain"
    configuration = write_configuration(
        folder / "msmtprc",
        [
            "account default",
            f"host {endpoint.host}",
            f"port {endpoint.port}",
            "domain msmtp.example.test",
            f"tls {on_off(endpoint.tls != 'none')}",
            f"tls_starttls {on_off(endpoint.tls == 'starttls')}",
            f"tls_trust_file {data.CA}",
            f"auth {auth}",
            f"user {endpoint.user}" if endpoint.user else None,
            f"password {endpoint.password}" if endpoint.user else None,
        ],
    )
    return run(
        "msmtp", "--debug", "--file", configuration, "--from", sender, *options, "--", *recipients,
        folder=folder,
        stdin=message,
    )  # fmt: skip


SENDERS: dict[str, Sender] = {"curl": curl, "swaks": swaks, "msmtp": msmtp}
