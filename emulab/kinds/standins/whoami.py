"""whoami, which tells about itself and the request: github.com/traefik/whoami."""

from __future__ import annotations

from emulab.kinds.standins.asked import ImageArguments, Sockets, Speech, number, options


def sockets(asked: ImageArguments) -> Sockets | None:
    flags = options(asked.arguments("whoami"), ("verbose",))
    port = number(flags.get("port") or asked.env.get("WHOAMI_PORT_NUMBER", ""), 80)
    name = flags.get("name", asked.env.get("WHOAMI_NAME", ""))
    told = {f"env.{key}": value for key, value in asked.env.items()}
    return {("TCP", port): Speech("whoami", {**told, **({"name": name} if name else {})})}
