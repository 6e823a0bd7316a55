"""What faults are told with `set`: times and rates as people write them, and what is refused."""

from __future__ import annotations

import pytest

from emulab.kinds.faults.options import amount, duration, in_bits, in_time, rate, time_or_none


def test_times_and_rates_have_their_units() -> None:
    assert [duration(text) for text in ("200us", "10ms", "1.5s")] == [200_000, 10_000_000, 1_500_000_000]
    assert [in_time(value) for value in (200_000, 10_000_000, 1_500_000_000, 0)] == [
        "200us",
        "10ms",
        "1.5s",
        "0s",
    ]
    assert [rate(text) for text in ("64kbit", "10Mbit", "1.5gbit")] == [64_000, 10_000_000, 1_500_000_000]
    assert [in_bits(value) for value in (64_000, 1_500_000_000)] == ["64kbit", "1.5gbit"]
    assert time_or_none("0") == time_or_none(0) == 0


@pytest.mark.parametrize("text", ["10", "ms", "-1ms", "2min", "0s", "1e3ms", "61s", ""])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a time from 1us to 60s, as 10ms"):
        duration(text)


@pytest.mark.parametrize("text", ["10", "10mbps", "1bit", "1tbit"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a rate from 8kbit to 100gbit, as 10mbit"):
        rate(text)


def test_an_amount_is_whole() -> None:
    with pytest.raises(ValueError, match="a whole number from 1 to 4"):
        amount(1, 4)("1.5")
