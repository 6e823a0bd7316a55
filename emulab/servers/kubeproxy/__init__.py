"""What kube-proxy tells about itself: one server for the proxies of all nodes.

Its sockets are in the nodes' namespaces, and each has a page set:

    metrics   127.0.0.1:10249   /proxyMode, /metrics (Prometheus' text format), /healthz
    healthz   all addresses, 10256   /healthz and /livez: 200 or 503 and JSON
    service   all addresses, a Service's healthCheckNodePort: 200 with endpoints of it on the node, else 503, and JSON

* `metrics` names, labels, buckets and the text (pure)
* `proxy` the state of one node's proxy, from what it is told (pure, time passed in)
* `pages` the answers (pure)
* `server` listeners and configuration

Names, texts and JSON are those of Kubernetes 1.33 and later (pkg/proxy/metrics, pkg/proxy/healthcheck). There are no
records.
"""
