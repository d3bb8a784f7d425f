"""Channel binding: which data there is, and the hash of each kind of certificate (RFC 5929 section 4.1)."""

import hashlib
import ssl
from pathlib import Path

import pytest

from mailproto._core.events import TLSInfo
from mailproto.sasl import ChannelBinding, client_bindings, end_point_binding, server_bindings

HERE = Path(__file__).parent / "tls"


def certificate(name: str) -> bytes:
    return ssl.PEM_cert_to_DER_cert((HERE / f"{name}.pem").read_text())


@pytest.mark.parametrize(
    ("name", "hash_name"),
    [
        ("rsa-md5", "sha256"),  # broken hashes are replaced
        ("rsa-sha1", "sha256"),
        ("rsa-sha224", "sha224"),
        ("rsa-sha256", "sha256"),
        ("rsa-sha384", "sha384"),
        ("rsa-sha512", "sha512"),
        ("rsa-pss-sha1", "sha256"),
        ("rsa-pss-sha384", "sha384"),
        ("ecdsa-sha1", "sha256"),
        ("ecdsa-sha224", "sha224"),
        ("ecdsa-sha256", "sha256"),
        ("ecdsa-sha384", "sha384"),
        ("ecdsa-sha512", "sha512"),
    ],
)
def test_the_hash_is_that_of_the_signature(name: str, hash_name: str) -> None:
    data = certificate(name)
    assert end_point_binding(data) == hashlib.new(hash_name, data).digest()


def test_a_signature_without_a_hash_of_its_own_defines_nothing() -> None:
    assert end_point_binding(certificate("ed25519")) is None


def test_what_is_no_certificate_has_no_binding() -> None:
    data = certificate("rsa-pss-sha384")
    for end in range(len(data)):
        assert end_point_binding(data[:end]) is None
    for garbage in (b"\x30\xff" + b"\xff" * 300, b"\x30\x80", bytes(1000), b"\x30\x03\x30\x01\x00"):
        assert end_point_binding(garbage) is None


UNIQUE, EXPORTER = {"tls-unique": b"unique"}, {"tls-exporter": b"exporter"}
CERTIFICATE = certificate("ecdsa-sha384")
END_POINT = {"tls-server-end-point": hashlib.sha384(CERTIFICATE).digest()}
OFF, PREFER, REQUIRE = ChannelBinding


def test_tls_unique_is_for_tls_1_2_only() -> None:
    for version in ("TLSv1.2", "TLSv1.1"):
        assert server_bindings(TLSInfo(version, channel_bindings=UNIQUE)) == UNIQUE
    for version in ("TLSv1.3", "", "TLSv1.4"):
        assert server_bindings(TLSInfo(version, channel_bindings=UNIQUE)) == {}
        assert client_bindings(TLSInfo(version, channel_bindings=UNIQUE), REQUIRE) == {}
    assert server_bindings(TLSInfo("TLSv1.3", channel_bindings={"tls-exporter": b""})) == {}
    assert server_bindings(None) == {}


@pytest.mark.parametrize(
    ("version", "data", "prefer", "require"),
    [
        ("TLSv1.2", UNIQUE, ["tls-unique"], ["tls-unique", "tls-server-end-point"]),
        ("TLSv1.2", {}, [], ["tls-server-end-point"]),
        ("TLSv1.3", EXPORTER, ["tls-exporter"], ["tls-exporter", "tls-server-end-point"]),
        ("TLSv1.3", UNIQUE, [], ["tls-server-end-point"]),
        ("TLSv1.2", EXPORTER, [], ["tls-exporter", "tls-server-end-point"]),
    ],
)
def test_what_a_client_binds_to(version: str, data: dict[str, bytes], prefer: list[str], require: list[str]) -> None:
    tls = TLSInfo(version, peer_certificate=CERTIFICATE, channel_bindings=data)
    assert list(client_bindings(tls, PREFER)) == prefer
    assert list(client_bindings(tls, REQUIRE)) == require
    assert list(client_bindings(tls, PREFER, ["PLAIN", "SCRAM-SHA-1-PLUS"])) == require  # asked for by its name
    assert client_bindings(tls, PREFER, ["SCRAM-SHA-1"]) == {}
    assert client_bindings(tls, OFF) == client_bindings(tls, OFF, ["SCRAM-SHA-1-PLUS"]) == {}


def test_the_end_point_is_the_certificates_or_what_the_adapter_says() -> None:
    tls = TLSInfo("TLSv1.3", peer_certificate=CERTIFICATE)
    assert client_bindings(tls, REQUIRE) == END_POINT
    said = {"tls-server-end-point": b"said"}
    assert client_bindings(TLSInfo("TLSv1.3", peer_certificate=CERTIFICATE, channel_bindings=said), REQUIRE) == said
    assert client_bindings(TLSInfo("TLSv1.3", peer_certificate=certificate("ed25519")), REQUIRE) == {}
    assert client_bindings(TLSInfo("TLSv1.3"), REQUIRE) == client_bindings(None, REQUIRE) == {}


def test_a_server_does_not_take_the_clients_certificate_for_its_own() -> None:
    assert server_bindings(TLSInfo("TLSv1.3", peer_certificate=CERTIFICATE)) == {}
