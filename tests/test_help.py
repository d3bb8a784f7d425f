"""What `help` shows somebody who has not read the source."""

from __future__ import annotations

import ast
import dataclasses
import enum
import importlib
import inspect
import pkgutil
import re
from pathlib import Path
from typing import Any

import pytest

import mailproto
import mailproto.aio
import mailproto.smtp
import mailproto.sync
from mailproto import Transcript
from mailproto.pop3 import POP3ServerConnection
from mailproto.pop3.flows import server as pop3
from mailproto.smtp.flows import server as smtp
from mailproto.testing import Outbox
from mailproto.tunnels import Socks5Tunnel

MODULES = [
    "mailproto",
    *(f"mailproto.{each.name}" for each in pkgutil.iter_modules(mailproto.__path__) if not each.name.startswith("_")),
    "mailproto.smtp.flows",
    "mailproto.smtp.notices",
    "mailproto.smtp.routing",
    "mailproto.smtp.trace",
    "mailproto.pop3.flows",
]
LONGEST_DEFAULT = 200
"""Characters of a default that a signature still can be read with."""


@pytest.mark.parametrize("module", [name for name in MODULES if name != "mailproto.cli"])
def test_a_module_says_what_it_is_and_what_it_offers(module: str) -> None:
    loaded = importlib.import_module(module)
    assert loaded.__doc__
    assert loaded.__all__
    for name in loaded.__all__:
        value = getattr(loaded, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert inspect.getdoc(value), f"{module}.{name}"


@pytest.mark.parametrize("name", ["SMTPClient", "SMTPServer", "POP3Client", "POP3Server"])
def test_no_default_hides_the_rest_of_a_signature(name: str) -> None:
    for adapter in (mailproto.sync, mailproto.aio):
        for parameter in inspect.signature(getattr(adapter, name)).parameters.values():
            assert len(repr(parameter.default)) < LONGEST_DEFAULT, parameter


@pytest.mark.parametrize("adapter", [mailproto.sync, mailproto.aio])
def test_what_passes_its_arguments_on_shows_which_they_are(adapter: Any) -> None:
    shown = inspect.signature(adapter.SMTPPool.send_message)
    assert shown == inspect.signature(adapter.SMTPClient.send_message)
    for verify, client, report in (
        (adapter.verify_smtp, adapter.SMTPClient, "SMTPReport"),
        (adapter.verify_pop3, adapter.POP3Client, "POP3Report"),
    ):
        shown = inspect.signature(verify)
        assert shown.parameters == inspect.signature(client).parameters
        assert shown.return_annotation == report


def test_an_extension_is_shown_by_what_it_is_called() -> None:
    assert repr(mailproto.smtp.DEFAULT_EXTENSIONS[1]) == "Extension(keyword='SIZE', rfc='RFC 1870')"


@pytest.mark.parametrize("flow", [smtp, pop3])
def test_every_hook_is_listed(flow: Any) -> None:
    listed = flow.__doc__.partition("::\n\n")[2].partition("\n\n")[0]
    assert [name for name in flow.HOOKS if f"{name}(" not in listed and f"{name}," not in listed] == []
    for server in (mailproto.sync, mailproto.aio):
        assert flow.__name__ in (getattr(server, "SMTPServer" if flow is smtp else "POP3Server").__doc__ or "")


def test_of_many_parameters_those_are_shown_that_are_given() -> None:
    assert repr(mailproto.smtp.MailParameters()) == "MailParameters()"
    assert repr(mailproto.smtp.MailParameters(size=0, prdr=True)) == "MailParameters(size=0, prdr=True)"
    assert repr(mailproto.smtp.RcptParameters(extra={"X": None})) == "RcptParameters(extra={'X': None})"


def _public_classes() -> list[type[Any]]:
    names = [each.name for each in pkgutil.walk_packages(mailproto.__path__, "mailproto.")]
    modules = map(importlib.import_module, (name for name in names if not name.endswith("__main__")))
    classes = {value for module in modules for value in vars(module).values() if inspect.isclass(value)}
    public = (each for each in classes if each.__module__.startswith("mailproto.") and each.__name__[0] != "_")
    return sorted(public, key=lambda each: (each.__module__, each.__name__))


CLASSES = _public_classes()


TUPLES = [each for each in CLASSES if hasattr(each, "_fields")]
RECORDS = [each for each in CLASSES if dataclasses.is_dataclass(each)]


@pytest.mark.parametrize("value", [*RECORDS, *TUPLES, *(each for each in CLASSES if issubclass(each, enum.Enum))])
def test_nothing_is_said_beside_a_field_where_help_does_not_look(value: type[Any]) -> None:
    (node,) = ast.parse(inspect.getsource(value)).body
    assert isinstance(node, ast.ClassDef)
    assert [each.lineno for each in node.body[1:] if isinstance(each, ast.Expr)] == []


@pytest.mark.parametrize("value", RECORDS)
def test_where_one_argument_is_explained_all_are_and_those_of_a_config_always(value: type[Any]) -> None:
    own = inspect.get_annotations(value)
    fields = [each for each in dataclasses.fields(value) if each.name in own]
    explained = _explained(value)
    if explained or all(each.kw_only for each in fields):
        assert [each.name for each in fields if each.name not in explained] == []


@pytest.mark.parametrize("value", TUPLES)
def test_where_one_argument_of_a_tuple_is_explained_all_are(value: type[Any]) -> None:
    assert _explained(value) in (set(), set(value._fields))


def _explained(value: type[Any]) -> set[str]:
    told = inspect.cleandoc(value.__doc__ or "").partition("\nArgs:\n")[2].partition("\n\n")[0]
    return set(re.findall(r"^    (\w+):", told, re.MULTILINE))


ROOT = Path(mailproto.__file__).parent
DOCUMENTS = [*ROOT.parent.glob("*.md"), *ROOT.parent.glob("examples/*"), *ROOT.rglob("*.py")]
NAME = re.compile(r"\bmailproto(?:\.[A-Za-z_]\w*)+")


def there_is(name: str) -> bool:
    """Say whether a dotted name leads to something: to a module, or to what is in one."""
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


@pytest.mark.parametrize("document", [each for each in DOCUMENTS if each.is_file()], ids=lambda each: each.name)
def test_whatever_is_referred_to_is_there(document: Path) -> None:
    """Modules move, and what is said of them stays behind."""
    assert [name for name in NAME.findall(document.read_text("utf-8")) if not there_is(name)] == []


def test_a_name_that_has_moved_is_found_out() -> None:
    assert there_is("mailproto.smtp.notices.reading.Typed")
    assert not there_is("mailproto.smtp.notice_reading.Typed")
    assert not there_is("mailproto.smtp.notices.reading.Untyped")


def test_what_is_looked_at_says_what_it_is_and_how_it_stands() -> None:
    outbox, transcript = Outbox(), Transcript()
    assert (repr(outbox), repr(transcript)) == ("<Outbox of 0 letters>", "<Transcript of 0 lines>")
    server = mailproto.sync.SMTPServer(outbox, port=0)
    assert repr(server) == "<SMTPServer at nothing yet>"
    with server:
        assert repr(server) == f"<SMTPServer at 127.0.0.1 port {server.port}>"
    machine = mailproto.smtp.SMTPServerConnection()
    assert repr(machine) == "<SMTPServerConnection in CONNECTED>"
    assert repr(smtp.SMTPSession(machine, "192.0.2.1")) == "<SMTPSession with 192.0.2.1>"
    assert repr(pop3.POP3Session(POP3ServerConnection())) == "<POP3Session with unix>"
    assert repr(Socks5Tunnel("mail.example.org", 25, "ada", "secret")) == "<Socks5Tunnel>"


def test_a_server_on_a_unix_socket_says_where(tmp_path: Path) -> None:
    with mailproto.sync.SMTPServer(Outbox(), path=tmp_path / "lmtp") as server:
        assert repr(server) == f"<SMTPServer at {tmp_path / 'lmtp'}>"
