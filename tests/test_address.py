"""The grammar of mailboxes and paths (RFC 5321 sections 4.1.2 and 4.1.3, RFC 6531), with the corpora of attacks."""

from __future__ import annotations

import copy
import pickle
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailproto.address import POSTMASTER, Address, address_literal, check_domain, format_path, parse_path
from mailproto.errors import GrammarError
from tests.helpers import THOROUGH

MAILBOXES = {
    # text: local part, domain
    "ada@example.org": ("ada", "example.org"),
    "Smith@bar.com": ("Smith", "bar.com"),
    "a@b": ("a", "b"),
    "!#$%&'*+-/=?^_`{|}~@x.org": ("!#$%&'*+-/=?^_`{|}~", "x.org"),
    "a.b.c@a.b.c": ("a.b.c", "a.b.c"),
    "1@2": ("1", "2"),
    "a@a--b.c": ("a", "a--b.c"),
    "a@xn--bcher-kva.example": ("a", "xn--bcher-kva.example"),
    '"a b"@x.org': ("a b", "x.org"),
    '"a@b"@x.org': ("a@b", "x.org"),
    '" "@x.org': (" ", "x.org"),
    r'"\ "@x': (" ", "x"),
    r'"\"\\"@x': ('"\\', "x"),
    r'"\a\."@x': ("a.", "x"),
    '"a>b"@x': ("a>b", "x"),
    '".."@x': ("..", "x"),
    '"ada"@x': ("ada", "x"),
    '"u@victim.org"@me': ("u@victim.org", "me"),
    "u%victim.org@me": ("u%victim.org", "me"),
    "victim.org!u@me": ("victim.org!u", "me"),
    "a@[192.0.2.1]": ("a", "[192.0.2.1]"),
    "a@[IPv6:::1]": ("a", "[IPv6:::1]"),
    "a@[ipv6:2001:DB8::1]": ("a", "[ipv6:2001:DB8::1]"),
    "a@[IPv6:::ffff:192.0.2.1]": ("a", "[IPv6:::ffff:192.0.2.1]"),
    "a@[IPv6:1:2:3:4:5:6:7::]": ("a", "[IPv6:1:2:3:4:5:6:7::]"),
    "a@[tag:x]": ("a", "[tag:x]"),
    "a@[x-400:c=gb;a=xxx]": ("a", "[x-400:c=gb;a=xxx]"),
    "ödön@例え.テスト": ("ödön", "例え.テスト"),
    '"grün er"@bücher.example': ("grün er", "bücher.example"),
    "x" * 64 + "@y": ("x" * 64, "y"),
    "é" * 32 + "@y": ("é" * 32, "y"),
    "a@" + ".".join(["b" * 63] * 3 + ["c" * 59]): ("a", ".".join(["b" * 63] * 3 + ["c" * 59])),
}

NO_MAILBOXES = [
    "",
    "@",
    "a",
    "a@",
    "@x",
    "a@b@c",
    "u@victim.org@me",
    "a b@c",
    " a@b",
    "a@b ",
    "a@ b",
    "a @b",
    ".a@b",
    "a.@b",
    "a..b@c",
    "a@.b",
    "a@b.",
    "a@b..c",
    "a@-b",
    "a@b-",
    "a@b_c",
    "a@b/c",
    '""@x',
    '"@x',
    '"\\"@x',
    '"a"b@x',
    'a"b"@x',
    '"a"."b"@x',
    '"a\tb"@x',
    '"a\\\tb"@x',
    'a@"b"',
    "a(comment)@b",
    "a@b(c)",
    "Ada <a@b>",
    "<a@b>",
    "a@b>",
    "<a@b>>",
    "<<a@b>",
    "a:b@c;",
    "a,b@c",
    "a;b@c",
    "a\\b@c",
    "a[b]@c",
    "a@[1.2.3]",
    "a@[010.0.0.1]",
    "a@[1.2.3.256]",
    "a@[1.2.3.4.5]",
    "a@[]",
    "a@[ 1.2.3.4]",
    "a@[1.2.3.4",
    "a@1.2.3.4]",
    "a@[1.2.3.4]x",
    "a@x[1.2.3.4]",
    "a@[IPv6:1.2.3.4]",
    "a@[IPv6:::1%eth0]",
    "a@[IPv6:]",
    "a@[IPv6:1:2]",
    "a@[IPv6:::1/64]",
    "a@[::1]",
    "a@[tag:]",
    "a@[tag:x y]",
    "a@[-:x]",
    "a@[tag-:x]",
    "a@[tag:[x]]",
    "a@[\u0661.\u0662.\u0663.\u0664]",
    # Octets that cut lines and headers somewhere.
    "a\r\n@b",
    "a@b\r\n",
    "a@b\n",
    "a\0b@c",
    '"a\r\nb"@x',
    '"a\\\nb"@x',
    "a@x\r\nDATA",
    "a@b>\r\nRCPT TO:<c@d",
    "a\x0bb@c",
    "a\x7fb@c",
    "a\x85b@c",
    "a@b\x85c",
    "a\u2028b@c",
    "a\u2029b@c",
    '"\u2028"@c',
    "a\x9bb@c",
    "a\ud800b@c",
    "a@\udcffb",
    "x" * 65 + "@y",
    "é" * 33 + "@y",
    "a@" + ".".join(["b" * 63] * 3 + ["c" * 62]),
    "a@" + "b" * 256,
]


