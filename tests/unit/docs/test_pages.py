"""What scripts/pages makes of a page: its steps, and what has the form of what is shown."""

from __future__ import annotations

import re
import shlex
import sys
from importlib import import_module
from pathlib import Path

import pytest

from emulab.cli import VERBS
from emulab.cli.usage import VerbParser, add_lab

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "scripts"))

from pages.blocks import Command, File, blocks, steps
from pages.forms import difference, form
from pages.walk import fault

PAGE = """
Some words.

```yaml
# web.yaml
kind: Pod
```

```console
$ emulab up \\
    web.yaml
lab default is up

Try:
  emulab down
$ emulab exec node1 -- true
$ cat <<'EOF' | emulab apply -f -
kind: Service
EOF
service/web created
```

<!-- not run: it needs Docker -->
```console
$ docker run emulab
```

```yaml
kind: Fragment
```
"""


def test_steps() -> None:
    assert list(steps(PAGE)) == [
        File("web.yaml", "# web.yaml\nkind: Pod\n"),
        Command("emulab up web.yaml", "lab default is up\n\nTry:\n  emulab down", 10),
        Command("emulab exec node1 -- true", "", 16),
        Command("cat <<'EOF' | emulab apply -f -\nkind: Service\nEOF", "service/web created", 17),
    ]


def test_what_is_not_run_says_why() -> None:
    assert [block.not_run for block in blocks(PAGE)] == ["", "", "it needs Docker", ""]


def test_a_block_of_commands_begins_with_one() -> None:
    with pytest.raises(ValueError, match="line 2: a block of commands begins with one"):
        list(steps("```console\nemulab up\n```\n"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("product-hdvnlsjrnv-kqbh4   10.244.2.3", "product-hdvnlsjrnv-wgl6h 10.244.1.14"),
        ("service/web   ClusterIP   10.104.128.166", "service/web ClusterIP 10.99.1.2"),
        ("all ready after 0.5 s", "all ready after 12.1 s"),
        ("AGE\n3s", "AGE\n2m10s"),
        ("in 2.584 ms", "in 773.3 µs"),
        ("NODE\nnode1", "NODE\nnode2"),
        ("10.0.0.10:42992 → 10.0.0.11:30728", "10.0.0.10:33333 → 10.0.0.12:32001"),
        ("dev veth357ab3d1d2b", "dev vethaaa32897356"),
        ('["5652ad4a3c8c601d336de0260bad87e6"]', '["00000000000000000000000000000000"]'),
        ("[28/Nov/2026:23:35:37 +0000]", "[01/Jan/2027:00:00:01 +0100]"),
        ("Created:  2026-11-28T23:35:36Z", "Created: 2027-01-01T00:00:00Z"),
        ("a line that\n    goes on", "a line that goes on"),
        ("shop.example.com.\t30\tIN\tA\t203.0.113.10", "shop.example.com. 7 IN A 203.0.113.10"),
        ("ingress-nginx.in…4czrpbs9p-mpwvb 0.46 ms", "ingress-nginx…zrpbs9p-xxxxx 0.01 ms"),
    ],
)
def test_the_same_form(one: str, other: str) -> None:
    assert form(one) == form(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("203.0.113.10", "203.0.113.11"),
        ("HTTP 200", "HTTP 404"),
        ("3/3", "2/3"),
        ("10.96.0.10", "10.96.0.1"),
        ("client → router", "client → dns"),
        ("service/web created", "service/web configured"),
        ("port 80", "port 8080"),
    ],
)
def test_another_form(one: str, other: str) -> None:
    assert form(one) != form(other)


@pytest.mark.parametrize(
    ("shown", "printed", "wrong"),
    [
        ("a b", "a  b\n", False),
        ("a b", "a b c", True),
        ("a …", "a b c", False),
        ("a … c", "a b c", False),
        ("a … d", "a b c", True),
        ("…\nc", "a b c", False),
        ("…\nb", "a b c", True),
        ("a … b … b", "a b c", True),
        ("", "a", True),
    ],
)
def test_what_is_left_out(shown: str, printed: str, wrong: bool) -> None:
    assert bool(difference(shown, printed)) is wrong


