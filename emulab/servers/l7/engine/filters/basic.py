"""HTTP Basic, as `ngx_http_auth_basic_module` has it. Pure: whether a password is right is a question."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Generator
from typing import Any

from emulab.servers.l7.config import BasicAuthentication
from emulab.servers.l7.engine.filters.effect import Asked, GateQuestion, Page
from emulab.servers.l7.engine.kept import EngineMemory
from emulab.servers.l7.engine.questions import PasswordQuestion


def users(text: str) -> dict[str, str]:
    """The hash of each user in a file of htpasswd(1): the first line of a name counts, a second colon ends the hash."""
    found: dict[str, str] = {}
    for line in text.split("\n"):
        name, colon, rest = line.partition(":")
        if colon and not line.startswith(("#", "\r")):
            found.setdefault(name, rest.split("\r")[0].split(":")[0])
    return found


def credentials(field: str) -> tuple[str, bytes] | None:
    """Name and password of an Authorization field; None where it has none."""
    if field[:6].lower() != "basic ":
        return None
    try:
        decoded = b64decode(field[6:].strip(" "), validate=True)
    except ValueError:
        return None
    name, colon, password = decoded.partition(b":")
    if not name or not colon:
        return None
    return name.decode("utf-8", "surrogateescape"), password.split(b"\0")[0]


def basic(
    one: BasicAuthentication,
) -> Callable[[Asked, EngineMemory], Generator[GateQuestion, Any, Page | bool]]:
    """Asks for a name and a password."""
    known = users(one.users)
    challenge = (f'WWW-Authenticate: Basic realm="{one.realm}"\r\n'.encode(),)

    def refused(why: str) -> Page:
        return Page(401, f"{why} ({one.source})", lines=challenge, source=one.source)

    def check(asked: Asked, kept: EngineMemory) -> Generator[GateQuestion, Any, Page | bool]:
        if one.realm == "off":  # as nginx reads it
            return False
        given = credentials(asked.head.field(b"authorization"))
        if given is None:
            return refused("no user/password was provided for basic authentication")
        name, password = given
        shown = name.encode("utf-8", "replace").decode()
        expected = known.get(name)
        if expected is None:
            return refused(f'user "{shown}" was not found')
        right = kept.password(password, expected)
        if right is None:
            right = yield PasswordQuestion(password, expected)
            if right is None:
                why = f'the password of user "{shown}" is hashed in a way that nothing here knows ({one.source})'
                return Page(500, why, source=one.source)
            kept.keep_password(password, expected, right)
        return right or refused(f'user "{shown}": password mismatch')

    return check
