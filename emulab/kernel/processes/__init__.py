"""Processes in namespaces, and those that make them.

* `launch`, `isolate`: how a supervisor gets its own user, PID, mount and network namespace.
* `spawner`: a small process that forks servers, containers and what is `exec`uted into namespaces; `enter` is its core
  and `exec`'s: from a namespace description to a running program.
* `mountpoint`: a place to mount a folder on where this machine has none.
* `members`: who is in a container, and the end of all of them.
* `exec`: programs that have the terminal of who calls them; `programs`: programs outside any lab.
* `beside`: a program that lives as long as the server that it works for; `installed`: where programs are.
"""
