"""Annotations that make regular expressions of a host's paths, and rewrite what they take."""

from __future__ import annotations

import re
from collections.abc import Iterator

from emulab.kinds.networking.ingressview import Ingress
from emulab.kinds.networking.nginxvalues import boolean, path_text
from emulab.plan.l7.annotations.table import Annotation, Beside, RouteDraft, Theme, Wishes
from emulab.servers.l7.config import RegexRewrite, as_python, unknown_variables


def _with_groups(text: str) -> str:
    """A path, which may name groups of the expression and variables of nginx."""
    if unknown := unknown_variables(path_text(text)):
        raise ValueError(f"names a variable that there isn't, ${unknown[0]}")
    return text


def _apply(values: Wishes, draft: RouteDraft) -> None:
    """A target that is the path itself is none; without a target there is no X-Forwarded-Prefix either."""
    path, target = draft.match.path, values.get("target", "")
    is_rewritten = target not in ("", path)
    draft.is_regular = is_rewritten or values.get("use_regex", False)
    if is_rewritten:
        draft.filters.append(RegexRewrite(path, target, values.get("prefix", "")))


def wrong_expression(path: str) -> str:
    """Why a path is no regular expression; "" where it is one."""
    try:
        re.compile(as_python(path.encode()))
    except (re.error, OverflowError, RecursionError) as error:
        return f"the path {path!r} is no regular expression: {error}"
    return ""


def _wrong(values: Wishes, ingress: Ingress, _world: Beside) -> Iterator[tuple[str, str]]:
    name = "rewrite-target" if "target" in values else "use-regex"
    if "target" not in values and not values.get("use_regex"):
        return
    for rule in ingress.rules:
        for path in rule.paths:
            if why := wrong_expression(path.path):
                yield name, f"{why}; the path isn't served"


REWRITING = Theme(
    (
        Annotation(
            "rewrite-target",
            _with_groups,
            "target",
            "the path that the upstream is asked for; all paths of the host are regular expressions",
        ),
        Annotation("use-regex", boolean, "use_regex", "all paths of the host are regular expressions"),
        Annotation(
            "x-forwarded-prefix",
            _with_groups,
            "prefix",
            "X-Forwarded-Prefix, where there is a rewrite-target",
            needs=("rewrite-target",),
        ),
    ),
    _apply,
    _wrong,
)
