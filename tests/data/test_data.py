"""The data is what its names say: git left the line ends alone, and each certificate fails for its own reason."""

import ssl
from pathlib import Path

import pytest

from tests import data


@pytest.mark.parametrize("path", data.MAIL.values(), ids=lambda path: path.stem)
def test_mail_has_wire_line_ends(path: Path) -> None:
    content = path.read_bytes()
    assert content.count(b"\r\n") == content.count(b"\r") == content.count(b"\n") > 5


def test_mail_is_as_odd_as_its_name() -> None:
    mail = {name: path.read_bytes() for name, path in data.MAIL.items()}
    assert b"\r\n.\r\n" in mail["dots"] and b"\r\n..\r\n" in mail["dots"]
    assert max(map(len, mail["long_lines"].split(b"\r\n"))) > 65536
    assert mail["empty_body"].endswith(b"\r\n\r\n")
    assert mail["no_final_newline"].endswith(b"\r\n.")
    assert not mail["utf8"].isascii() and mail["utf8"].decode("utf-8")
    with pytest.raises(UnicodeDecodeError):
        mail["latin1"].decode("utf-8")


def shake_hands(pair: data.KeyPair, hostname: str) -> None:
    """Do a TLS handshake in memory between a server with this certificate and a client that trusts CA."""
    ours, theirs = ssl.MemoryBIO(), ssl.MemoryBIO()
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(*pair)
    client_context = ssl.create_default_context(cafile=data.CA)
    client_context.hostname_checks_common_name = False
    server = server_context.wrap_bio(ours, theirs, server_side=True)
    client = client_context.wrap_bio(theirs, ours, server_hostname=hostname)
    for side in (client, server, client):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    assert client.getpeercert()


@pytest.mark.parametrize("hostname", ["localhost", "mail.example.test", "mta-sts.example.test", "127.0.0.1", "::1"])
def test_server_certificate_is_good_for_each_of_its_names(hostname: str) -> None:
    shake_hands(data.SERVER, hostname)


@pytest.mark.parametrize(
    ("pair", "reason"),
    [
        (data.EXPIRED, "certificate has expired"),
        (data.WRONG_NAME, "Hostname mismatch"),
        (data.NAME_IN_CN_ONLY, "Hostname mismatch"),
        (data.SELF_SIGNED, "self.signed certificate"),
    ],
    ids=["expired", "wrong-name", "name-in-cn-only", "self-signed"],
)
def test_bad_certificate_is_refused_for_its_reason(pair: data.KeyPair, reason: str) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match=reason):
        shake_hands(pair, "localhost")
