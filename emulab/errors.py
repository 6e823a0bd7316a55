"""The errors of emulab, split by whose fault they are.

* `UserError`: what was asked is wrong; says where (file, line, field) and how to mend it.
* `KernelError`: the system refused; says which operation, in which namespace, with which errno.
* `NotReady`: what was asked for is being made, and not there in the time that somebody has.
* `PeerError`: the other side of a connection broke the rules of the wire.

The command line prints `str(error)` as one line and never a traceback.
"""

from __future__ import annotations

import errno as errno_names
import os


class EmulabError(Exception):
    """Base of everything emulab raises on purpose."""


class UserError(EmulabError):
    """The user's fault: a manifest, an argument, a name that isn't there."""


class NotUp(UserError):
    """The lab that is meant isn't up; `ended`: one of its name has been."""

    def __init__(self, message: str, ended: bool = False) -> None:
        super().__init__(message)
        self.ended = ended


class ManifestError(UserError):
    """One or more problems in manifests; each is one line `FILE:LINE: what is wrong`."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class KernelError(EmulabError):
    """The system's fault: an operation the kernel refused."""

    def __init__(self, operation: str, namespace: str = "", errno: int = 0, remedy: str = "") -> None:
        where = f" in {namespace}" if namespace else ""
        why = f": {errno_names.errorcode.get(errno, errno)} ({os.strerror(errno)})" if errno else ""
        mend = f"; {remedy}" if remedy else ""
        super().__init__(f"{operation}{where}{why}{mend}")
        self.operation = operation
        self.namespace = namespace
        self.errno = errno
        self.remedy = remedy


class NotReady(EmulabError):
    """Nobody's fault yet: what was asked for isn't there in time, and may be later."""


class PeerError(EmulabError):
    """The peer's fault: bytes on a wire that its protocol does not allow."""
