"""agnhost, as far as it is run beside a container's own program: kubernetes/kubernetes, test/images/agnhost.

`connect` tells by one word on its standard error what became of a connection: TIMEOUT, REFUSED, DNS, OTHER, or UNKNOWN
where it was asked wrongly.
"""

import os
import re
import signal
import socket
import stat
import sys
import time
from collections.abc import Callable

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


def mount_test(words: list[str]) -> int:
    """Makes files and tells about them, in this order whatever the order of the words."""
    flags, _ = _read(words)
    os.umask(0)
    failed = 0
    for name, do in _MOUNT_TESTS.items():
        if flags.get(name):
            try:
                do(flags[name])
            except OSError as error:
                print(f"error reading {flags[name]}: {(error.strerror or str(error)).lower()}")
                failed = 1
    path = flags.get("file_content_in_loop")
    if path:
        failed |= _read_on(
            path, int(flags.get("retry_time", "180")), flags.get("break_on_expected_content") != "false"
        )
    return failed


def _file_system(path: str) -> None:
    """What is mounted there, by the longest mount point above it."""
    path = os.path.realpath(path)
    with open("/proc/self/mounts") as file:
        mounts = [line.split()[1:3] for line in file]
    over = [
        (point, kind) for point, kind in mounts if path == point or path.startswith(point.rstrip("/") + "/")
    ]
    print(f'mount type of "{path}": {max(over, key=lambda one: len(one[0]))[1] if over else "unknown"}')


def _made(permissions: int) -> Callable[[str], None]:
    def make(path: str) -> None:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, permissions)
        with open(fd, "w") as file:
            file.write(_CONTENT)
        _content(path)

    return make


def _content(path: str) -> None:
    with open(path, errors="replace") as file:
        print(f'content of file "{path}": {file.read()}')


def _mode(path: str) -> None:
    print(f'mode of file "{path}": {_as_go(os.lstat(path).st_mode)}')


def _permissions(path: str) -> None:
    print(f'perms of file "{path}": {_as_go(os.lstat(path).st_mode & 0o777)}')


def _owner(path: str) -> None:
    found = os.lstat(path)
    print(f'owner UID of "{path}": {found.st_uid}\nowner GID of "{path}": {found.st_gid}')


def _as_go(mode: int) -> str:
    """A mode as Go's FileMode prints itself."""
    kind = "d" if stat.S_ISDIR(mode) else "L" if stat.S_ISLNK(mode) else ""
    bits = ((stat.S_ISUID, "u"), (stat.S_ISGID, "g"), (stat.S_ISVTX, "t"))
    first = kind + "".join(letter for bit, letter in bits if mode & bit)
    return (first or "-") + stat.filemode(mode & 0o777)[1:]


def _read_on(path: str, seconds: int, until_expected: bool) -> int:
    """Says every two seconds what is in a file; until that is what `new_file_0644` writes, if it is to end then."""
    end, failed = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        failed = 0
        try:
            with open(path, errors="replace") as file:
                content = file.read()
            print(f'content of file "{path}": {content}', flush=True)
            if until_expected and content == _CONTENT:
                return 0
        except OSError as error:
            print(f"Error reading file {path}: {error.strerror}, retrying", flush=True)
            failed = 1
        time.sleep(2)
    return failed


_CONTENT = "mount-tester new file\n"
_MOUNT_TESTS: dict[str, Callable[[str], None]] = {
    "fs_type": _file_system,
    "new_file_0644": _made(0o644),
    "new_file_0666": _made(0o666),
    "new_file_0660": _made(0o660),
    "new_file_0777": _made(0o777),
    "file_mode": _mode,
    "file_perm": _permissions,
    "file_owner": _owner,
    "file_content": _content,
}


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
    "mounttest": mount_test,
    "pause": pause,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
