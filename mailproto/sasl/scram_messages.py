"""The messages of SCRAM (RFC 5802 section 7), read and written. Each parser raises `GrammarError`."""

from __future__ import annotations

import re
from typing import NamedTuple

from mailproto._core.codec import decode_base64, encode_base64, parse_uint, printable
from mailproto.errors import AuthenticationError, GrammarError
from mailproto.sasl.text import decode_utf8, encode_utf8

_ATTRIBUTE = re.compile(rb"([A-Za-z])=([^\x00,]+)")
_GS2_HEADER = re.compile(rb"(?:([ny])|p=([A-Za-z0-9.-]+)),(?:a=([^\x00,]+))?,")
_NONCE = re.compile(rb"[!-+\--~]+")
_ITERATIONS = re.compile(rb"[1-9][0-9]{0,9}")
_LONE_EQUALS = re.compile(r"=(?!2C|3D)")

MAX_NONCE = 1024
"""Octets of a nonce, both sides' parts together; one side's may have half of them."""

Attributes = list[tuple[bytes, bytes]]


class ClientFirst(NamedTuple):
    """What a client begins with. ``flag`` is n, y or p; ``bare`` is the message without its GS2 header."""

    flag: str
    binding: str | None
    authzid: str | None
    header: bytes
    bare: bytes
    username: str
    nonce: bytes


class ServerFirst(NamedTuple):
    """What a server tells a client to compute with."""

    nonce: bytes
    salt: bytes
    iterations: int


class ClientFinal(NamedTuple):
    """How a client proves itself. ``binding`` is its GS2 header again, and the channel binding data."""

    binding: bytes
    nonce: bytes
    proof: bytes
    without_proof: bytes


def gs2_header(binding: str | None, authzid: str | None, *, could_bind: bool = False) -> bytes:
    """Return the GS2 header (section 7) of a client that binds with ``binding``, or would if the server could."""
    flag = f"p={binding}" if binding is not None else "y" if could_bind else "n"
    return encode_utf8(f"{flag},{'a=' + encode_name(authzid) if authzid else ''},")


def client_first_bare(username: str, nonce: bytes) -> bytes:
    """Return the client's first message without its GS2 header."""
    return b"n=%s,r=%s" % (encode_utf8(encode_name(username)), nonce)


def server_first(message: ServerFirst) -> bytes:
    """Return the server's first message."""
    return b"r=%s,s=%s,i=%d" % (message.nonce, encode_base64(message.salt), message.iterations)


def client_final_without_proof(binding: bytes, nonce: bytes) -> bytes:
    """Return the client's last message up to its proof, as far as it is signed."""
    return b"c=%s,r=%s" % (encode_base64(binding), nonce)


def parse_client_first(message: bytes) -> ClientFirst:
    """Return what a client's first message says."""
    header, binding, authzid = parse_gs2_header(message)
    bare = message[len(header) :]
    encoded, nonce = _values(_attributes(bare), b"n", b"r")
    username = decode_name(decode_utf8(encoded))
    return ClientFirst(chr(message[0]), binding, authzid, header, bare, username, _nonce(nonce, MAX_NONCE // 2))


def parse_gs2_header(message: bytes) -> tuple[bytes, str | None, str | None]:
    """Return the GS2 header that a message begins with, its binding type and its authorization identity."""
    match = _GS2_HEADER.match(message)
    if match is None:
        raise GrammarError("no GS2 header")
    authzid = decode_name(decode_utf8(match[3])) if match[3] is not None else None
    return match[0], match[2].decode("ascii") if match[2] is not None else None, authzid


def parse_server_first(message: bytes) -> ServerFirst:
    """Return what a server's first message says."""
    nonce, salt, iterations = _values(_attributes(message), b"r", b"s", b"i")
    if not _ITERATIONS.fullmatch(iterations):
        raise GrammarError("not an iteration count")
    return ServerFirst(_nonce(nonce), decode_base64(salt), parse_uint(iterations))


def parse_client_final(message: bytes) -> ClientFinal:
    """Return what a client's last message says."""
    attributes = _attributes(message)
    binding, nonce = _values(attributes, b"c", b"r")
    (proof,) = _values(attributes[-1:], b"p")
    without_proof = message[: -len(b",p=" + proof)]
    return ClientFinal(decode_base64(binding), nonce, decode_base64(proof), without_proof)


def parse_server_final(message: bytes) -> bytes:
    """Return the server's signature.

    Raises:
        AuthenticationError: the server says that there was an error.
        GrammarError: it says neither that nor a signature.
    """
    name, value = _attributes(message)[0]
    if name == b"e":
        raise AuthenticationError(f"the server refused the credentials: {printable(value, 80)}")
    if name != b"v":
        raise GrammarError("no signature of the server's")
    return decode_base64(value)


def encode_name(name: str) -> str:
    """Return a name as a saslname, in which commas and equals signs are written otherwise.

    Raises:
        GrammarError: there is a NUL in it.
    """
    if "\0" in name:
        raise GrammarError("NUL in a user name")
    return name.replace("=", "=3D").replace(",", "=2C")


def decode_name(text: str) -> str:
    """Return the name that a saslname stands for."""
    if _LONE_EQUALS.search(text):
        raise GrammarError("an equals sign that stands for nothing")
    return text.replace("=2C", ",").replace("=3D", "=")


def _attributes(message: bytes) -> Attributes:
    """Return the attributes of a message, in their order. What is not known is for the caller to pass over.

    But for ``m``, which has to be understood, and nobody does (section 5.1).
    """
    decode_utf8(message)
    attributes: Attributes = []
    for part in message.split(b","):
        match = _ATTRIBUTE.fullmatch(part)
        if match is None or match[1] == b"m":
            raise GrammarError("not an attribute that is understood")
        attributes.append((match[1], match[2]))
    return attributes


def _values(attributes: Attributes, *names: bytes) -> tuple[bytes, ...]:
    """Return the values of the attributes that a message has to begin with."""
    if tuple(name for name, _ in attributes[: len(names)]) != names:
        raise GrammarError("not the attributes that are due here")
    return tuple(value for _, value in attributes[: len(names)])


def _nonce(value: bytes, limit: int = MAX_NONCE) -> bytes:
    if len(value) > limit or not _NONCE.fullmatch(value):
        raise GrammarError("not a nonce")
    return value
