"""`emulab trace`: its arguments, what it prints where, and its exit status. The tracing itself is stood in for."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path as FilePath
from types import ModuleType
from typing import Any

import pytest
from trace_paths import refused, shop

from emulab.cli import main
from emulab.errors import UserError
from emulab.observe.path import Path

URL = "http://shop.example.com/products/42"


class Tracing:
    """Stands in for `emulab.trace.tracing`: remembers what it was asked, and answers with a path or an error."""

    def __init__(self) -> None:
        self.answer: Callable[[], Path] = shop
        self.calls: list[tuple[str, str, dict[str, Any]]] = []

    async def trace(self, lab: str, url: str, **options: Any) -> Path:
        self.calls.append((lab, url, options))
        if options["pcap"]:
            options["pcap"].write_bytes(b"frames")
        return self.answer()


@pytest.fixture
def tracing(monkeypatch: pytest.MonkeyPatch, tmp_path: FilePath) -> Tracing:
    stub, module = Tracing(), ModuleType("emulab.trace.tracing")
    module.trace = stub.trace  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "emulab.trace.tracing", module)
    monkeypatch.setenv("EMULAB_RUN_DIR", str(tmp_path / "run"))
    monkeypatch.delenv("EMULAB_LAB", raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    return stub


def status(*argv: str) -> int | str | None:
    try:
        return main(["trace", *argv])
    except SystemExit as end:
        return end.code


def failing() -> Path:
    raise UserError("office: no such place")


def test_what_is_not_said_has_the_defaults(tracing: Tracing) -> None:
    assert status(URL) == 0
    assert tracing.calls == [
        (
            "default",
            URL,
            {
                "source": "client",
                "namespace": "default",
                "method": "GET",
                "headers": {},
                "every_packet": False,
                "timeout": 5.0,
                "verify": True,
                "http2": False,
                "pcap": None,
            },
        )
    ]


def test_everything_that_is_said_arrives(tracing: Tracing, tmp_path: FilePath) -> None:
    file = tmp_path / "x.pcapng"
    arguments = ["-l", "two", "--from", "deploy/web", "-n", "shop", "-X", "PATCH", "-H", "Host: a.b"]
    arguments += [
        "-H",
        "X-A:1",
        "-H",
        "x-a: 2",
        "--http2",
        "--all",
        "-k",
        "--timeout",
        "500ms",
        "--pcap",
        str(file),
        "https://x",
    ]
    assert status(*arguments) == 0
    assert tracing.calls == [
        (
            "two",
            "https://x",
            {
                "source": "deploy/web",
                "namespace": "shop",
                "method": "PATCH",
                "headers": {"Host": "a.b", "X-A": "1, 2"},
                "every_packet": True,
                "timeout": 0.5,
                "verify": False,
                "http2": True,
                "pcap": file,
            },
        )
    ]


def test_a_pipe_gets_a_plain_ladder_of_100_columns(
    tracing: Tracing, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    assert status(URL) == 0
    out, err = capsys.readouterr()
    assert err == "" and "\x1b" not in out
    assert out.startswith(f"GET {URL} from client: 200 in 1.479 ms\n")
    assert 90 < max(map(len, out.splitlines())) <= 100


def test_all_packets_are_shown_when_asked(tracing: Tracing, capsys: pytest.CaptureFixture[str]) -> None:
    assert status("--all", URL) == 0
    assert "same way" not in capsys.readouterr().out


def test_json_is_one_document(tracing: Tracing, capsys: pytest.CaptureFixture[str]) -> None:
    assert status("-o", "json", URL) == 0
    out = capsys.readouterr().out
    assert json.loads(out) == json.loads(json.dumps(shop().to_json()))
    assert "→" in out and out.startswith('{\n  "request"')


def test_mermaid_is_a_diagram(tracing: Tracing, capsys: pytest.CaptureFixture[str]) -> None:
    assert status("-o", "mermaid", URL) == 0
    assert capsys.readouterr().out.startswith("sequenceDiagram\n    title GET http://")


@pytest.mark.parametrize("output", [[], ["-o", "json"], ["-o", "mermaid"]])
def test_a_failed_request_is_shown_and_exits_1(
    output: list[str], tracing: Tracing, capsys: pytest.CaptureFixture[str]
) -> None:
    tracing.answer = refused
    assert status(*output, "10.0.0.11:30090") == 1
    out, err = capsys.readouterr()
    assert "no ready endpoint" in out
    assert err == (
        "emulab: trace: node1 dropped the connection: Service app/web has no ready endpoint; make a pod that "
        "its selector (app=web) matches ready: emulab -l default get pods -n app\n"
    )


def test_plain_tcp_has_no_method(tracing: Tracing, capsys: pytest.CaptureFixture[str]) -> None:
    tracing.answer = refused
    status("10.0.0.11:30090")
    assert capsys.readouterr().out.startswith("10.0.0.11:30090 from office")


def test_an_error_is_one_line(
    tracing: Tracing, capsys: pytest.CaptureFixture[str], tmp_path: FilePath
) -> None:
    tracing.answer = failing
    file, old = tmp_path / "new.pcapng", tmp_path / "old.pcapng"
    old.write_bytes(b"old")
    assert status("--from", "office", URL) == 1
    assert capsys.readouterr() == ("", "emulab: office: no such place\n")
    assert status("--pcap", str(file), URL) == 1
    assert status("--pcap", str(old), URL) == 1
    assert not file.exists() and old.exists()


@pytest.mark.parametrize("name", ["missing/x.pcapng", "."])
def test_a_file_that_cannot_be_written_stops_it_before_any_packet(
    name: str, tracing: Tracing, capsys: pytest.CaptureFixture[str], tmp_path: FilePath
) -> None:
    file = tmp_path / name
    assert status("--pcap", str(file), URL) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"emulab: --pcap {file}: can't be written: ")
    assert err.count("\n") == 1 and tracing.calls == []


def test_a_disk_that_is_full_is_one_line(tracing: Tracing, capsys: pytest.CaptureFixture[str]) -> None:
    assert status("--pcap", "/dev/full", URL) == 1
    assert capsys.readouterr().err == "emulab: --pcap /dev/full: can't be written: No space left on device\n"


@pytest.mark.parametrize(
    "argv",
    [
        (),
        (URL, "extra"),
        ("-o", "yaml", URL),
        ("-H", "no colon", URL),
        ("-H", ": nameless", URL),
        ("-H", "two words: x", URL),
        ("-H", "X: a\r\nY: b", URL),
        ("-X", "GE T", URL),
        ("-X", "GET\r\n", URL),
        ("-X", "", "-H", "x", URL),
        ("-X", "POST", "shop:80"),
        ("-H", "A: b", "shop:80/udp"),
        ("--timeout", "soon", URL),
        ("--timeout", "0", URL),
        ("--pcap", "-", URL),
        ("--pcap", "", URL),
        ("ftp://shop",),
        ("shop:",),
        ("shop/udp",),
        ("tcp://shop",),
        ("shop:65536",),
        ("",),
    ],
)
def test_wrong_usage_exits_2_and_sends_nothing(
    argv: tuple[str, ...], tracing: Tracing, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(*argv) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("emulab") and tracing.calls == []


def test_a_terminal_that_is_no_utf_8_gets_other_arrows(
    tracing: Tracing, monkeypatch: pytest.MonkeyPatch
) -> None:
    for encoding, arguments in (("ascii", []), ("latin-1", ["-o", "mermaid"]), ("ascii", ["-o", "json"])):
        written = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
        assert status(*arguments, URL) == 0
        text = written.getvalue().decode(encoding)
        if arguments == []:
            assert "client > router > public-lb" in text and "us" in text and "?" in text  # DNS A?
            assert max(map(len, text.splitlines())) <= 100
        elif arguments[-1] == "json":
            assert json.loads(text) == json.loads(json.dumps(shop().to_json()))


SCRIPT = """
import sys
from types import ModuleType
sys.path.insert(0, {folder!r})
import trace_paths
module = ModuleType("emulab.trace.tracing")
async def trace(*_, **__): return trace_paths.shop()
module.trace = trace
sys.modules["emulab.trace.tracing"] = module
from emulab.cli import main
sys.exit(main(["trace", {url!r}]))
"""


@pytest.mark.parametrize(
    ("columns", "more", "coloured", "widest"),
    [
        ("200", {}, True, 100),
        ("70", {}, True, 70),
        ("20", {}, True, 60),
        ("200", {"NO_COLOR": "1"}, False, 100),
        ("200", {"TERM": "dumb"}, False, 100),
    ],
)
def test_a_terminal_gets_colour_and_its_own_width(
    columns: str, more: dict[str, str], coloured: bool, widest: int, tmp_path: FilePath
) -> None:
    main_end, terminal = pty.openpty()
    script = SCRIPT.format(folder=str(FilePath(__file__).parent), url=URL)
    environment = {k: v for k, v in os.environ.items() if k != "NO_COLOR"}
    environment |= {"COLUMNS": columns, "TERM": "xterm", "EMULAB_RUN_DIR": str(tmp_path), **more}
    with subprocess.Popen([sys.executable, "-c", script], stdout=terminal, env=environment) as process:
        os.close(terminal)
        read = b""
        try:
            while chunk := os.read(main_end, 1 << 16):
                read += chunk
        except OSError:  # Linux says EIO when the other end has closed
            pass
    os.close(main_end)
    assert process.returncode == 0
    text = read.decode()
    assert ("\x1b[" in text) is coloured
    if not coloured:
        assert widest - 10 < max(map(len, text.splitlines())) <= widest
    else:
        import re

        lines = re.sub(r"\x1b\[[\d;]*m", "", text).splitlines()
        assert widest - 10 < max(map(len, lines)) <= widest


def test_help_does_not_load_what_traces() -> None:
    code = (
        "import sys\nfrom emulab.cli import main\n"
        "try:\n    main(['trace', '--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = ('asyncio', 'rich', 'emulab.trace.tracing')\n"
        "print([m for m in heavy if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"
