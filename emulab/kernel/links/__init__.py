"""Links, addresses, neighbours and routes: `messages` encodes each item of a plan for rtnetlink.

`mesh` writes the ways between nodes, of which there are many and few change.
"""
