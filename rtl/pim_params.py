"""Parameters of a PIM bank unit: what may be asked for, and the device whose rules it keeps."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cache

from models.pim import PimDevice, load_device
from workloads.errors import ChipsmithError, nearest

#: Programs (see :class:`models.pim.PimDevice`) whose commands the unit understands.
PROGRAMS = ("newton", "aim")
INTEGER_ACC_BITS = 32
FLOAT_ACC_BITS = 32
_BENCH_ROWS = 16


@dataclass(frozen=True, slots=True)
class Format:
    """An operand format.

    Attributes:
        name: as in :mod:`workloads.dtypes`.
        bits: width.
        exponent_bits, mantissa_bits: of a float; 0 for int8.
        subnormals: whether operands below the normal range keep their value; else they count as zero.
    """

    name: str
    bits: int
    exponent_bits: int = 0
    mantissa_bits: int = 0
    subnormals: bool = False

    @property
    def is_float(self) -> bool:
        """Whether sums are fp32."""
        return self.exponent_bits > 0

    @property
    def bias(self) -> int:
        """Exponent bias."""
        return int(2 ** (self.exponent_bits - 1)) - 1


FORMATS = {
    "int8": Format("int8", 8),
    "fp16": Format("fp16", 16, 5, 10, subnormals=True),
    "bf16": Format("bf16", 16, 8, 7),
}
_RANGES = {"columns": (2, 256), "rows": (2, 65536), "tree_pipe": (0, 1)}
_LANES = (2, 4, 8, 16, 32, 64)


@dataclass(frozen=True, slots=True)
class PimBankParams:
    """The unit beside one bank: multipliers, adder tree, accumulator, command decoder, global buffer.

    Attributes:
        device: a shipped PIM device; its timing, commands and row buffers.
        dtype: operand format: ``int8``, ``fp16`` or ``bf16``.
        lanes: multipliers; a column holds as many elements.
        columns: of a row; 0 = as many as the device's row has bursts.
        rows: of a bank; 0 = as the device.
        buffer_bytes: of the global buffer; 0 = one row's worth of operands.
        acc_bits: of the int8 accumulator, which wraps; floats have fp32.
        tree_pipe: 1 puts a register behind each level of the adder tree.
        timing: clocks that replace the device's, as (JEDEC name, clocks).

    Raises:
        ChipsmithError: for a value outside the stated range, or results that would come after the model's.
    """

    device: str = "neupims"
    dtype: str = "int8"
    lanes: int = 16
    columns: int = 0
    rows: int = 0
    buffer_bytes: int = 0
    acc_bits: int = INTEGER_ACC_BITS
    tree_pipe: int = 0
    timing: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "timing", tuple((str(name), int(clocks)) for name, clocks in self.timing))
        organisation = self._checked_device().organisation
        for name, value in (("columns", organisation.bursts_per_row), ("rows", organisation.rows)):
            object.__setattr__(self, name, getattr(self, name) or value)
        if self.dtype not in FORMATS:
            raise ChipsmithError("pim_bank.dtype", self.dtype, nearest(str(self.dtype), FORMATS))
        if self.lanes not in _LANES:
            raise ChipsmithError("pim_bank.lanes", self.lanes, f"a power of two: {', '.join(map(str, _LANES))}")
        for name, (low, high) in _RANGES.items():
            _check_range(name, getattr(self, name), low, high)
        self._check_accumulator()
        object.__setattr__(self, "buffer_bytes", self.buffer_bytes or self.columns * self.word_bits // 8)
        self._check_buffer()
        if self.mac_cycles > self.room_cycles:
            legal = f"at most {self.room_cycles} clocks from a column to its sum on {self.device}"
            raise ChipsmithError("pim_bank.tree_pipe", self.tree_pipe, legal)

    def _checked_device(self) -> PimDevice:
        found = load_device(self.device)
        if found.program not in PROGRAMS:
            legal = "a device with units at its banks that run a dot product: aim, neupims or newton"
            raise ChipsmithError("pim_bank.device", self.device, legal)
        return found.with_timing(**dict(self.timing)) if self.timing else found

    def _check_accumulator(self) -> None:
        if self.format.is_float and self.acc_bits != FLOAT_ACC_BITS:
            raise ChipsmithError("pim_bank.acc_bits", self.acc_bits, f"{self.dtype} is summed in fp32: 32")
        _check_range("acc_bits", self.acc_bits, self.tree_bits, INTEGER_ACC_BITS)

    def _check_buffer(self) -> None:
        word = self.word_bits // 8
        if self.buffer_bytes % word or not self.columns <= self.buffer_slices <= 1024:
            legal = f"a multiple of {word} from {self.columns * word} (a row's operands) to {1024 * word}"
            raise ChipsmithError("pim_bank.buffer_bytes", self.buffer_bytes, legal)

    @property
    def name(self) -> str:
        """Module name: device, format and lanes; what is not the default."""
        default = load_device(self.device).organisation
        options = f"_c{self.columns}" * (self.columns != default.bursts_per_row)
        options += f"_r{self.rows}" * (self.rows != default.rows)
        options += f"_b{self.buffer_bytes}" * (self.buffer_slices != self.columns)
        options += f"_p{self.acc_bits}" * (self.acc_bits != INTEGER_ACC_BITS) + "_pipe" * self.tree_pipe
        options += "".join(f"_{name}{clocks}" for name, clocks in self.timing)
        return f"pim_{self.device}_{self.dtype}_l{self.lanes}{options}"

    @property
    def summary(self) -> str:
        """The parameters in one line."""
        return ", ".join(f"{key}={value}" for key, value in asdict(self).items())

    @property
    def format(self) -> Format:
        """Operand format."""
        return FORMATS[self.dtype]

    @property
    def word_bits(self) -> int:
        """Width of a column and of a slice of the global buffer: an operand a lane."""
        return self.lanes * self.format.bits

    @property
    def buffer_slices(self) -> int:
        """Columns of operands that the global buffer holds."""
        return self.buffer_bytes * 8 // self.word_bits

    @property
    def tree_levels(self) -> int:
        """Levels of the adder tree."""
        return self.lanes.bit_length() - 1

    @property
    def tree_bits(self) -> int:
        """Width of the tree's sum."""
        return 32 if self.format.is_float else 2 * self.format.bits + self.tree_levels

    @property
    def mac_cycles(self) -> int:
        """Clocks from a column command to its sum in the accumulator: operands, products, tree levels, sum."""
        return 3 + self.tree_pipe * self.tree_levels

    @property
    def room_cycles(self) -> int:
        """Clocks that the device leaves between the last column of a dot product and its result."""
        found = self.spec
        if found.program == "newton":
            return found.clocks("tCCD_L + tCCD_L + tCL + tBURST + 1")
        return found.clocks("tCCD_L + tMODE_CHANGE + tBURST + 3")

    @property
    def spec(self) -> PimDevice:
        """The device, with the lanes, rows, columns and clocks of these parameters."""
        return _spec(self)

    @property
    def bench_spec(self) -> PimDevice:
        """A small channel of it for the bench: the same rules at every level, few banks and rows."""
        return _bench_spec(self)


def _check_range(name: str, value: object, low: int, high: int) -> None:
    if not isinstance(value, int) or not low <= value <= high:
        raise ChipsmithError(f"pim_bank.{name}", value, f"an integer from {low} to {high}")


@cache
def _spec(params: PimBankParams) -> PimDevice:
    found = params._checked_device()
    organisation = found.organisation
    row_bytes = params.columns * organisation.burst_bytes
    unit = {**found.unit.model_dump(), "lanes": params.lanes, "global_buffer_bytes": row_bytes}
    rows = {"rows": params.rows, "row_bytes": row_bytes}
    return found.with_fields({"organisation": {**organisation.model_dump(), **rows}, "unit": unit})


@cache
def _bench_spec(params: PimBankParams) -> PimDevice:
    found = params.spec
    organisation = found.organisation
    small = {"channels": 1, "ranks": min(2, organisation.ranks), "bank_groups": 2, "banks_per_group": 2}
    rows = {"rows": min(_BENCH_ROWS, organisation.rows)}
    options = {name: 2 if name == "act_banks" else value for name, value in found.options.items()}
    return found.with_fields({"organisation": {**organisation.model_dump(), **small, **rows}, "options": options})
