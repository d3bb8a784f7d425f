"""The command line at the edge: ``serve --lmtp``."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailproto import TLSPolicy, sync
from mailproto.cli import main
from mailproto.smtp import SMTPClientConfig
from tests.cli.test_commands import serving


def test_a_mail_host_that_speaks_lmtp(tmp_path: Path) -> None:
    """Each recipient has an answer of his own, and each user's message is on disk."""
    users = ("--user", "ada:x", "--user", "bob:y", "--domain", "example.org")
    with serving("--maildir", str(tmp_path), *users, listeners=("lmtp",)) as server:
        config = SMTPClientConfig(lmtp=True)
        with sync.SMTPClient("127.0.0.1", server.ports["lmtp"], tls=TLSPolicy.NONE, config=config) as client:
            to = ["ada@example.org", "eve@example.org", "bob@example.org"]
            result = client.send_message(b"Subject: x\r\n\r\nbody\r\n", "s@example.net", to)
    assert [recipient.outcome.name for recipient in result.recipients] == ["ACCEPTED", "REFUSED", "ACCEPTED"]
    assert [str(recipient.reply) for recipient in result.accepted] == ["250 2.0.0 Message delivered"] * 2
    assert sorted(path.relative_to(tmp_path).parts[0] for path in tmp_path.glob("*/new/*")) == ["ada", "bob"]


def test_lmtp_is_not_spoken_where_smtp_is() -> None:
    with pytest.raises(SystemExit, match="RFC 2033"):
        main(["serve", "--lmtp", "127.0.0.1:25"])
