"""PROXY headers: what is one and what is none, at every cut, and what a server's connection makes of them."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailproto._core.proxyheader import MAX_V1, MAX_V2, ProxyFamily, ProxyHeader, parse_proxy_header
from mailproto._core.server import ServerConnection
from mailproto.errors import GrammarError, LocalProtocolError
from mailproto.pop3 import POP3ServerConnection
from mailproto.smtp import SMTPServerConnection
from tests.helpers import THOROUGH, talk

SIGNATURE = bytes.fromhex("0D 0A 0D 0A 00 0D 0A 51 55 49 54 0A")

WORST_V1 = b"PROXY TCP6 " + b"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff " * 2 + b"65535 65535\r\n"


def v2(command: int, family: int, rest: bytes, length: int | None = None) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(rest) if length is None else length) + rest


IPV4 = bytes((192, 168, 0, 1, 192, 168, 0, 11)) + struct.pack("!HH", 56324, 443)
IPV6 = bytes(15) + b"\x01" + bytes.fromhex("20010db8") + bytes(11) + b"\x02" + struct.pack("!HH", 1, 25)
CHECKSUM = bytes.fromhex("5b592e9e")  # of the header with it below, by another hand
UNIX = b"/run/client".ljust(108, b"\0") + b"/run/server".ljust(108, b"\0")

# The examples of the specification (section 2.1 and 2.2), and what else a balancer may say.
GOOD = {
    b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n": ProxyHeader(
        ProxyFamily.TCP4, "192.168.0.1", "192.168.0.11", 56324, 443
    ),
    b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n": ProxyHeader(
        ProxyFamily.TCP4, "255.255.255.255", "255.255.255.255", 65535, 65535
    ),
    WORST_V1: ProxyHeader(ProxyFamily.TCP6, "ffff:" * 7 + "ffff", "ffff:" * 7 + "ffff", 65535, 65535),
    b"PROXY TCP6 2001:DB8::1 ::1 0 9\r\n": ProxyHeader(ProxyFamily.TCP6, "2001:db8::1", "::1", 0, 9),
    b"PROXY UNKNOWN\r\n": ProxyHeader(),
    b"PROXY UNKNOWN " + b"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff " * 2 + b"65535 65535\r\n": ProxyHeader(),
    v2(0x21, 0x11, IPV4): ProxyHeader(ProxyFamily.TCP4, "192.168.0.1", "192.168.0.11", 56324, 443),
    v2(0x21, 0x12, IPV4): ProxyHeader(ProxyFamily.UDP4, "192.168.0.1", "192.168.0.11", 56324, 443),
    v2(0x21, 0x21, IPV6): ProxyHeader(ProxyFamily.TCP6, "::1", "2001:db8::2", 1, 25),
    v2(0x21, 0x22, IPV6): ProxyHeader(ProxyFamily.UDP6, "::1", "2001:db8::2", 1, 25),
    v2(0x21, 0x31, UNIX): ProxyHeader(ProxyFamily.UNIX, "/run/client", "/run/server"),
    v2(0x21, 0x32, UNIX): ProxyHeader(ProxyFamily.UNIX_DATAGRAM, "/run/client", "/run/server"),
    v2(0x21, 0x00, b""): ProxyHeader(),
    v2(0x20, 0x00, b""): ProxyHeader(local=True),
    v2(0x20, 0x11, IPV4 + b"whatever"): ProxyHeader(local=True),
    v2(0x21, 0x11, IPV4 + b"\x02\x00\x0bmx.example!" + b"\x04\x00\x00" + b"\xee\x00\x01x"): ProxyHeader(
        ProxyFamily.TCP4, "192.168.0.1", "192.168.0.11", 56324, 443, ((2, b"mx.example!"), (4, b""), (0xEE, b"x"))
    ),
    v2(0x21, 0x00, b"\x05\x00\x02id"): ProxyHeader(tlvs=((5, b"id"),)),
    v2(0x21, 0x11, IPV4 + b"\x03\x00\x04" + CHECKSUM + b"\x05\x00\x02id"): ProxyHeader(
        ProxyFamily.TCP4, "192.168.0.1", "192.168.0.11", 56324, 443, ((3, CHECKSUM), (5, b"id"))
    ),
}

BAD = [
    b"EHLO client.example\r\n",
    b"\x16\x03\x01\x02\x00",
    b"\n",
    b" PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
    b"proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
    b"PROXY\r\n",
    b"PROXY \r\n",
    b"PROXY TCP4\r\n",
    b"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
    b"PROXY UNKNOWNX\r\n",
    b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
    b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
    b"PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
    b"PROXY TCP4 1.2.3.4  1.2.3.4 1 2\r\n",
    b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n",
    b"PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
    b"PROXY TCP4 1.2.3.4 1.2.3.4 1 00\r\n",
    b"PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n",
    b"PROXY TCP4 1.2.3.4 1.2.3.4 -1 2\r\n",
    b"PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n",
    "PROXY TCP4 1.2.3.4 1.2.3.4 ٣ 2\r\n".encode(),
    b"PROXY TCP4 1.2.3.04 1.2.3.4 1 2\r\n",
    b"PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n",
    b"PROXY TCP4 1.2.3.256 1.2.3.4 1 2\r\n",
    b"PROXY TCP4 ::1 ::1 1 2\r\n",
    b"PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
    b"PROXY TCP6 ::1%lo ::1 1 2\r\n",
    b"PROXY TCP6 1::2::3 ::1 1 2\r\n",
    b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n\r\n",
    b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\r\n",
    b"PROXY UNKNOWN" + b" " * 200,
    b"PROXY UNKNOWN" + b" " * (MAX_V1 - 14) + b"\r\n",
    v2(0x22, 0x11, IPV4),
    v2(0x11, 0x11, IPV4),
    v2(0x21, 0x13, IPV4),
    v2(0x21, 0x41, IPV4),
    v2(0x21, 0x11, IPV4[:-1]),
    v2(0x21, 0x21, IPV4),
    v2(0x21, 0x31, UNIX[:-1]),
    v2(0x21, 0x11, IPV4 + b"\x01"),
    v2(0x21, 0x11, IPV4 + b"\x01\x00"),
    v2(0x21, 0x11, IPV4 + b"\x01\x00\x02x"),
    v2(0x21, 0x11, IPV4 + b"\x03\x00\x04" + CHECKSUM + b"\x05\x00\x02iD"),
    v2(0x21, 0x12, IPV4 + b"\x03\x00\x04" + CHECKSUM + b"\x05\x00\x02id"),
    v2(0x21, 0x11, IPV4 + b"\x03\x00\x04" + CHECKSUM[::-1] + b"\x05\x00\x02id"),
    v2(0x21, 0x11, IPV4 + b"\x03\x00\x03" + CHECKSUM[:3]),
    v2(0x21, 0x11, IPV4 + b"\x03\x00\x00"),
    v2(0x21, 0x11, IPV4 + b"\x03\x00\x04" + bytes(4)),
    v2(0x21, 0x11, b"", 0xFFFF),
    v2(0x21, 0x11, b"", MAX_V2 - 15),
    SIGNATURE[:-1] + b"X",
]


def test_the_longest_header_of_version_1_is_what_the_specification_says() -> None:
    assert len(WORST_V1) <= MAX_V1 == 107
    assert len(next(header for header in GOOD if header.startswith(b"PROXY UNKNOWN f"))) == MAX_V1


@pytest.mark.parametrize("data", GOOD)
def test_what_is_a_header(data: bytes) -> None:
    for behind in (b"", b"EHLO x\r\n", data, b"\0"):
        assert parse_proxy_header(data + behind) == (GOOD[data], len(data))
    for end in range(len(data)):
        assert parse_proxy_header(data[:end]) is None, end


@pytest.mark.parametrize("data", BAD)
def test_what_is_none(data: bytes) -> None:
    with pytest.raises(GrammarError):
        parse_proxy_header(data)


@pytest.mark.parametrize("data", BAD)
def test_what_is_none_is_none_at_every_cut(data: bytes) -> None:
    """The first octet that makes it none ends it, and nothing that comes later mends it, nor gives another reason."""
    verdicts = []
    reasons = set()
    for end in range(len(data) + 1):
        try:
            verdicts.append(parse_proxy_header(data[:end]) is None)
        except GrammarError as error:
            verdicts.append(False)
            reasons.add(str(error))
    assert verdicts == sorted(verdicts, reverse=True)
    assert len(reasons) == 1


def test_a_path_ends_at_the_first_nul() -> None:
    paths = b"/a\0rest".ljust(108, b"\0") + b"\xff".ljust(108, b"\0")
    assert parse_proxy_header(v2(0x21, 0x31, paths)) == (ProxyHeader(ProxyFamily.UNIX, "/a", "\\xff"), 232)


@pytest.mark.parametrize("header", dict.fromkeys(GOOD.values()))
def test_what_is_written_is_read(header: ProxyHeader) -> None:
    assert parse_proxy_header(header.encode()) == (header, len(header.encode()))
    if header.family in (ProxyFamily.TCP4, ProxyFamily.TCP6) and not header.tlvs:
        assert parse_proxy_header(header.encode(1)) == (header, len(header.encode(1)))


def test_the_checksum_is_computed_where_one_is_written() -> None:
    header = ProxyHeader(ProxyFamily.TCP4, "192.168.0.1", "192.168.0.11", 56324, 443, ((3, b""), (5, b"id")))
    assert header.encode() == v2(0x21, 0x11, IPV4 + b"\x03\x00\x04" + CHECKSUM + b"\x05\x00\x02id")


def test_what_is_written() -> None:
    header = ProxyHeader(ProxyFamily.TCP4, "192.168.0.1", "192.168.0.11", 56324, 443)
    assert header.encode(1) == b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n"
    assert header.encode() == v2(0x21, 0x11, IPV4)
    assert ProxyHeader().encode(1) == b"PROXY UNKNOWN\r\n"
    assert ProxyHeader(local=True).encode() == v2(0x20, 0x00, b"")


def test_version_1_does_not_take_the_balancer_for_a_client() -> None:
    """It has no word for who is there on his own behalf, and his addresses would be those of one."""
    assert ProxyHeader(source="192.0.2.1", destination="192.0.2.2", local=True).encode(1) == b"PROXY UNKNOWN\r\n"


def test_the_family_follows_from_the_source() -> None:
    assert ProxyHeader(source="192.168.0.1", destination="192.168.0.11", source_port=56324, destination_port=443) == (
        ProxyHeader(ProxyFamily.TCP4, "192.168.0.1", "192.168.0.11", 56324, 443)
    )
    assert ProxyHeader(source="::1", destination="2001:db8::2").family is ProxyFamily.TCP6
    assert ProxyHeader(ProxyFamily.UDP4, "192.168.0.1", "192.168.0.11").family is ProxyFamily.UDP4
    with pytest.raises(GrammarError, match="not an IP address"):
        ProxyHeader(source="/run/client", destination="/run/server")


@pytest.mark.parametrize(
    ("header", "version"),
    [
        (ProxyHeader(), 3),
        (ProxyHeader(ProxyFamily.TCP4, "::1", "::1", 1, 2), 2),
        (ProxyHeader(ProxyFamily.TCP6, "1.2.3.4", "::1", 1, 2), 1),
        (ProxyHeader(ProxyFamily.TCP4, "1.2.3.4", "1.2.3.4\r\n", 1, 2), 1),
        (ProxyHeader(ProxyFamily.TCP4, "1.2.3.4", "1.2.3.4", 1, 65536), 2),
        (ProxyHeader(ProxyFamily.TCP4, "1.2.3.4", "1.2.3.4", -1, 2), 1),
        (ProxyHeader(ProxyFamily.UDP4, "1.2.3.4", "1.2.3.4", 1, 2), 1),
        (ProxyHeader(ProxyFamily.TCP4, "1.2.3.4", "1.2.3.4", 1, 2, ((1, b"x"),)), 1),
        (ProxyHeader(ProxyFamily.UNIX, "/a", "/b"), 1),
        (ProxyHeader(ProxyFamily.UNIX, "/a" * 55, "/b"), 2),
        (ProxyHeader(ProxyFamily.UNIX, "/a\0", "/b"), 2),
        (ProxyHeader(ProxyFamily.UNIX, "/\udc80", "/b"), 2),
        (ProxyHeader(tlvs=((256, b""),)), 2),
        (ProxyHeader(tlvs=((-1, b""),)), 2),
        (ProxyHeader(tlvs=((1, bytes(65536)),)), 2),
        (ProxyHeader(tlvs=((1, bytes(60000)), (2, bytes(60000)))), 2),
    ],
)
def test_what_cannot_be_written(header: ProxyHeader, version: int) -> None:
    with pytest.raises(GrammarError):
        header.encode(version)


@THOROUGH
@given(st.binary(max_size=300), st.sampled_from([b"", SIGNATURE, b"PROXY ", SIGNATURE + b"\x21\x11\x00\x20"]))
def test_no_octets_raise_anything_else(data: bytes, beginning: bytes) -> None:
    try:
        found = parse_proxy_header(beginning + data)
    except GrammarError:
        return
    if found is not None:
        header, length = found
        assert 0 < length <= len(beginning + data)
        assert parse_proxy_header(header.encode()) is not None


# What a connection makes of it.

BOTH = pytest.mark.parametrize("make", [SMTPServerConnection, POP3ServerConnection])
HEADER = b"PROXY TCP4 192.0.2.1 198.51.100.1 1234 25\r\n"


def behind_proxy(make: Any, **how: bool) -> ServerConnection[Any]:
    conn: ServerConnection[Any] = make()
    conn.expect_proxy_header(**how)
    return conn


@BOTH
def test_the_header_comes_first_at_every_cut(make: Any) -> None:
    """One event only comes behind it, and the client's own first words are kept."""
    for header in (HEADER, v2(0x21, 0x11, IPV4 + b"\x05\x00\x02id")):
        wire = header + b"QUIT\r\n"
        for cut in range(1, len(wire)):
            conn = behind_proxy(make)
            assert conn.next_event() is None
            conn.receive_data(wire[:cut])
            assert conn.next_event() is None, "the header makes no event"
            assert conn.awaits_proxy_header is (cut < len(header))
            assert conn.data_to_send() == b""
            conn.receive_data(wire[cut:])
            if conn.awaits_proxy_header:
                assert conn.next_event() is None
            assert (conn.proxy_header, len(header)) == parse_proxy_header(header)
            result = talk(conn, [])
            assert result.output
            assert conn.closing, "QUIT was read"


