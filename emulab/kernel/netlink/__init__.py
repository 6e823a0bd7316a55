"""Netlink as bytes: `codec` packs attributes and messages, and sends many at once; `queries` reads answers."""
