"""What the fields of Resolvers and Zones are; see `described`."""

from __future__ import annotations

from emulab.kinds.emulab.ownfield import METADATA, OwnField

RESOLVER = {
    "emulab.v1.Resolver": {
        "metadata": METADATA,
        "spec": OwnField(
            "emulab.v1.ResolverSpec", "Where it is, whom it asks, and for how long it keeps answers"
        ),
    },
    "emulab.v1.ResolverSpec": {
        "network": OwnField("string", "`internet`, or `vpc`, the nodes' network", "internet"),
        "forward": OwnField(
            "[string]", "Addresses of name servers, asked in this order", "dns, the lab's own"
        ),
        "maxTTL": OwnField("int32", "Seconds for which an answer is kept at most, whatever its TTL", "3600"),
        "minTTL": OwnField("int32", "Seconds for which an answer is kept at least", "0"),
        "negativeTTL": OwnField(
            "int32", "Seconds for which it is kept at most that there is no such name", "30"
        ),
        "serveStale": OwnField(
            "int32",
            "Seconds for which an answer that is too old is given while nobody gives another (RFC 8767)",
            "0",
        ),
        "mixedCase": OwnField(
            "boolean", "Names are asked for in letters of random case, against forgers (0x20)", "false"
        ),
        "engine": OwnField("string", "What resolves: `builtin`, `unbound` or `dnsmasq`", "builtin"),
    },
}

ZONE = {
    "emulab.v1.Zone": {
        "metadata": OwnField("ObjectMeta", "Its name is the zone's: example.net", required=True),
        "spec": OwnField("emulab.v1.ZoneSpec", "Who sees it, and its records"),
    },
    "emulab.v1.ZoneSpec": {
        "visibility": OwnField(
            "string", "`public`, or `private`: answered to who asks from the vpc alone", "public"
        ),
        "records": OwnField("[emulab.v1.ZoneRecord]", "Records beside those that the lab publishes", "[]"),
    },
    "emulab.v1.ZoneRecord": {
        "name": OwnField("string", "Relative to the zone; @ is the zone itself, *.name a wildcard", "@"),
        "type": OwnField("string", "A, AAAA, CNAME, NS, PTR, TXT, MX, SRV or CAA", required=True),
        "value": OwnField("string", "As a zone file has it (RFC 1035, section 5)", required=True),
        "ttl": OwnField("int32", "Seconds for which it may be cached", "60"),
        "weight": OwnField(
            "int32",
            "Its share of the answers among the records of this name and type, of which one is answered at a time "
            "(Route 53, weighted routing); 0: none while others are healthy",
        ),
        "failover": OwnField(
            "string",
            "`primary`, or `secondary`: answered while no primary is healthy (Route 53, failover routing)",
        ),
        "setIdentifier": OwnField(
            "string", "Records with the same one are answered together, as one of those by weight or failover"
        ),
        "healthCheck": OwnField(
            "emulab.v1.ZoneHealthCheck",
            "By what it is healthy; one that isn't is left out while another one is",
            "healthy",
        ),
    },
    "emulab.v1.ZoneHealthCheck": {
        "address": OwnField("string", "Address that is asked", "the record's value"),
        "loadBalancer": OwnField(
            "string",
            "A LoadBalancer instead: healthy while each of its ports has a healthy backend (Route 53, evaluate target "
            "health)",
        ),
        "service": OwnField(
            "emulab.v1.ZoneHealthService", "A Service of type LoadBalancer instead, likewise"
        ),
        "protocol": OwnField("string", "`TCP`, `HTTP` or `HTTPS` (any certificate)", "TCP; HTTP with a path"),
        "path": OwnField("string", "Path that is asked for", "/ with HTTP"),
        "host": OwnField("string", "Host that is asked for", "the address"),
        "port": OwnField("int32", "Port that is asked", "80; 443 with HTTPS"),
        "codes": OwnField("int-or-string", "Statuses that are in order", "200-399"),
        "interval": OwnField("number", "Seconds from one check to the next", "1"),
        "timeout": OwnField("number", "Seconds that an answer may take", "1"),
        "rise": OwnField("int32", "Checks in a row that must pass until it is healthy", "1"),
        "fall": OwnField("int32", "Checks in a row that must fail until it isn't", "2"),
    },
    "emulab.v1.ZoneHealthService": {
        "namespace": OwnField("string", "Its Namespace", "default"),
        "name": OwnField("string", "Its name", required=True),
    },
}
