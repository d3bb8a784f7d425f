"""CRC32C, the checksum of PROXY headers (RFC 3309 section 3): the standard library has only its elder brother."""

from __future__ import annotations

_POLYNOMIAL = 0x82F63B78  # Castagnoli's, its bits reversed


def crc32c(data: bytes) -> int:
    """Return the checksum of ``data``, a number of 32 bits."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def _entry(index: int) -> int:
    for _ in range(8):
        index = index >> 1 ^ (_POLYNOMIAL if index & 1 else 0)
    return index


_TABLE = [_entry(index) for index in range(256)]
