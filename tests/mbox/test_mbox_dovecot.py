"""One mbox shared with Dovecot, which delivers into it, marks and removes messages, and rewrites it its own way."""

import grp
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from mailproto.maildrop import Mbox, MessageGoneError
from tests.interop.programs import find_program, temporary_folder, unavailable, unprivileged_user
from tests.maildrop import read, uids
from tests.mbox import all_of, now_in

_TEMPORARY_FAILURE = 75  # EX_TEMPFAIL
_CONFIGURATION = """\
base_dir = {folder}/run
state_dir = {folder}/state
log_path = /dev/stderr
default_internal_user = {user}
default_internal_group = {group}
first_valid_uid = 1
mail_location = mbox:{folder}/folders:INBOX={folder}/mail/inbox
ssl = no
hostname = dovecot.example.test
postmaster_address = postmaster@example.test
"""


class Dovecot:
    """Dovecot's delivery agent and its tool for mailboxes, which need no server."""

    def __init__(self, folder: Path) -> None:
        self._doveadm = find_program("doveadm")
        self._lda = _find_helper("dovecot-lda")
        self._user = unprivileged_user()
        self._configuration = folder / "dovecot.conf"
        group = grp.getgrgid(self._user.pw_gid).gr_name
        self._configuration.write_text(_CONFIGURATION.format(folder=folder, user=self._user.pw_name, group=group))
        self._folder = folder
        self.inbox = folder / "mail" / "inbox"
        for path in (folder / "folders", self.inbox.parent):
            path.mkdir()
            os.chown(path, self._user.pw_uid, self._user.pw_gid)
        self.inbox.touch(0o600)
        os.chown(self.inbox, self._user.pw_uid, self._user.pw_gid)

    def deliver(self, content: bytes) -> None:
        """Deliver a message, and try again as long as that fails for the moment, as a mail server does.

        It does where the mbox has changed within a second and has the same size as before.
        """
        while (done := self._run(self._lda, "-f", "g@example.org", text=content)).returncode == _TEMPORARY_FAILURE:
            time.sleep(0.1)
        assert done.returncode == 0, done.stderr

    def do(self, *arguments: str) -> str:
        """Return what ``doveadm`` says to a command."""
        done = self._run(self._doveadm, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode()

    def _run(self, program: str, *arguments: str, text: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        command = [program, "-c", str(self._configuration), *arguments]
        root = os.geteuid() == 0
        return subprocess.run(
            command,
            input=text,
            capture_output=True,
            check=False,
            env={"HOME": str(self._folder), "USER": self._user.pw_name},
            user=self._user.pw_uid if root else None,
            group=self._user.pw_gid if root else None,
            extra_groups=[] if root else None,
        )


def _find_helper(name: str) -> str:
    """Return the path of one of Dovecot's programs that are on nobody's path."""
    folders = ("/usr/lib/dovecot", "/usr/libexec/dovecot", "/usr/local/libexec/dovecot")
    found = shutil.which(name, path=os.pathsep.join(folders))
    return found if found is not None else unavailable(f"{name} is not installed")


@pytest.fixture
def dovecot() -> Iterator[Dovecot]:
    with temporary_folder() as folder:
        yield Dovecot(folder)


def test_each_reads_what_the_other_delivers(dovecot: Dovecot) -> None:
    mbox = Mbox(dovecot.inbox)
    mbox.deliver([b"Subject: ours\r\n\r\nFrom us\r\n>From us\r\n"])
    dovecot.deliver(b"Subject: theirs\n\nFrom them\n")
    mbox.deliver([b"Subject: ours again\r\n\r\nno end"])
    assert dovecot.do("-f", "flow", "fetch", "hdr.subject", "all").split("\n")[:3] == [
        "hdr.subject=ours",
        "hdr.subject=theirs",
        "hdr.subject=ours again",
    ]
    contents = now_in(mbox)
    assert contents[1].startswith(b"Subject: theirs\r\n") and contents[1].endswith(b"\r\n\r\nFrom them\r\n")
    assert contents[0].endswith(b"\r\n\r\nFrom us\r\n>From us\r\n") and contents[2].endswith(b"\r\n\r\nno end")
    assert mbox.path.stat().st_uid == unprivileged_user().pw_uid or os.geteuid() != 0


def test_unique_ids_survive_all_that_dovecot_does(dovecot: Dovecot) -> None:
    mbox = Mbox(dovecot.inbox)
    for number in range(3):
        mbox.deliver([b"Subject: ours %d\r\n\r\nx\r\n" % number])
        dovecot.deliver(b"Subject: theirs %d\n\nx\n" % number)
    snapshot = mbox.open()
    before = uids(snapshot)
    snapshot.close()
    dovecot.do("flags", "add", "\\Seen $Keyword", "subject", "1")
    dovecot.do("expunge", "mailbox", "INBOX", "subject", "0")
    snapshot = mbox.open()
    assert uids(snapshot) == before[2:]
    snapshot.commit([1])
    snapshot.close()
    dovecot.do("flags", "add", "\\Answered", "all")
    snapshot = mbox.open()
    assert uids(snapshot) == before[3:]
    assert [b"x\r\n" in content for content in all_of(snapshot)] == [True] * 3
    said = dovecot.do("-f", "flow", "fetch", "hdr.subject flags", "all")
    assert said.count("Answered") == 3 and said.count("Seen") == 1


def test_a_session_goes_on_while_dovecot_removes_and_marks(dovecot: Dovecot) -> None:
    mbox = Mbox(dovecot.inbox)
    for number in range(4):
        dovecot.deliver(b"Subject: %d\n\nx\n" % number)
    dovecot.do("flags", "add", "\\Seen", "all")  # all headers are there that it will want
    snapshot = mbox.open()
    dovecot.do("expunge", "mailbox", "INBOX", "subject", "1")
    with pytest.raises(MessageGoneError):
        snapshot.retrieve(2)
    assert read(snapshot, 3).startswith(b"Subject: 2\r\n")
    snapshot.commit([2, 4])
    snapshot.close()
    assert [content[:12] for content in now_in(mbox)] == [b"Subject: 0\r\n", b"Subject: 2\r\n"]


def test_deliveries_of_both_and_our_deletions_at_once_lose_nothing(dovecot: Dovecot) -> None:
    mbox = Mbox(dovecot.inbox)
    taken: list[bytes] = []
    over = threading.Event()

    def deliver_ours() -> None:
        for number in range(20):
            mbox.deliver([b"Subject: ours %d\r\n\r\n" % number])

    def deliver_theirs(sender: int) -> None:
        for number in range(8):
            dovecot.deliver(b"Subject: theirs %d %d\n\nx\n" % (sender, number))

    def take() -> None:
        while not over.is_set():
            snapshot = mbox.open()
            numbers = []
            for number in range(1, 1 + len(snapshot.messages)):
                with suppress(MessageGoneError):  # Dovecot has put its fields into it since
                    taken.append(read(snapshot, number))
                    numbers.append(number)
            snapshot.commit(numbers)
            snapshot.close()

    threads = [threading.Thread(target=deliver_ours)]
    threads += [threading.Thread(target=deliver_theirs, args=(sender,)) for sender in range(2)]
    taker = threading.Thread(target=take)
    for thread in (*threads, taker):
        thread.start()
    for thread in threads:
        thread.join()
    over.set()
    taker.join()
    found = sorted(content.partition(b"\r\n")[0] for content in (*taken, *now_in(mbox)))
    ours = [b"Subject: ours %d" % number for number in range(20)]
    theirs = [b"Subject: theirs %d %d" % (sender, number) for sender in range(2) for number in range(8)]
    assert found == sorted(ours + theirs)
