"""SMTP and POP3 over blocking sockets, client and server.

    with sync.POP3Client("pop.example.org", user="ada", password=secret) as pop:
        for message in pop.messages():
            maildir.deliver(message)
            message.delete()

A server runs a thread a connection, under a cap; its handler is an object with hooks, or a function that loops over
the events of a session.
"""

from mailproto._core.policy import TLSPolicy
from mailproto._net.listener import ServerOptions, Where
from mailproto._net.pop3_client import POP3Report
from mailproto._net.smtp_client import SMTPReport
from mailproto.smtp.flows.shelf import PoolOptions
from mailproto.sync.connect import open_link
from mailproto.sync.dns import DNSResolver
from mailproto.sync.link import Link
from mailproto.sync.listener import Listener
from mailproto.sync.pool import SMTPPool
from mailproto.sync.pop3 import Message, Messages, POP3Client, POP3EventSession, POP3Server, verify_pop3
from mailproto.sync.smtp import SMTPClient, SMTPEventSession, SMTPServer, verify_smtp
from mailproto.tls import client_context, server_context

__all__ = [
    "DNSResolver",
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
