"""What the kubelet asks of a container runtime, and the runtimes that there are.

`interface`: pods' sandboxes and containers in the words of CRI (k8s.io/cri-api, runtime.v1), which is all that the
kubelet knows of them; what namespaces and processes they are made of is the runtime's own affair. `builtin`: emulab's
own runtime, with `sandbox`: what the containers of a pod share, and `created`: one of them; `oci`: crun and runc;
`output`: what a program prints until it ends; `named`: the runtimes by their names, and the one that a lab's Cluster
asks for.
"""
