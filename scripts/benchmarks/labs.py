"""Labs as users start them: whole commands, in a run directory that goes with them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 300  # seconds that one command may take


class Labs:
    """A run directory with images of its own, and the command line. On leaving, every lab in it is taken down."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="emulab-bench-"))
        self._images = Path(tempfile.mkdtemp(prefix="emulab-bench-images-"))
        self._environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("EMULAB_")},
            "EMULAB_RUN_DIR": str(self.folder),
            "EMULAB_IMAGE_DIR": str(self._images),
            "PYTHONPATH": str(ROOT),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.command("down", "--all")
        for folder in (self.folder, self._images):
            shutil.rmtree(folder, ignore_errors=True)

    def arguments(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "emulab", *arguments]

    def command(self, *arguments: str) -> tuple[float, str]:
        """Runs a command of emulab; its wall time and its output. Exits when it fails."""
        begun = time.perf_counter()
        done = subprocess.run(
            self.arguments(*arguments),
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )
        taken = time.perf_counter() - begun
        if done.returncode:
            self._keep_log(arguments)
            sys.exit(f"bench: emulab {' '.join(arguments)}: {done.stderr.strip()}")
        return taken, done.stdout

    def output(self, command: list[str]) -> list[float]:
        """The numbers that a program prints, run with this run directory. Exits when it fails."""
        done = subprocess.run(
            command,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )
        if done.returncode:
            sys.exit(f"bench: {' '.join(command)}: {done.stderr.strip()}")
        return [float(word) for word in done.stdout.split()]

    @contextmanager
    def talk(self, command: list[str]) -> Iterator[subprocess.Popen[str]]:
        """A program that runs for as long as the block, with pipes; the end of its input is to end it."""
        with subprocess.Popen(
            command, env=self._environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            yield process

    def summary(self, lab: str) -> dict[str, Any]:
        """What a running lab says of itself."""
        from emulab.lab.client.client import LabClient

        with LabClient(self.folder / lab) as client:
            result: dict[str, Any] = client.request("summary")
            return result

    def supervisor(self, lab: str) -> int:
        """The pid of a lab's supervisor."""
        return int(json.loads((self.folder / lab / "lab.json").read_text())["pid"])

    def proportional_memory(self, lab: str) -> int:
        """Kilobytes of all the lab's processes; what several share is divided among them (PSS)."""
        own = os.readlink(f"/proc/{self.supervisor(lab)}/ns/pid")
        total = 0
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and os.readlink(entry / "ns/pid") == own:
                    lines = (entry / "smaps_rollup").read_text().splitlines()
                    total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
            except OSError:
                continue  # it has just ended, or is somebody else's
        return total

    def write(self, name: str, text: str) -> str:
        """A manifest in the run directory; its path."""
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def _keep_log(self, arguments: tuple[str, ...]) -> None:
        for log in self.folder.glob("*/supervisor.log"):
            print(log.read_text()[-2000:], file=sys.stderr)


def isolated(*flags: str) -> list[str]:
    """The beginning of a command in a network namespace of its own, that ends with us."""
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", *user, "--net", *flags, "--kill-child", "--fork", "--"]


def manifest(pods: int, services: int, nodes: int) -> str:
    """Deployments of equal size with a Service each."""
    replicas = pods // services
    assert replicas * services == pods
    documents = [
        f"apiVersion: emulab.dev/v1\nkind: Cluster\nmetadata: {{name: bench}}\nspec: {{nodes: {nodes}}}\n"
    ]
    for i in range(services):
        labels = f"{{app: app{i}}}"
        container = "{name: web, image: 'bench/web:1', ports: [{containerPort: 8080}]}"
        documents.append(
            f"apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: app{i}}}\nspec:\n"
            f"  replicas: {replicas}\n  selector: {{matchLabels: {labels}}}\n"
            f"  template:\n    metadata: {{labels: {labels}}}\n    spec: {{containers: [{container}]}}\n"
        )
        documents.append(
            f"apiVersion: v1\nkind: Service\nmetadata: {{name: app{i}}}\n"
            f"spec: {{selector: {labels}, ports: [{{port: 80, targetPort: 8080}}]}}\n"
        )
    return "---\n".join(documents)
