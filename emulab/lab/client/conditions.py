"""What of an object can be waited for, as `kubectl wait --for` has it (pkg/cmd/wait). Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from emulab.errors import UserError
from emulab.model.jsonpath import JSONPathError
from emulab.model.jsonpathtext import relaxed

Met = Callable[[Mapping[str, Any]], bool]
"""Whether an object is as it is waited for. Raises UserError where that can't be told."""

_JSONPATH_FORMAT = (
    "jsonpath wait format must be --for=jsonpath='{.status.readyReplicas}'=3 or "
    "--for=jsonpath='{.status.readyReplicas}'"
)


class Awaited(NamedTuple):
    """The end of waiting: an object comes to be, or goes, or is as `met` says."""

    met: Met | None = None
    deletion: bool = False


CREATION, DELETION = Awaited(), Awaited(deletion=True)


def parse_awaited(text: str) -> Awaited:
    """What `--for` says. Raises UserError."""
    match text.lower():
        case "delete":
            return DELETION
        case "create":
            return CREATION
    word, equals, rest = text.partition("=")
    if word == "condition" and equals:
        return Awaited(_condition(rest))
    if word == "jsonpath" and equals:
        return Awaited(_jsonpath(rest))
    raise UserError(f'unrecognized condition: "{text}"')


def _condition(text: str) -> Met:
    name, _, status = text.partition("=")
    wanted = (status or "true").lower()

    def met(o: Mapping[str, Any]) -> bool:
        told = o.get("status") or {}
        for condition in told.get("conditions") or ():
            if str(condition.get("type")).lower() != name.lower():
                continue
            observed = condition.get("observedGeneration", told.get("observedGeneration"))
            outdated = observed is not None and observed < o["metadata"].get("generation", 0)
            return not outdated and str(condition.get("status")).lower() == wanted
        return False

    return met


def _jsonpath(text: str) -> Met:
    match = re.fullmatch(r"\s*['\"]?(\{.*\}|[^={}]+?)['\"]?(?:=(.*))?", text, re.DOTALL)
    if match is None:
        raise UserError(_JSONPATH_FORMAT)
    path, value = match[1], match[2]
    wanted = None if value is None else value.strip("'\"").strip()
    if wanted == "":
        raise UserError("jsonpath wait has to have a value after equal sign")
    template = relaxed(path)

    def met(o: Mapping[str, Any]) -> bool:
        try:
            found = template.find(o)
        except JSONPathError:  # of a list, say, that is still to come
            return False
        if len(found) > 1:
            raise UserError("given jsonpath expression matches more than one list")
        if not found or not found[0]:
            return False
        if len(found[0]) > 1:
            raise UserError("given jsonpath expression matches more than one value")
        return wanted is None or _plain(found[0][0]) == wanted

    return met


def _plain(value: Any) -> str:
    if isinstance(value, Mapping | list):
        raise UserError("jsonpath leads to a nested object or list which is not supported")
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value).strip()
