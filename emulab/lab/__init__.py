"""Who keeps it true: the supervisor of a lab and everything that runs in it.

Around a lab:
* `rundir`: where a lab's files are, which labs there are, sweeping up after dead ones. `basedir`: how the folder of
  all labs and a lab's are known to be that; `lastlog`: what is kept of one that has crashed.
* `launch` starts a supervisor, `client` talks to one (`hung`: when to stop waiting for it), `programs` has it run one
  for a command, `captured` for Python; `api` is `Lab`, for Python.
* `tracing`: one traced request: `sending` sends it (`certificates`: what a client looks at in one), `evidence`
  reads what was seen of it.
* `offline`: the plan of a lab that is only thought of.
* `twins/`: the same lab in several proxy modes, and what differs.

The supervisor's process:
* `supervisor`: isolation and start; `runtime`: its event loop, which puts the following together.
* `disk`: its files, and its log, on a disk that may be full.
* `control`: the control socket (`door`: who gets in, `wire`: its protocol); `operations`: what can be asked
  (`arguments`: with what); `presence`: whether the lab's folder is still there; `targets`: names of
  places and pods → where to enter; `readiness`: when is everything Ready; `observation`: what is opened and
  switched on for one trace.

Keeping it true:
* `store`: the objects with uid, versions, status; can be watched. `merge`: what a user's object becomes there.
* `reconciler`: objects → controllers and addressing (`resolve`) → plan → kernel and servers, again and again.
* `proxysyncs`: what the nodes' proxies tell of that in their metrics.
* `publisher`: names under /run/netns.
* `processes`: programs started by the spawner; `serverhosts`: the processes of the servers,
  `hosted`: one of them; `pulse`: whether one that doesn't answer hangs; `logs`: what all of them print.

Pods:
* `kubelet`: all pods' workers; `podworker`: one pod's life; `container`: one program's; `probes`; `podstatus`.
* `surroundings`: what all of these share. `waiting`: for a descriptor, without a thread.
"""
