"""Waits for a descriptor without a thread."""

from __future__ import annotations

import asyncio


async def readable(fd: int) -> None:
    """Returns when there is something to read, or the end. Nobody else may wait for the same descriptor."""
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(fd, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(fd)


async def writable(fd: int) -> None:
    """Returns when bytes are taken again, or never will be."""
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_writer(fd, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(fd)
