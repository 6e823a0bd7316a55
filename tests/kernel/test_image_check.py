"""What the doctor says of the store of images."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from emulab.lab.images.check import image_check

pytestmark = pytest.mark.privilege


def test_a_store_that_can_be_made_is_well(tmp_path: Path) -> None:
    assert image_check(tmp_path / "not" / "there").problem == ""
    assert os.listdir(tmp_path) == []


def test_one_that_is_not_ours_alone_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    check = image_check(tmp_path)
    assert check.state == "optional" and "is writable by others" in check.problem
    assert check.problem.endswith("set EMULAB_IMAGE_DIR to a folder of your own")


def test_a_damaged_one_is_told(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "x").write_text("{")
    assert "it is damaged" in image_check(tmp_path).problem
