"""Sparsity patterns: how many elements of a matrix are kept, and what keeping them costs in memory.

========================  ======================================================  ===============================
text                      kept of a ``k x n`` matrix                              index
========================  ======================================================  ===============================
``dense``                 all                                                     none
``N:M``                   at most N of every M along k                            ceil(log2 M) bits a kept element
``block:RxC@density``     that share of the blocks of R rows and C columns        one bit a block
``unstructured@density``  that share of all elements                              the cheaper of a bit an element,
                                                                                  and a row number for each kept
                                                                                  one with a count a column
========================  ======================================================  ===============================

Kept blocks and elements are rounded up. The index of N:M is that of NVIDIA's sparse tensor cores (Mishra et al. 2021,
arXiv:2104.08378, section 3: two bits for 2:4), the bitmap that of SparTen (Gondimalla et al., MICRO 2019), the row
numbers are the compressed columns of EIE (Han et al., ISCA 2016, without its run lengths). Group scales belong to
positions of the whole matrix and are never left out. What would take more than the dense matrix is kept dense, so
``4:4`` and ``@1`` cost what ``dense`` costs. With ``+zeros`` after the pattern the zeros are stored: engines may skip
them, memory moves them.

Leaf module: it imports formats and errors only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from workloads.dtypes import DType, element_bits, scale_bits
from workloads.errors import ChipsmithError

LEGAL = "legal: dense, N:M, block:RxC@density, unstructured@density (each may end in +zeros)"
_NUMBER = r"(\d*\.?\d+|\d+\.)"
_TEXT = re.compile(
    rf"(?P<dense>dense)|(?P<n>\d+):(?P<m>\d+)|block:(?P<rows>\d+)x(?P<cols>\d+)@(?P<block>{_NUMBER})"
    rf"|unstructured@(?P<free>{_NUMBER})"
)
_ZEROS = "+zeros"
_LONGEST = 80  # characters; Python refuses to make numbers of thousands of digits


def index_width(values: int) -> int:
    """Bits that tell ``values`` values apart."""
    return max(0, values - 1).bit_length()


@dataclass(frozen=True, slots=True)
class Pattern:
    """A parsed pattern; make one with :func:`parse_pattern`.

    Attributes:
        kind: ``dense``, ``nm``, ``block`` or ``unstructured``.
        n, m: of N:M.
        rows, cols: of a block.
        density: kept share of blocks or elements.
        zeros: zeros are stored.
    """

    kind: str
    n: int = 1
    m: int = 1
    rows: int = 1
    cols: int = 1
    density: Fraction = Fraction(1)
    zeros: bool = False

    @property
    def share(self) -> Fraction:
        """Kept share of a matrix without remainders."""
        return Fraction(self.n, self.m) if self.kind == "nm" else self.density

    @property
    def is_full(self) -> bool:
        """Whether it keeps everything."""
        return self.share == 1

    def kept(self, k: int, n: int) -> int:
        """Elements kept of a ``k x n`` matrix."""
        if self.kind == "nm":
            return n * (k // self.m * self.n + min(self.n, k % self.m))
        if self.kind == "block":
            blocks = self.blocks(k, n)
            return _part(k * n, Fraction(_part(blocks, self.density), blocks)) if blocks else 0
        return _part(k * n, self.density)

    def blocks(self, k: int, n: int) -> int:
        """Blocks of a ``k x n`` matrix, those at the edges included."""
        return -(-k // self.rows) * -(-n // self.cols)

    def index_bits(self, k: int, n: int) -> int:
        """Bits that say which elements of a ``k x n`` matrix are kept."""
        if self.is_full:
            return 0
        kept = self.kept(k, n)
        if self.kind == "nm":
            return kept * index_width(self.m)
        if self.kind == "block":
            return self.blocks(k, n)
        return min(k * n, kept * index_width(k) + n * index_width(k + 1))

    def stored_bits(self, k: int, n: int, copies: int, form: DType, group: int = 0) -> int:
        """Bits of ``copies`` matrices of ``k x n`` with their index and scales; never more than dense ones."""
        elements = copies * k * n
        whole = element_bits(elements, form)
        if self.zeros:
            return whole + scale_bits(elements, form, group)
        kept = element_bits(copies * self.kept(k, n), form) + copies * self.index_bits(k, n)
        return min(whole, kept) + scale_bits(elements, form, group)


def _part(whole: int, share: Fraction) -> int:
    return -(-whole * share.numerator // share.denominator)


@lru_cache(maxsize=4096)
def parse_pattern(text: str, where: str = "sparsity") -> Pattern:
    """A pattern from its text.

    Raises:
        ChipsmithError: no pattern, N above M or 0, an empty block, a density outside (0, 1].
    """
    zeros = text.endswith(_ZEROS)
    found = _TEXT.fullmatch(text.removesuffix(_ZEROS))
    if found is None or (zeros and found["dense"]) or len(text) > _LONGEST:
        raise ChipsmithError(where, text, LEGAL)
    if found["dense"]:
        return Pattern("dense")
    if found["n"]:
        n, m = int(found["n"]), int(found["m"])
        if not 1 <= n <= m:
            raise ChipsmithError(where, text, "legal: N of 1 to M kept")
        return Pattern("nm", n=n, m=m, zeros=zeros)
    return _shared(text, where, found, zeros)


def _shared(text: str, where: str, found: re.Match[str], zeros: bool) -> Pattern:
    density = Fraction(found["block"] or found["free"])
    if not 0 < density <= 1:
        raise ChipsmithError(where, text, "legal: a density above 0, at most 1")
    if found["free"]:
        return Pattern("unstructured", density=density, zeros=zeros)
    rows, cols = int(found["rows"]), int(found["cols"])
    if rows < 1 or cols < 1:
        raise ChipsmithError(where, text, "legal: blocks of at least 1x1")
    return Pattern("block", rows=rows, cols=cols, density=density, zeros=zeros)
