"""Pods and their containers on the nodes.

`kubelet`: all pods' workers; `podworker`: one pod's life; `container`: one program's; `probes`; `podstatus`:
what all of it comes to in the Pod's status.
"""
