"""`autopath` of a Corefile. Pure."""

from __future__ import annotations

from emulab.plan.coredns.drafting import BlockDraft, zones_of
from emulab.plan.coredns.lines import CorefileError
from emulab.plan.coredns.syntax import Directive
from emulab.servers.dns.config import AutopathConfig

_KUBERNETES = "@kubernetes"


def autopath(draft: BlockDraft, told: Directive) -> None:
    """`autopath [ZONE…] RESOLV-CONF`, or `@kubernetes` in the place of the file."""
    if not told.words:
        raise CorefileError(told.line, "autopath: no resolv-conf specified")
    *zones, resolv = told.words
    own = zones_of(told, zones) or draft.zones
    if resolv == _KUBERNETES:
        draft.block["autopath"] = AutopathConfig(own, of_pods=True)
        draft.autopath = told.line
    elif resolv.startswith("@"):
        raise CorefileError(told.line, f"autopath: {resolv[1:]} does not implement the AutoPather interface")
    elif not resolv.startswith("/") and resolv not in draft.files:
        raise CorefileError(told.line, f"autopath: failed to parse {resolv!r}: no such file")
    elif search := _search(told, draft.files.get(resolv.rpartition("/")[2], "")):
        draft.block["autopath"] = AutopathConfig(own, search)
    else:
        where = "a key of that name in the ConfigMap is read for it"
        draft.warn(told.line, f"autopath: there are no search domains in {resolv}: {where}")


def check_verified(draft: BlockDraft) -> None:
    """`autopath @kubernetes` goes by the Pods that ask, of which nothing is known without `pods verified`."""
    if draft.autopath and not draft.verified:
        draft.warn(draft.autopath, "autopath: @kubernetes does nothing without pods verified of kubernetes")


def _search(told: Directive, text: str) -> tuple[str, ...]:
    """What a resolv.conf searches (resolv.conf(5): the last line counts)."""
    found: tuple[str, ...] = ()
    for words in map(str.split, text.splitlines()):
        if words[:1] in (["search"], ["domain"]):
            found = zones_of(told, words[1:])
    return found
