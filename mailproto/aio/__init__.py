"""SMTP and POP3 over asyncio, client and server.

    async with aio.SMTPServer(Inbox(), port=0) as server:
        async with aio.SMTPClient("127.0.0.1", server.port) as client:
            result = await client.send_message(message)

A server's handler is an object with hooks, plain functions or coroutines, or a coroutine function that loops over the
events of a session. Hooks that block go into `InThreads`.
"""

from mailproto._core.policy import TLSPolicy
from mailproto._net.listener import ServerOptions, Where
from mailproto._net.pop3_client import POP3Report
from mailproto._net.smtp_client import SMTPReport
from mailproto.aio.connect import open_link
from mailproto.aio.dns import DNSResolver
from mailproto.aio.link import Link
from mailproto.aio.listener import Listener
from mailproto.aio.pool import SMTPPool
from mailproto.aio.pop3 import Message, Messages, POP3Client, POP3EventSession, POP3Server, verify_pop3
from mailproto.aio.smtp import SMTPClient, SMTPEventSession, SMTPServer, verify_smtp
from mailproto.aio.threads import InThreads
from mailproto.smtp.flows.shelf import PoolOptions
from mailproto.tls import client_context, server_context

__all__ = [
    "DNSResolver",
    "InThreads",
    "Link",
    "Listener",
    "Message",
    "Messages",
    "POP3Client",
    "POP3EventSession",
    "POP3Report",
    "POP3Server",
    "PoolOptions",
    "SMTPClient",
    "SMTPEventSession",
    "SMTPPool",
    "SMTPReport",
    "SMTPServer",
    "ServerOptions",
    "TLSPolicy",
    "Where",
    "client_context",
    "open_link",
    "server_context",
    "verify_pop3",
    "verify_smtp",
]
