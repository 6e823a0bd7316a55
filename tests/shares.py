"""Which tests of real packets run as root, which as an ordinary user, and which as both.

`scripts/test` starts pytest twice, and tells each its share: EMULAB_TEST_SHARE=root or =user, and a number that
changes daily in EMULAB_TEST_DAY. What depends on privilege belongs to both shares, and everything else to one of
them, which its file's name and the day decide, as the labs of a file are built once then: each file is in one share
on an even day and in the other on the odd day after it, and a new choice is made for the next two. So whoever tests
weekly, or on each other day, meets other halves, too.

Nothing is left out where no share is given, as when pytest is called by hand.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass

ROOT, USER = "root", "user"
SHARES = (ROOT, USER)

PLACES = ("e2e", "kernel")
"""Folders of tests that run in both shares; all others are root's alone."""

ONLY_ROOT = ("root", "both_users")
"""Markers of tests that are root's: about what nobody else can have, or with an ordinary user of their own."""


class BadShare(Exception):
    """What the environment says of the share makes no sense."""


@dataclass(frozen=True)
class Share:
    """What one run of the tests takes on."""

    user: str = ""
    """Root or an ordinary user; empty where nothing is shared out."""
    day: int = 0
    both: bool = False
    """Everything as both users, whatever the day."""

    def takes(self, place: str, name: str, marks: Collection[str]) -> bool:
        """Whether a test of this folder, name and markers belongs to this share."""
        if not self.user or "vm" in marks:  # which runs apart, on another kernel, as root alone
            return True
        if place not in PLACES or not set(ONLY_ROOT).isdisjoint(marks):
            return self.user == ROOT
        return self.both or "privilege" in marks or self.user == chosen(file_of(name), self.day)

    def parts(self, count: int, root: bool) -> range:
        """Which of many equal parts a test takes that both users run by turns in one run of pytest.

        Every other one, and those between them on the next day; all of them where nothing is shared out.
        """
        if not self.user or self.both:
            return range(count)
        return range((self.day + (not root)) % 2, count, 2)

    def __str__(self) -> str:
        return f"the share of {'root' if self.user == ROOT else 'an ordinary user'} on day {self.day}"


def given(environment: Mapping[str, str]) -> Share:
    """The share that a run was told to take."""
    user = environment.get("EMULAB_TEST_SHARE", "")
    if user not in ("", *SHARES):
        raise BadShare(f"EMULAB_TEST_SHARE={user}: must be {' or '.join(SHARES)}")
    day = environment.get("EMULAB_TEST_DAY", "")
    if user and not (day.isascii() and day.isdigit()):
        raise BadShare(f"EMULAB_TEST_DAY={day}: EMULAB_TEST_SHARE={user} needs the number of the day")
    return Share(user, int(day) if user else 0, environment.get("EMULAB_TEST_BOTH") == "1")


def file_of(name: str) -> str:
    """The file of a test."""
    return name.partition("::")[0]


def chosen(file: str, day: int) -> str:
    """Whose the tests of a file are on a day, the same in every process and on every machine."""
    pair, odd = divmod(day, 2)
    digest = hashlib.sha256(f"{pair} {file}".encode()).digest()
    return SHARES[(digest[0] + odd) % 2]
