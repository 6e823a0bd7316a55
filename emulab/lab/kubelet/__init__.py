"""Pods and their containers on the nodes.

`kubelet`: all pods' workers; `podworker`: one pod's life; `container`: one program's; `served`: a stand-in's, or a
server's, and `servedcontainers`: all of a pod; `backoff`: when either begins again; `renewal`: what becomes of them
when their image is changed; `deadline`: how long a pod may be active; `programs`: which programs there are, with
`needs`: what a command asks for beside its own; `preparation`: what a container waits for before it starts; `environs`:
what containers are to be, as their `runtime/` is told, with `environment/`: what they are told, and `volumes/`: what of
files is the pod's, which lie in its `podroom`; `prober`: a container's probes; `probes`: one try of each kind, with
`httpget` and `health`; `hooks` and `commands`: what is done in containers; `podstatus`: what all of it comes to in the
Pod's status; `resources`: what containers may use, and `metering`: what they do; `telling`: what Events say of it.
"""
