"""Channel binding (RFC 5056): data that ties a login to the TLS session around it, so that nobody sits in between.

Three types are known. ``tls-unique`` (RFC 5929 section 3) is for TLS 1.2 only, ``tls-exporter`` (RFC 9266) for all
of TLS 1.3; both come from the TLS layer, in `TLSInfo.channel_bindings`. ``tls-server-end-point`` (RFC 5929 section 4)
is a hash of the server's certificate, and is computed here.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Collection, Mapping

from mailproto._core.events import TLSInfo

TLS_UNIQUE, TLS_EXPORTER, TLS_SERVER_END_POINT = "tls-unique", "tls-exporter", "tls-server-end-point"


class ChannelBinding(enum.Enum):
    """What a client does about channel binding.

    Attributes:
        OFF: do without.
        PREFER: bind where the server offers it, and the type of binding is one that servers have to know: tls-unique
            on TLS 1.2, tls-exporter on TLS 1.3 (RFC 9266 section 3). There is no way to ask a server for its types,
            and a login with one that it does not know fails.
        REQUIRE: bind, with tls-server-end-point if nothing better is at hand, or do not log in.
    """

    OFF = "off"
    PREFER = "prefer"
    REQUIRE = "require"


def server_bindings(tls: TLSInfo | None) -> Mapping[str, bytes]:
    """Return the channel binding data of a session by type, of those types that are defined for it."""
    if tls is None:
        return {}
    return {
        name: data for name, data in tls.channel_bindings.items() if data and (name != TLS_UNIQUE or _has_unique(tls))
    }


def client_bindings(
    tls: TLSInfo | None, policy: ChannelBinding, allowed: Collection[str] | None = None
) -> Mapping[str, bytes]:
    """Return the data that a client may bind to by type, best first; nothing if it is not to bind.

    Args:
        tls: the session. The server's certificate in it is used as it is: verified.
        policy: what the caller thinks of channel binding.
        allowed: the mechanisms that the caller has named, None if it has not.
    """
    asked_for = allowed is not None and any(name.endswith("-PLUS") for name in allowed)
    if tls is None or policy is ChannelBinding.OFF or (allowed is not None and not asked_for):
        return {}
    known = dict(server_bindings(tls))
    if tls.peer_certificate and TLS_SERVER_END_POINT not in known:
        end_point = end_point_binding(tls.peer_certificate)
        if end_point is not None:
            known[TLS_SERVER_END_POINT] = end_point
    order = [TLS_UNIQUE if _has_unique(tls) else TLS_EXPORTER]
    if asked_for or policy is ChannelBinding.REQUIRE:
        order += [TLS_EXPORTER, TLS_SERVER_END_POINT]
    return {name: known[name] for name in order if name in known}


def _has_unique(tls: TLSInfo) -> bool:
    return tls.version in ("TLSv1", "TLSv1.1", "TLSv1.2")


def end_point_binding(certificate: bytes) -> bytes | None:
    """Return the data of ``tls-server-end-point`` for a server's certificate in DER form (RFC 5929 section 4.1).

    None if the type is not defined for it, as for one signed with Ed25519, which has no hash of its own; or if it is
    no certificate.
    """
    try:
        name = _signature_hash(certificate)
    except IndexError:
        return None
    return hashlib.new(name, certificate).digest() if name is not None else None


_SHA256_INSTEAD = "sha256"  # of hashes that are broken
_HASH_OF_SIGNATURE = {
    bytes.fromhex("2a864886f70d010104"): _SHA256_INSTEAD,  # md5WithRSAEncryption
    bytes.fromhex("2a864886f70d010105"): _SHA256_INSTEAD,  # sha1WithRSAEncryption
    bytes.fromhex("2a864886f70d01010b"): "sha256",
    bytes.fromhex("2a864886f70d01010c"): "sha384",
    bytes.fromhex("2a864886f70d01010d"): "sha512",
    bytes.fromhex("2a864886f70d01010e"): "sha224",
    bytes.fromhex("2a8648ce3d0401"): _SHA256_INSTEAD,  # ecdsa-with-SHA1
    bytes.fromhex("2a8648ce3d040301"): "sha224",
    bytes.fromhex("2a8648ce3d040302"): "sha256",
    bytes.fromhex("2a8648ce3d040303"): "sha384",
    bytes.fromhex("2a8648ce3d040304"): "sha512",
}
_RSA_PSS = bytes.fromhex("2a864886f70d01010a")
_HASHES = {
    bytes.fromhex("2b0e03021a"): _SHA256_INSTEAD,  # SHA-1
    bytes.fromhex("608648016503040201"): "sha256",
    bytes.fromhex("608648016503040202"): "sha384",
    bytes.fromhex("608648016503040203"): "sha512",
    bytes.fromhex("608648016503040204"): "sha224",
}


def _signature_hash(certificate: bytes) -> str | None:
    """Return the hash of the certificate's signatureAlgorithm (RFC 5280 section 4.1.1.2), None if it has not one.

    Raises:
        IndexError: not a certificate.
    """
    _, fields, _ = _read_der(certificate)
    _, _, behind_tbs = _read_der(fields)
    _, algorithm, _ = _read_der(behind_tbs)
    _, oid, parameters = _read_der(algorithm)
    if oid != _RSA_PSS:
        return _HASH_OF_SIGNATURE.get(oid)
    # RSASSA-PSS-params (RFC 4055 section 3.1): the hash in the first field, [0], which may be left out for SHA-1.
    _, pss, _ = _read_der(parameters)
    tag, first, _ = _read_der(pss) if pss else (0, b"", b"")
    if tag != 0xA0:
        return _SHA256_INSTEAD
    _, hash_algorithm, _ = _read_der(first)
    _, hash_oid, _ = _read_der(hash_algorithm)
    return _HASHES.get(hash_oid)


def _read_der(data: bytes) -> tuple[int, bytes, bytes]:
    """Return the tag of the first DER element, its content, and what stands behind it.

    Raises:
        IndexError: it is cut off.
    """
    length, start = data[1], 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(data[2:start], "big")
    if len(data) < start + length:
        raise IndexError("cut off")
    return data[0], data[start : start + length], data[start + length :]
