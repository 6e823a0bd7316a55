"""The process that keeps a lab true. `python -m emulab.lab.supervisor` is PID 1 of the lab's namespaces.

* `__main__`: isolation and start; `runtime`: the event loop, which puts the following together.
* `control`: the control socket (`door`: who gets in); `operations`: what can be asked (`arguments`: with what), of
  which `patching`, `waiting` and `watching` have some.
* `reconciler`: objects → controllers and allocation → plan → kernel and servers, again and again; `proxysyncs`: what
  the nodes' proxies tell of that in their metrics; `nursery`: namespaces made while the plan is worked out;
  `publisher`: names under /run/netns.
* `targets`: names of places and pods → where to enter; `readiness`: when is everything Ready; `observation`: what is
  opened and switched on for one trace; `presence`: whether the lab's folder is still there.
* `balancernews`, `ingressnews`, `zonenews`, `speakernews`: what servers tell, written into statuses and Events.
* `surroundings`: what all of these and the kubelet share.
"""
