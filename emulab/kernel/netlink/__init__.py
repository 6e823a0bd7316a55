"""Netlink, once: what the kernel's messages look like, and how one talks to it.

* `codec`: types of attributes, tables of them, and how a mapping of names becomes bytes and bytes a mapping.
* `rtnetlink`, `nftables`, `conntrack`, `ipvs`, `wireguard`, `sockdiag`: the tables of each family, by the names of the
  kernel's headers, and its numbers. They are data, the same for what is sent and for what is received.
* `messages`: the header of a message, and the messages in what was received.
* `requests`: questions, dumps, and changes, one, many, or a transaction of them, with the kernel's answers and errors.

Tables name what is used here; what the kernel says beyond that is passed over.
"""
