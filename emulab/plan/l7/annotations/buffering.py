"""Annotations that say what is held back: bodies of requests, and answers for slow clients.

nginx keeps in files what doesn't fit into its buffers. Here memory alone keeps it, so there is a bound (`HELD`), beyond
which bytes go on as they come.
"""

from __future__ import annotations

from dataclasses import replace

from emulab.kinds.networking.enginelacks import HAPROXY, never, partly
from emulab.kinds.networking.nginxvalues import integer, on_off, size
from emulab.plan.l7.annotations.table import Annotation, RouteDraft, Theme, Wishes
from emulab.servers.l7.config import Policy

HELD = 16 << 20


def request_buffer(policy: Policy) -> int:
    """Bytes of a body that are gathered first where bodies are: all that are allowed."""
    return min(policy.body_max or HELD, HELD)


def _apply(values: Wishes, draft: RouteDraft) -> None:
    draft.gathers = values.get("request", draft.gathers)
    if values.get("response"):
        number, each = values.get("buffers", 4), draft.policy.response_head_max
        held = min(number * each + values.get("file", 1 << 30), HELD)
        draft.policy = replace(draft.policy, response_buffer=held)


_ONE_BUFFER = never(HAPROXY, "it holds back a buffer of 32 KB")


BUFFERING = Theme(
    (
        Annotation(
            "proxy-request-buffering",
            on_off,
            "request",
            "a body is whole before an upstream is asked",
            lacks=(partly(HAPROXY, "it waits for 32 KB of a body", bool),),
            lines=True,
        ),
        Annotation(
            "proxy-buffering",
            on_off,
            "response",
            "an answer may wait for a slow client",
            lacks=(never(HAPROXY, "it holds back a buffer of 32 KB", bool),),
            lines=True,
        ),
        Annotation(
            "proxy-buffers-number",
            integer,
            "buffers",
            "with how many buffers",
            lacks=(_ONE_BUFFER,),
            needs=("proxy-buffering",),
        ),
        Annotation(
            "proxy-max-temp-file-size",
            size,
            "file",
            "and with how many bytes besides",
            lacks=(_ONE_BUFFER,),
            needs=("proxy-buffering",),
        ),
        Annotation(
            "proxy-busy-buffers-size", size, "busy", "of nginx's memory alone: nobody could tell", untold=True
        ),
        Annotation(
            "client-body-buffer-size", size, "body", "of nginx's memory alone: nobody could tell", untold=True
        ),
    ),
    _apply,
)
