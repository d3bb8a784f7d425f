"""Our clients say nothing to a server whose certificate is not good for it; every other program would not, either."""

import ssl
from pathlib import Path
from typing import Any

import pytest

from mailproto.sync import TLSPolicy
from mailproto.transcript import Transcript
from tests import data
from tests.interop.clients import Endpoint, TLSMode
from tests.interop.dovecot import PASSWORD, Dovecot
from tests.interop.fetchers import FETCHERS
from tests.interop.ours import ADAPTERS, Adapter, client
from tests.interop.postfix import Postfix
from tests.interop.senders import SENDERS
from tests.interop.servers import ADA, Host, pop3_server, smtp_server

BAD = {
    "expired": (data.EXPIRED, "certificate has expired"),
    "wrong-name": (data.WRONG_NAME, "Hostname mismatch"),
    "name-in-cn-only": (data.NAME_IN_CN_ONLY, "Hostname mismatch"),
    "self-signed": (data.SELF_SIGNED, "self.signed certificate"),
}
SERVERS: dict[str, Any] = {"SMTPClient": smtp_server, "POP3Client": pop3_server}
TLS: dict[TLSMode, TLSPolicy] = {"starttls": TLSPolicy.REQUIRED, "implicit": TLSPolicy.IMPLICIT}


class Witness(Host):
    """A host that listens to what clients say before they give up."""

    def __init__(self) -> None:
        super().__init__()
        self._said = Transcript()

    def on_connect(self, session: Any) -> None:
        """Begin to listen."""
        session.conn.trace = self._said

    @property
    def verbs(self) -> set[str]:
        """The commands that clients have said."""
        return {line.split()[1] for line in self._said.lines if line.startswith("C: ")}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("tls", TLS)
@pytest.mark.parametrize("kind", SERVERS)
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_bad_certificate_is_refused(adapter: Adapter, kind: str, tls: TLSMode, name: str) -> None:
    (pair, reason), witness = BAD[name], Witness()
    with SERVERS[kind](adapter, witness, tls, pair=pair) as port:
        connection = client(adapter, kind, port, tls=TLS[tls], user=ADA, password=PASSWORD)
        with pytest.raises(ssl.SSLCertVerificationError, match=reason), connection:
            pytest.fail("the session is open")
    assert witness.verbs <= {"EHLO", "STARTTLS", "CAPA", "STLS"}


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_opportunistic_tls_is_verified_once_it_is_there(adapter: Adapter) -> None:
    with smtp_server("aio", Witness(), "starttls", pair=data.SELF_SIGNED) as port:
        connection = client(adapter, "SMTPClient", port, tls=TLSPolicy.OPPORTUNISTIC)
        with pytest.raises(ssl.SSLCertVerificationError), connection:
            pytest.fail("the session is open")


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_authority_that_is_not_ours_is_refused(postfix: Postfix, dovecot: Dovecot, adapter: Adapter) -> None:
    """Without the tests' own authority these real servers have a certificate like any other impostor."""
    for kind, port in (("SMTPClient", postfix.submissions_port), ("POP3Client", dovecot.pop3s_port)):
        connection = client(adapter, kind, port, tls=TLSPolicy.IMPLICIT, cafile=None)
        with pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer"), connection:
            pytest.fail("the session is open")


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_name_to_verify_may_differ_from_the_host(postfix: Postfix, adapter: Adapter) -> None:
    required = TLSPolicy.REQUIRED
    with client(adapter, "SMTPClient", postfix.port, tls=required, host="127.0.0.1") as by_address:
        assert by_address.tls is not None
    with client(adapter, "SMTPClient", postfix.port, tls=required, server_hostname="mail.example.test") as by_name:
        assert by_name.tls.server_name == "mail.example.test"
    other = client(adapter, "SMTPClient", postfix.port, tls=required, server_hostname="other.example.test")
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"), other:
        pytest.fail("the session is open")


@pytest.mark.parametrize("program", SENDERS)
def test_program_does_not_send_under_a_bad_certificate(tmp_path: Path, program: str) -> None:
    witness = Witness()
    with smtp_server("aio", witness, "implicit", pair=data.EXPIRED) as port:
        outcome = SENDERS[program](Endpoint(port, "implicit", user=ADA), "a@b.test", ["c@d.test"], b"\r\n", tmp_path)
    assert not outcome.ok
    assert witness.verbs == set()


@pytest.mark.parametrize("program", FETCHERS)
def test_program_does_not_fetch_under_a_bad_certificate(tmp_path: Path, program: str) -> None:
    witness = Witness()
    with pop3_server("sync", witness, "implicit", pair=data.EXPIRED) as port:
        outcome = FETCHERS[program](Endpoint(port, "implicit", user=ADA), tmp_path / "1")
    assert not outcome.ok
    assert witness.verbs == set()
