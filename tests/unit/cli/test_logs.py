"""Whose logs `emulab logs` shows, and what it says of its choice, in kubectl's words."""

from __future__ import annotations

import struct
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from lab_in_process import Client, connected
from lab_objects import obj

from emulab.cli import main
from emulab.cli.logends import ContainerOf, LogEnds
from emulab.cluster.store import Store
from emulab.errors import UserError
from emulab.lab.client.logfiles import FollowedLog, Wanted, has_previous, limited
from emulab.servers.logs.marks import marks_name


@pytest.fixture(autouse=True)
def lab(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EMULAB_RUN_DIR", str(tmp_path / "run"))
    monkeypatch.delenv("EMULAB_LAB", raising=False)
    store = connected(monkeypatch, "logs")
    ask = Client.request

    def request(self: Client, op: str, on_progress: Any = None, **arguments: Any) -> Any:
        """The lab's logs, each of twelve lines that say whose it is."""
        if op != "logs":
            return ask(self, op, on_progress, **arguments)
        target, container = arguments["target"].removeprefix("pod/"), arguments["container"]
        if target == "nix":
            raise UserError("nix: no such place")
        path = tmp_path / f"{target}.{container}"
        path.write_text("".join(f"{target} {container} {number}\n" for number in range(12)))
        return str(path)

    monkeypatch.setattr(Client, "request", request)
    labels = {"app": "web"}
    many = {"containers": [{"name": "main"}, {"name": "side"}], "initContainers": [{"name": "first"}]}
    for name, spec in (("web-1", many), ("web-2", {"containers": [{"name": "main"}]})):
        store.put(obj("Pod", name, metadata={"labels": labels}).replace(spec=spec))
    store.put(obj("Deployment", "web").replace(spec={"selector": {"matchLabels": labels}, "template": {}}))


@pytest.mark.parametrize(
    ("words", "whose", "said"),
    [
        (["web-2"], ["web-2 main"], ""),
        (["pod/web-1"], ["web-1 main"], 'Defaulted container "main" out of: main, side, first (init)\n'),
        (["web-1", "-c", "side"], ["web-1 side"], ""),
        (["web-1", "side"], ["web-1 side"], ""),
        (["web-1", "--all-containers"], ["web-1 first", "web-1 main", "web-1 side"], ""),
        (["deploy/web", "-c", "main"], ["web-1 main"], "Found 2 pods, using pod/web-1\n"),
        (
            ["deploy/web", "-c", "main", "--all-pods"],
            ["[pod/web-1/main] web-1 main", "[pod/web-2/main] web-2 main"],
            "",
        ),
        (["-l", "app=web", "-c", "main", "--tail=-1"], ["web-1 main", "web-2 main"], ""),
        (["-l", "app=web", "-c", "main"], ["web-1 main", "web-2 main"], ""),
        (["-l", "app=db"], [], "No resources found in default namespace.\n"),
        (["public-lb"], ["public-lb "], ""),
    ],
)
def test_whose(words: list[str], whose: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["logs", *words]) == 0
    out, err = capsys.readouterr()
    lines = [line.rpartition(" ")[0] for line in out.splitlines()]
    assert (list(dict.fromkeys(lines)), err) == (whose, said)
    assert len(lines) == len(whose) * (10 if "-l" in words and "--tail=-1" not in words else 12)


def test_lines_say_whose_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["logs", "web-1", "-c", "side", "--tail", "1", "--prefix"]) == 0
    assert main(["logs", "dns", "--tail", "1", "--prefix"]) == 0
    assert capsys.readouterr().out == "[pod/web-1/side] web-1 side 11\n[dns] dns  11\n"


