"""Command-line programs that fetch a mailbox over POP3, each behind the same signature."""

from pathlib import Path
from typing import Protocol

from tests import data
from tests.interop.clients import TLS_MODES, Endpoint, Outcome, TLSMode, files_in, on_off, run, write_configuration


class Fetcher(Protocol):
    """Fetches all messages, and deletes them from the server unless they are to be kept."""

    def __call__(self, endpoint: Endpoint, folder: Path, *options: str, keep: bool = False) -> Outcome:
        """Run the program in the folder, with options for it as they are; return its outcome with the messages."""
        ...


def curl(endpoint: Endpoint, folder: Path, *options: str, keep: bool = False) -> Outcome:
    """Ask for the list in one session, then fetch every message and delete it in another."""
    scheme = "pop3s" if endpoint.tls == "implicit" else "pop3"
    url = f"{scheme}://{endpoint.host}:{endpoint.port}"
    login = ["--user", f"{endpoint.user}:{endpoint.password}", "--cacert", str(data.CA), *options]
    if endpoint.tls == "starttls":
        login.append("--ssl-reqd")
    quiet = ["--disable", "--silent", "--show-error"]
    target = _new_folder(folder / "messages") / "message-#1"
    listing = run("curl", *quiet, *login, "--output", folder / "list", f"{url}/", folder=folder)
    count = (folder / "list").read_bytes().count(b"\n") if listing.ok else 0
    if count == 0:
        return listing
    every = f"{url}/[1-{count}]"
    delete = ["--next", "--silent", "--show-error", *login, "--head", "--request", "DELE", every]
    outcome = run("curl", *quiet, *login, "--output", target, every, *([] if keep else delete), folder=folder)
    fetched = (folder / "messages" / f"message-{number}" for number in range(1, count + 1))
    outcome.messages = [path.read_bytes() for path in fetched if path.exists()]
    return outcome


def mpop(endpoint: Endpoint, folder: Path, *options: str, keep: bool = False) -> Outcome:
    """Fetch with mpop, which pipelines, into a Maildir."""
    maildir = _new_maildir(folder / "mpop")
    configuration = write_configuration(
        folder / "mpoprc",
        [
            "account default",
            f"host {endpoint.host}",
            f"port {endpoint.port}",
            f"tls {on_off(endpoint.tls != 'none')}",
            f"tls_starttls {on_off(endpoint.tls == 'starttls')}",
            f"tls_trust_file {data.CA}",
            "auth user" if endpoint.tls == "none" else "auth on",
            f"user {endpoint.user}",
            f"password {endpoint.password}",
            f"keep {on_off(keep)}",
            f"uidls_file {folder / 'mpop-uidls'}",
            "received_header off",
            f"delivery maildir {maildir}",
        ],
    )
    outcome = run("mpop", "--debug", "--file", configuration, *options, folder=folder)
    outcome.messages = files_in(maildir)
    return outcome


def fetchmail(endpoint: Endpoint, folder: Path, *options: str, keep: bool = False) -> Outcome:
    """Fetch with fetchmail, a file a message."""
    target = _new_folder(folder / "fetchmail")
    tls = {"none": "sslproto ''", "starttls": "sslproto 'tls1.2+'", "implicit": "ssl sslproto 'tls1.2+'"}
    configuration = write_configuration(
        folder / "fetchmailrc",
        [
            "set no bouncemail",
            "set invisible",
            f"poll {endpoint.host} service {endpoint.port} protocol POP3 uidl",
            f"  user {endpoint.user} password {endpoint.password}",
            f"  {tls[endpoint.tls]} sslcertck sslcertfile {data.CA}",
            f"  {'keep' if keep else 'nokeep'} no rewrite",
            f'  mda "{_store(target)}"',
        ],
    )
    outcome = run(
        "fetchmail", "--verbose", "--nodetach", "--daemon", "0", "--nosyslog", "--all",
        "--fetchmailrc", configuration, "--idfile", folder / "ids", "--pidfile", folder / "pid", *options,
        folder=folder,
    )  # fmt: skip
    outcome.messages = files_in(target)
    return outcome


def getmail(endpoint: Endpoint, folder: Path, *options: str, keep: bool = False) -> Outcome:
    """Fetch with getmail, a file a message; it knows no STLS."""
    target = _new_folder(folder / "getmail")
    kind = {"none": "SimplePOP3Retriever", "implicit": "SimplePOP3SSLRetriever"}[endpoint.tls]
    configuration = write_configuration(
        folder / "getmailrc",
        [
            "[retriever]",
            f"type = {kind}",
            f"server = {endpoint.host}",
            f"port = {endpoint.port}",
            f"username = {endpoint.user}",
            f"password = {endpoint.password}",
            f"ca_certs = {data.CA}" if endpoint.tls == "implicit" else None,
            "[destination]",
            "type = MDA_external",
            "path = /bin/sh",
            f"arguments = ('-c', {_store(target)!r})",
            "allow_root_commands = true",
            "[options]",
            "read_all = true",
            f"delete = {not keep}",
            "delivered_to = false",
            "received = false",
            "verbose = 2",
        ],
    )
    outcome = run("getmail", "--getmaildir", folder, "--rcfile", configuration, *options, folder=folder)
    # The first line is a Return-Path that getmail makes up.
    outcome.messages = [message.partition(b"\r\n")[2] for message in files_in(target)]
    return outcome


FETCHERS: dict[str, Fetcher] = {"curl": curl, "mpop": mpop, "fetchmail": fetchmail, "getmail": getmail}

FETCHER_MODES: list[tuple[str, TLSMode]] = [
    (name, mode) for name in FETCHERS for mode in TLS_MODES if (name, mode) != ("getmail", "starttls")
]
"""Every program under every kind of TLS that it knows."""


def _store(folder: Path) -> str:
    """Return the shell command that writes its input to a new file; the files' names are in the order of time."""
    return f"cat > {folder}/$((1000 + $(ls {folder} | wc -l)))"  # no per cent sign: fetchmail would replace it


def _new_folder(path: Path) -> Path:
    path.mkdir(parents=True)
    return path


def _new_maildir(path: Path) -> Path:
    for name in ("tmp", "new", "cur"):
        (path / name).mkdir(parents=True)
    return path
