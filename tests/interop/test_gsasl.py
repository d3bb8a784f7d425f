"""GNU SASL logs in to our server: channel binding, certificates, and text that has to be prepared alike."""

import ssl
from pathlib import Path
from typing import Any

import pytest

from mailproto import aio, sync
from mailproto.maildrop import MemoryMaildrop
from mailproto.mailhost import MailHost
from mailproto.sasl import ExternalCheck, Identity, Question, ScramKey, make_scram_key
from mailproto.smtp.config import SMTPServerConfig
from tests import data
from tests.interop.clients import Outcome, run
from tests.interop.ours import ADAPTERS, Adapter
from tests.interop.servers import LIMITS, running

CLIENT = Path(__file__).parent.parent / "sasl_mechanisms" / "tls" / "client"
PASSWORD = "caf\u00e9, 50% = \u2168"
USERS = {"ada": PASSWORD, "a,b=c": PASSWORD, "\u00e9lise": PASSWORD}


class Host(MailHost):
    """Knows some users, and ada's certificate, and remembers who came."""

    def __init__(self) -> None:
        super().__init__(lambda _: MemoryMaildrop(), USERS)
        self.came: list[Identity | None] = []

    def on_auth(self, session: Any, check: Question) -> Any:
        if isinstance(check, ExternalCheck):
            return "ada" if ("email", "ada@example.test") in check.names else None
        return super().on_auth(session, check)

    def on_authorize(self, _: Any, identity: Identity, authzid: str) -> bool:
        return identity.name == "ada" and authzid == "list"

    def on_close(self, session: Any) -> None:
        self.came.append(session.identity)


def log_in(
    adapter: Adapter,
    folder: Path,
    mechanism: str,
    *options: str | Path,
    version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    offered: tuple[str, ...] = (),
) -> tuple[Outcome, Identity | None]:
    """Run gsasl against a server of ours; return its outcome, and who the server thinks it was."""
    host = Host()
    context = sync.server_context(*data.SERVER, client_ca=CLIENT.with_suffix(".pem"))
    context.maximum_version = version
    config = SMTPServerConfig(auth_mechanisms=offered or (mechanism,), limits=LIMITS)
    module: Any = {"sync": sync, "aio": aio}[adapter]
    with running(lambda: module.SMTPServer(host, port=0, config=config, tls=context)) as port:
        outcome = run(
            "gsasl", "--smtp", f"--mechanism={mechanism}", f"--connect=localhost:{port}", "--hostname=localhost",
            f"--x509-ca-file={data.CA}", *options,
            folder=folder,
        )  # fmt: skip
    (identity,) = host.came
    return outcome, identity


def login(user: str = "ada", password: str = PASSWORD) -> tuple[str, str]:
    return f"--authentication-id={user}", f"--password={password}"


@pytest.mark.parametrize("hash_name", ["SHA-1", "SHA-256"])
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_login_bound_to_tls_1_2(tmp_path: Path, adapter: Adapter, hash_name: str) -> None:
    name = f"SCRAM-{hash_name}-PLUS"
    outcome, identity = log_in(
        adapter, tmp_path, name, *login(), version=ssl.TLSVersion.TLSv1_2, offered=(name, name.removesuffix("-PLUS"))
    )
    assert identity == Identity("ada", name), outcome.log
    assert "server trusted" in outcome.log


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-1", "SCRAM-SHA-256", "PLAIN", "LOGIN", "CRAM-MD5"])
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_login_that_is_not_bound(tmp_path: Path, adapter: Adapter, mechanism: str) -> None:
    outcome, identity = log_in(adapter, tmp_path, mechanism, "--no-cb", *login())
    assert identity == Identity("ada", mechanism), outcome.log
    wrong, nobody = log_in(adapter, tmp_path, mechanism, "--no-cb", *login(password="wrong"))
    assert nobody is None and not wrong.ok


@pytest.mark.parametrize(
    ("user", "password"),
    [
        ("a,b=c", PASSWORD),
        ("\u00e9lise", PASSWORD),
        ("e\u0301lise", PASSWORD),
        ("ada", "cafe\u0301, 50% = IX"),
        ("a\u00adda", PASSWORD.replace(" ", "\u00a0")),
    ],
)
def test_both_prepare_names_and_passwords_alike(tmp_path: Path, user: str, password: str) -> None:
    outcome, identity = log_in("sync", tmp_path, "SCRAM-SHA-256", "--no-cb", *login(user, password))
    assert identity is not None, outcome.log
    assert identity.name in USERS


def test_a_certificate_of_the_clients(tmp_path: Path) -> None:
    shown = (f"--x509-cert-file={CLIENT}.pem", f"--x509-key-file={CLIENT}.key")
    own = ("EXTERNAL", "PLAIN")
    outcome, identity = log_in("sync", tmp_path, "EXTERNAL", *shown, "--authorization-id=", offered=own)
    assert identity == Identity("ada", "EXTERNAL"), outcome.log
    outcome, identity = log_in("sync", tmp_path, "EXTERNAL", *shown, "--authorization-id=list", offered=own)
    assert identity == Identity("ada", "EXTERNAL", "list"), outcome.log
    _, identity = log_in("sync", tmp_path, "EXTERNAL", *shown, "--authorization-id=eve", offered=own)
    assert identity is None
    _, identity = log_in("sync", tmp_path, "EXTERNAL", "--authorization-id=", offered=own)
    assert identity is None


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
def test_whom_to_act_as(tmp_path: Path, mechanism: str) -> None:
    for authzid, expected in (("list", Identity("ada", mechanism, "list")), ("eve", None)):
        outcome, identity = log_in("sync", tmp_path, mechanism, "--no-cb", *login(), f"--authorization-id={authzid}")
        assert identity == expected, outcome.log


@pytest.mark.parametrize("hash_name", ["SHA-1", "SHA-256"])
def test_both_make_the_same_keys(tmp_path: Path, hash_name: str) -> None:
    salt = "W22ZaJ0SNY7soEsUEjb6gQ=="
    made = run(
        "gsasl", "--mkpasswd", f"--mechanism=SCRAM-{hash_name}", "--iteration-count=5000", f"--salt={salt}",
        f"--password={PASSWORD}",
        folder=tmp_path,
    )  # fmt: skip
    _, _, parts = made.log.partition("}")
    count, salt, stored, server = parts.split("\n")[0].split(",")
    key = ScramKey.parse(f"SCRAM-{hash_name}${count}:{salt}${stored}:{server}")
    assert key == make_scram_key(PASSWORD, hash_name, iterations=5000, salt=key.salt)
    assert key.matches(PASSWORD)