@pytest.mark.parametrize(
    ("words", "status", "error"),
    [
        ([], 2, "expected 'logs POD', 'logs KIND/NAME' or 'logs --selector LABELS'"),
        (["web-1", "-l", "a=b"], 2, "only a selector (-l) or a POD name is allowed"),
        (["web-1", "main", "-c", "side"], 2, "only one of -c or an inline [CONTAINER] arg is allowed"),
        (
            ["-l", "app=web", "-f", "--all-containers", "--max-log-requests=3"],
            2,
            "you are attempting to follow 4 log streams, but maximum allowed concurrency is 3, use "
            "--max-log-requests to increase the limit",
        ),
        (
            ["web-1", "-c", "main", "--all-containers"],
            2,
            "--all-containers=true should not be specified with container name main",
        ),
        (["nix"], 1, "nix: no such place"),
        (["cm/x"], 2, "cm/x: a ConfigMap has no pods; write POD, deploy/NAME or svc/NAME"),
    ],
)
def test_what_has_no_logs(
    words: list[str], status: int, error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["logs", *words]) == status
    assert capsys.readouterr().err == f"emulab: {error}\n"


def test_following_ends_with_a_container_that_has_ended_and_with_a_pod_that_is_gone() -> None:
    store = Store()
    begins = obj("Pod", "p", spec={"containers": [{"name": "a"}, {"name": "b"}]})
    uid = store.put(begins).metadata["uid"]
    one, other = ContainerOf("p", uid, "a"), ContainerOf("p", uid, "b")

    def ended() -> set[ContainerOf]:
        return LogEnds(Client(store), "default").among([one, other])  # type: ignore[arg-type]

    assert ended() == set()
    states = [{"name": "a", "state": {"terminated": {}}}, {"name": "b", "state": {"waiting": {}}}]
    store.put_status(begins.key, {"phase": "Running", "containerStatuses": states})
    assert ended() == {one}
    store.put_status(begins.key, {"phase": "Succeeded"})
    assert ended() == {one, other}
    store.remove(begins.key)
    store.put(begins)  # another one of that name
    assert ended() == {one, other}


def test_prefixes_stand_before_whole_lines(tmp_path: Path) -> None:
    path, said = tmp_path / "log", []
    log = FollowedLog(path, Wanted(), said.append, "> ")
    assert log.follow()
    path.write_bytes(b"one\ntw")
    assert log.follow()
    with path.open("ab") as more:
        more.write(b"o\n")
    assert log.follow()
    path.unlink()
    assert not log.follow()
    log.close()
    assert b"".join(said) == b"> one\n> two\n"


SECOND = 1_000_000_000


def written(path: Path, *parts: tuple[int, str, bool]) -> None:
    """A log of which each part came at that second, some of them the first words of a life."""
    text, marks = b"", b""
    for second, part, begins in parts:
        marks += struct.pack("<QQ", len(text) | (begins << 63), second * SECOND)
        text += part.encode()
    path.write_bytes(text)
    path.with_name(marks_name(path.name)).write_bytes(marks)


def told(path: Path, **wanted: Any) -> str:
    said: list[bytes] = []
    log = FollowedLog(path, Wanted(**wanted), said.append)
    log.copy()
    log.close()
    return b"".join(said).decode()


LIVES = [(10, "a\n", True), (11, "b\nc", False), (12, "c\n", False), (20, "d\n", True), (21, "e\n", False)]


WANTED: list[tuple[dict[str, Any], str]] = [
    ({}, "a b cc d e"),
    ({"lives": True}, "d e"),
    ({"lives": True, "previous": True}, "a b cc"),
    ({"lives": True, "previous": True, "tail": 2}, "b cc"),
    ({"lives": True, "previous": True, "tail": 9}, "a b cc"),
    ({"tail": 1}, "e"),
    ({"tail": 0}, ""),
    ({"since": 11 * SECOND}, "b cc d e"),
    ({"since": 12 * SECOND}, "d e"),  # a line came when its first letter did
    ({"since": 12 * SECOND, "tail": 1}, "e"),
    ({"since": 30 * SECOND}, ""),
    ({"lives": True, "since": 0}, "d e"),
    ({"lives": True, "previous": True, "since": 30 * SECOND}, ""),
]


