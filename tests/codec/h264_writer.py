"""Writes H.264 that no encoder here makes: field pictures, and slices of one picture whose lists or weights differ.

Intra macroblocks are noise, uncompressed; inter ones have random vectors and nothing coded, so that a decoded picture
is its prediction. CAVLC, no deblocking; see ITU-T H.264 7.3.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

P, B, I = 0, 1, 2  # noqa: E741
"""slice_type."""

LISTS = ((), (0,), (1,), (0, 1), (0,), (0,), (1,), (1,), (0, 1), (0, 1), (0,), (1,), (0, 1))
"""Lists that a quarter of a B macroblock uses, by sub_mb_type (H.264 table 7-18); none where it is direct."""


class Bits:
    """A raw byte sequence payload that grows."""

    def __init__(self) -> None:
        self._bits: list[str] = []
        self._length = 0

    def u(self, count: int, value: int) -> None:
        """`count` bits."""
        self._bits.append(format(value, f"0{count}b"))
        self._length += count

    def ue(self, *values: int) -> None:
        """Exp-Golomb codes."""
        for value in values:
            self.u(2 * (value + 1).bit_length() - 1, value + 1)

    def se(self, *values: int) -> None:
        """Signed Exp-Golomb codes."""
        for value in values:
            self.ue(2 * value - 1 if value > 0 else -2 * value)

    def align(self) -> None:
        """Zeros up to a byte."""
        if self._length % 8:
            self.u(8 - self._length % 8, 0)

    def nal(self, header: int) -> bytes:
        """The finished unit behind its start code."""
        self.u(1, 1)
        self.align()
        joined = "".join(self._bits)
        payload = int(joined, 2).to_bytes(len(joined) // 8, "big")
        escaped = bytearray()
        for byte in payload:
            if byte <= 3 and escaped[-2:] == b"\0\0":
                escaped.append(3)
            escaped.append(byte)
        return b"\0\0\0\1" + bytes([header]) + bytes(escaped)


@dataclass
class Slice:
    """A slice of a picture, or of a field."""

    kind: int
    frame_num: int
    poc: int
    field: int | None = None
    """0 of a top field, 1 of a bottom field, None of a frame."""
    counts: tuple[int, int] = (1, 1)
    """Entries of both lists."""
    reference: bool = True
    idr: bool = False
    first: int = 0
    count: int | None = None
    """Macroblocks; None: all that follow."""
    weights: tuple[int, list[list[tuple[int, int]]]] | None = None
    """Denominator's logarithm, and by list and index weight and offset."""
    reorder: tuple[list[tuple[int, int]], ...] = ()
    """By list commands of ref_pic_list_modification."""
    marking: tuple[tuple[int, ...], ...] = ()
    """Commands of dec_ref_pic_marking."""


