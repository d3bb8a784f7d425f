"""TLS on either adapter: handshakes, what they make of bytes that come too early, and whom a client trusts."""

from __future__ import annotations

import hashlib
import socket
import ssl
import threading
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mailproto._core.limits import Limits
from mailproto.errors import ConnectionClosedError, ConnectionTimeoutError, GrammarError, LocalProtocolError
from mailproto.tls import TLSInfo, client_context, client_tls, tls_info
from mailproto.tls import server_context as public_server_context
from tests.adapters import toy
from tests.adapters.harness import PATIENCE, Aio, Gate, Sync, Wire, scripted, server_context, wait_until
from tests.adapters.test_links import reset
from tests.adapters.toy import Echo
from tests.data import CA, EXPIRED, NAME_IN_CN_ONLY, NOT_YET_VALID, SELF_SIGNED, SERVER, WRONG_NAME, KeyPair

Adapter = Aio | Sync


def trusting(name: str = "localhost", **settings: Any) -> Any:
    context = client_context(CA)
    for key, value in settings.items():
        setattr(context, key, value)
    return client_tls(context, name)


def context_of(pair: KeyPair) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    return context


def test_a_session_begun_in_clear_goes_on_under_tls(adapter: Adapter) -> None:
    server = adapter.serve(Echo(), tls=server_context())
    client = adapter.connect(server.port, open_tls=trusting())
    client.run(toy.greet(client.conn))
    client.run(toy.ask(client.conn, "in clear"))
    assert client.conn.tls is None
    client.run(toy.start_tls(client.conn))
    assert client.conn.tls is not None
    assert client.conn.tls.version == "TLSv1.3"
    assert client.conn.tls.server_name == "localhost"
    assert client.conn.tls.peer_certificate == ssl.PEM_cert_to_DER_cert(SERVER.certificate.read_text())
    assert client.conn.tls.channel_bindings == {}
    (conn,) = server.conns
    assert conn.tls is not None
    assert conn.tls.peer_certificate is None
    assert conn.lines == ["under TLS"]  # what was said in clear is forgotten
    assert client.run(toy.ask(client.conn, "BYE")) == ["+bye"]


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost.", "::1", "::1%eth0"])
def test_a_session_under_tls_from_the_first_octet(adapter: Adapter, name: str) -> None:
    """The zone of an address is this host's own name for a network (RFC 4007 section 11.2): no certificate has it."""
    server = adapter.serve(Echo(), tls=server_context(), implicit_tls=True)
    client = adapter.connect(server.port, open_tls=trusting(name))
    assert client.run(toy.greet(client.conn, tls=True)) == "+ok"
    assert client.run(toy.ask(client.conn, "one", "two")) == ["+one", "+two"]


@pytest.mark.parametrize("name", ["::2%eth0", "localhost%eth0"])
def test_a_zone_makes_no_other_name_the_right_one(adapter: Adapter, name: str) -> None:
    server = adapter.serve(Echo(), tls=server_context(), implicit_tls=True)
    client = adapter.connect(server.port, open_tls=trusting(name))
    with pytest.raises(ssl.SSLCertVerificationError):
        client.run(toy.greet(client.conn, tls=True))


def test_much_goes_both_ways_under_tls(adapter: Adapter) -> None:
    server = adapter.serve(toy.Large(), tls=server_context(), implicit_tls=True)
    client = adapter.connect(server.port, open_tls=trusting())
    client.run(toy.greet(client.conn, tls=True))
    assert client.run(toy.put(client.conn, 5_000_000, [b"x" * 50_000] * 100)) == "+stored 5000000"
    line = "y" * 100
    assert client.run(toy.ask(client.conn, *[line] * 50)) == ["+" + line * 900] * 50


