"""What a server that ends has said and its clients don't have yet.

What was written is the kernel's, and goes with the network namespace. ingress-nginx' controller stays for ten seconds
once its nginx has left (`--post-shutdown-grace-period`), which is what slow clients get their last bytes by; here it is
as long as that takes, ten seconds at most.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from emulab.kernel.lastbytes import any_unacknowledged

AFTER_END = 10.0
"""Seconds (the default of `--post-shutdown-grace-period`)."""
_LOOK = 0.05  # seconds between looks


async def until_sent(ports: Collection[int], seconds: float) -> None:
    """Returns when the other sides have all that was said to them from these ports, or so many seconds are over."""
    loop = asyncio.get_running_loop()
    until = loop.time() + min(seconds, AFTER_END)
    while loop.time() < until and await asyncio.to_thread(any_unacknowledged, ports):
        await asyncio.sleep(_LOOK)
