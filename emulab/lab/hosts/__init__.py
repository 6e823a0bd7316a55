"""The lab's processes, as its event loop sees them.

`processes`: programs started by the spawner; `serverhosts`: the processes of the servers, `hosted`: one of them;
`listeners`: their sockets; `pulse`: whether one that doesn't answer hangs; `logs`: what all of them print.
"""
