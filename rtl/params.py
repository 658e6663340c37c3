"""Parameters of a systolic engine: what may be asked for, and the widths and latencies that follow."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from workloads.errors import ChipsmithError, nearest

GENERATOR_VERSION = "1.0"
DATAFLOWS = ("ws", "os")
MIN_SAFE_TERMS = 1024
"""A sum that holds this many extreme products is called safe; a narrower one wraps by intent."""

_DEFAULT_BEATS = {"ws": 32, "os": 65535}
_RANGES: dict[str, tuple[int, int]] = {
    "rows": (2, 256),
    "cols": (2, 256),
    "a_bits": (2, 16),
    "w_bits": (2, 16),
    "acc_bits": (4, 63),
    "mac_pipe": (0, 1),
}


@dataclass(frozen=True, slots=True)
class SystolicParams:
    """An R x C array of multiply-accumulate elements with its controller and edge registers.

    Attributes:
        rows: R, array rows (the activations enter here).
        cols: C, array columns (the weights enter here).
        dataflow: ``ws`` (weights stay, sums move down) or ``os`` (sums stay).
        a_bits: activation width, signed.
        w_bits: weight width, signed.
        acc_bits: width of every sum, signed; sums wrap modulo ``2**acc_bits``.
        mac_pipe: 1 puts a register between multiplier and adder.
        double_buffer: WS only: load the next weights while rows stream.
        max_beats: longest pass: WS rows of the accumulator buffer (default 32), OS steps (default 65535).

    Raises:
        ChipsmithError: for a value outside the stated range.
    """

    rows: int
    cols: int
    dataflow: str = "ws"
    a_bits: int = 8
    w_bits: int = 8
    acc_bits: int = 32
    mac_pipe: int = 0
    double_buffer: bool = False
    max_beats: int = 0

    def __post_init__(self) -> None:
        if self.dataflow not in DATAFLOWS:
            raise ChipsmithError("systolic.dataflow", self.dataflow, nearest(str(self.dataflow), DATAFLOWS))
        for name, (low, high) in _RANGES.items():
            _check_range(name, getattr(self, name), low, high)
        if self.double_buffer and self.dataflow == "os":
            raise ChipsmithError("systolic.double_buffer", True, "only 'ws' holds weights that could be doubled")
        if self.max_beats == 0:
            object.__setattr__(self, "max_beats", _DEFAULT_BEATS[self.dataflow])
        _check_range("max_beats", self.max_beats, 2, 65535)

    @property
    def name(self) -> str:
        """Module name: dataflow, shape, widths, options; the buffer depth where it is not the default."""
        options = "_db" * self.double_buffer + "_pipe" * self.mac_pipe
        depth = "" if self.max_beats == _DEFAULT_BEATS[self.dataflow] else f"_m{self.max_beats}"
        widths = f"a{self.a_bits}w{self.w_bits}p{self.acc_bits}"
        return f"{self.dataflow}_{self.rows}x{self.cols}_{widths}{options}{depth}"

    @property
    def summary(self) -> str:
        """The parameters in one line."""
        return ", ".join(f"{key}={value}" for key, value in asdict(self).items())

    @property
    def product_bits(self) -> int:
        """Width of a product."""
        return self.a_bits + self.w_bits

    @property
    def beats_bits(self) -> int:
        """Width of the command's beat count."""
        return self.max_beats.bit_length()

    @property
    def address_bits(self) -> int:
        """Width of an accumulator buffer address."""
        return (self.max_beats - 1).bit_length()

    @property
    def row_bits(self) -> int:
        """Width of a row index."""
        return (self.rows - 1).bit_length()

    @property
    def skew_cycles(self) -> int:
        """Cycles from the first PE's work on a beat to the last PE's."""
        return self.rows + self.cols - 2

    @property
    def drain_cycles(self) -> int:
        """Cycles after the last MAC: WS accumulate and output register (2); OS one per row that shifts out (R)."""
        return 2 if self.dataflow == "ws" else self.rows

    @property
    def tail_cycles(self) -> int:
        """Cycles from the end of streaming to the acceptance of the last result."""
        return self.skew_cycles + self.mac_pipe + self.drain_cycles

    @property
    def array_latency(self) -> int:
        """WS: cycles from a row's acceptance to its realigned sums."""
        return self.rows + self.cols - 1 + self.mac_pipe

    @property
    def settle_cycles(self) -> int:
        """OS: cycles from the last beat to the first cycle in which every sum is complete, less one."""
        return self.skew_cycles + self.mac_pipe

    @property
    def settle_bits(self) -> int:
        """OS: width of the settling counter."""
        return max(1, (self.settle_cycles - 1).bit_length())

    @property
    def check_latency(self) -> int:
        """Enabled cycles between the tokens that the checker compares."""
        return self.array_latency + 1 if self.dataflow == "ws" else self.settle_cycles + 1

    @property
    def flight_bits(self) -> int:
        """WS: width of the count of passes under way; passes start at least R cycles apart."""
        if not self.double_buffer:
            return 1
        return (3 + (self.cols + 4 + self.mac_pipe) // self.rows).bit_length()

    @property
    def safe_terms(self) -> int:
        """Products of any value that a sum holds without wrapping."""
        return ((1 << (self.acc_bits - 1)) - 1) >> (self.product_bits - 2)

    @property
    def may_wrap(self) -> bool:
        """Whether sums of ordinary length may wrap (then the bench counts wraps instead of refusing them)."""
        return self.safe_terms < MIN_SAFE_TERMS


def _check_range(name: str, value: object, low: int, high: int) -> None:
    if not isinstance(value, int) or not low <= value <= high:
        raise ChipsmithError(f"systolic.{name}", value, f"an integer from {low} to {high}")
