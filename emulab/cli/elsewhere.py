"""What does here what a verb of kubectl does that isn't one of ours; loaded for who types one."""

from __future__ import annotations

_EDITED = "change the manifest, `emulab diff -f` it and `emulab apply -f` it"
_NODES = "nodes have taints of their own when they are lost; the Cluster's `spec.nodes` says which there are"
_NO_API = "a lab has no API server that kubectl's configuration could name"

ELSEWHERE = {
    "annotate": _EDITED,
    "api-versions": "`emulab api-resources` says of which version each kind is",
    "attach": "`emulab logs -f` shows what a container writes, `emulab exec` runs another program beside it",
    "auth": "nobody is refused anything in a lab",
    "autoscale": "`emulab scale` does it by hand",
    "cluster-info": "`emulab labs` lists the labs, `emulab get nodes` one's nodes",
    "config": _NO_API,
    "cordon": _NODES,
    "debug": "`emulab exec` runs any program of this machine at any place of the lab",
    "drain": _NODES,
    "edit": _EDITED,
    "kustomize": "give `emulab` what `kubectl kustomize` prints",
    "label": _EDITED,
    "options": "`emulab COMMAND --help`",
    "proxy": _NO_API,
    "replace": "`emulab delete -f` and `emulab apply -f`",
    "set": _EDITED,
    "taint": _NODES,
    "uncordon": _NODES,
}
"""By kubectl's verb."""

RUN = (
    "run is one command in a lab of its own here; `emulab create deployment NAME --image=IMAGE` makes Pods,"
    " and `emulab exec` runs any program of this machine at any place of the lab"
)
"""Of kubectl's `run --image`."""