class Stream:
    """One sequence. Its parameter sets belong before its first slice."""

    def __init__(
        self,
        wide: int,
        high: int,
        fields: bool,
        weighted: bool = False,
        weighted_bipred: int = 0,
        references: int = 4,
        late: bool = False,
    ) -> None:
        """wide, high: macroblocks. fields: whether field pictures may occur. late: pictures are shown, and let go, as
        late as may be.
        """
        self._late = late
        self._wide, self._high, self._fields = wide, high, fields
        self._weighted, self._weighted_bipred, self._references = weighted, weighted_bipred, references
        self._random = np.random.default_rng(0)

    def parameter_sets(self) -> bytes:
        """Both of them."""
        sps, pps = Bits(), Bits()
        for byte in (77, 0, 40):
            sps.u(8, byte)
        sps.ue(0, 4, 0, 4, self._references)
        sps.u(1, 0)
        sps.ue(self._wide - 1, self._high // (2 if self._fields else 1) - 1)
        sps.u(2, 0b00) if self._fields else sps.u(1, 1)
        sps.u(3, 0b100 | self._late)
        if self._late:
            sps.u(10, 0b11)
            sps.ue(0, 0, 16, 16, self._references, self._references)
        pps.ue(0, 0)
        pps.u(2, 0)
        pps.ue(0, 0, 0)
        pps.u(3, self._weighted << 2 | self._weighted_bipred)
        pps.se(0, 0, 0)
        pps.u(3, 0b100)
        return sps.nal(0x67) + pps.nal(0x68)

    def slice(self, what: Slice) -> bytes:
        """A coded slice."""
        bits = Bits()
        bits.ue(what.first, what.kind, 0)
        bits.u(8, what.frame_num)
        if self._fields:
            bits.u(1, what.field is not None)
            if what.field is not None:
                bits.u(1, what.field)
        if what.idr:
            bits.ue(0)
        bits.u(8, what.poc)
        if what.kind == B:
            bits.u(1, 1)
        if what.kind != I:
            self._write_lists(bits, what)
        if what.reference:
            self._write_marking(bits, what)
        bits.se(0)
        bits.ue(1)
        total = self._wide * self._high // (1 if what.field is None else 2)
        for _ in range(total - what.first if what.count is None else what.count):
            self._write_macroblock(bits, what)
        return bits.nal((0x60 if what.reference else 0) | (5 if what.idr else 1))

    def _write_lists(self, bits: Bits, what: Slice) -> None:
        lists = 2 if what.kind == B else 1
        bits.u(1, 1)
        bits.ue(*(count - 1 for count in what.counts[:lists]))
        for which in range(lists):
            commands = what.reorder[which] if what.reorder else []
            bits.u(1, bool(commands))
            for command, value in commands:
                bits.ue(command, value)
            if commands:
                bits.ue(3)
        if (self._weighted and what.kind == P) or (self._weighted_bipred == 1 and what.kind == B):
            denominator, weights = what.weights or (0, [[(1, 0)] * count for count in what.counts])
            bits.ue(denominator, 0)
            for which in range(lists):
                for weight, offset in weights[which]:
                    bits.u(1, 1)
                    bits.se(weight, offset)
                    bits.u(1, 0)

    def _write_marking(self, bits: Bits, what: Slice) -> None:
        if what.idr:
            bits.u(2, 0)
            return
        bits.u(1, bool(what.marking))
        for command in what.marking:
            bits.ue(*command)
        if what.marking:
            bits.ue(0)

    def _write_macroblock(self, bits: Bits, what: Slice) -> None:
        if what.kind == I:
            bits.ue(25)
            bits.align()
            for sample in self._random.integers(60, 200, 384):
                bits.u(8, int(sample))
            return
        bits.ue(0)
        parts = self._write_parts(bits, what.kind)
        for which in range(2):
            count = what.counts[which]
            for used, _ in parts:
                if which in used and count > 1:
                    index = int(self._random.integers(count))
                    bits.u(1, 1 - index) if count == 2 else bits.ue(index)
        for which in range(2):
            for used, vectors in parts:
                if which in used:
                    bits.se(*(int(number) for number in self._random.integers(-7, 8, 2 * vectors)))
        bits.ue(0)

    def _write_parts(self, bits: Bits, kind: int) -> list[tuple[tuple[int, ...], int]]:
        """Of a random macroblock's partitions, or 8x8 quarters, the lists that they use and their vectors."""
        chosen = int(self._random.integers(4))
        if kind == P:
            bits.ue(chosen)
            if chosen < 3:
                return [((0,), 1)] * (1 if chosen == 0 else 2)
            quarters = [int(number) for number in self._random.integers(0, 4, 4)]
            bits.ue(*quarters)
            return [((0,), (1, 2, 2, 4)[quarter]) for quarter in quarters]
        if chosen < 3:
            bits.ue(1 + chosen)
            return [(LISTS[1 + chosen], 1)]
        quarters = [int(number) for number in self._random.integers(0, 13, 4)]
        bits.ue(22, *quarters)
        return [(LISTS[quarter], (1 if quarter < 4 else 2 if quarter < 10 else 4)) for quarter in quarters]