@pytest.mark.parametrize("text", MAILBOXES)
def test_mailboxes(text: str) -> None:
    address = Address.parse(text)
    assert tuple(address) == MAILBOXES[text]
    assert Address.parse(str(address)) == address
    assert Address(*MAILBOXES[text]) == address
    assert address.is_ascii is text.isascii()


@pytest.mark.parametrize("text", NO_MAILBOXES)
def test_what_is_no_mailbox(text: str) -> None:
    """S56, S58, SECURITY 9.3: nothing but the grammar of the envelope, and nothing behind it."""
    with pytest.raises(GrammarError):
        Address.parse(text)
    for path in (f"<{text}>", f"<@relay.example:{text}>"):
        try:
            parsed = parse_path(path)
        except GrammarError:
            continue
        assert parsed.rest, f"{path} was taken for a path"
        assert path.removesuffix(parsed.rest).endswith(f"{parsed.address}>")


@pytest.mark.parametrize(
    "text",
    [
        '"foo@psres.net> ORCPT=admin@admin.com"@test.com',
        '"a> SIZE=1 <b"@x',
        r'"a\"> SIZE=1 <b"@x',
        '"<a@b>>"@x',
    ],
)
def test_the_path_ends_where_the_grammar_says(text: str) -> None:
    """S13: a ``>`` in a quoted local part ends nothing, and what is written is made of the parts."""
    address = Address.parse(text)
    path = parse_path(f"<{text}> SIZE=5")
    assert path == (address, None, " SIZE=5")
    assert parse_path(format_path(address)) == (address, None, "")


@pytest.mark.parametrize(
    ("text", "route", "address", "rest"),
    [
        ("<@a,@b.example:u@c> X=1", "@a,@b.example", "u@c", " X=1"),
        ("<@me:u@victim.org>", "@me", "u@victim.org", ""),
        ("<u@c>>", None, "u@c", ">"),
        ("<u@c>SIZE=1", None, "u@c", "SIZE=1"),
        ("<u@c>", None, "u@c", ""),
    ],
)
def test_paths(text: str, route: str | None, address: str, rest: str) -> None:
    """S57: a source route is flagged and ignored, and never written."""
    path = parse_path(text)
    assert tuple(path) == (Address.parse(address), route, rest)
    assert format_path(path.address) == f"<{address}>"


@pytest.mark.parametrize(
    "text",
    ["", "u@c", "<u@c", "< u@c>", "<u@c >", "<@a:>", "<@a u@c>", "<@a,b:u@c>", "<@a,@b u@c>", "<:u@c>", "<>", "<u>"],
)
def test_what_is_no_path(text: str) -> None:
    with pytest.raises(GrammarError):
        parse_path(text)


def test_the_null_reverse_path_and_the_postmaster() -> None:
    """RFC 5321 sections 4.5.5 and 4.5.1: each only where it may stand."""
    assert parse_path("<> X=1", null=True) == (None, None, " X=1")
    assert format_path(None) == "<>"
    for text in ("<Postmaster>", "<postmaster>", "<POSTMASTER>"):
        assert parse_path(f"{text} X", postmaster=True) == (POSTMASTER, None, " X")
        with pytest.raises(GrammarError):
            parse_path(text)
    assert format_path(POSTMASTER) == "<postmaster>"
    with pytest.raises(GrammarError):
        parse_path("<>", postmaster=True)
    for text in ("<postmaster", "<po\u017ftmaster>"):
        with pytest.raises(GrammarError):
            parse_path(text, null=True, postmaster=True)


