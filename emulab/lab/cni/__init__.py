"""Networks of pods that others make: a chain of CNI plug-ins, called as a kubelet's runtime calls it.

* `configuration` what a plug-in is told, and what it answers (containernetworking/cni, SPEC.md). Pure.
* `arguments`     what the plug-ins are told of one pod (containerd's internal/cri/server). Pure.
* `programs`      a plug-in as a program on a node of the lab.
* `shortfalls`    what a chain lacks on this machine.
* `networks`      the networks of all pods: made, looked at, and taken away again.
"""