@pytest.mark.parametrize(
    ("shown", "status", "printed", "wrong"),
    [
        ("lab default is up", 0, "lab default is up\n", ""),
        ("lab default is up", 1, "emulab: no\n", "its status is 1"),
        ("", 0, "", ""),
        ("…", 0, "Traceback (most recent call last):\n", "it ends in a traceback"),
        ("…\nFAILED at router: no route", 1, "x\nFAILED at router: no route\n", ""),
        ("pod a → pod b port 80/tcp: denied", 1, "pod a → pod b port 80/tcp: denied\n", ""),
        ("emulab: no lab", 0, "emulab: no lab\n", "its status is 0"),
    ],
)
def test_faults(shown: str, status: int, printed: str, wrong: str) -> None:
    assert fault(Command("emulab", shown, 1), status, printed) == wrong


def test_what_a_page_must_say() -> None:
    assert fault(Command("emulab labs", "", 1), 0, "NAME\n") == "expected no more, and found 'NAME'"
    told = "after 'lab default is', expected 'up' and found 'down'"
    assert fault(Command("emulab up", "lab default is up", 1), 0, "lab default is down\n") == told


ROOT = Path(__file__).resolve().parents[3]
ALL = (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")))
NOT_RUN = {
    "README.md": "scripts/demo and scripts/test install packages; scripts/test-bare runs both",
    "cni.md": "ip makes a namespace of this machine's; the tests of the plug-in make theirs otherwise",
    "contributing.md": "it runs the tests, of which this is one",
    "images.md": "it needs Docker",
    "manifests.md": "a lab of an ordinary user has limits where cgroups are delegated to that user",
    "plugins.md": "no ordinary user may load BPF programs",
}
"""The blocks that no test runs, by page, and why. Each has to be worth it."""


def test_what_no_test_runs() -> None:
    found = [(p.name, block.not_run) for p in ALL for block in blocks(p.read_text()) if block.not_run]
    assert found == [*NOT_RUN.items()]


def test_commands_stand_in_blocks_that_are_run() -> None:
    for page in ALL:
        for block in blocks(page.read_text()):
            assert block.language in ("console", "yaml", "python"), f"{page.name}:{block.line}"
        indented = re.findall(
            r"(?m)^    (?:\$ )?emulab .*", re.sub(r"(?ms)^```.*?^```", "", page.read_text())
        )
        assert not indented, page.name


def spans() -> list[tuple[str, str]]:
    """Whole command lines within sentences and tables, with their pages."""
    return [
        (page.name, span)
        for page in ALL
        for span in re.findall(r"`(emulab [^`]+)`", re.sub(r"(?ms)^```.*?^```", "", page.read_text()))
        if "…" not in span
    ]


@pytest.mark.parametrize(
    ("page", "line"), [pytest.param(*span, id=span[1]) for span in dict.fromkeys(spans())]
)
def test_a_command_within_a_sentence_is_one(page: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(re.sub(r"\\?\|.*|[<>].*", "", line), comments=True)[1:]
    words = words[: words.index("--")] if "--" in words else words
    verb = next((word for word in words if word in VERBS), None)
    assert verb or line in ("emulab COMMAND --help", "emulab COMMAND"), f"{page}: {line}"
    if verb and len(words) > 1:
        parser = VerbParser(prog=verb)
        add_lab(parser, None)
        import_module(f"emulab.cli.verbs.{verb.replace('-', '_')}").configure(parser)
        _, unknown = parser.parse_known_args(words[words.index(verb) + 1 :])
        assert not unknown, f"{page}: {line}"


def test_the_index_has_every_page() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    assert [p.name for p in ALL[1:] if f"]({p.name})" not in index and p.name != "README.md"] == []


def test_every_link_leads_somewhere() -> None:
    for page in ALL:
        for link in re.findall(r"\]\(([^)#]+)(?:#[\w-]+)?\)", page.read_text()):
            assert link.startswith("https://") or (page.parent / link).exists(), f"{page.name}: {link}"


def test_the_readme_is_a_start_page() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150
