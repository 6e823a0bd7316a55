"""DNS: one engine in three roles, told apart by configuration alone.

* `dns`, the authoritative server of the emulated internet: zones, no `forward`;
* `resolver`, the caching recursive server: `forward`, usually no zones;
* the cluster's DNS: `kubernetes`, the names of a cluster, and `forward` for the rest.

The cores know neither sockets nor clocks: `names`, `rdata`, `reader` and `wire` lead to dnslib's encoding, `zone` the
data and its lookup, `kubernetes` a cluster's names, of what its `directory` has, `cache` what upstream servers said,
`engine` leads one question through them until it is `Solved` or upstream must be asked (`Forward`), `hot` keeps
finished answers as bytes. Around them: `client` and `forwarder` ask upstream servers, `responder` turns queries into
answers, `reporter` tells of them, `udpport` (with its `datagrams`), `tcpport` and `server` own the sockets.

The wire format is dnslib's; `wire`, `reader`, `rdata` and `names` alone know it. Names are tuples of labels
everywhere inside (`names.Name`); text exists in the configuration and in reports only.

The configuration: see `config.DnsConfig`; `settings` is the same understood.
"""
