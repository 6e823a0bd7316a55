"""agnhost, the image of Kubernetes' own tests: github.com/kubernetes/kubernetes, test/images/agnhost.

Its first argument says which of its servers runs; `pause`, which runs where nothing is said, is none. What it is run
for by `exec` (`connect`) is a program of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from emulab.kinds.standins.asked import ImageArguments, Sockets, Speech, is_true, number, operands, options

PROGRAM = "/agnhost"
_SHELLS = ("sh", "bash", "ash", "dash")
_VARIABLE = re.compile(r"\$\([-._a-zA-Z][-._a-zA-Z0-9]*\)")
"""What a kubelet has replaced before a shell reads it."""
_SCRIPT = re.compile(r"[^\w \t./:=,@%+-]")
_BOOLEANS = ("tcp", "udp", "http", "close", "json-response", "delay-shutdown")


def sockets(asked: ImageArguments) -> Sockets | None:
    words = asked._replace(words=_unwrapped(asked.words)).arguments("agnhost")
    name = next(iter(operands(words, _BOOLEANS)), "")
    if not name:
        return None if asked.ports else {}
    serve = _SERVERS.get(name)
    return serve(options(words, _BOOLEANS), asked.env) if serve is not None else None


def serves(words: Sequence[str]) -> bool:
    """Whether these words ask for one of its servers, or to pause, be it by a shell."""
    words = _unwrapped(words)
    return words[:1] == (PROGRAM,) and words[1:2] != () and words[1] in _SERVERS


def _unwrapped(words: Sequence[str]) -> tuple[str, ...]:
    """What a shell runs whose one line is agnhost's words, as in the suite of network-policy-api; all else as it is.

    A line that has more for a shell to do is a script, which is run.
    """
    own = tuple(words)
    if len(own) != 3 or own[0].rpartition("/")[2] not in _SHELLS or own[1] != "-c":
        return own
    line = own[2].strip()
    if _SCRIPT.search(_VARIABLE.sub("", line)):
        return own
    found = tuple(line.removeprefix("exec ").split())
    return found if found[:1] == (PROGRAM,) else own


def liveness(_: ImageArguments) -> Sockets:
    return {("TCP", 8080): Speech("liveness", timed=True)}


def _netexec(flags: Mapping[str, str], _: Mapping[str, str]) -> Sockets:
    override = flags.get("http-override", "")
    found = {
        ("TCP", number(flags.get("http-port", ""), 8080)): Speech("netexec", _given(override=override)),
    }
    if flags.get("udp-port") != "-1":
        found["UDP", number(flags.get("udp-port", ""), 8081)] = Speech("netexec")
    return found


def _serve_hostname(flags: Mapping[str, str], _: Mapping[str, str]) -> Sockets:
    port = number(flags.get("port", ""), 9376)
    raw = {proto: is_true(flags.get(proto, "")) for proto in ("tcp", "udp")}
    if any(raw.values()):
        found = {("UDP", port): Speech("hostname")} if raw["udp"] else {}
        return {**found, ("TCP", port): Speech("hostname-raw")} if raw["tcp"] else found
    close = "true" if is_true(flags.get("close", "")) else ""
    return {("TCP", port): Speech("hostname", _given(close=close))}


def _porter(flags: Mapping[str, str], env: Mapping[str, str]) -> Sockets:
    found: dict[tuple[str, int], Speech] = {}
    as_json = "true" if is_true(flags.get("json-response", "")) else ""
    for name, value in env.items():
        for prefix, protocol in _PREFIXES.items():
            port = number(name.removeprefix(prefix), 0) if name.startswith(prefix) else 0
            if port:
                found[protocol, port] = Speech("text", {"text": value, **_given(json=as_json)})
    return found


_PREFIXES = {
    "SERVE_PORT_": "TCP",
    "SERVE_TCP_PORT_": "TCP",
    "SERVE_TLS_PORT_": "TCP",
    "SERVE_UDP_PORT_": "UDP",
}


def _http_echo(flags: Mapping[str, str], _: Mapping[str, str]) -> Sockets:
    port = number(flags.get("port", ""), 8080)
    return {("TCP", port): Speech("echo-basic", {"port": str(port), "plain": "true"})}


def _given(**values: str) -> dict[str, str]:
    return {name: value for name, value in values.items() if value}


_SERVERS: Mapping[str, Callable[[Mapping[str, str], Mapping[str, str]], Sockets]] = {
    "http-echo": _http_echo,
    "liveness": lambda *_: {("TCP", 8080): Speech("liveness", timed=True)},
    "netexec": _netexec,
    "pause": lambda *_: {},
    "porter": _porter,
    "serve-hostname": _serve_hostname,
}
