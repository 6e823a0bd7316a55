"""Nothing that a terminal would obey gets out, and no value is another afterwards."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from emulab.cli.output.formats import document
from emulab.cli.output.outlet import Outlet
from emulab.cli.output.table import table
from emulab.observe.path import Failure
from emulab.observe.telling.escapes import as_json, cleaned, printable, visible

OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\x7f\u202etxt\r\x08"
TEXTS = st.text(st.characters() | st.sampled_from(EVIL + "\n\t\udcff"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", "^[[2J"),  # as kubectl
        ("a\rb", r"a\rb"),  # as kubectl
        ("\x07\x00\x7f", "^G^@^?"),
        ("\x9b", r"\x9b"),
        ("\u202e", r"\u202e"),
        ("\udcff", r"\xff"),
        ("schön → 日本\n\tx", "schön → 日本\n\tx"),
    ],
)
def test_how_control_characters_are_written(text: str, shown: str) -> None:
    assert visible(text) == shown
    assert printable(text) == shown.replace("\n", r"\n").replace("\t", r"\t")


@given(TEXTS)
def test_no_text_holds_what_a_terminal_obeys(text: str) -> None:
    assert not OBEYED.search(visible(text))
    assert not OBEYED.search(printable(text)) and "\n" not in printable(text)
    assert not OBEYED.search("".join(table(["A", "B"], [[text, "b"]])))


@given(TEXTS)
def test_documents_hold_the_same_values(text: str) -> None:
    for ascii_only in (True, False):
        shown = as_json({text: [text]}, indent=2, ascii_only=ascii_only)
        assert not OBEYED.search(shown) and json.loads(shown) == {text: [text]}


@given(st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(EVIL + "\n\t\x85")))
def test_yaml_holds_the_same_values(text: str) -> None:
    shown = document({"a": [text]}, "yaml")
    assert not OBEYED.search(shown) and yaml.safe_load(shown) == {"a": [text]}


def test_a_table_keeps_its_columns() -> None:
    """kubectl's printer shows the first line of a cell and three dots."""
    assert table(["A", "B"], [["one\ntwo", "x\x1b"], ["1", "2"]]).splitlines() == [
        "A        B",
        "one...   x^[",
        "1        2",
    ]


def test_records_are_cleaned_through() -> None:
    failure = Failure("client", "refused", EVIL, "check\nit", object=EVIL)
    found = cleaned([failure, failure])
    assert found[0] is found[1] and found[0].remedy == "check\nit"
    assert not OBEYED.search(found[0].text + found[0].object)


def test_bytes_pass_as_they_are() -> None:
    below = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    outlet = Outlet(below, needed=True)
    outlet.buffer.write(EVIL.encode())
    outlet.buffer.flush()
    assert below.buffer.getvalue() == EVIL.encode()  # type: ignore[attr-defined]


MANIFEST = r"""
apiVersion: v1
kind: Pod
metadata:
  name: web
  labels: {app: web}
  annotations: {evil: "\e]0;owned\a\e[2J\x9b31m\x7f\u202e\r"}
spec:
  containers:
    - name: c
      image: "x\e]0;owned\a\u009b31m\x7f"
      command: [sleep, "\e[2J\x85"]
      env: [{name: A, value: "\e]0;owned\a"}]
      ports: [{containerPort: 80}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web, annotations: {nginx.ingress.kubernetes.io/rewrite-target: "/\e[2J\u202e"}}
spec:
  rules:
    - host: evil.example.com
      http:
        paths:
          - path: "/\e]0;owned\a\x9b"
            pathType: ImplementationSpecific
            backend: {service: {name: web, port: {number: 80}}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
"""


def at_terminal(*arguments: str) -> tuple[int, str]:
    """A command's status and all that it sends to the terminal which is its input, output and error."""
    controller, terminal = pty.openpty()
    command = [sys.executable, "-m", "emulab", *arguments]
    with subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal) as process:
        os.close(terminal)
        seen = b""
        while True:
            try:
                seen += (chunk := os.read(controller, 1 << 16))
            except OSError:  # EIO: nobody has the terminal any more
                break
            if not chunk:
                break
    os.close(controller)
    return process.returncode, seen.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("form", [[], ["-o", "json"]])
def test_a_plan_commands_no_terminal(form: list[str], tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text(MANIFEST)
    status, seen = at_terminal("plan", *form, str(tmp_path / "web.yaml"))
    assert status == 0 and "owned" in seen
    assert not OBEYED.search(seen)


@pytest.mark.parametrize(
    "text",
    [
        'apiVersion: v1\nkind: "\\e]0;owned\\a"\nmetadata: {name: x}\n',
        'apiVersion: v1\nkind: Pod\nmetadata: {name: "\\e]0;owned\\a"}\nspec: {containers: [{name: c}]}\n',
        'apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {"\\e]0;owned\\a\\x9b": [], containers: 1}\n',
        "a: *\u202eowned\n",
        'a: !<\x85owned> "x"\n',
        '%YAML 1.1\n--- "\\qowned"\n',
        "owned: \x1b\n",
    ],
)
def test_an_error_commands_no_terminal(text: str, tmp_path: Path) -> None:
    """Neither by the value that it quotes nor by the name of the file, and stays a line a problem."""
    folder = tmp_path / "\x1b]0;owned\x07\n\u202e"
    folder.mkdir()
    (folder / "a.yaml").write_text(text)
    status, seen = at_terminal("plan", str(folder))
    assert status == 1 and seen.startswith(f"emulab: {tmp_path}/^[]0;owned^G\\n\\u202e/a.yaml:")
    assert not OBEYED.search(seen)
    assert all(re.match(rf"(emulab: )?{re.escape(str(tmp_path))}", line) for line in seen.splitlines())


def test_arguments_are_quoted_without_commands_too() -> None:
    for words in (
        ["\x1b]0;owned\x07"],
        ["get", "\x1b[2J\x9b"],
        ["-l", "\x1b[2J", "labs"],
        ["plan", "--\x1b[2J"],
    ):
        status, seen = at_terminal(*words)
        assert status != 0 and seen and not OBEYED.search(seen), words
