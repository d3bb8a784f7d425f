"""The PROXY protocol, versions 1 and 2: how a load balancer tells a server who really connects.

The header comes first on a connection, before TLS even. It is believed only where the application says that the
peer is such a balancer, and there it has to be: nothing is guessed (`ServerConnection.expect_proxy_header`).
"""

from __future__ import annotations

import enum
import ipaddress
import re
import struct
from dataclasses import dataclass
from typing import TypeAlias

from mailproto._core.codec import parse_uint
from mailproto._core.crc32c import crc32c
from mailproto.errors import GrammarError

MAX_V1 = 107  # octets of a version 1 header with its CRLF
MAX_V2 = 4096  # octets of a version 2 header that are taken: addresses, and some room for TLVs
CRC32C = 0x03  # the type of the field with the checksum of the header

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_V1 = re.compile(rb"PROXY (TCP4|TCP6) ([0-9a-fA-F.:]{2,39}) ([0-9a-fA-F.:]{2,39}) ([0-9]{1,5}) ([0-9]{1,5})")
_LOCAL, _PROXY = 0x20, 0x21
_UNIX_LENGTH = 108
_NO_CHECKSUM = bytes(4)  # stands for the checksum where that is computed


class ProxyFamily(enum.IntEnum):
    """What kind of addresses a header has, as version 2 numbers them."""

    UNKNOWN = 0x00
    TCP4 = 0x11
    UDP4 = 0x12
    TCP6 = 0x21
    UDP6 = 0x22
    UNIX = 0x31
    UNIX_DATAGRAM = 0x32


_ADDRESS_LENGTHS = {
    ProxyFamily.UNKNOWN: 0,
    ProxyFamily.TCP4: 12,
    ProxyFamily.UDP4: 12,
    ProxyFamily.TCP6: 36,
    ProxyFamily.UDP6: 36,
    ProxyFamily.UNIX: 2 * _UNIX_LENGTH,
    ProxyFamily.UNIX_DATAGRAM: 2 * _UNIX_LENGTH,
}
_UNIX = (ProxyFamily.UNIX, ProxyFamily.UNIX_DATAGRAM)

Tlvs: TypeAlias = tuple[tuple[int, bytes], ...]
"""The extra fields of a header: type and value of each."""


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """Who connects to whom, as the balancer tells::

        ProxyHeader(source="192.0.2.7", destination="192.0.2.1", source_port=4711, destination_port=25)

    Args:
        family: what kind of addresses these are. Left out it follows from ``source``: TCP over IPv4 or IPv6, or
            UNKNOWN where there is none, as the balancer cannot tell of addresses.
        source: the client's address.
        destination: the address that it reached.
        source_port: the client's port.
        destination_port: the port that it reached.
        tlvs: the extra fields of version 2, type and value, such as (0x02, the name of TLS's SNI). The checksum, type
            0x03, is checked where a header has one, and computed where one is written, whatever value stands here.
        local: there is no client at all but the balancer itself, which sees whether we live, and the socket's own
            addresses count.

    Raises:
        GrammarError: there is a source of which nobody says the family, and it is no IP address.
    """

    family: ProxyFamily = ProxyFamily.UNKNOWN
    source: str = ""
    destination: str = ""
    source_port: int = 0
    destination_port: int = 0
    tlvs: Tlvs = ()
    local: bool = False

    def __post_init__(self) -> None:
        if self.source and self.family is ProxyFamily.UNKNOWN:  # with which nothing of it would be told
            family = ProxyFamily.TCP4 if _parse_ip(self.source).version == 4 else ProxyFamily.TCP6
            object.__setattr__(self, "family", family)

    @property
    def over_ip(self) -> bool:
        """Whether source and destination are IP addresses."""
        return self.family not in (ProxyFamily.UNKNOWN, *_UNIX)

    def encode(self, version: int = 2) -> bytes:
        """Return the header as it goes on the wire.

        Raises:
            GrammarError: there is no such version, version 1 cannot say it, or an address or a field is none.
        """
        if version == 1:
            return self._encode_v1()
        if version != 2:
            raise GrammarError("the PROXY protocol has versions 1 and 2")
        addresses = self._encode_addresses()
        length = len(addresses) + len(_encode_tlvs(self.tlvs, _NO_CHECKSUM))
        if length > 0xFFFF:
            raise GrammarError("the header is too long")
        command = _LOCAL if self.local else _PROXY
        beginning = _SIGNATURE + struct.pack("!BBH", command, self.family, length) + addresses
        return beginning + _encode_tlvs(self.tlvs, _checksum(beginning, self.tlvs))

    def _encode_v1(self) -> bytes:
        if self.local or self.family is ProxyFamily.UNKNOWN:
            return b"PROXY UNKNOWN\r\n"
        if self.family not in (ProxyFamily.TCP4, ProxyFamily.TCP6) or self.tlvs:
            raise GrammarError("version 1 knows TCP over IP and no extra fields")
        source, destination = self._packed()
        texts = f"{ipaddress.ip_address(source)} {ipaddress.ip_address(destination)}"
        line = f"PROXY {self.family.name} {texts} {_port(self.source_port)} {_port(self.destination_port)}\r\n"
        return line.encode("ascii")

    def _encode_addresses(self) -> bytes:
        if self.family is ProxyFamily.UNKNOWN:
            return b""
        if self.family in _UNIX:
            return _encode_path(self.source) + _encode_path(self.destination)
        source, destination = self._packed()
        return source + destination + struct.pack("!HH", _port(self.source_port), _port(self.destination_port))

    def _packed(self) -> tuple[bytes, bytes]:
        version = 4 if self.family in (ProxyFamily.TCP4, ProxyFamily.UDP4) else 6
        return _pack(self.source, version), _pack(self.destination, version)


