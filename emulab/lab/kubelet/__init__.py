"""Pods and their containers on the nodes.

`kubelet`: all pods' workers; `podworker`: one pod's life; `container`: one program's; `downward`: what it may be told
of its Pod; `prober`: a container's probes; `probes`: one try of each kind; `podstatus`: what all of it comes to in the
Pod's status; `telling`: what Events say of it.
"""
