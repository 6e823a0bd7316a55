"""http-echo, which answers with the text that it is given: github.com/hashicorp/http-echo."""

from __future__ import annotations

from emulab.kinds.standins.asked import ImageArguments, Sockets, Speech, number, options


def sockets(asked: ImageArguments) -> Sockets | None:
    flags = options(asked.arguments("http-echo"), ("version",))
    text = flags.get("text") or asked.env.get("ECHO_TEXT", "")
    if not text:  # `Missing -text option or ECHO_TEXT env var!`: it isn't known what is meant
        return None
    told = {"text": text}
    if "status-code" in flags:
        told["status"] = flags["status-code"]
    return {("TCP", number(flags.get("listen", ""), 5678)): Speech("http-echo", told)}
