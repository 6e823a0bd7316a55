"""The control plane: from what was asked to what follows from it, as an API server and its controllers would.

* `admission/`    texts of manifests → checked objects, and what they become beside those that are there
* `store`         the objects with uid, versions and status; can be watched (`history`), and forked (`adoptable`: back
                  from there)
* `controllers/`  objects to objects, as Kubernetes' controllers do it
* `allocation`    who gets which address, cluster IP and node port: given once and kept (`podblocks`: in blocks)
* `system`, `nodes`   the objects that a cluster has without being asked
* `brought`       what a user brings in the place of these
* `programs`      which containers run their program, and which have a stand-in
* `statuses`      what Ingresses and Services say of the way to them
* `resolve`       all of these, until nobody has anything more to say
* `unplaced`, `events`   what has no node, and why; what happened, told once and counted

It is pure but for the store, and knows nothing of how packets travel.
"""
