"""Cgroups: what containers may use of the machine, and what they use.

One for each container, in one for each pod, in one for each lab: `emulab/LAB/NAMESPACE.POD/CONTAINER`.

* `hierarchies`: where the kernel and this user's rights let us have them, of version 2 or 1, and why not.
* `limits`: what a cgroup is to be bounded to, as the files of either version say it.
* `cgroup`: one that a child of the spawner makes and enters, as a value that it is sent.
* `usage`: what was used, and whether the kernel had to kill for it.
* `sweeping`: what a lab left.

Nothing of the host's own cgroups is changed. On version 2 a folder's `cgroup.subtree_control` says which controllers
those below it have. In ours we write it. In the folder above ours we write it only where nobody else does: below what
is delegated to this user, and where we have a hierarchy to ourselves, in a container or a machine without a service
manager; what was added there is taken back with the last lab. (runc and crun write it all the way from the top down,
and leave it.)
"""
