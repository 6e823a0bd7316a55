"""Files to and from a container, by the `tar` that it has: `kubectl cp` (pkg/cmd/cp).

Nothing that a container writes is trusted: what it packs is unpacked below the folder that the user has named, no link
of it is made, and none that is there is followed.
"""

from __future__ import annotations

import os
import tarfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from emulab.dataclass import dataclass
from emulab.errors import EmulabError, UserError
from emulab.lab.client.client import LabClient
from emulab.lab.client.programs import START, request

Warn = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Inside:
    """A container, and a path in it."""

    target: str
    namespace: str
    container: str
    path: str


class Copier:
    """`connect` opens a connection to the lab, one for each program."""

    def __init__(self, connect: Callable[[], LabClient], warn: Warn) -> None:
        self._connect = connect
        self._warn = warn

    def fetch(self, source: Inside, target: Path) -> None:
        """Copies a file or folder out of a container. Blocks. Raises EmulabError."""
        folder, name = _split(source.path)
        reading, writing = os.pipe2(os.O_CLOEXEC)
        with self._running(source, ("tar", "-C", folder, "-cf", "-", "--", name), stdout=writing):
            os.close(writing)
            with open(reading, "rb") as stream:
                self._unpack(stream, name, target)

    def send(self, source: Path, target: Inside, preserve: bool) -> None:
        """Copies a file or folder into a container; into the folder of that name, if there is one. Blocks.

        Raises EmulabError.
        """
        if not os.path.lexists(source):
            raise UserError(f"{source} doesn't exist in local filesystem")
        self._refuse_stand_in(target)
        path = target.path.rstrip("/") or "/"
        if self._status(target, ("test", "-d", path)) == 0:
            path = f"{path.rstrip('/')}/{source.resolve().name}"
        folder, name = _split(path)
        owners = () if preserve else ("--no-same-permissions", "--no-same-owner")
        reading, writing = os.pipe2(os.O_CLOEXEC)
        with self._running(target, ("tar", *owners, "-xmf", "-", "-C", folder), stdin=reading):
            os.close(reading)
            with (
                suppress(BrokenPipeError),  # tar says itself why it has ended
                open(writing, "wb") as stream,
                tarfile.open(fileobj=stream, mode="w|", format=tarfile.GNU_FORMAT) as archive,
            ):
                archive.add(source, name, filter=_with_owner)

    def _refuse_stand_in(self, where: Inside) -> None:
        with self._connect() as client:
            entry = client.request(
                "describe-entry", target=where.target, namespace=where.namespace, container=where.container
            )
        if entry.get("root"):
            raise UserError(f"{where.target} runs no program but a stand-in, which keeps no files")

    def _unpack(self, stream: IO[bytes], name: str, target: Path) -> None:
        if target.is_dir():
            target = target / Path(name).name
        found = False
        with suppress(tarfile.ReadError, ValueError), tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                rest = _below(member.name, name)
                if rest is None:
                    raise EmulabError("tar contents corrupted")
                found = True
                self._make(archive, member, target, rest)
        while stream.read(1 << 16):  # what is behind the end, so that tar isn't told of a broken pipe
            pass
        if not found:
            raise EmulabError("nothing was copied")

    def _make(
        self, archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path, rest: Sequence[str]
    ) -> None:
        path = target.joinpath(*rest)
        if ".." in rest:
            self._warn(f'file "{path}" is outside target destination, skipping')
        elif member.isdir():
            _folders(target, rest)
        elif member.isreg() or member.islnk():
            _folders(target if rest else target.parent, rest[:-1])
            content = archive.extractfile(member) if member.isreg() else None
            if content is None:
                self._warn(f'skipping hard link: "{path}"')
                return
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            with open(os.open(path, flags, 0o666), "wb") as file:
                while part := content.read(1 << 20):
                    file.write(part)
        elif member.issym():
            self._warn(f'skipping symlink: "{path}" -> "{member.linkname}"')
        else:
            self._warn(f'skipping "{path}", which is no file and no folder')

    def _status(self, where: Inside, argv: Sequence[str]) -> int:
        with self._running(where, argv, check=False, stderr=-1) as status:
            pass
        return status[0]

    @contextmanager
    def _running(
        self,
        where: Inside,
        argv: Sequence[str],
        *,
        stdin: int = -1,
        stdout: int = -1,
        stderr: int = 2,
        check: bool = True,
    ) -> Iterator[list[int]]:
        """Runs a program in a container while the block runs and until it ends; its status is in the list then."""
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        status: list[int] = []
        told = Relayed(stderr)  # a container gets nothing of ours
        try:
            with self._connect() as client:
                client.send(request(where.target, where.namespace, where.container, argv))
                client.answer()
                client.send(START, tuple(null if fd < 0 else fd for fd in (stdin, stdout, told.given)))
                told.begin()
                trouble = None
                try:
                    yield status
                except EmulabError as error:  # the program's own word comes first
                    trouble = error
                outcome: dict[str, Any] = client.answer()[0]
        finally:
            os.close(null)
            told.end()
        status.append(outcome["status"])
        if check and status[0]:
            why = outcome.get("failure") or f"{argv[0]} ended with status {status[0]}"
            raise EmulabError(f"{why} in {where.target}")
        if trouble is not None:
            raise trouble


def _with_owner(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """A lab of an ordinary user has one user, who is root in it: there is nobody else to own a file."""
    if os.geteuid() != 0:
        member.uid = member.gid = 0
        member.uname = member.gname = ""
    return member


class Relayed:
    """A pipe in place of a descriptor of ours, of which what comes is passed on; -1 stands for none."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._reading, self.given = os.pipe2(os.O_CLOEXEC) if target >= 0 else (-1, -1)
        self._thread = threading.Thread(target=self._pass, daemon=True)

    def begin(self) -> None:
        """The program has its end."""
        if self._target >= 0:
            os.close(self.given)
            self.given = -1
            self._thread.start()

    def _pass(self) -> None:
        while text := os.read(self._reading, 1 << 16):
            os.write(self._target, text)

    def end(self) -> None:
        """Returns when all has been passed on."""
        if self.given >= 0:
            os.close(self.given)
        if self._target >= 0:
            if self._thread.ident is not None:
                self._thread.join(1.0)
            os.close(self._reading)


def _split(path: str) -> tuple[str, str]:
    """The folder and the name of a path in a container, whose programs begin in its working directory."""
    folder, slash, name = path.rstrip("/").rpartition("/")
    if not name:
        return "/", "."
    return folder or ("/" if slash else "."), name


def _below(member: str, name: str) -> Sequence[str] | None:
    """The parts of a member's path below what was asked for; None where it isn't below that."""
    words = [word for word in member.split("/") if word not in ("", ".")]
    asked = [word for word in name.split("/") if word not in ("", ".")]
    return words[len(asked) :] if words[: len(asked)] == asked else None


def _folders(target: Path, parts: Sequence[str]) -> None:
    """Makes folders below one that the user named, through no link. Raises EmulabError."""
    path = target
    path.mkdir(parents=True, exist_ok=True)
    for part in parts:
        path = path / part
        if path.is_symlink():
            raise EmulabError(f"{path} is a link, through which nothing is written")
        path.mkdir(exist_ok=True)