def test_tls_1_2_has_a_channel_binding_that_both_sides_know(adapter: Adapter) -> None:
    server = adapter.serve(Echo(), tls=server_context(), implicit_tls=True)
    client = adapter.connect(server.port, open_tls=trusting(maximum_version=ssl.TLSVersion.TLSv1_2))
    client.run(toy.greet(client.conn, tls=True))
    assert client.conn.tls is not None
    assert client.conn.tls.version == "TLSv1.2"
    binding = client.conn.tls.channel_bindings["tls-unique"]
    assert binding
    assert server.conns[0].tls is not None
    assert server.conns[0].tls.channel_bindings == {"tls-unique": binding}


def test_a_client_s_certificate_is_known_once_it_is_verified(adapter: Adapter) -> None:
    asking = server_context()
    asking.load_verify_locations(SELF_SIGNED.certificate)
    asking.verify_mode = ssl.CERT_OPTIONAL
    server = adapter.serve(Echo(), tls=asking, implicit_tls=True)
    identified = client_context(CA)
    identified.load_cert_chain(*SELF_SIGNED)
    client = adapter.connect(server.port, open_tls=client_tls(identified, "localhost"))
    client.run(toy.greet(client.conn, tls=True))
    assert server.conns[0].tls is not None
    assert server.conns[0].tls.peer_certificate == ssl.PEM_cert_to_DER_cert(SELF_SIGNED.certificate.read_text())


def test_the_certificate_can_be_replaced_while_the_server_runs(adapter: Adapter) -> None:
    server = adapter.serve(Echo(), tls=context_of(WRONG_NAME), implicit_tls=True)
    client = adapter.connect(server.port, open_tls=trusting())
    with pytest.raises(ssl.SSLCertVerificationError):
        client.run(toy.greet(client.conn, tls=True))
    server.listener.tls = server_context()
    client = adapter.connect(server.port, open_tls=trusting())
    assert client.run(toy.greet(client.conn, tls=True)) == "+ok"


@pytest.mark.parametrize("name", ["localhost", "wrong.example.test", "WRONG.example.test"])
def test_each_name_has_its_certificate(adapter: Adapter, name: str) -> None:
    """SNI; and what SCRAM binds to is the certificate that was shown."""
    tls = public_server_context(*SERVER, by_name={"Wrong.Example.Test": public_server_context(*WRONG_NAME)})
    server = adapter.serve(Echo(), tls=tls, implicit_tls=True)
    client = adapter.connect(server.port, open_tls=client_tls(client_context(CA), name))
    assert client.run(toy.greet(client.conn, tls=True)) == "+ok"
    shown = SERVER if name == "localhost" else WRONG_NAME
    assert client.conn.tls is not None
    assert client.conn.tls.peer_certificate == ssl.PEM_cert_to_DER_cert(shown.certificate.read_text())
    theirs = server.conns[0].tls
    assert theirs is not None
    assert theirs.channel_bindings["tls-server-end-point"] == public_server_context(*shown).end_point


@pytest.mark.parametrize("name", ["localhost", "wrong.example.test"])
def test_clients_show_their_certificates_to_every_name(adapter: Adapter, name: str) -> None:
    """To the name of a second context it made the handshake fail, for that knew no authority for clients."""
    others = {"wrong.example.test": public_server_context(*WRONG_NAME)}
    tls = public_server_context(*SERVER, client_ca=SELF_SIGNED.certificate, by_name=others)
    server = adapter.serve(Echo(), tls=tls, implicit_tls=True)
    identified = client_context(CA)
    identified.load_cert_chain(*SELF_SIGNED)
    client = adapter.connect(server.port, open_tls=client_tls(identified, name))
    assert client.run(toy.greet(client.conn, tls=True)) == "+ok"
    assert server.conns[0].tls is not None
    assert server.conns[0].tls.peer_certificate == ssl.PEM_cert_to_DER_cert(SELF_SIGNED.certificate.read_text())


