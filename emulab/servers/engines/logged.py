"""What the log of a program tells of requests that it has answered, as records of our own servers tell it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from emulab.servers.l7.engine.entry import RequestEntry, Try
from emulab.servers.l7.engine.routes import ReadyRoute

LoggedRequest = Mapping[str, str]
"""One message, by the names that its format gives."""

_REASONS = {
    404: "no rule matches",
    405: "method not allowed",
    408: "client sent no more of the body",
    413: "request body is larger than it may be",
    499: "client closed the connection",
    503: "no endpoints",
    308: "the rule redirects to https",
}


def upstream_of(rule: ReadyRoute, tries: Sequence[Try]) -> str:
    """Which of a route's upstreams the server is of that answered; "" where none was asked."""
    if not tries:
        return ""
    canary = rule.canary
    return (
        canary.group.name
        if canary is not None and tries[-1].server in canary.group.servers
        else rule.upstream
    )


def records(done: RequestEntry, said: LoggedRequest, program: str) -> Iterator[dict[str, Any]]:
    """What is told of the request, as our own server tells it (see `servers.l7`).

    Of a program that doesn't tell which of its own ports it used there is no `upstream_source`; who joins what was seen
    finds it by the time.
    """
    both = {"client": done.client[1], "local": done.local}
    more = {
        "upstream_name": done.upstream_name,
        "request_id": done.request_id,
        "duration_us": done.seconds * 1e6,
    }
    source = {"upstream_source": said["source"]} if said.get("source") else {}
    for attempt, one in enumerate(done.tries, 1):
        own = {"upstream": one.server, "attempt": attempt, **source}
        yield {"event": "proxy-connect", **both, **more, **done.rule.told, **own}
    answered = bool(done.tries) and done.tries[-1].status == done.status
    yield {
        "event": "request",
        **both,
        **more,
        **done.rule.told,
        "method": said["method"],
        "host": said["host"],
        "path": said["target"],
        "status": done.status,
        "upstream": done.tries[-1].server if done.tries else "",
        "answered_by": "" if done.status == 499 else "upstream" if answered else "ingress",
        "reason": "" if answered else _REASONS.get(done.status, f"{program} answered by itself"),
    }
