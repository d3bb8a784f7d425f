"""What every command-line mail client is told, and how it is run."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tests.interop.dovecot import PASSWORD
from tests.interop.programs import find_program

RUN_SECONDS = 60.0

TLSMode = Literal["none", "starttls", "implicit"]
TLS_MODES: tuple[TLSMode, ...] = ("none", "starttls", "implicit")


@dataclass(frozen=True)
class Endpoint:
    """Where a client shall connect, under which kind of TLS, and as whom: not at all if user is None."""

    port: int
    tls: TLSMode = "none"
    user: str | None = None
    password: str = PASSWORD
    host: str = "localhost"


@dataclass
class Outcome:
    """What became of a run: the exit status, all that the program printed, and the messages that it fetched."""

    status: int
    log: str
    messages: list[bytes] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether the program says that it went well."""
        return self.status == 0


def run(
    program: str,
    *arguments: str | Path,
    folder: Path,
    stdin: bytes = b"",
    environment: Mapping[str, str] | None = None,
) -> Outcome:
    """Run a client with the folder as its home, so that it reads nobody's own configuration."""
    done = subprocess.run(
        [find_program(program), *arguments],
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "HOME": str(folder), "LC_ALL": "C.UTF-8", **(environment or {})},
        cwd=folder,
        timeout=RUN_SECONDS,
        check=False,
    )
    return Outcome(done.returncode, done.stdout.decode("utf-8", "replace"))


def write_configuration(path: Path, lines: Sequence[str | None]) -> Path:
    """Write the lines that are not None to a file that only we may read, as programs demand for passwords."""
    path.write_text("".join(f"{line}\n" for line in lines if line is not None))
    path.chmod(0o600)
    return path


def on_off(value: bool) -> str:
    """Return "on" or "off", as many configurations want it."""
    return "on" if value else "off"


def on_the_wire(message: bytes) -> bytes:
    """Return the message as everybody has to send it: its last line has an end."""
    return message if message.endswith(b"\r\n") else message + b"\r\n"


def files_in(folder: Path) -> list[bytes]:
    """Return the messages in the files of a folder and its sub-folders, by name, with CRLF again for LF."""
    contents = (path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())
    return [content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") for content in contents]
