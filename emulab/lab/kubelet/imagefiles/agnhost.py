"""agnhost, as far as it is run beside a container's own program: kubernetes/kubernetes, test/images/agnhost.

`connect` tells by one word on its standard error what became of a connection: TIMEOUT, REFUSED, DNS, OTHER, or UNKNOWN
where it was asked wrongly.
"""

import os
import re
import signal
import socket
import sys

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_KINDS = {
    "tcp": (socket.SOCK_STREAM, 0),
    "udp": (socket.SOCK_DGRAM, 0),
    "sctp": (socket.SOCK_STREAM, socket.IPPROTO_SCTP),
}


def main(words: list[str]) -> int:
    command = _COMMANDS.get(words[0] if words else "pause")
    if command is None:
        return _fail(
            f"agnhost: {words[0]} isn't run here: the stand-in of a container with these words plays it"
        )
    return command(words[1:])


def connect(words: list[str]) -> int:
    flags, operands = _read(words)
    if len(operands) != 1:
        return _fail(f"Error: accepts 1 arg(s), received {len(operands)}")
    protocol = flags.get("protocol") or "tcp"
    if protocol not in _KINDS:
        return _fail(f"Unsupported protocol\n{protocol}")
    timeout = _seconds(flags.get("timeout", "0"))
    if timeout is None:
        return _fail(f'Error: invalid argument "{flags["timeout"]}" for "--timeout" flag')
    address = re.fullmatch(r"(?:\[([^\]]*)\]|([^:]*)):(\d+)", operands[0])
    if address is None:
        why = "too many colons" if operands[0].count(":") > 1 else "missing port"
        return _fail(f"UNKNOWN: address {operands[0]}: {why} in address")
    host, port = address[1] or address[2] or "localhost", int(address[3])
    kind, number = _KINDS[protocol]
    try:
        family, *_, where = socket.getaddrinfo(host, port, type=kind, proto=number)[0]
    except socket.gaierror as error:
        return _fail(f"DNS: lookup {host}: {_NO_NAME.get(error.errno or 0, error.strerror or '')}")
    except (OverflowError, UnicodeError) as error:
        return _fail(f"DNS: lookup {host}: {error}")
    data = flags.get(f"{protocol}-data", "hostname")
    try:
        with socket.socket(family, kind, number) as sock:
            sock.settimeout(timeout or None)
            sock.connect(where)
            if protocol == "tcp":
                return 0
            sock.sendall(f"{data}\n".encode())
            if not sock.recv(1024):
                return _fail("OTHER: No data received from the server.")
            return 0
    except TimeoutError:
        return _fail("TIMEOUT")
    except ConnectionRefusedError:
        return _fail("REFUSED")
    except OSError as error:
        return _fail(
            f"OTHER: dial {protocol} {operands[0]}: connect: {os.strerror(error.errno or 0).lower()}"
        )


_NO_NAME: dict[int, str] = {
    socket.EAI_NONAME: "no such host",
    socket.EAI_NODATA: "no such host",
    socket.EAI_AGAIN: "server misbehaving",
}


def pause(_: list[str]) -> int:
    ending = {signal.SIGINT: 1, signal.SIGTERM: 2}
    signal.pthread_sigmask(signal.SIG_BLOCK, ending)
    print("Paused", flush=True)
    return ending[signal.Signals(signal.sigwait(ending))]


def print_arguments(_: list[str]) -> int:
    print(f"[{' '.join(sys.argv)}]")
    return 0


def dns_suffix(_: list[str]) -> int:
    print(",".join(word for line in _resolver("search") for word in line))
    return 0


def dns_server_list(_: list[str]) -> int:
    print(",".join(line[0] for line in _resolver("nameserver") if line))
    return 0


def etc_hosts(_: list[str]) -> int:
    with open("/etc/hosts") as file:
        print(file.read())
    return 0


def _resolver(keyword: str) -> list[list[str]]:
    with open("/etc/resolv.conf") as file:
        lines = [line.split() for line in file]
    return [line[1:] for line in lines if line[:1] == [keyword]]


def _read(words: list[str]) -> tuple[dict[str, str], list[str]]:
    """Flags with their values, and the other words."""
    flags: dict[str, str] = {}
    operands: list[str] = []
    rest = iter(words)
    for word in rest:
        name, equals, value = word.lstrip("-").partition("=")
        if word.startswith("-"):
            flags[name] = value if equals else next(rest, "")
        else:
            operands.append(word)
    return flags, operands


def _seconds(text: str) -> float | None:
    """The seconds of a time as Go has it, such as `1m30s`; None for what is none."""
    if text == "0":
        return 0.0
    parts = re.findall(r"(\d+(?:\.\d*)?)(ns|us|µs|ms|s|m|h)", text)
    whole = parts and "".join(number + unit for number, unit in parts) == text
    return sum(float(number) * _UNITS[unit] for number, unit in parts) if whole else None


def _fail(text: str) -> int:
    print(text, file=sys.stderr)
    return 1


_COMMANDS = {
    "connect": connect,
    "dns-server-list": dns_server_list,
    "dns-suffix": dns_suffix,
    "entrypoint-tester": print_arguments,
    "etc-hosts": etc_hosts,
    "pause": pause,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
