"""One message to its recipients: each with parameters of his own, within the limits of the server (RFC 9422)."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailproto.address import Address
from mailproto.errors import ConnectionExhaustedError, GrammarError, NotSupportedError
from mailproto.smtp import (
    DeliveryError,
    Limits,
    MailParameters,
    MessageEnd,
    Notify,
    Outcome,
    Rcpt,
    RcptParameters,
    Recipient,
    Ret,
    SMTPClientConfig,
    SMTPServerConfig,
    SMTPServerConnection,
    Submission,
    make_submission,
)
from mailproto.smtp.extensions import DEFAULT_EXTENSIONS, DSN, LIMITS, PIPELINING, SMTPUTF8
from mailproto.smtp.messages.submission import MessageSource, RecipientLike
from tests.helpers import PROPERTY
from tests.smtp_extensions import offering
from tests.smtp_extensions.wire import Wire

TEXT = b"Subject: x\r\n\r\nhello\r\n"
NEVER = RcptParameters(notify=frozenset({Notify.NEVER}))
FAILURE = RcptParameters(notify=frozenset({Notify.FAILURE}))
NO_UTF8 = tuple(extension for extension in DEFAULT_EXTENSIONS if extension is not SMTPUTF8)


def letter(*recipients: RecipientLike, message: MessageSource = TEXT, **more: Any) -> Submission:
    return make_submission(message, "ada@example.org", recipients, **more)


def addresses(count: int) -> list[str]:
    return [f"r{number}@example.org" for number in range(count)]


def outcomes(result: Any) -> dict[str, tuple[Outcome, str]]:
    return {str(each.address): (each.outcome, each.phase) for each in result.recipients}


class TestParametersOfRecipients:
    @pytest.mark.parametrize(
        "recipients",
        [
            [("bob@example.org", NEVER), "eve@example.org"],
            [(Address("bob", "example.org"), NEVER), Address("eve", "example.org")],
            [Recipient(Address("bob", "example.org"), NEVER), Recipient(Address("eve", "example.org"))],
            (Recipient(Address("bob", "example.org"), NEVER), "eve@example.org"),
        ],
    )
    def test_a_recipient_may_come_with_them(self, recipients: list[RecipientLike]) -> None:
        submission = make_submission(TEXT, "ada@example.org", recipients)
        assert submission.recipients == (
            Recipient(Address("bob", "example.org"), NEVER),
            Recipient(Address("eve", "example.org"), RcptParameters()),
        )
        assert submission.forward_paths == [Address("bob", "example.org"), Address("eve", "example.org")]

    @pytest.mark.parametrize(
        "recipients", ["bob@example.org", Address("bob", "example.org"), ("bob@example.org", RcptParameters())]
    )
    def test_a_single_one_needs_no_list(self, recipients: RecipientLike) -> None:
        assert make_submission(TEXT, "", recipients).recipients == (Recipient(Address("bob", "example.org")),)

    def test_a_pair_of_addresses_is_two_recipients(self) -> None:
        assert len(make_submission(TEXT, "", ("bob@example.org", "eve@example.org")).recipients) == 2

    @pytest.mark.parametrize("recipients", [[], [("bob", NEVER)], ["bob@example.org", ("eve", NEVER)]])
    def test_what_is_none(self, recipients: list[RecipientLike]) -> None:
        with pytest.raises(GrammarError):
            make_submission(TEXT, "", recipients)

    def test_each_goes_with_his_rcpt(self) -> None:
        wire = Wire(offering(DSN))
        submission = letter(
            ("bob@example.org", NEVER),
            "eve@example.org",
            ("joe@example.org", FAILURE),
            parameters=MailParameters(ret=Ret.HDRS),
        )
        assert wire.send(submission).ok
        assert wire.said("MAIL") == ["FROM:<ada@example.org> SIZE=21 RET=HDRS"]
        assert wire.said("RCPT") == [
            "TO:<bob@example.org> NOTIFY=NEVER",
            "TO:<eve@example.org>",
            "TO:<joe@example.org> NOTIFY=FAILURE",
        ]

    def test_one_that_the_server_cannot_be_told_of_is_refused_alone(self) -> None:
        wire = Wire(offering())
        result = wire.send(letter(("bob@example.org", NEVER), "eve@example.org"))
        assert outcomes(result) == {
            "bob@example.org": (Outcome.REFUSED, "message"),
            "eve@example.org": (Outcome.ACCEPTED, "BDAT"),
        }
        assert isinstance(result.recipients[0].error, NotSupportedError)
        assert result.error is None
        assert wire.said("RCPT") == ["TO:<eve@example.org>"]
        with pytest.raises(DeliveryError, match=r"bob@example.org: refused \('notify' needs DSN, which the server"):
            result.raise_for_refused()

    def test_nothing_is_sent_to_nobody(self) -> None:
        wire = Wire(offering())
        result = wire.send(letter(("bob@example.org", NEVER), ("eve@example.org", NEVER)))
        assert [each.outcome for each in result.recipients] == [Outcome.REFUSED] * 2
        assert wire.heard == []
        assert wire.client.idle
        assert wire.send(letter("eve@example.org")).ok

    def test_a_parameter_of_the_message_refuses_all_of_it(self) -> None:
        wire = Wire(offering())
        with pytest.raises(NotSupportedError):
            wire.send(letter("eve@example.org", parameters=MailParameters(ret=Ret.FULL)))
        assert wire.heard == []
        results = wire.send_all(
            letter("eve@example.org", parameters=MailParameters(ret=Ret.FULL)), letter("eve@example.org")
        )
        assert [result.ok for result in results] == [False, True]


def once() -> Iterable[bytes]:
    yield TEXT[:5]
    yield TEXT[5:]


async def once_asynchronously() -> AsyncIterator[bytes]:
    for piece in once():
        yield piece


class TestRcptMax:
    @pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 9])
    def test_recipients_are_spread_over_transactions(self, count: int) -> None:
        wire = Wire(offering(limits=Limits(max_recipients=2)))
        result = wire.send(letter(*addresses(count)))
        assert result.ok
        assert [str(each.address) for each in result.recipients] == addresses(count)
        assert [paths for paths, _ in wire.delivered] == [addresses(count)[i : i + 2] for i in range(0, count, 2)]
        assert {body for _, body in wire.delivered} == {TEXT}

    @pytest.mark.parametrize(
        "make",
        [
            lambda: TEXT,
            lambda: bytearray(TEXT),
            lambda: io.BytesIO(TEXT),
            once,
            once_asynchronously,
            lambda: [TEXT[:3], TEXT[3:]],
        ],
        ids=["octets", "bytearray", "file", "generator", "asynchronous", "list"],
    )
    def test_every_transaction_gets_the_whole_message(self, make: Any) -> None:
        wire = Wire(offering(limits=Limits(max_recipients=1)))
        assert wire.send(letter(*addresses(3), message=make())).ok
        assert [body for _, body in wire.delivered] == [TEXT] * 3

    def test_a_message_that_is_read_once_survives_a_refused_transaction(self) -> None:
        def answer(conn: SMTPServerConnection, event: Any) -> None:
            if isinstance(event, Rcpt) and event.address.local_part == "r0":
                conn.reject()
            else:
                conn.accept()

        wire = Wire(offering(limits=Limits(max_recipients=1)), answer=answer)
        result = wire.send(letter(*addresses(3), message=once()))
        assert [each.outcome for each in result.recipients] == [Outcome.REFUSED, Outcome.ACCEPTED, Outcome.ACCEPTED]
        assert [body for _, body in wire.delivered] == [TEXT] * 2

    def test_the_next_transaction_is_in_the_same_flight(self) -> None:
        """The MAIL of each goes right behind the end of the message before."""
        wire = Wire(offering(limits=Limits(max_recipients=2)))
        assert wire.send(letter(*addresses(4))).ok
        assert [line.split(" ")[0] for line in wire.heard if not line.startswith("<")] == (
            ["MAIL", "RCPT", "RCPT", "BDAT", "RSET", "MAIL", "RCPT", "RCPT", "BDAT"]
        )

    def test_the_result_is_one_in_the_order_given(self) -> None:
        def answer(conn: SMTPServerConnection, event: Any) -> None:
            number = int(str(event.address.local_part)[1:]) if isinstance(event, Rcpt) else 0
            conn.reject(450 if number % 4 == 1 else 550) if number % 2 else conn.accept(f"ok {number}")

        wire = Wire(offering(limits=Limits(max_recipients=3)), answer=answer)
        result = wire.send(letter(*addresses(7), ("odd@example.org", NEVER)))
        wanted = {0: Outcome.ACCEPTED, 1: Outcome.DEFERRED, 2: Outcome.ACCEPTED, 3: Outcome.REFUSED}
        assert [each.outcome for each in result.recipients] == [
            *(wanted[number % 4] for number in range(7)),
            Outcome.REFUSED,
        ]
        assert [each.phase for each in result.refused] == ["RCPT", "message"]
        assert result.reply is not None

    def test_the_final_reply_is_the_last_and_each_recipient_has_his_own(self) -> None:
        def answer(conn: SMTPServerConnection, event: Any) -> None:
            last = event.envelope.forward_paths[-1] if isinstance(event, MessageEnd) else ""
            conn.accept(f"queued as {last.local_part}" if isinstance(last, Address) else None)

        wire = Wire(offering(limits=Limits(max_recipients=2)), answer=answer)
        result = wire.send(letter(*addresses(3)))
        assert result.queue_id == "r2"
        assert [each.reply.queue_id for each in result.recipients if each.reply] == ["r1", "r1", "r2"]

    def test_what_is_locally_refused_takes_no_room(self) -> None:
        wire = Wire(offering(limits=Limits(max_recipients=2)))
        recipients: list[RecipientLike] = [(address, NEVER) for address in addresses(3)]
        assert len(wire.send(letter(*recipients, "a@b", "c@d")).accepted) == 2
        assert [paths for paths, _ in wire.delivered] == [["a@b", "c@d"]]

    def test_who_does_not_look_at_limits_runs_into_them(self) -> None:
        config = SMTPClientConfig(extensions=(PIPELINING,))
        wire = Wire(offering(limits=Limits(max_recipients=2)), config)
        assert [each.outcome for each in wire.send(letter(*addresses(3))).recipients] == [
            Outcome.ACCEPTED,
            Outcome.ACCEPTED,
            Outcome.DEFERRED,
        ]

    def test_a_server_that_says_nothing_gets_all_at_once(self) -> None:
        silent = tuple(extension for extension in DEFAULT_EXTENSIONS if extension is not LIMITS)
        wire = Wire(SMTPServerConfig(extensions=silent))
        assert wire.send(letter(*addresses(100))).ok
        assert len(wire.delivered) == 1

    @PROPERTY
    @given(st.integers(1, 5), st.lists(st.integers(1, 12), min_size=1, max_size=4))
    def test_nobody_is_lost_and_nobody_gets_it_twice(self, rcpt_max: int, counts: list[int]) -> None:
        wire = Wire(offering(limits=Limits(max_recipients=rcpt_max)))
        submissions = [
            letter(*(f"m{index}-{address}" for address in addresses(count))) for index, count in enumerate(counts)
        ]
        results = wire.send_all(*submissions)
        assert all(result.ok for result in results)
        delivered = [path for paths, _ in wire.delivered for path in paths]
        assert delivered == [str(path) for submission in submissions for path in submission.forward_paths]
        assert all(len(paths) <= rcpt_max for paths, _ in wire.delivered)


class TestMailMax:
    def test_the_messages_behind_it_wait_for_another_connection(self) -> None:
        wire = Wire(offering(limits=Limits(max_transactions=2)))
        results = wire.send_all(*(letter(address) for address in addresses(4)))
        assert [result.ok for result in results] == [True, True, False, False]
        assert outcomes(results[2]) == {"r2@example.org": (Outcome.DEFERRED, "connection")}
        assert isinstance(results[3].error, ConnectionExhaustedError)
        assert len(wire.said("MAIL")) == 2
        assert wire.client.exhausted
        assert wire.client.idle

    def test_the_next_call_says_so_too_and_does_not_raise(self) -> None:
        wire = Wire(offering(limits=Limits(max_transactions=1)))
        assert wire.send(letter("bob@example.org")).ok
        result = wire.send(letter("eve@example.org"))
        assert isinstance(result.error, ConnectionExhaustedError)
        assert [each.outcome for each in result.recipients] == [Outcome.DEFERRED]
        assert not wire.client.closing

    def test_refused_messages_count(self) -> None:
        """RFC 9422 section 4.1."""
        wire = Wire(
            offering(limits=Limits(max_transactions=1)),
            answer=lambda conn, event: conn.reject() if isinstance(event, Rcpt) else conn.accept(),
        )
        assert wire.send(letter("bob@example.org")).refused
        assert wire.client.exhausted

    def test_a_message_that_takes_several_transactions_goes_as_far_as_they_reach(self) -> None:
        wire = Wire(offering(limits=Limits(max_transactions=2, max_recipients=2)))
        result = wire.send(letter(*addresses(5)))
        assert [each.outcome for each in result.recipients] == [Outcome.ACCEPTED] * 4 + [Outcome.DEFERRED]
        assert isinstance(result.error, ConnectionExhaustedError)
        assert result.reply is not None
        assert result.reply.ok

    def test_what_is_left_goes_over_another_connection(self) -> None:
        config = offering(limits=Limits(max_transactions=1, max_recipients=2))
        left = addresses(5)
        delivered: list[str] = []
        while left:
            wire = Wire(config)
            result = wire.send(letter(*left))
            delivered += [str(each.address) for each in result.accepted]
            left = [str(each.address) for each in result.deferred]
        assert delivered == addresses(5)


class TestRcptDomainMax:
    def test_the_domains_beyond_it_wait_for_another_connection(self) -> None:
        wire = Wire(offering(limits=Limits(max_recipient_domains=2)))
        result = wire.send(letter("a@one.example", "b@two.example", "c@three.example", "d@ONE.example"))
        assert outcomes(result) == {
            "a@one.example": (Outcome.ACCEPTED, "BDAT"),
            "b@two.example": (Outcome.ACCEPTED, "BDAT"),
            "c@three.example": (Outcome.DEFERRED, "connection"),
            "d@ONE.example": (Outcome.ACCEPTED, "BDAT"),
        }
        assert isinstance(result.error, ConnectionExhaustedError)
        assert isinstance(result.recipients[2].error, ConnectionExhaustedError)
        assert len(wire.delivered) == 1

    def test_it_is_counted_over_the_connection(self) -> None:
        wire = Wire(offering(limits=Limits(max_recipient_domains=1)))
        results = wire.send_all(letter("a@one.example"), letter("b@two.example"), letter("c@one.example"))
        assert [result.ok for result in results] == [True, False, True]
        assert not wire.client.exhausted

    def test_who_is_refused_locally_does_not_use_it_up(self) -> None:
        wire = Wire(offering(limits=Limits(max_recipient_domains=1)))
        result = wire.send(letter(("a@one.example", NEVER), "b@two.example"))
        assert [each.outcome for each in result.recipients] == [Outcome.REFUSED, Outcome.ACCEPTED]
        assert result.error is None


class TestAddressesBeyondAscii:
    def test_they_go_as_they_are_where_the_server_takes_them(self) -> None:
        wire = Wire(offering())
        assert wire.send(letter("jörg@bücher.example", "bob@example.org")).ok
        assert wire.said("MAIL") == ["FROM:<ada@example.org> SIZE=21 SMTPUTF8"]
        assert wire.said("RCPT") == ["TO:<jörg@bücher.example>", "TO:<bob@example.org>"]

    def test_a_domain_goes_in_a_labels_where_it_does_not(self) -> None:
        wire = Wire(SMTPServerConfig(extensions=NO_UTF8))
        result = wire.send(make_submission(TEXT, "ada@bücher.example", ["bob@例え.テスト"]))
        assert result.ok
        assert wire.said("MAIL") == ["FROM:<ada@xn--bcher-kva.example> SIZE=21"]
        assert wire.said("RCPT") == ["TO:<bob@xn--r8jz45g.xn--zckzah>"]
        assert str(result.recipients[0].address) == "bob@例え.テスト"

    def test_a_local_part_is_refused_alone_before_anything_is_sent(self) -> None:
        wire = Wire(SMTPServerConfig(extensions=NO_UTF8))
        result = wire.send(letter("jörg@example.org", "bob@example.org"))
        assert outcomes(result) == {
            "jörg@example.org": (Outcome.REFUSED, "message"),
            "bob@example.org": (Outcome.ACCEPTED, "BDAT"),
        }
        assert isinstance(result.recipients[0].error, NotSupportedError)
        assert wire.said("RCPT") == ["TO:<bob@example.org>"]

    def test_so_is_a_domain_that_has_no_a_labels(self) -> None:
        wire = Wire(SMTPServerConfig(extensions=NO_UTF8))
        result = wire.send(letter("bob@straße.example", "bob@example.org"))
        assert [each.outcome for each in result.recipients] == [Outcome.REFUSED, Outcome.ACCEPTED]
        assert isinstance(result.recipients[0].error, GrammarError)

    def test_a_sender_refuses_the_whole_message(self) -> None:
        wire = Wire(SMTPServerConfig(extensions=NO_UTF8))
        with pytest.raises(NotSupportedError):
            wire.send(make_submission(TEXT, "jörg@example.org", ["bob@example.org"]))
        assert wire.heard == []

    def test_domains_are_counted_as_they_are_sent(self) -> None:
        limits = Limits(max_recipient_domains=1)
        wire = Wire(SMTPServerConfig(extensions=NO_UTF8, limits=limits))
        assert wire.send(letter("a@bücher.example", "b@xn--bcher-kva.example")).ok