def test_a_context_of_another_name_keeps_its_own_authority_for_clients() -> None:
    other = public_server_context(*WRONG_NAME, client_ca=CA)
    public_server_context(*SERVER, client_ca=SELF_SIGNED.certificate, by_name={"wrong.example.test": other})
    assert len(other.get_ca_certs()) == 1


def test_a_name_in_other_letters_than_ascii_has_its_certificate(adapter: Adapter) -> None:
    """SNI has A-labels only (RFC 6066 section 3)."""
    tls = public_server_context(*SERVER, by_name={"Bücher.example": public_server_context(*WRONG_NAME)})
    server = adapter.serve(Echo(), tls=tls, implicit_tls=True)
    anybody = client_context(CA)
    anybody.check_hostname = False
    client = adapter.connect(server.port, open_tls=client_tls(anybody, "bücher.example"))
    client.run(toy.greet(client.conn, tls=True))
    assert client.conn.tls is not None
    assert client.conn.tls.peer_certificate == ssl.PEM_cert_to_DER_cert(WRONG_NAME.certificate.read_text())
    with pytest.raises(GrammarError):
        public_server_context(*SERVER, by_name={"bücher..example": tls})


def test_a_name_with_the_dot_of_the_dns_is_that_name(adapter: Adapter) -> None:
    server = adapter.serve(Echo(), tls=server_context(), implicit_tls=True)
    client = adapter.connect(server.port, open_tls=trusting("mail.example.test."))
    assert client.run(toy.greet(client.conn, tls=True)) == "+ok"
    assert client.conn.tls is not None
    assert client.conn.tls.server_name == "mail.example.test"


def test_a_name_that_nobody_has_gets_the_usual_certificate(adapter: Adapter) -> None:
    tls = public_server_context(*SERVER, by_name={"other.example.test": public_server_context(*WRONG_NAME)})
    server = adapter.serve(Echo(), tls=tls, implicit_tls=True)
    client = adapter.connect(server.port, open_tls=client_tls(client_context(CA), "mail.example.test"))
    assert client.run(toy.greet(client.conn, tls=True)) == "+ok"


def test_without_a_context_there_is_no_handshake(adapter: Adapter) -> None:
    server = adapter.serve(Echo())
    client = adapter.connect(server.port)
    with pytest.raises(LocalProtocolError):
        client.run(toy.greet(client.conn, tls=True))


# Whom a client trusts.


@pytest.mark.parametrize("implicit", [True, False], ids=["implicit", "starttls"])
@pytest.mark.parametrize(
    ("pair", "name"),
    [
        (SELF_SIGNED, "localhost"),
        (EXPIRED, "localhost"),
        (WRONG_NAME, "localhost"),
        (NAME_IN_CN_ONLY, "localhost"),
        (SERVER, "elsewhere.example.test"),
        (SERVER, "127.0.0.2"),
    ],
    ids=["self-signed", "expired", "wrong name", "name in CN only", "another server", "another address"],
)
def test_a_server_that_cannot_prove_who_it_is(adapter: Adapter, pair: KeyPair, name: str, implicit: bool) -> None:
    server = adapter.serve(Echo(), tls=context_of(pair), implicit_tls=implicit)
    client = adapter.connect(server.port, open_tls=trusting(name))
    with pytest.raises(ssl.SSLCertVerificationError):
        if implicit:
            client.run(toy.greet(client.conn, tls=True))
        else:
            client.run(toy.greet(client.conn))
            client.run(toy.start_tls(client.conn))
    with pytest.raises((ConnectionClosedError, LocalProtocolError)):
        client.run(toy.ask(client.conn, "in clear then"))
    assert all(conn.lines == [] for conn in server.conns)


