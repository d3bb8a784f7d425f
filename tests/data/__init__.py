"""Where the data of the tests lies: certificates made by make_certificates.sh, and mail as it is on the wire."""

from pathlib import Path
from typing import NamedTuple

_HERE = Path(__file__).parent


class KeyPair(NamedTuple):
    """The certificate and the private key of a server, both PEM files."""

    certificate: Path
    key: Path


def _pair(name: str) -> KeyPair:
    return KeyPair(_HERE / "tls" / f"{name}.pem", _HERE / "tls" / f"{name}.key")


CA = _HERE / "tls" / "ca.pem"
"""The authority that signed all of the certificates below but SELF_SIGNED and NOT_YET_VALID."""

SERVER = _pair("server")
"""Good for localhost, mail.example.test, mta-sts.example.test, 127.0.0.1 and ::1, to the end of 2099."""

EXPIRED = _pair("expired")
"""Good for the same names, but only until February 2020."""

WRONG_NAME = _pair("wrong-name")
"""Good for wrong.example.test alone."""

NAME_IN_CN_ONLY = _pair("name-in-cn-only")
"""Names localhost in the subject and has no subjectAltName: RFC 6125 6.4.4 and RFC 9525 refuse it."""

SELF_SIGNED = _pair("self-signed")
"""The names of SERVER, signed by nobody but itself."""

NOT_YET_VALID = _pair("not-yet-valid")
"""The same, and good from December 2099 on."""

MAIL = {path.stem: path for path in sorted((_HERE / "mail").glob("*.eml"))}
"""The messages by name: plain, dots, long_lines, utf8, latin1, attachment, empty_body, no_final_newline."""
