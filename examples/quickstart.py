"""The main job in one program: mail goes out over SMTP, is kept in a Maildir, and comes back over POP3.

    python3 -m examples.quickstart [FILE.eml …]

Both servers run on free ports of this machine, over a Maildir in a temporary folder, or over memory where the system
has no Maildirs. Each mail (or one that is built here) is sent, stored, fetched, and compared octet by octet. The
conversation is shown as it happens, C: for what the client says and S: for what the server says, so that the
protocols can be read from it.
"""

from __future__ import annotations

import sys
import tempfile
from email.message import EmailMessage
from pathlib import Path

from mailproto import MailProtoError, NotSupportedError, sync
from mailproto.maildrop import MaildirRoot, MemoryMaildrop
from mailproto.mailhost import MailHost
from mailproto.pop3 import POP3ServerConfig
from mailproto.smtp import SMTPClientConfig, SMTPServerConfig
from mailproto.transcript import Transcript

SENDER, RECIPIENT = "grace@example.net", "ada@example.org"
USER, PASSWORD = "ada", "correct horse battery staple"


def build_message() -> bytes:
    """Return a mail with a subject that is not ASCII, and an attachment."""
    message = EmailMessage()
    message["From"] = f"Grace Hopper <{SENDER}>"
    message["To"] = f"Ada Lovelace <{RECIPIENT}>"
    message["Subject"] = "Grüße aus der Zukunft ✉"
    message.set_content("Dear Ada,\n\n.this line begins with a dot, and comes back with just that one.\n\nGrace\n")
    message.add_attachment(bytes(range(256)), "application", "octet-stream", filename="octets.bin")
    return message.as_bytes(policy=message.policy.clone(linesep="\r\n"))


def read_message(path: str) -> bytes:
    """Return the mail in a file, its lines ending in CRLF as they do on the wire."""
    content = Path(path).read_bytes()
    return content.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")


def main(paths: list[str]) -> int:
    """Send, store, fetch and compare; return 0 if every octet came back."""
    try:
        messages = [read_message(path) for path in paths] or [build_message()]
        return compare(messages, pass_through(messages))
    except (MailProtoError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1


def pass_through(messages: list[bytes]) -> list[bytes]:
    """Run both servers, and return what comes out of one of what went into the other."""
    with tempfile.TemporaryDirectory(prefix="mailproto-") as folder:
        host = make_host(folder)
        # Passwords in clear are for this example alone: it has no certificate, and nobody else listens.
        pop3_config = POP3ServerConfig(allow_plaintext_auth=True)
        # Mail of any size and with any octets in it, because it is the reader's own.
        smtp_config = SMTPServerConfig(max_message_size=0, allow_nul=True)
        smtp_server = sync.SMTPServer(host, port=0, config=smtp_config)
        pop3_server = sync.POP3Server(host, port=0, config=pop3_config)
        with smtp_server, pop3_server:
            send(messages, smtp_server.port)
            if files := [path.name for path in Path(folder).rglob("new/*")]:
                print("\n-- In the Maildir --", *files, "", sep="\n")
            return fetch(pop3_server.port)


def make_host(folder: str) -> MailHost:
    """Return the host that keeps the mail, in the folder if it can."""
    users, domains = {USER: PASSWORD}, ["example.org"]
    try:
        return MailHost(MaildirRoot(folder).maildir, users, domains)
    except NotSupportedError as error:
        print(f"{error}, so that the mail is kept in memory", file=sys.stderr)
        return MailHost(lambda _: MemoryMaildrop(), users, domains)


def send(messages: list[bytes], port: int) -> None:
    """Send the mails over SMTP, in one connection."""
    print(f"-- SMTP, port {port} --")
    # A message by BDAT takes a round trip less, but DATA is what the RFC of SMTP itself has.
    client = sync.SMTPClient("127.0.0.1", port, config=SMTPClientConfig(chunking=False))
    client.conn.trace = Transcript(print)
    with client:
        for message in messages:
            client.send_message(message, SENDER, [RECIPIENT]).raise_for_refused()


def fetch(port: int) -> list[bytes]:
    """Fetch all mails over POP3, and have them deleted."""
    print(f"-- POP3, port {port} --")
    client = sync.POP3Client(
        "127.0.0.1", port, tls=sync.TLSPolicy.NONE, user=USER, password=PASSWORD, allow_plaintext_auth=True
    )
    client.conn.trace = Transcript(print)
    fetched = []
    with client as pop:
        for message in pop.messages():
            fetched.append(message.read())
            message.delete()
    return fetched


def compare(sent: list[bytes], fetched: list[bytes]) -> int:
    """Say whether what was fetched is what was sent."""
    same = [ends_in_crlf(message) for message in sent] == fetched
    octets = sum(map(len, fetched))
    print(f"\n{len(fetched)} mail(s), {octets} octets: {'every octet came back' if same else 'DIFFERENT'}")
    return 0 if same else 1


def ends_in_crlf(message: bytes) -> bytes:
    """Return the mail with an end to its last line, which SMTP gives it where it has none."""
    return message if message.endswith(b"\r\n") or not message else message + b"\r\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
