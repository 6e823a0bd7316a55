"""Many datagrams a system call, on sockets of loopback of both families."""

from __future__ import annotations

import socket

import pytest

from emulab.kernel.datagrams import DatagramBatch

LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}


@pytest.fixture(name="pair", params=list(LOOPBACK))
def _pair(request: pytest.FixtureRequest):
    family = request.param
    with (
        socket.socket(family, socket.SOCK_DGRAM) as server,
        socket.socket(family, socket.SOCK_DGRAM) as client,
    ):
        for sock in (server, client):
            sock.bind((LOOPBACK[family], 0))
            sock.settimeout(10)
        yield server, client


def received(batch: DatagramBatch) -> list[int]:
    """The lengths of what comes."""
    count = batch.receive()
    return [*batch.lengths[:count]]


def test_each_answer_goes_where_its_datagram_came_from(pair) -> None:
    server, client = pair
    batch = DatagramBatch(server, 4, 64)
    assert batch.receive() == 0
    for turn in range(3):  # a batch is used again and again
        sent = [b"%d-%d" % (turn, n) + b"x" * n for n in range(3)]
        for one in sent:
            client.sendto(one, server.getsockname())
        assert received(batch) == [len(one) for one in sent]
        assert [batch.octets[n * 64 : n * 64 + len(one)] for n, one in enumerate(sent)] == sent
        assert batch.host(1) == client.getsockname()
        batch.write(0, b"all of it")
        batch.write_rest(2, b" the rest")
        batch.send(0, 1)
        batch.send(2, 3)  # nobody answers the one between
        assert [client.recv(100) for _ in range(2)] == [b"all of it", sent[2][:2] + b" the rest"]


def test_more_than_a_batch_waits_for_the_next_one(pair) -> None:
    server, client = pair
    batch = DatagramBatch(server, 4, 64)
    for number in range(6):
        client.sendto(bytes([number]) * 70, server.getsockname())
    assert received(batch) == [64] * 4 and batch.octets[192] == 3
    assert received(batch) == [64] * 2 and batch.octets[64] == 5


def test_an_answer_that_can_not_be_sent_keeps_no_other_one(pair) -> None:
    server, client = pair
    batch = DatagramBatch(server, 4, 70_000)
    for _ in range(3):
        client.sendto(b"q", server.getsockname())
    assert received(batch) == [1] * 3
    batch.write(0, b"first")
    batch.write(1, b"x" * 69_000)  # more than a datagram holds
    batch.write(2, b"last")
    batch.send(0, 3)
    assert [client.recv(100) for _ in range(2)] == [b"first", b"last"]
