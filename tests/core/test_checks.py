"""Configs, limits and options: what cannot stand in a field is refused when they are made, by its name."""

from __future__ import annotations

import math
from typing import Any

import pytest

from mailproto._core.checks import check_fields
from mailproto._core.limits import Limits
from mailproto.errors import GrammarError
from mailproto.pop3 import POP3ClientConfig, POP3ServerConfig
from mailproto.pop3.flows.keep import KeepPolicy
from mailproto.relay import RelayConfig, Route, Schedule
from mailproto.smtp import SMTPClientConfig, SMTPServerConfig
from mailproto.smtp.extensions import DSN
from mailproto.smtp.flows.client import SessionOptions
from mailproto.smtp.flows.shelf import PoolOptions
from mailproto.sync import ServerOptions

SMARTHOST = Route("localhost")


class Count:
    """A whole number of another library, as numpy has them."""

    def __index__(self) -> int:
        return 300


LIST: Any = [DSN]
COUNT: Any = Count()


def relay(**settings: Any) -> RelayConfig:
    return RelayConfig(**{"hostname": "relay.example.org", "smarthost": SMARTHOST, **settings})


WRONG_TYPES: list[tuple[Any, dict[str, Any]]] = [
    (Limits, {"max_errors": "5"}),
    (Limits, {"max_errors": 5.0}),
    (Limits, {"max_errors": True}),
    (Limits, {"max_errors": None}),
    (Limits, {"max_body_line": "998"}),
    (Limits, {"command_timeout": "300"}),
    (Limits, {"command_timeout": None}),
    (Limits, {"command_timeout": True}),
    (Limits, {"error_delay": 1j}),
    (ServerOptions, {"max_connections": "10"}),
    (ServerOptions, {"reuse_port": "no"}),
    (ServerOptions, {"grace": "1"}),
    (PoolOptions, {"max_messages": 1.5}),
    (PoolOptions, {"messages_per_second": "1"}),
    (SMTPServerConfig, {"hostname": b"mx"}),
    (SMTPServerConfig, {"hostname": None}),
    (SMTPServerConfig, {"greeting": 3}),
    (SMTPServerConfig, {"max_message_size": "1000"}),
    (SMTPServerConfig, {"max_message_size": None}),
    (SMTPServerConfig, {"allow_plaintext_auth": "no"}),
    (SMTPServerConfig, {"require_tls": 1}),
    (SMTPServerConfig, {"bare_newlines": "reject"}),
    (SMTPServerConfig, {"unknown_parameters": "pass"}),
    (SMTPServerConfig, {"extensions": DSN}),
    (SMTPServerConfig, {"extensions": ("DSN",)}),
    (SMTPServerConfig, {"tolerances": {"space after the colon"}}),
    (SMTPClientConfig, {"extensions": (3,)}),
    (SMTPClientConfig, {"idna_encode": "idna"}),
    (SMTPClientConfig, {"tolerances": ("AUTH= in EHLO",)}),
    (POP3ServerConfig, {"languages": ("de",)}),
    (POP3ServerConfig, {"languages": None}),
    (POP3ServerConfig, {"greeting": None}),
    (POP3ServerConfig, {"expire": True}),
    (POP3ServerConfig, {"login_delay": 1.5}),
    (POP3ServerConfig, {"login_delay": math.inf}),
    (POP3ServerConfig, {"login_delay": True}),
    (POP3ServerConfig, {"commands": (verb for verb in ("XFOO",))}),
    (SMTPServerConfig, {"auth_mechanisms": (name for name in ("PLAIN",))}),
    (SMTPClientConfig, {"extensions": iter((DSN,))}),
    (POP3ClientConfig, {"tolerances": ("all",)}),
    (SMTPServerConfig, {"limits": {"max_errors": 3}}),
    (SMTPServerConfig, {"greeting_delay": "3"}),
    (SMTPClientConfig, {"pipelining": "no"}),
    (SMTPClientConfig, {"limits": None}),
    (POP3ServerConfig, {"allow_plaintext_auth": "no"}),
    (POP3ServerConfig, {"limits": 3}),
    (POP3ServerConfig, {"implementation": 3}),
    (POP3ClientConfig, {"pipelining": None}),
    (SessionOptions, {"allow_plaintext_auth": "no"}),
    (SessionOptions, {"channel_binding": "require"}),
    (KeepPolicy, {"delete_after": "30"}),
    (KeepPolicy, {"keep": "yes"}),
    (KeepPolicy, {"limit": 1.5}),
    (Schedule, {"give_up": "5 days"}),
    (Route, {"allow_plaintext_auth": "no"}),
    (Route, {"host": None}),
    (Route, {"tls": "none"}),
    (Route, {"credentials": "secret"}),
    (relay, {"resolver": "192.0.2.1"}),
    (relay, {"sts": "sts"}),
    (relay, {"make_client": "client"}),
    (relay, {"on_attempt": None}),
    (relay, {"clock": 0.0}),
    (relay, {"smarthost": "mail.example.org"}),
    (relay, {"routes": {"example.org": "mail.example.org"}}),
    (relay, {"routes": [("example.org", SMARTHOST)]}),
    (relay, {"max_connections": "20"}),
    (relay, {"schedule": 300}),
    (relay, {"turn": "300"}),
]
WRONG_VALUES: list[tuple[Any, dict[str, Any]]] = [
    (Limits, {"max_errors": -1}),
    (Limits, {"max_body_line": -1}),
    (Limits, {"command_timeout": -1.0}),
    (Limits, {"command_timeout": math.nan}),
    (ServerOptions, {"max_per_address": -1}),
    (ServerOptions, {"grace": math.nan}),
    (PoolOptions, {"max_idle": -1.0}),
    (PoolOptions, {"max_messages": -1}),
    (SMTPServerConfig, {"greeting_delay": -1}),
    (SMTPServerConfig, {"max_message_size": -1}),
    (POP3ServerConfig, {"extra_capabilities": "X-FOO"}),
    (POP3ServerConfig, {"proxies": "192.0.2.1"}),
    (POP3ServerConfig, {"commands": "XFOO"}),
    (KeepPolicy, {"delete_after": -1.0}),
    (KeepPolicy, {"delete_after": math.nan}),
    (KeepPolicy, {"limit": -1}),
    (Schedule, {"first_hour": 0.0}),
    (Schedule, {"later": 0}),
    (Schedule, {"give_up": math.nan}),
    (Schedule, {"min_attempts": -1}),
    (relay, {"grace": -1.0}),
    (relay, {"max_targets": 0}),
]


@pytest.mark.parametrize(("make", "wrong"), WRONG_TYPES)
def test_what_is_of_another_type_is_refused(make: Any, wrong: dict[str, Any]) -> None:
    name = next(iter(wrong))
    said = {"routes": "(routes|example.org) has to be a ", "tls": "a TLSPolicy"}
    with pytest.raises(TypeError, match=said.get(name, name)):
        make(**wrong)


@pytest.mark.parametrize(("make", "wrong"), WRONG_VALUES)
def test_what_cannot_be_is_refused(make: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(GrammarError):
        make(**wrong)


@pytest.mark.parametrize(
    "config",
    [
        Limits(max_body_line=None, max_recipient_domains=0, error_delay=0, command_timeout=math.inf),
        Schedule(give_up=math.inf),
        PoolOptions(max_idle=0, messages_per_second=0.5),
        KeepPolicy(delete_after=0, limit=0),
        POP3ServerConfig(expire=math.inf),
        SMTPServerConfig(extensions=(DSN,), tolerances=frozenset()),
        SMTPServerConfig(extensions=LIST, max_message_size=COUNT, greeting_delay=COUNT),
    ],
)
def test_what_can_be_is_taken(config: Any) -> None:
    check_fields(config)
