"""Where and why a request stopped, and how to mend it. Pure.

`failures` asks the experts: `names`, `proxied`, `certificates`, `refusals`, `astray` and `unreached`. `case` is what
they look at, and `progress` says how far a connection came. `attributed` adds what was broken on purpose.
"""
