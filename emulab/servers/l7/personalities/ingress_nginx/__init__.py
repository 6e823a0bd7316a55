"""ingress-nginx with its default settings.

* `heads`: how large the head of a request may be.
* `fields`: which header fields are passed on.
* `pages`: the answers of its own.
* `paths`: what Kubernetes' path types mean to it.
* `accesslines`: the format of its access log; `metrics`: what it counts.
* `forwarding`: what upstreams are told of clients; `front`: what those in front are believed.

How annotations become a route's policy is planned, in `emulab.plan.l7.annotations`.
"""

from __future__ import annotations

from emulab.servers.l7.messages.response import fields_by
from emulab.servers.l7.personalities.ingress_nginx import (
    accesslines,
    fields,
    forwarding,
    front,
    heads,
    metrics,
    pages,
    paths,
)
from emulab.servers.l7.personalities.personality import Personality

_FIELDS = {
    (server, transport): fields_by(fields.response_actions(server, transport))
    for server in (False, True)
    for transport in (False, True)
}
PERSONALITY = Personality(
    name="ingress-nginx",
    host=b"_",  # the name of its default server
    dialect=heads.dialect_of,
    response_fields=_FIELDS[False, False],
    other_fields=_FIELDS,
    refused_methods=frozenset({b"CONNECT", b"TRACE"}),
    not_idempotent=frozenset({b"POST", b"LOCK", b"PATCH"}),
    closing=pages.CLOSING,
    client_closed=499,
    answer=pages.answer,
    wire_status=pages.wire_status,
    locations=paths.locations,
    told_port=forwarding.told_port,
    answer_lines=pages.answer_lines,
    forwarding=forwarding.forwarding_lines,
    front=front.front,
    log_format=accesslines.log_format,
    metrics=metrics.IngressMetrics,
    request=forwarding.upstream_request,
)
