"""Questions to the DNS, as far as mail asks any: the messages, and how to look something up, without I/O.

Mail goes where MX records say (RFC 5321 section 5.1), and who submits or fetches it finds his servers by SRV records
(RFC 6186). That the mail hosts of a domain have to be proved, a TXT record says (RFC 8461). The standard library can
ask for none of them. `look_up` is the job, for any driver;
`mailproto.aio.DNSResolver`, which a relay takes as its resolver, and `mailproto.sync.DNSResolver` drive it over
sockets.
"""

from mailproto.dns.discovery import MailServer
from mailproto.dns.lookup import PORT, Lookup, LookupFailedError, NoSuchNameError, Query, look_up
from mailproto.dns.message import (
    MailExchange,
    Question,
    Record,
    RecordType,
    Response,
    ResponseCode,
    ServiceLocation,
    encode_query,
    parse_response,
)
from mailproto.dns.names import encode_name, read_name
from mailproto.dns.resolv_conf import NameServers, parse_resolv_conf

__all__ = [
    "PORT",
    "Lookup",
    "LookupFailedError",
    "MailExchange",
    "MailServer",
    "NameServers",
    "NoSuchNameError",
    "Query",
    "Question",
    "Record",
    "RecordType",
    "Response",
    "ResponseCode",
    "ServiceLocation",
    "encode_name",
    "encode_query",
    "look_up",
    "parse_response",
    "parse_resolv_conf",
    "read_name",
]
