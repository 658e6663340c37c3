"""What each operator becomes, as data: a handler, or the function and reads of a vector row.

The vector engine prices a closed list of functions; an ONNX operator takes the one that does the same work: ``add``
one pass of arithmetic, ``mul`` likewise, ``gelu`` one pass through a table or divider (exp, tanh, sqrt, a division),
``topk`` one tree reduction and one pass, ``copy`` no arithmetic. Row names keep the node's own name.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from workloads.onnx_in import attention, gemm, vector
from workloads.onnx_in.importer import Importer
from workloads.onnx_in.nodes import FUSED, Node, words

Handler = Callable[[Importer, Node], None]
Key = tuple[str, str]

#: Functions of element-wise operators.
ELEMENTWISE: dict[str, str] = {
    **dict.fromkeys(
        words(
            "Add Sub Sum Max Min Mean And Or Xor Not Neg Abs Clip Ceil Floor Round Sign Mod Equal Greater "
            "GreaterOrEqual Less LessOrEqual Where IsNaN IsInf CumSum BitShift BitwiseAnd BitwiseOr BitwiseXor "
            "BitwiseNot BiasAdd QLinearAdd Shrink Trilu"
        ),
        "add",
    ),
    **dict.fromkeys(
        words("Mul PRelu LeakyRelu ThresholdedRelu HardSigmoid HardSwish QLinearMul QLinearLeakyRelu CumProd"),
        "mul",
    ),
    **dict.fromkeys(
        words(
            "Div Pow Sqrt Reciprocal Exp Log Erf Tanh Sigmoid Sin Cos Tan Asin Acos Atan Sinh Cosh Asinh Acosh "
            "Atanh Softplus Softsign Mish Elu Selu Celu Gelu FastGelu QuickGelu BiasGelu QLinearSigmoid"
        ),
        "gelu",
    ),
    "Relu": "relu",
    "Swish": "silu",
    "SwiGLU": "silu_mul",
    "RotaryEmbedding": "rope",
    "CausalConvWithState": "conv1d",
}
#: Operators that move data: all inputs are read.
COPIES = words(
    "Cast CastLike BitCast Transpose Concat Pad Tile Expand DepthToSpace SpaceToDepth Resize Upsample "
    "ReverseSequence CenterCropPad QuantizeLinear DynamicQuantizeLinear ScatterND ScatterElements "
    "Scatter OneHot ConstantOfShape Range EyeLike RandomNormal RandomNormalLike RandomUniform "
    "RandomUniformLike Bernoulli Compress"
)
#: Operators that move a part: as much is read as is written.
PARTS = words("Slice Split GatherElements GatherND")
#: Operators that move nothing: a value gets another name or shape.
VIEWS = words("Identity Reshape Flatten Squeeze Unsqueeze Dropout DequantizeLinear")
#: Operators that reduce rows: one tree reduction and one pass.
REDUCTIONS = words(
    "ReduceMean ReduceSum ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceLogSum "
    "ReduceLogSumExp ReduceSumSquare ArgMax ArgMin TopK GlobalAveragePool GlobalMaxPool GlobalLpPool "
    "MaxPool AveragePool LpPool"
)
NORMS: dict[str, str] = {
    "LayerNormalization": "layernorm",
    "RMSNormalization": "rmsnorm",
    "SimplifiedLayerNormalization": "rmsnorm",
    "SkipLayerNormalization": "layernorm",
    "SkipSimplifiedLayerNormalization": "rmsnorm",
    "LpNormalization": "rmsnorm",
    "MeanVarianceNormalization": "layernorm",
}
#: Norms over groups of channels: position of the attribute that counts the groups, "" = one for each channel.
GROUP_NORMS: dict[str, str] = {"GroupNormalization": "num_groups", "GroupNorm": "groups", "InstanceNormalization": ""}

_HANDLERS: dict[Key, Handler] = {
    **{("", op): gemm.matmul for op in ("MatMul", "MatMulInteger", "QLinearMatMul")},
    **{("ms", op): gemm.matmul for op in ("FusedMatMul", "MatMulIntegerToFloat", "DynamicQuantizeMatMul")},
    **{("", op): gemm.conv for op in ("Conv", "QLinearConv", "ConvInteger")},
    ("", "Gemm"): gemm.gemm,
    ("", "Einsum"): gemm.einsum,
    ("", "ConvTranspose"): gemm.conv_transpose,
    ("ms", "MatMulNBits"): gemm.n_bits,
    ("", "Attention"): attention.onnx_attention,
    ("", "LinearAttention"): attention.linear_attention,
    ("ms", "LinearAttention"): attention.linear_attention,
    ("ms", "Attention"): attention.projected,
    ("ms", "GroupQueryAttention"): attention.group_query,
    ("ms", "MultiHeadAttention"): attention.multi_head,
    (FUSED, "attention"): attention.pattern,
    (FUSED, "region"): vector.region,
    **{("", op): vector.softmax for op in ("Softmax", "LogSoftmax", "Hardmax")},
    ("", "Gather"): vector.gather,
    ("ms", "GatherBlockQuantized"): vector.gather,
    ("", "BatchNormalization"): vector.batch_norm,
    ("", "TensorScatter"): vector.cache_update,
    ("", "Transpose"): vector.transpose,
}


def _vector(kind: str, function: str) -> Handler:
    return lambda imp, node: imp.vector(node, kind, function)


_BY_NAME: dict[str, Handler] = {
    **{op: _vector("elementwise", function) for op, function in ELEMENTWISE.items()},
    **dict.fromkeys(COPIES, _vector("elementwise", "copy")),
    **dict.fromkeys(VIEWS, vector.view),
    **dict.fromkeys(PARTS, vector.part),
    **dict.fromkeys(REDUCTIONS, vector.reduction),
    **{op: partial(vector.norm, function=function) for op, function in NORMS.items()},
    **{op: partial(vector.group_norm, attribute=name) for op, name in GROUP_NORMS.items()},
}


def handler(node: Node) -> Handler | None:
    """What appends the rows of a node; None for an operator that is not known."""
    return _HANDLERS.get(node.key) or (_BY_NAME.get(node.op) if node.domain in ("", "ms") else None)
