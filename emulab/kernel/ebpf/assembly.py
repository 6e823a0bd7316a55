"""BPF instructions under construction: jumps lead to labels, and what is on the stack has a name.

Registers as the calling convention has them: r0 is a result, r1 to r5 are arguments and lost with each call, r6 to r9
stay, r10 is the end of the stack.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count

from emulab.kernel import bpf
from emulab.kernel.bpf import Code, Instruction

# linux/bpf.h
LOOKUP, UPDATE, DELETE, KTIME, RANDOM, STORE_BYTES = 1, 2, 3, 5, 7, 9
L3_CHECKSUM, L4_CHECKSUM, REDIRECT, LOAD_BYTES, CHECKSUM_DIFFERENCE = 10, 11, 23, 26, 28


class Assembly:
    """A program as it grows. `stack`: where each buffer begins, below the end of the stack."""

    def __init__(self, stack: Mapping[str, int]) -> None:
        self._stack = stack
        self._instructions: list[Instruction] = []
        self._jumps: dict[int, str] = {}
        self._labels: dict[str, int] = {}
        self._numbers = count()

    def program(self) -> list[Instruction]:
        """The instructions, with jumps over so many of them as there are."""
        slots, at = [], 0
        for one in self._instructions:
            slots.append(at)
            at += 2 if one.code == Code.LOAD_64_IMMEDIATE else 1
        slots.append(at)
        return [
            one._replace(offset=slots[self._labels[self._jumps[number]]] - slots[number] - 1)
            if number in self._jumps
            else one
            for number, one in enumerate(self._instructions)
        ]

    def fresh(self, name: str) -> str:
        """A label that nobody has."""
        return f"{name} {next(self._numbers)}"

    def label(self, name: str) -> None:
        """What comes next is called so."""
        self._labels[name] = len(self._instructions)

    def put(
        self, code: Code, destination: int = 0, source: int = 0, offset: int = 0, immediate: int = 0
    ) -> None:
        self._instructions.append(Instruction(code, destination, source, offset, immediate))

    def move(self, to: int, source: int) -> None:
        self.put(Code.MOVE, to, source)

    def set(self, to: int, value: int) -> None:
        self.put(Code.MOVE_IMMEDIATE, to, immediate=value)

    def point(self, to: int, buffer: str, offset: int = 0) -> None:
        """Makes a register point into a buffer."""
        self.move(to, bpf.FRAME)
        self.put(Code.ADD_IMMEDIATE, to, immediate=self._stack[buffer] + offset)

    def load(self, to: int, buffer: str, offset: int, size: int) -> None:
        """Loads from a buffer."""
        self.put(bpf.LOADS[size], to, bpf.FRAME, self._stack[buffer] + offset)

    def store(self, buffer: str, offset: int, size: int, source: int) -> None:
        """Stores a register to a buffer."""
        self.put(bpf.STORES[size], bpf.FRAME, source, self._stack[buffer] + offset)

    def store_value(self, buffer: str, offset: int, size: int, value: int) -> None:
        """Stores a constant to a buffer."""
        code = bpf.STORE_IMMEDIATES[size]
        self.put(code, bpf.FRAME, offset=self._stack[buffer] + offset, immediate=value)

    def copy(self, buffer: str, offset: int, other: str, at: int, size: int) -> None:
        """Copies bytes of another buffer, by way of r0."""
        while size:
            step = next(n for n in (8, 4, 2, 1) if n <= size)
            self.load(0, other, at, step)
            self.store(buffer, offset, step, 0)
            offset, at, size = offset + step, at + step, size - step

    def take(self, buffer: str, offset: int, pointer: int, at: int, size: int) -> None:
        """Copies bytes that a register points to, by way of r1."""
        while size:
            step = next(n for n in (8, 4, 2, 1) if n <= size)
            self.put(bpf.LOADS[step], 1, pointer, at)
            self.store(buffer, offset, step, 1)
            offset, at, size = offset + step, at + step, size - step

    def jump(self, label: str, code: Code = Code.JUMP, one: int = 0, other: int = 0, value: int = 0) -> None:
        self._jumps[len(self._instructions)] = label
        self.put(code, one, other, immediate=value)

    def call(self, helper: int) -> None:
        self.put(Code.CALL, immediate=helper)

    def map(self, to: int, fd: int) -> None:
        self.put(Code.LOAD_64_IMMEDIATE, to, bpf.MAP_DESCRIPTOR, immediate=fd)

    def lookup(self, fd: int, key: str, missing: str) -> None:
        """Makes r0 point to a key's value, or goes on at a label where there is none."""
        self.map(1, fd)
        self.point(2, key)
        self.call(LOOKUP)
        self.jump(missing, Code.JUMP_IF_EQUAL, 0)

    def update(self, fd: int, key: str, value: str, at: int = 0) -> None:
        """Writes a key's value, which is in a buffer at an offset."""
        self.map(1, fd)
        self.point(2, key)
        self.point(3, value, at)
        self.set(4, 0)
        self.call(UPDATE)

    def leave(self, result: int) -> None:
        self.set(0, result)
        self.put(Code.EXIT)
