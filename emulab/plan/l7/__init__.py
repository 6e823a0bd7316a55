"""What L7 proxies are told: the routes, upstreams and certificates of `emulab.servers.l7.config`.

* `ingress`: the ingress controller's, from Ingress objects.
* `verifications`: whose certificates are looked at, host by host.
* `annotations`: what an Ingress' annotations ask of its routes, one line an annotation.
* `hosts`: what the routes of a host are together. `configmap`: what the controller's ConfigMap asks of all.
"""