class Text(str):
    """Text of a kind of its own: it is written otherwise than it reads, and equal to what reads otherwise."""

    def __format__(self, spec: str) -> str:
        return "eve"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and self.lower() == other.lower()

    def __hash__(self) -> int:
        return hash(self.lower())


class Person(Address):
    """An address of a kind of its own, which does the same."""

    __slots__ = ()

    def __str__(self) -> str:
        return "eve"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Address) and self.local_part.lower() == other.local_part.lower()

    def __hash__(self) -> int:
        return hash(self.local_part.lower())


@pytest.mark.parametrize(
    "make", [Person, lambda local, domain: Address(Text(local), Text(domain))], ids=["address", "text"]
)
def test_on_the_wire_stands_what_the_parts_are_whatever_kind_of_address_or_text(
    make: Callable[[str, str], Address],
) -> None:
    """Nor is one taken for another that was seen before: only its own server may say that case does not count."""
    for local in ("grace", "Grace"):
        assert format_path(make(local, "example.org")) == f"<{local}@example.org>"
        assert format_path(Address(local, "example.org")) == f"<{local}@example.org>"


def test_plain_text_is_made_of_any_other_kind() -> None:
    for local in ("grace", "Grace"):
        for address in (Address(Text(local), Text("example.org")), Address.parse(Text(f"{local}@example.org"))):
            assert str(address) == f"{local}@example.org"
            assert {type(part) for part in address} == {str}


def test_lengths() -> None:
    """RFC 5321 section 4.5.3.1: octets, not characters, and 256 of them in a path with its brackets."""
    domain = ".".join(["b" * 63] * 3)  # 191 octets
    assert Address("x" * 62, domain)
    with pytest.raises(GrammarError, match="256"):
        Address("x" * 63, domain)
    with pytest.raises(GrammarError, match="256"):
        Address.parse("é" * 32 + "@" + "ö" * 95)
    check_domain("a" * 255)
    with pytest.raises(GrammarError, match="255"):
        check_domain("a" * 256)
    with pytest.raises(GrammarError):
        check_domain("ö" * 128)


@pytest.mark.parametrize(("local", "written"), [('"', 4), ("\\", 4), (" " * 2, 4), ("a b", 5), ("a@", 4), (".a", 4)])
def test_what_counts_is_the_length_on_the_wire(local: str, written: int) -> None:
    """Quotes and backslashes are octets of the path, too: nobody is sent one that is too long."""
    padding = "x" * (64 - written)
    assert str(Address(local + padding, "y")).index("@y") == 64
    assert Address.parse(str(Address(local + padding, "y"))) == Address(local + padding, "y")
    with pytest.raises(GrammarError, match="64"):
        Address(local + padding + "x", "y")
    with pytest.raises(GrammarError, match="64"):
        Address.parse('"' + "".join(f"\\{each}" for each in local + padding + "x") + '"@y')
    assert Address.parse('"' + "\\x" * 64 + '"@y') == Address("x" * 64, "y"), "which is written without quotes"
    domain = ".".join(["b" * 63] * 3)
    with pytest.raises(GrammarError, match="256"):
        Address(local + "x" * (63 - written), domain)
    assert len(format_path(Address(local + "x" * (62 - written), domain))) == 256


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("i@x", "\u0131@x"),
        ("ff@x", "\ufb00@x"),
        ("\u00e9@x", "e\u0301@x"),
        ("A@x", "a@x"),
        ("ss@x", "ß@x"),
        ("k@x", "\u212a@x"),
    ],
)
def test_local_parts_are_never_folded_or_normalised(first: str, second: str) -> None:
    """S84: only their own server knows what is equal."""
    one, other = Address.parse(first), Address.parse(second)
    assert one != other
    assert one.canonical != other.canonical
    assert str(one) == first
    assert str(other) == second


