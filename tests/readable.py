"""A copy of the checkout that everybody can read, for what runs as another user.

An ordinary user can't look into a clone in /root, nor read what was cloned with umask 077. A right to read it all the
same (CAP_DAC_READ_SEARCH) is none in the user namespace of a lab, so there has to be a copy. Only who knows the copy's
name can look into it, as the folder around it doesn't tell.

    python tests/readable.py USER-ID    makes one if need be and prints where; it is the caller's to remove then

`EMULAB_TEST_CHECKOUT` names one that is there already: scripts/test makes one for all of its tests.
"""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PARTS = (".venv", "README.md", "docs", "emulab", "pyproject.toml", "scripts", "tests", "topologies")


@functools.cache
def checkout_for(uid: int) -> Path:
    """The checkout, or a copy of it until this process ends, in which this user can read everything."""
    if uid == os.geteuid() or is_readable(uid):
        return ROOT
    python = os.path.realpath(sys.executable)
    if not _finds_nothing(uid, "test", "-x", python):
        raise RuntimeError(
            f"user {uid} can't start {python}; scripts/setup makes .venv with a Python that everybody can"
        )
    given = os.environ.get("EMULAB_TEST_CHECKOUT")
    if given:
        return Path(given)
    copied = copy()
    atexit.register(shutil.rmtree, copied.parent)
    return copied


def python_for(uid: int) -> str:
    """The Python that runs the tests, where this user can start it."""
    here = Path(sys.executable)
    return str(checkout_for(uid) / here.relative_to(ROOT) if here.is_relative_to(ROOT) else here)


def is_readable(uid: int) -> bool:
    """Whether this user could read all that there is of the checkout."""
    look = (
        "find",
        *(str(ROOT / part) for part in PARTS),
        "!",
        "-type",
        "l",
        "!",
        "-readable",
        "-print",
        "-quit",
    )
    return _finds_nothing(uid, *look) and _finds_nothing(uid, "test", "-x", os.path.realpath(sys.executable))


def _finds_nothing(uid: int, *look: str) -> bool:
    """Whether a command of this user succeeds and has nothing to say."""
    become = ("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups")
    done = subprocess.run([*become, *look], capture_output=True, cwd="/")
    return done.returncode == 0 and not done.stdout


def copy() -> Path:
    """A copy with all that tests need, in a folder of its own."""
    around = Path(tempfile.mkdtemp(prefix="emulab-checkout-"))
    to = around / uuid.uuid4().hex
    to.mkdir()
    for (
        part
    ) in PARTS:  # byte code of the checkout may come and go meanwhile; that of .venv is what makes it large
        whole = part == ".venv" or not (ROOT / part).is_dir()
        if whole:
            subprocess.run(["cp", "-a", str(ROOT / part), str(to)], check=True)
        else:
            shutil.copytree(
                ROOT / part, to / part, symlinks=True, ignore=shutil.ignore_patterns("__pycache__")
            )
    # Scripts of .venv begin with the path of its Python, and a file or two say where emulab is.
    packages = ".venv/lib/*/site-packages"
    for file in (
        *to.glob(".venv/bin/*"),
        *to.glob(f"{packages}/*.pth"),
        *to.glob(f"{packages}/__editable__*.py"),
    ):
        text = b"" if file.is_symlink() else file.read_bytes()
        if str(ROOT).encode() in text:
            file.write_bytes(text.replace(str(ROOT).encode(), str(to).encode()))
    subprocess.run(["chmod", "-R", "a+rX", str(to)], check=True)
    around.chmod(0o711)
    return to


if __name__ == "__main__":
    uid = int(sys.argv[1])
    print(ROOT if is_readable(uid) else copy())
