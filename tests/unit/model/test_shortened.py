"""Names that are made of others, within their bounds."""

from __future__ import annotations

from emulab.model.shortened import shortened


def test_names_that_fit_stay_as_they_are() -> None:
    assert shortened("a" * 255, 255) == "a" * 255


def test_longer_ones_keep_their_beginning_and_stay_apart() -> None:
    one, other = (shortened("a" * 300 + end, 255) for end in "bc")
    assert len(one) == len(other) == 255 and one != other
    assert one == shortened("a" * 300 + "b", 255) and one.startswith("a" * 242 + "-")