@BOTH
@pytest.mark.parametrize(
    "wrong", [b"EHLO x\r\n", b"CAPA\r\n", b"PROXY TCP4 nonsense\r\n", b"\x16\x03\x01", b"P" * 200]
)
def test_without_it_nothing_is_said(make: Any, wrong: bytes) -> None:
    for pieces in ([wrong], [wrong[i : i + 1] for i in range(len(wrong))]):
        conn = behind_proxy(make)
        result = talk(conn, pieces)
        assert result.output == b""
        assert [type(event).__name__ for event in result.events] == ["ConnectionClosed"]
        assert conn.proxy_header is None


@BOTH
@pytest.mark.parametrize("tls_first", [False, True])
@pytest.mark.parametrize("end", ["receive_timeout", "shut_down", "receive_eof"])
def test_before_it_the_end_is_wordless(make: Any, end: str, tls_first: bool) -> None:
    """A word in clear would be none where TLS comes first, and the balancer has not spoken for anybody yet."""
    conn = behind_proxy(make, tls_first=tls_first)
    conn.receive_data(HEADER[:9])
    assert conn.next_event() is None
    getattr(conn, end)()
    event = conn.next_event()
    assert type(event).__name__ == "ConnectionClosed"
    assert conn.data_to_send() == b""


def test_a_second_header_is_no_header() -> None:
    """S71: what the client says itself counts for nothing."""
    conn = behind_proxy(SMTPServerConnection)
    conn.receive_data(HEADER + b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n")
    assert conn.next_event() is None
    result = talk(conn, [])
    assert conn.proxy_header is not None
    assert conn.proxy_header.source == "192.0.2.1"
    assert result.replies == [b"220", b"500"]


@BOTH
def test_a_connection_that_expects_none_parses_none(make: Any) -> None:
    conn = make()
    talk(conn, [HEADER])
    assert conn.proxy_header is None


@BOTH
def test_before_tls_at_every_cut(make: Any) -> None:
    """What came with the header belongs to the handshake; what comes between header and handshake, to nobody."""
    hello = b"\x16\x03\x01\x00\x05hello"
    wire = HEADER + hello
    for cut in range(1, len(wire) + 1):
        conn = behind_proxy(make, tls_first=True)
        conn.receive_data(wire[:cut])
        assert conn.next_event() is None
        if cut < len(HEADER):
            with pytest.raises(LocalProtocolError):
                conn.tls_established()
            conn.receive_data(wire[cut:])
            assert conn.next_event() is None
            assert conn.trailing_data == hello
        else:
            assert conn.trailing_data == wire[len(HEADER) : cut]
        conn.tls_established()
        assert talk(conn, []).output.startswith((b"220", b"+OK"))


def test_data_between_the_header_and_the_handshake_is_an_attack() -> None:
    conn = behind_proxy(SMTPServerConnection, tls_first=True)
    conn.receive_data(HEADER)
    assert conn.next_event() is None
    conn.receive_data(b"EHLO x\r\n")
    assert type(conn.next_event()).__name__ == "ConnectionClosed"


@BOTH
def test_the_wait_for_it_is_short(make: Any) -> None:
    conn = behind_proxy(make)
    assert conn.timeout == conn.limits.proxy_timeout
    conn.receive_data(HEADER)
    assert conn.next_event() is None
    assert conn.timeout > conn.limits.proxy_timeout


@BOTH
def test_it_comes_at_the_beginning_or_not_at_all(make: Any) -> None:
    conn = make()
    talk(conn, [])
    with pytest.raises(LocalProtocolError):
        conn.expect_proxy_header()
    conn = make()
    conn.tls_established()
    with pytest.raises(LocalProtocolError):
        conn.expect_proxy_header()
