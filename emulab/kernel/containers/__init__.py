"""What makes a program a container: a root of its own (`root`, `build`), and what it may do (`rights`, `confine`).

The values say what a container is to be; a fresh child of the spawner makes it so for itself between fork and exec
(`kernel.processes.enter`), in namespaces that end with it: nothing of a container outlives it, and nothing that it
writes reaches the host.
"""