@pytest.mark.parametrize(("wanted", "lines"), WANTED)
def test_what_of_a_log_is_wanted(wanted: dict[str, Any], lines: str, tmp_path: Path) -> None:
    written(tmp_path / "log", *LIVES)
    assert told(tmp_path / "log", **wanted).split() == lines.split()


@pytest.mark.parametrize(("wanted", "lines"), WANTED)
@pytest.mark.parametrize("cuts", [(1,), (3,), (4,), (1, 3), (3, 4)])
def test_it_is_found_in_older_files_too(
    cuts: tuple[int, ...], wanted: dict[str, Any], lines: str, tmp_path: Path
) -> None:
    parts = [LIVES[a:b] for a, b in pairwise((0, *cuts, len(LIVES)))]
    for number, part in enumerate(reversed(parts)):
        written(tmp_path / (f"log.{number}" if number else "log"), *part)
    assert told(tmp_path / "log", **wanted).split() == lines.split()
    stamped = told(tmp_path / "log", stamps=True)
    assert [(line[17:19], line[31:]) for line in stamped.splitlines()] == [
        ("10", "a"),
        ("11", "b"),
        ("11", "cc"),
        ("20", "d"),
        ("21", "e"),
    ]
    assert has_previous(tmp_path / "log")


def test_a_file_that_makes_room_while_it_is_opened_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "log").write_text("one\n")
    opened = Path.open

    def open_and_renew(path: Path, mode: str = "r") -> Any:
        file = opened(path, mode)
        if path.name == "log":
            path.rename(tmp_path / "log.1")
        return file

    monkeypatch.setattr(Path, "open", open_and_renew)
    assert told(tmp_path / "log") == "one\n"


def test_a_line_that_has_not_ended_is_told_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("one\ntwo")
    said: list[bytes] = []
    log = FollowedLog(tmp_path / "log", Wanted(stamps=True), limited(200, said.append), "> ")
    log.copy()
    log.close()
    lines = b"".join(said).decode().splitlines()
    assert [line.split(" ")[0::2] for line in lines] == [[">", "one"], [">", "two"]]
    log = FollowedLog(tmp_path / "log", Wanted(), limited(5, said.append))
    said.clear()
    log.copy()
    log.close()
    assert b"".join(said) == b"one\nt"


def test_lines_have_the_times_at_which_they_came(tmp_path: Path) -> None:
    written(tmp_path / "log", *LIVES)
    stamped = told(tmp_path / "log", stamps=True, tail=3).splitlines()
    assert stamped == [
        "1970-01-01T00:00:11.000000000Z cc",
        "1970-01-01T00:00:20.000000000Z d",
        "1970-01-01T00:00:21.000000000Z e",
    ]


def test_a_life_is_the_previous_one_although_its_beginning_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "log"
    written(path, (10, "rest\n", False), (20, "new\n", True))
    assert has_previous(path)
    assert told(path, lives=True, previous=True) == "rest\n" and told(path, lives=True) == "new\n"
    written(path, (10, "only\n", True))
    assert not has_previous(path) and not has_previous(tmp_path / "none")


@pytest.mark.parametrize(
    ("words", "status", "error"),
    [
        (["web-1", "-c", "main", "-p"], 1, 'Error from server (BadRequest): previous terminated container "main" in'
         ' pod "web-1" not found'),
        (["web-1", "-f", "-p"], 2, "emulab: only one of follow (-f) or previous (-p) is allowed"),
        (["web-1", "--since", "1s", "--since-time", "2026-11-28T23:35:37Z"], 2,
         "emulab: at most one of `sinceTime` or `sinceSeconds` may be specified"),
    ],
)  # fmt: skip
def test_what_is_refused(
    words: list[str], status: int, error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["logs", *words]) == status
    assert capsys.readouterr().err == f"{error}\n"
