"""Annotations that say what is written of requests."""

from __future__ import annotations

from dataclasses import replace

from emulab.kinds.networking.nginxvalues import boolean
from emulab.plan.l7.annotations.table import Annotation, RouteDraft, Theme, Wishes


def _apply(values: Wishes, draft: RouteDraft) -> None:
    if "access" in values:
        draft.policy = replace(draft.policy, access_log=values["access"])


LOGGING = Theme(
    (
        Annotation("enable-access-log", boolean, "access", "whether requests have a line in the access log"),
        Annotation(
            "enable-rewrite-log",
            boolean,
            "rewrite",
            "lines of nginx's error log, which there isn't: kept alone",
            untold=True,
        ),
    ),
    _apply,
)
