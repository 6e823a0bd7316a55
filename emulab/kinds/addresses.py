"""Checks of addresses that several kinds' schemas share."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from emulab.model.checks import Problems, show, wrong

_LINK_LOCAL_GROUPS = (ip_network("224.0.0.0/24"), ip_network("ff02::/16"))


def special(value: str, *path: str | int) -> Problems:
    """What is wrong with an address that means another place to everybody (`ValidateNonSpecialIP`)."""
    address = ip_address(value)
    if address.is_unspecified:
        return wrong(f"{show(value)} may not be the unspecified address", *path)
    if address.is_loopback:
        return wrong(f"{show(value)} may not be in the loopback range (127.0.0.0/8, ::1/128)", *path)
    if address.is_link_local or any(address in group for group in _LINK_LOCAL_GROUPS):
        return wrong(f"{show(value)} may not be link-local", *path)
    return ()
