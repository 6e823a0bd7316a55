"""The tracepoint's format file and the records of a BPF ring buffer, as text and bytes."""

from __future__ import annotations

import struct

import pytest

from emulab.kernel.bpf import Code
from emulab.model.families import FAMILIES, IPV4, IPV6, Family
from emulab.observe.capture.drops import parse_format, split_records, tracepoint_program

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
    fields, reasons = parse_format(FORMAT)
    assert (fields["reason"], fields["location"], fields["protocol"]) == ((36, 4), (16, 8), (32, 2))
    assert reasons == {"2": "NOT_SPECIFIED", "3": "NO_SOCKET", "12": "NETFILTER_DROP"}


def test_a_kernel_without_reasons() -> None:
    with pytest.raises(ValueError, match="no reasons"):
        parse_format(FORMAT.replace("reason;", "cause;"))


@pytest.mark.parametrize(
    ("families", "kinds"),
    [((IPV4,), [0x0800, 0x0806]), ((IPV6,), [0x86DD]), (FAMILIES, [0x0800, 0x86DD, 0x0806])],
)
def test_packets_of_the_labs_families_are_told_of(families: tuple[Family, ...], kinds: list[int]) -> None:
    fields, _ = parse_format(FORMAT)
    found = tracepoint_program(fields, 7, families)
    jumps = [(at, i) for at, i in enumerate(found) if i.code == Code.JUMP_IF_EQUAL]
    assert sorted(i.immediate for _, i in jumps) == sorted(kinds)
    assert len({at + i.offset for at, i in jumps}) == 1, "all of them to where the record is written"


BUSY, DISCARDED = 1 << 31, 1 << 30


def record(moment: int, location: int, reason: int, flags: int = 0) -> bytes:
    return struct.pack("=IIQQQ", 24 | flags, 0, moment, location, reason)


def test_records() -> None:
    first, thrown_away, last = record(100, 7, 12), record(150, 7, 1, DISCARDED), record(200, 8, 99)
    assert split_records(first + thrown_away + last) == ([(100, 7, 12), (200, 8, 99)], 96)


def test_a_record_that_is_being_written_ends_what_can_be_read() -> None:
    assert split_records(record(100, 7, 12) + record(0, 0, 0, BUSY) + record(200, 8, 99)) == (
        [(100, 7, 12)],
        32,
    )


def test_records_of_other_lengths_are_padded() -> None:
    longer = struct.pack("=IIQQQ3x5x", 27, 0, 1, 2, 3)
    assert split_records(longer + record(4, 5, 6)) == ([(1, 2, 3), (4, 5, 6)], 72)
