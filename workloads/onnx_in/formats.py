"""ONNX element types as our number formats."""

from __future__ import annotations

from workloads.dtypes import DTYPES

#: TensorProto.DataType -> format. Boolean values take a byte. Two formats hold fewer bits than the type: 64-bit
#: integers (token and position ids, shapes) and doubles, which no accelerator of ours computes; they are counted in
#: 32 bits, and the trace's ``meta`` says so under ``narrowed``.
_BY_TYPE = {
    1: "fp32",
    2: "int8",
    3: "int8",
    4: "int16",
    5: "int16",
    6: "int32",
    7: "int32",
    9: "int8",
    10: "fp16",
    11: "fp32",
    12: "int32",
    13: "int32",
    16: "bf16",
    17: "fp8",
    18: "fp8",
    19: "fp8",
    20: "fp8",
    21: "int4",
    22: "int4",
    24: "fp8",
    25: "int2",
    26: "int2",
}
_FLOAT4 = 23
NARROWED = {7: "int64", 11: "double", 13: "uint64"}


def form_of(element_type: int) -> str:
    """Format of an ONNX element type.

    Raises:
        ValueError: text, complex numbers, an unknown type.
    """
    if element_type == _FLOAT4:
        return next((name for name in ("fp4", "mxfp4") if name in DTYPES), "int4")
    found = _BY_TYPE.get(element_type)
    if found is None:
        raise ValueError(f"element type {element_type} has no number format here")
    return found


def widest(forms: list[str]) -> str:
    """The format with the most bits, the first of equals."""
    return max(forms, key=lambda name: DTYPES[name].bits)