@pytest.mark.parametrize(
    ("pair", "reasons"),
    [
        (EXPIRED, ["certificate has expired"]),
        (NOT_YET_VALID, ["certificate is not yet valid"]),
        (SELF_SIGNED, []),
        (SERVER, []),
        (NAME_IN_CN_ONLY, []),
    ],
    ids=["expired", "not yet valid", "self-signed", "fine", "name in CN only"],
)
def test_a_certificate_that_is_not_valid_today_is_told_when_it_is_loaded(
    pair: KeyPair, reasons: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Whom clients trust, and by which names they call it, a server does not know; what day it is it does."""
    public_server_context(*pair)
    assert caplog.messages == [f"clients will refuse {pair.certificate}: {reason}" for reason in reasons]


def test_what_stands_below_a_certificate_is_no_reason_to_refuse_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    chain = tmp_path / "chain.pem"
    chain.write_bytes(b"".join(path.read_bytes() for path in (SERVER.certificate, CA, SERVER.key)))
    public_server_context(chain)
    assert caplog.messages == []


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_server_is_told_why_it_is_not_trusted(adapter: Adapter, version: ssl.TLSVersion) -> None:
    """The handshake ends with an alert (RFC 8446 section 6.2), which the operator of the server finds in its log."""
    heard: list[str] = []

    def script(wire: Wire) -> None:
        with pytest.raises(ssl.SSLError) as caught:
            context_of(EXPIRED).wrap_socket(wire.sock, server_side=True).recv(1)
        heard.append(caught.value.reason)

    with scripted(script) as port:
        client = adapter.connect(port, open_tls=trusting(maximum_version=version))
        with pytest.raises(ssl.SSLCertVerificationError):
            client.run(toy.greet(client.conn, tls=True))
    assert len(heard) == 1
    assert "CERTIFICATE_EXPIRED" in heard[0]


def test_the_system_does_not_trust_our_test_authority(adapter: Adapter) -> None:
    server = adapter.serve(Echo(), tls=server_context(), implicit_tls=True)
    client = adapter.connect(server.port, open_tls=client_tls(client_context(), "localhost"))
    with pytest.raises(ssl.SSLCertVerificationError):
        client.run(toy.greet(client.conn, tls=True))


def test_a_client_s_context_is_strict() -> None:
    context = client_context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_COMPRESSION


# Bytes that come too early are never taken for what came under TLS.


def test_a_server_fails_a_client_that_goes_on_in_clear_in_the_same_segment(adapter: Adapter) -> None:
    server = adapter.serve(Echo(), tls=server_context())
    with Wire.to(server.port) as wire:
        assert wire.line() == b"+ok"
        wire.send(b"TLS\r\nEVIL\r\n")
        assert wire.rest() == b""
    assert server.conns[0].lines == []


@pytest.mark.parametrize("early", [b"E", b"EVIL\r\n", b"\r\n" * 1000], ids=["one octet", "a line", "many lines"])
def test_a_server_fails_a_client_that_goes_on_in_clear_right_behind(adapter: Adapter, early: bytes) -> None:
    server = adapter.serve(Echo(), tls=server_context())
    with Wire.to(server.port) as wire:
        assert wire.line() == b"+ok"
        wire.send(b"TLS\r\n")
        assert wire.line() == b"+ok"
        wire.send(early)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            wire.start_tls(client_context(CA))
            wire.send(b"LATER\r\n")
            assert wire.line() == b""
            raise ConnectionResetError
    assert server.conns[0].lines == []


def test_a_server_fails_early_bytes_that_come_while_a_hook_decides(adapter: Adapter) -> None:
    gate = Gate(adapter)

    class Slow:
        def on_line(self, event: toy.Line) -> Any:
            return gate.wait()

    server = adapter.serve(Slow(), tls=server_context())
    with Wire.to(server.port) as wire:
        wire.send(b"wait\r\nTLS\r\n")
        gate.wait_reached()
        wire.send(b"EVIL\r\n")
        gate.open()
        answers = wire.rest()
    # What comes before the answer fails at once; what comes behind it is no handshake.
    assert answers.startswith(b"+ok\r\n")
    assert b"EVIL" not in answers
    assert server.conns[0].lines == ["wait"]


def test_nothing_is_answered_in_clear_after_a_failed_handshake(adapter: Adapter) -> None:
    server = adapter.serve(Echo(), tls=server_context())
    with Wire.to(server.port) as wire:
        assert wire.line() == b"+ok"
        wire.send(b"TLS\r\n")
        assert wire.line() == b"+ok"
        wire.send(b"GET / HTTP/1.0\r\n\r\nhello\r\n")
        assert b"hello" not in wire.rest()
    assert server.conns[0].lines == []


def test_a_client_fails_a_server_that_goes_on_in_clear_in_the_same_segment(adapter: Adapter) -> None:
    def script(wire: Wire) -> None:
        wire.send(b"+ok\r\n")
        assert wire.line() == b"TLS"
        wire.send(b"+go\r\n+evil\r\n")
        assert wire.rest() == b""

    with scripted(script) as port:
        client = adapter.connect(port, open_tls=trusting())
        client.run(toy.greet(client.conn))
        with pytest.raises(ConnectionClosedError):
            client.run(toy.start_tls(client.conn))
        assert client.conn.tls is None


def test_a_client_fails_a_server_that_goes_on_in_clear_right_behind(adapter: Adapter) -> None:
    def script(wire: Wire) -> None:
        wire.send(b"+ok\r\n")
        assert wire.line() == b"TLS"
        wire.send(b"+go\r\n")
        assert wire.sock.recv(1) == b"\x16"  # the client's part of the handshake
        wire.send(b"+evil\r\n")
        wire.rest()

    with scripted(script) as port:
        client = adapter.connect(port, open_tls=trusting())
        client.run(toy.greet(client.conn))
        with pytest.raises(ssl.SSLError):
            client.run(toy.start_tls(client.conn))
        client.close()
        assert client.conn.tls is None


# Handshakes that come to nothing.


def test_a_handshake_has_its_own_deadline(adapter: Adapter) -> None:
    server = adapter.serve(Echo(), tls=server_context(), implicit_tls=True, limits=Limits(handshake_timeout=0.1))
    with Wire.to(server.port) as wire:
        assert wire.rest() == b""

    def script(wire: Wire) -> None:
        wire.rest()

    with scripted(script) as port:
        client = adapter.connect(port, Limits(handshake_timeout=0.1), open_tls=trusting())
        with pytest.raises(ConnectionTimeoutError):
            client.run(toy.greet(client.conn, tls=True))
        client.close()


def test_a_drip_does_not_prolong_a_handshake(adapter: Adapter) -> None:
    server = adapter.serve(Echo(), tls=server_context(), implicit_tls=True, limits=Limits(handshake_timeout=0.2))
    with Wire.to(server.port) as wire:
        wire.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        wire.sock.settimeout(0.02)
        with suppress(ConnectionError):
            for _ in range(int(PATIENCE / 0.02)):
                wire.send(b"\x00")
                with suppress(TimeoutError):
                    assert wire.sock.recv(100) == b""
                    return
            raise AssertionError("nobody lost patience")


def test_a_peer_that_leaves_during_the_handshake(adapter: Adapter) -> None:
    def script(wire: Wire) -> None:
        assert wire.sock.recv(1) == b"\x16"

    with scripted(script) as port:
        client = adapter.connect(port, open_tls=trusting())
        with pytest.raises((ConnectionClosedError, OSError)):
            client.run(toy.greet(client.conn, tls=True))


# Ends.


def test_the_end_of_tls_ends_no_message(adapter: Adapter) -> None:
    stored = threading.Event()
    ended = threading.Event()

    class Store:
        def on_stored(self, event: toy.Stored) -> None:
            stored.set()

        def on_end(self) -> None:
            ended.set()

    server = adapter.serve(Store(), tls=server_context(), implicit_tls=True)
    with Wire.to(server.port) as wire:
        wire.start_tls(client_context(CA))
        wire.send(b"PUT 10\r\n123456789")
        assert wire.line() == b"+ok"
        reset(socket.socket(fileno=wire.sock.detach()))  # no close_notify
    assert ended.wait(PATIENCE)
    assert not stored.is_set()


def test_a_client_that_is_done_talking_is_answered_under_tls(adapter: Adapter) -> None:
    gate = Gate(adapter)

    class Slow:
        def on_line(self, event: toy.Line) -> Any:
            return gate.wait()

    server = adapter.serve(Slow(), tls=server_context(), implicit_tls=True)
    with Wire.to(server.port) as wire:
        wire.start_tls(client_context(CA))
        wire.send(b"store this\r\n")
        gate.wait_reached()
        socket.socket.shutdown(wire.sock, socket.SHUT_WR)
        if isinstance(adapter, Aio):
            wait_until(lambda: server.conns[0]._eof)
        gate.open()
        assert [wire.line(), wire.line()] == [b"+ok", b"+True"]


def test_both_sides_say_that_tls_ends(adapter: Adapter) -> None:
    def script(wire: Wire) -> None:
        wire.sock = server_context().wrap_socket(wire.sock, server_side=True, suppress_ragged_eofs=False)
        wire.send(b"+ok\r\n")
        assert wire.line() == b""  # would raise without a close_notify

    with scripted(script) as port:
        client = adapter.connect(port, open_tls=trusting())
        client.run(toy.greet(client.conn, tls=True))
        client.close()
    server = adapter.serve(Echo(), tls=server_context(), implicit_tls=True)
    with Wire.to(server.port) as wire:
        wire.sock = client_context(CA).wrap_socket(wire.sock, server_hostname="localhost", suppress_ragged_eofs=False)
        wire.send(b"BYE\r\n")
        assert [wire.line() for _ in range(3)] == [b"+ok", b"+bye", b""]


def test_a_server_refuses_old_tls_as_its_context_says(adapter: Adapter) -> None:
    modern = server_context()
    modern.minimum_version = ssl.TLSVersion.TLSv1_3
    server = adapter.serve(Echo(), tls=modern, implicit_tls=True)
    old = client_context(CA)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    connect = partial(Wire.to, server.port)
    with connect() as wire, pytest.raises(ssl.SSLError):
        wire.start_tls(old)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_of_the_standard_library_tells_a_connection_what_one_of_ours_does(version: ssl.TLSVersion) -> None:
    certified = Path(__file__).parent.parent / "sasl_mechanisms" / "tls"
    context = public_server_context(*SERVER, client_ca=certified / "client.pem")
    ours = client_context(CA)
    ours.maximum_version = version
    ours.load_cert_chain(certified / "client.pem", certified / "client.key")
    told: list[TLSInfo] = []

    def accept(listening: socket.socket) -> None:
        with listening.accept()[0] as sock, context.wrap_socket(sock, server_side=True) as session:
            session.sendall(session.recv(1))
            told.append(tls_info(session))

    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = threading.Thread(target=accept, args=(listening,))
        server.start()
        sock = socket.create_connection(listening.getsockname())
        with ours.wrap_socket(sock, server_hostname="localhost") as session:
            session.sendall(b"x")
            session.recv(1)
            client = tls_info(session)
        server.join(PATIENCE)
    assert client.version == told[0].version == version.name.replace("_", ".")
    assert client.cipher == told[0].cipher
    assert client.server_name == "localhost"
    assert client.peer_certificate == ssl.PEM_cert_to_DER_cert(SERVER.certificate.read_text())
    assert ("email", "ada@example.test") in told[0].peer_names
    assert told[0].channel_bindings["tls-server-end-point"] == hashlib.sha256(client.peer_certificate).digest()
    assert client.channel_bindings.keys() == ({"tls-unique"} if version is ssl.TLSVersion.TLSv1_2 else set())
    assert client.channel_bindings.get("tls-unique") == told[0].channel_bindings.get("tls-unique")