def parse_proxy_header(data: bytes) -> tuple[ProxyHeader, int] | None:
    """Return the header that ``data`` begins with and how long it is, or None when more has to come.

    Raises:
        GrammarError: this is no PROXY header, or a broken one; the connection is to be closed without a word.
    """
    if data.startswith(_SIGNATURE):
        return _parse_v2(data)
    if _SIGNATURE.startswith(data):
        return None
    end = data.find(b"\r\n", 0, MAX_V1)
    if not data.startswith(b"PROXY "[: len(data)]) or (end < 0 and len(data) >= MAX_V1):
        raise GrammarError("no PROXY header")
    return (_parse_v1(data[:end]), end + 2) if end >= 0 else None


def _parse_v1(line: bytes) -> ProxyHeader:
    if line == b"PROXY UNKNOWN" or line.startswith(b"PROXY UNKNOWN "):
        return ProxyHeader()
    match = _V1.fullmatch(line)
    if match is None:
        raise GrammarError("a broken PROXY header")
    family = ProxyFamily.TCP4 if match[1] == b"TCP4" else ProxyFamily.TCP6
    version = 4 if family is ProxyFamily.TCP4 else 6
    source, destination = (_unpack(_pack(match[i].decode("ascii"), version)) for i in (2, 3))
    return ProxyHeader(family, source, destination, _parse_port(match[4]), _parse_port(match[5]))


def _parse_v2(data: bytes) -> tuple[ProxyHeader, int] | None:
    if len(data) < 16:
        return None
    command, family, length = struct.unpack_from("!BBH", data, 12)
    if command not in (_LOCAL, _PROXY) or 16 + length > MAX_V2:
        raise GrammarError("a broken PROXY header")
    if len(data) < 16 + length:
        return None
    if command == _LOCAL:
        return ProxyHeader(local=True), 16 + length
    return _parse_v2_addresses(family, data[: 16 + length]), 16 + length


def _parse_v2_addresses(number: int, header: bytes) -> ProxyHeader:
    try:
        family = ProxyFamily(number)
    except ValueError:
        raise GrammarError("a PROXY header of an unknown family") from None
    rest, needed = header[16:], _ADDRESS_LENGTHS[family]
    if len(rest) < needed:
        raise GrammarError("a PROXY header without its addresses")
    tlvs = tuple(_parse_tlvs(rest[needed:]))
    checksums = [value for kind, value in tlvs if kind == CRC32C]
    if checksums and checksums != [_checksum(header[: 16 + needed], tlvs)]:
        raise GrammarError("a PROXY header with a wrong checksum")
    if family is ProxyFamily.UNKNOWN:
        return ProxyHeader(tlvs=tlvs)
    if family in _UNIX:
        source, destination = map(_decode_path, (rest[:_UNIX_LENGTH], rest[_UNIX_LENGTH:needed]))
        return ProxyHeader(family, source, destination, tlvs=tlvs)
    half = (needed - 4) // 2
    source_port, destination_port = struct.unpack_from("!HH", rest, 2 * half)
    source, destination = _unpack(rest[:half]), _unpack(rest[half : 2 * half])
    return ProxyHeader(family, source, destination, source_port, destination_port, tlvs)


def _parse_tlvs(data: bytes) -> list[tuple[int, bytes]]:
    found = []
    while data:
        if len(data) < 3:
            raise GrammarError("a broken field in a PROXY header")
        kind, length = struct.unpack_from("!BH", data)
        if len(data) < 3 + length:
            raise GrammarError("a broken field in a PROXY header")
        found.append((kind, data[3 : 3 + length]))
        data = data[3 + length :]
    return found


def _checksum(beginning: bytes, tlvs: Tlvs) -> bytes:
    """Return the checksum of the header that begins so and has these fields."""
    return crc32c(beginning + _encode_tlvs(tlvs, _NO_CHECKSUM)).to_bytes(4, "big")


def _encode_tlvs(tlvs: Tlvs, checksum: bytes) -> bytes:
    return b"".join(_encode_tlv(kind, checksum if kind == CRC32C else value) for kind, value in tlvs)


def _encode_tlv(kind: int, value: bytes) -> bytes:
    if not 0 <= kind <= 0xFF or len(value) > 0xFFFF:
        raise GrammarError("not a field of a PROXY header")
    return struct.pack("!BH", kind, len(value)) + value


def _encode_path(path: str) -> bytes:
    try:
        encoded = path.encode("utf-8")
    except UnicodeEncodeError:
        raise GrammarError("the path of a socket that is not UTF-8") from None
    if len(encoded) > _UNIX_LENGTH or b"\0" in encoded:
        raise GrammarError("not the path of a socket, or one that is too long")
    return encoded.ljust(_UNIX_LENGTH, b"\0")


def _decode_path(octets: bytes) -> str:
    return octets.partition(b"\0")[0].decode("utf-8", "backslashreplace")


def _parse_ip(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address(address)
    except ValueError:
        raise GrammarError("not an IP address in a PROXY header") from None


def _pack(address: str, version: int) -> bytes:
    parsed = _parse_ip(address)
    if parsed.version != version:
        raise GrammarError("an IP address of the wrong family in a PROXY header")
    return parsed.packed


def _unpack(packed: bytes) -> str:
    return str(ipaddress.ip_address(packed))


def _port(number: int) -> int:
    if not 0 <= number <= 0xFFFF:
        raise GrammarError("not a port")
    return number


def _parse_port(digits: bytes) -> int:
    if len(digits) > 1 and digits.startswith(b"0"):
        raise GrammarError("a port with leading zeros")
    return _port(parse_uint(digits))
