"""The events that SMTP and POP3 share. They are the same classes in both, on both sides.

Events are plain data, made for ``match``. They are not frozen, because that would triple their cost; they are
not to be changed all the same. Their reprs show neither content nor secrets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)
class MessageChunk:
    """A piece of a message, dots taken off, cut anywhere: whatever came in."""

    data: bytes

    def __repr__(self) -> str:
        return f"MessageChunk(<{len(self.data)} octets>)"


@dataclass(slots=True)
class StartTLS:
    """The moment for the TLS handshake.

    On a server the client asks for it: answer, send what is to be sent, do the handshake. On a client the server
    has agreed: do the handshake now. Either way ``connection.tls_established()`` follows.
    """


@dataclass(slots=True)
class ExtensionCommand:
    """On a server, a command that the application has added to the protocol: ``verb`` is one that the config names,
    in upper case, and ``argument`` all that stands behind it, ``""`` if nothing does.

    Left unanswered it is refused as a command that there is not.
    """

    verb: str
    argument: str = ""


@dataclass(slots=True)
class ConnectionClosed:
    """The peer is gone, or was hung up on. Comes once, and nothing after it.

    ``clean`` is true when both sides were through: after QUIT, or between commands. ``reason`` says in a few
    words what happened otherwise.
    """

    clean: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class TLSInfo:
    """What an adapter knows of an established TLS session.

    ``version`` and ``cipher`` are the names that ``ssl`` has for them; ``server_name`` is whom a client wants.
    ``peer_certificate`` is the peer's certificate in DER form, and only ever a verified one; ``peer_names`` are the
    names in its subjectAltName, pairs such as ``("email", "ada@example.org")``.
    ``channel_bindings`` maps a binding type of RFC 5929 or RFC 9266 to its data, where the adapter can know it.
    """

    version: str = ""
    cipher: str = ""
    server_name: str | None = None
    peer_certificate: bytes | None = field(default=None, repr=False)
    channel_bindings: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    peer_names: tuple[tuple[str, str], ...] = ()
