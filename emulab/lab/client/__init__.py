"""Whoever uses a lab from outside of it.

`launch` starts a supervisor, `client` talks to one over the control socket (`wire`: the protocol; `hung`: when to stop
waiting), `programs` has it run a program for a command, `captured` for Python; `waiting`: for a descriptor; `watching`:
for changes of objects, with `conditions`: those that `wait` knows.
"""
