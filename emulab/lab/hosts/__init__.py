"""The lab's processes, as its event loop sees them.

`processes`: programs started by the spawner; `helpers`: those that do something once for the supervisor;
`serverhosts`: the processes of the servers, `hosted`: one of them, `news`: what it is told; `crews`: those of which
several are one server; `listeners`: their sockets, `houses`: their folders; `pulse`: whether one that doesn't answer
hangs, `pauses`: how long one that ended waits for its next life, `orders`: what it is told then; `recordings`: who
records what they tell; `logs`: what all of them print.
"""
