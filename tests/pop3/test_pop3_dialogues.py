"""The dialogues of the RFCs: every one on both sides, whole, byte by byte, and cut at every single octet."""

from __future__ import annotations

import pytest

from mailproto.pop3 import (
    Apop,
    Connected,
    ConnectionClosed,
    MessageChunk,
    POP3ClientConnection,
    POP3ServerConfig,
    POP3ServerConnection,
    Retrieve,
    Update,
)
from tests.pop3.dialogues import DIALOGUES, FIRST, SECOND, SECRET, TIMESTAMP, Dialogue
from tests.pop3.harness import (
    client_turns,
    every_client_cut,
    every_server_cut,
    read_transcript,
    said,
    server_segments,
)

FOR_SERVER = [name for name, dialogue in DIALOGUES.items() if not dialogue.client_only]
FOR_CLIENT = [name for name, dialogue in DIALOGUES.items() if not dialogue.server_only]


def make_server(dialogue: Dialogue) -> POP3ServerConnection:
    in_clear = "TLS" not in dialogue.text
    config = POP3ServerConfig(
        starttls=not in_clear, allow_plaintext_auth=in_clear, auth_mechanisms=dialogue.mechanisms
    )
    return POP3ServerConnection(config, TIMESTAMP if dialogue.apop else None)


@pytest.mark.parametrize("name", FOR_SERVER)
def test_server_speaks_its_part_however_the_client_is_cut(name: str) -> None:
    dialogue = DIALOGUES[name]
    transcript = read_transcript(dialogue.text)
    played = every_server_cut(lambda: make_server(dialogue), server_segments(transcript), dialogue.application)
    assert played.output.decode() == said(transcript, "S").decode()


@pytest.mark.parametrize("name", FOR_CLIENT)
def test_client_speaks_its_part_however_the_server_is_cut(name: str) -> None:
    transcript = read_transcript(DIALOGUES[name].text)
    played = every_client_cut(POP3ClientConnection, client_turns(transcript), SECRET)
    assert played.error is None
    assert played.output.decode() == said(transcript, "C").decode()


def test_server_tells_the_events_of_rfc_1939_section_10() -> None:
    dialogue = DIALOGUES["RFC 1939 section 10"]
    transcript = read_transcript(dialogue.text)
    played = every_server_cut(lambda: make_server(dialogue), server_segments(transcript), dialogue.application)
    assert played.events == [
        Connected(),
        Apop("mrose", TIMESTAMP, "c4c9334bac560ecc979e58001b3e22fb"),
        Retrieve(1),
        Retrieve(2),
        Update((1, 2)),
        ConnectionClosed(True),
    ]


def test_client_tells_the_events_of_rfc_1939_section_10() -> None:
    turns = client_turns(read_transcript(DIALOGUES["RFC 1939 section 10"].text))
    played = every_client_cut(POP3ClientConnection, turns, SECRET)
    assert played.events == [
        f"GreetingReceived(response={('POP3 server ready ' + TIMESTAMP)!r}, timestamp={TIMESTAMP!r})".replace(
            "response='", "response=Response(ok=True, text='"
        ).replace("', timestamp", "', code=None), timestamp"),
        "ResponseReceived(command=<APOP mrose <secret>>, response=Response(ok=True, "
        'text="mrose\'s maildrop has 2 messages (320 octets)", code=None))',
        "ResponseReceived(command=<STAT>, response=Response(ok=True, text='2 320', code=None))",
        "ResponseReceived(command=<LIST>, response=Response(ok=True, text='2 messages (320 octets)', code=None))",
        "ListingReceived(command=<LIST>) {1: 120, 2: 200}",
        "ResponseReceived(command=<RETR 1>, response=Response(ok=True, text='120 octets', code=None))",
        MessageChunk(FIRST),
        "MessageEnd(command=<RETR 1>, size=120)",
        "ResponseReceived(command=<DELE 1>, response=Response(ok=True, text='message 1 deleted', code=None))",
        "ResponseReceived(command=<RETR 2>, response=Response(ok=True, text='200 octets', code=None))",
        MessageChunk(SECOND),
        "MessageEnd(command=<RETR 2>, size=200)",
        "ResponseReceived(command=<DELE 2>, response=Response(ok=True, text='message 2 deleted', code=None))",
        "ResponseReceived(command=<QUIT>, response=Response(ok=True, "
        "text='dewey POP3 server signing off (maildrop empty)', code=None))",
        "ConnectionClosed(clean=True, reason='')",
    ]
