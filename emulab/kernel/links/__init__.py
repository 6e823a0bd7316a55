"""What the kernel is told of each kind of item: a module each, of the same name as in `plan/links/`, and a line in
`kinds.ENCODINGS`.

`mesh` writes the ways between nodes, of which there are many and few change.
"""
