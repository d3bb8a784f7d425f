"""Real programs, and poplib, fetch from our POP3 servers."""

import poplib
import ssl
from pathlib import Path

import pytest

from mailproto.pop3.config import POP3ServerConfig
from tests import data
from tests.interop.clients import TLS_MODES, Endpoint, TLSMode, on_the_wire
from tests.interop.dovecot import PASSWORD
from tests.interop.fetchers import FETCHER_MODES, FETCHERS
from tests.interop.ours import ADAPTERS, Adapter
from tests.interop.servers import ADA, GRACE, Host, pop3_server

MAIL = [path.read_bytes() for path in data.MAIL.values()]
FETCHED = [on_the_wire(message) for message in MAIL]
UTF8 = data.MAIL["utf8"].read_bytes()
LONGEST_LINE = {"fetchmail": 8192}  # octets; it breaks longer ones


@pytest.fixture
def host() -> Host:
    host = Host()
    host.put(ADA, *MAIL)
    return host


def fit_for(program: str) -> list[bytes]:
    """Return the messages whose lines the program does not break, and that one may have without saying UTF8."""
    limit = LONGEST_LINE.get(program, 1 << 20)
    return [message for message in MAIL if max(map(len, message.split(b"\r\n"))) <= limit and message != UTF8]


def connect(port: int, tls: TLSMode) -> poplib.POP3:
    context = ssl.create_default_context(cafile=data.CA)
    if tls == "implicit":
        return poplib.POP3_SSL("localhost", port, context=context)
    client = poplib.POP3("localhost", port)
    if tls == "starttls":
        client.stls(context)
    return client


def log_in(client: poplib.POP3, user: str) -> poplib.POP3:
    client.user(user)
    client.pass_(PASSWORD)
    return client


@pytest.mark.parametrize("tls", TLS_MODES)
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_poplib_does_all_it_can(host: Host, adapter: Adapter, tls: TLSMode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poplib, "_MAXLINE", 1 << 20)  # else it refuses long_lines by itself
    with pop3_server(adapter, host, tls) as port:
        client = connect(port, tls)
        client.utf8()
        log_in(client, ADA)
        assert {"UIDL", "TOP", "PIPELINING"} <= client.capa().keys()
        assert client.stat()[0] == len(MAIL)
        sizes = [int(line.split()[1]) for line in client.list()[1]]
        uids = [line.split()[1] for line in client.uidl()[1]]
        assert len(set(uids)) == len(MAIL)
        for number, message in enumerate(FETCHED, start=1):
            lines = client.retr(number)[1]
            assert b"\r\n".join([*lines, b""]) == message
            assert abs(sizes[number - 1] - len(message)) in (0, 2)  # a last line without an end may count as it is
            header = client.top(number, 0)[1]
            assert b"\r\n".join([*header, b""]) == message.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
            client.dele(number)
        client.rset()
        client.dele(2)
        with pytest.raises(poplib.error_proto):
            client.retr(2)
        client.noop()
        client.quit()
    assert host.contents(ADA) == MAIL[:1] + MAIL[2:]


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_poplib_meets_a_busy_maildrop(host: Host, adapter: Adapter) -> None:
    with pop3_server(adapter, host) as port:
        first, second = log_in(connect(port, "none"), ADA), connect(port, "none")
        with pytest.raises(poplib.error_proto, match=r"-ERR \[IN-USE\]"):
            log_in(second, ADA)
        other = log_in(connect(port, "none"), GRACE)
        assert other.stat() == (0, 0)
        first.dele(1)
        for client in (first, second, other):
            client.close()
    assert host.contents(ADA) == MAIL, "a connection that drops deletes nothing"


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize(("program", "tls"), FETCHER_MODES)
def test_program_keeps_and_then_deletes(tmp_path: Path, program: str, tls: TLSMode, adapter: Adapter) -> None:
    host, messages = Host(), fit_for(program)
    host.put(ADA, *messages)
    with pop3_server(adapter, host, tls) as port:
        endpoint = Endpoint(port, tls, user=ADA)
        kept = FETCHERS[program](endpoint, tmp_path / "1", keep=True)
        assert kept.ok, kept.log
        assert kept.messages == [on_the_wire(message) for message in messages]
        assert host.contents(ADA) == messages
        fetched = FETCHERS[program](endpoint, tmp_path / "2")
        assert fetched.ok, fetched.log
        assert fetched.messages == kept.messages
        assert host.contents(ADA) == []


@pytest.mark.parametrize("program", FETCHERS)
def test_program_without_utf8_mode_loses_nothing(tmp_path: Path, program: str) -> None:
    """RFC 6856 section 2.1: what it could not read it is not given, unless the server does without that RFC."""
    host, messages = Host(), fit_for(program)[:2]
    host.put(ADA, messages[0], UTF8, messages[1])
    with pop3_server("sync", host) as port:
        # curl deletes what it is told to, whatever became of fetching it
        outcome = FETCHERS[program](Endpoint(port, user=ADA), tmp_path / "1", keep=program == "curl")
    assert messages[0] in outcome.messages and UTF8 not in outcome.messages
    assert UTF8 in host.contents(ADA)
    with pop3_server("sync", host, config=POP3ServerConfig(utf8=False, allow_plaintext_auth=True)) as port:
        outcome = FETCHERS[program](Endpoint(port, user=ADA), tmp_path / "2")
    assert outcome.ok, outcome.log
    assert UTF8 in outcome.messages
    assert host.contents(ADA) == []


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("program", FETCHERS)
def test_program_with_a_wrong_password_is_refused(host: Host, tmp_path: Path, program: str, adapter: Adapter) -> None:
    with pop3_server(adapter, host) as port:
        outcome = FETCHERS[program](Endpoint(port, user=ADA, password="wrong"), tmp_path / "1")
    assert not outcome.ok
    assert outcome.messages == []
    assert host.contents(ADA) == MAIL


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_mpop_pipelines_many_messages(tmp_path: Path, adapter: Adapter) -> None:
    host = Host()
    messages = [b"Subject: %d\r\n\r\nNumber %d.\r\n" % (number, number) for number in range(300)]
    host.put(ADA, *messages)
    with pop3_server(adapter, host, "implicit") as port:
        outcome = FETCHERS["mpop"](Endpoint(port, "implicit", user=ADA), tmp_path / "1")
    assert outcome.ok, outcome.log
    assert sorted(outcome.messages) == sorted(messages)
    assert host.contents(ADA) == []