def test_canonical_compares_domains() -> None:
    assert Address.parse("Ada@EXAMPLE.Org").canonical == Address("Ada", "example.org")
    assert Address.parse("a@\u212aelvin").canonical != Address.parse("a@kelvin").canonical


@pytest.mark.parametrize(
    ("host", "literal"),
    [
        ("192.0.2.1", "[192.0.2.1]"),
        ("2001:DB8::1", "[IPv6:2001:db8::1]"),
        ("fe80::1%eth0", "[IPv6:fe80::1]"),
        ("::", "[IPv6:::]"),
    ],
)
def test_address_literals_of_hosts(host: str, literal: str) -> None:
    assert address_literal(host) == literal
    check_domain(literal)


@pytest.mark.parametrize("host", ["", "example.org", "1.2.3", "01.2.3.4", "1.2.3.4\r\n", "%x", "\u0661.2.3.4"])
def test_what_is_no_host(host: str) -> None:
    with pytest.raises(GrammarError):
        address_literal(host)


@pytest.mark.parametrize(
    ("local", "domain"),
    [
        ("", "x"),
        ("a", ""),
        ("a\r\nb", "x"),
        ("a\0", "x"),
        ("a", "x\r\nDATA"),
        ("a", "x>"),
        ("a\u2028", "x"),
        ("a\ud800", "x"),
        ("a" * 65, "x"),
    ],
)
def test_no_address_is_made_of_bad_parts(local: str, domain: str) -> None:
    """S11: neither by the constructor nor past it."""
    good = Address("a", "b")
    with pytest.raises(GrammarError):
        Address(local, domain)
    with pytest.raises(GrammarError):
        good._replace(local_part=local, domain=domain)


def test_copies_are_addresses() -> None:
    for address in (Address("a b", "x"), POSTMASTER):
        for twin in (copy.copy(address), copy.deepcopy(address), pickle.loads(pickle.dumps(address))):
            assert twin == address
            assert type(twin) is Address
            assert str(twin) == str(address)
    assert Address("a", "b")._replace(domain="c") == Address("a", "c")


CHARACTERS = st.sampled_from('"\\ <>@.,:;()[]\r\n\0é例\u2028\ud800') | st.sampled_from(list(map(chr, range(0x300))))
LABEL = st.sampled_from(["a", "é", "x-y", "1--2", "xn--bcher-kva", "例え", "A1-"]).map(
    lambda label: label.rstrip("-")
)
DOMAINS = st.lists(LABEL, min_size=1, max_size=3).map(".".join) | st.ip_addresses().map(
    lambda ip: f"[{ip}]" if ip.version == 4 else f"[IPv6:{ip}]"
)


@THOROUGH
@given(st.text(CHARACTERS, max_size=12), DOMAINS)
def test_what_can_be_made_can_be_read(local: str, domain: str) -> None:
    """S13: parse(str(x)) == x, whatever is in the local part, and nothing dangerous in between."""
    try:
        address = Address(local, domain)
    except GrammarError:
        return
    wire = str(address)
    assert not any(c < " " or "\x7f" <= c <= "\x9f" or c in "\u2028\u2029" for c in wire)
    assert Address.parse(wire) == address
    assert parse_path(format_path(address) + " SIZE=1") == (address, None, " SIZE=1")


@THOROUGH
@given(st.text(CHARACTERS, max_size=16))
def test_what_can_be_read_can_be_made(text: str) -> None:
    try:
        address = Address.parse(text)
    except GrammarError:
        return
    assert Address(*address) == address
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize("piece", ["a", "<", "(", '"\\', ".", "=", "a.", "a-", "-", "@a,", "@a", "[", "a@", '"'])
@pytest.mark.parametrize("frame", ["{}", "<{}", "<{}>", "a@{}", '"{}', '"{}"@x', "<@{}", "<@a:{}", "a@[{}]"])
def test_no_input_takes_long(piece: str, frame: str) -> None:
    """S32, S33: 64 KiB of anything, in time that a backtracking parser would miss by orders of magnitude."""
    text = frame.format(piece * (65536 // len(piece)))
    begun = time.process_time()
    parsers: list[Callable[[str], object]] = [Address.parse, parse_path, check_domain, address_literal]
    for parse in parsers:
        try:
            parse(text)
        except GrammarError as error:
            assert len(str(error)) < 1000, "an error does not carry the whole input"
    assert time.process_time() - begun < 0.5
