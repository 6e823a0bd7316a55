"""The tracepoint's format file and the records of a perf event's ring, as text and bytes."""

from __future__ import annotations

import struct

import pytest

from emulab.observe.drops import decode_record, parse_format, split_records

FORMAT = """name: kfree_skb
ID: 2310
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;

\tfield:void * skbaddr;\toffset:8;\tsize:8;\tsigned:0;
\tfield:void * location;\toffset:16;\tsize:8;\tsigned:0;
\tfield:unsigned short protocol;\toffset:32;\tsize:2;\tsigned:0;
\tfield:enum skb_drop_reason reason;\toffset:36;\tsize:4;\tsigned:0;

print fmt: "skbaddr=%p protocol=%u location=%pS reason: %s", REC->skbaddr, __print_symbolic(REC->reason, \
{ 2, "NOT_SPECIFIED" }, { 3, "NO_SOCKET" }, { 12, "NETFILTER_DROP" })
"""


def test_format() -> None:
    layout = parse_format(FORMAT)
    assert layout["reason"] == [36, 4]
    assert layout["location"] == [16, 8]
    assert layout["reasons"] == {"2": "NOT_SPECIFIED", "3": "NO_SOCKET", "12": "NETFILTER_DROP"}


def test_a_kernel_without_reasons() -> None:
    with pytest.raises(ValueError, match="no reasons"):
        parse_format(FORMAT.replace("reason;", "cause;"))


def test_records() -> None:
    def sample(moment: int, reason: int) -> bytes:
        raw = struct.pack("=8xQQQH2xI4x", 0xAAAA, 0xFFFFFFFF81000000, 0, 0x800, reason)
        body = struct.pack("=QI", moment, len(raw)) + raw
        return struct.pack("=IHH", 9, 0, len(body) + 8) + body

    lost = struct.pack("=IHHQQ", 2, 0, 24, 1, 5)
    samples, missing = split_records(sample(100, 12) + lost + sample(200, 99))
    assert missing == 5
    assert [moment for moment, _ in samples] == [100, 200]
    layout = parse_format(FORMAT)
    assert decode_record(samples[0][1], layout) == ("NETFILTER_DROP", 0xFFFFFFFF81000000)
    assert decode_record(samples[1][1], layout)[0] == "reason 99"
