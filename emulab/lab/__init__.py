"""Who keeps it true: the supervisor of a lab and everything that runs in it.

* `rundir`: where a lab's files are, which labs there are, sweeping up after dead ones.
* `supervisor`: the process: isolation, start, signals, end. `launch` starts one, `client` talks to it.
* `control`: the control socket: one operation a line of a table.
* `store`: the objects with uid, versions, status; can be watched.
* `reconciler`: objects → controllers → plan → kernel and servers, again and again.
* `processes`: programs started by the spawner; `serverhosts`: the processes of the servers.
* `kubelet`: pods' containers and their lives; `container`, `probes`, `podstatus`.
* `targets`: names of places and pods → where to enter.
* `api`: `Lab`, for Python.
"""
