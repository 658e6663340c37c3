"""What is fused with what, as tables: adding a rule is adding a row.

A pattern is a term over ATen calls, written as a Python expression and read by :mod:`workloads.capture.match`:

- ``mul(a, b)``: a call with exactly these operands (scalars don't count); both orders are tried for ``COMMUTATIVE``.
- a lower-case name: an activation; the same name twice means the same one (parts of one tensor are one).
- a name that starts with ``i``: indices; they may be known or not, and what reads them is not counted.
- a name that starts with ``K``: a vector that the code brings along, no parameter (a buffer).
- any other upper-case name: something that is known before the step: a parameter, a buffer, a table made of positions.
- views, casts and layout copies between the calls are looked through.
- a rule may use the result of an earlier one under that one's name.

A match is taken only if nothing else needs what lies inside it.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Forms of views that are not marked as such in a recording; no data moves.
VIEWS = frozenset(
    {"_unsafe_view", "unsafe_split", "unsafe_split_with_sizes", "unsafe_chunk", "transpose", "t", "squeeze",
     "unsqueeze", "alias", "lift_fresh", "detach", "kv_append"}
)  # fmt: skip
#: Copies that kernels avoid by writing or reading the other layout or format.
LAYOUT = frozenset({"_to_copy", "clone", "copy", "cat", "stack"})
#: Calls whose result does not depend on the contents of their operands.
GENERATORS = frozenset(
    {"arange", "empty", "empty_like", "full", "full_like", "new_empty", "new_full", "new_ones", "new_zeros", "ones",
     "ones_like", "scalar_tensor", "zeros", "zeros_like"}
)  # fmt: skip
#: Calls that read rows of a table: never known before the step, even where the table and the indices are.
LOOKUPS = frozenset({"embedding", "index", "index_select", "gather", "take"})
COMMUTATIVE = frozenset({"add", "mul"})
GEMMS = frozenset({"mm", "addmm", "bmm", "baddbmm", "_grouped_mm"})
#: Whole kernels: no region (see below) may swallow one.
WHOLE = GEMMS | {"attention", "conv1d", "ssd", "convolution"}


@dataclass(frozen=True, slots=True)
class Rule:
    """Fuse a term into one node.

    Attributes:
        name: the node's operator from then on; also the name of its row where no parameter gives one.
        pattern: the term.
        kind, function: of the row (workloads/trace.py); an empty kind adds no row: the work is part of its neighbour.
        merge: neighbours of this rule in the same module become one row (q and k of rotary positions).
        levels: the outermost call may stand so many modules above the innermost one.
    """

    name: str
    pattern: str
    kind: str
    function: str
    merge: bool = False
    levels: int = 1


@dataclass(frozen=True, slots=True)
class Region:
    """Fuse everything small around a call: all neighbours, and theirs, that write no more than the call reads.

    Attributes:
        name, kind, function: as in :class:`Rule`.
        anchor: the call to start from.
    """

    name: str
    anchor: str
    kind: str
    function: str


_RMS = "mul(x, rsqrt(add(mean(pow(x)))))"
_CENTRED = "sub(x, mean(x))"
_CUBIC = "mul(add(x, mul(pow(x))))"  # c (x + 0.044715 x^3)

#: Applied in this order.
RULES: tuple[Rule, ...] = (
    # Routing weights leave the experts' results, which then are summed over the experts of a token.
    Rule("moe_combine", "sum(index(mul(y, s), i))", "elementwise", "add"),
    Rule("moe_combine", "add(moe_combine(y, s), z)", "elementwise", "add"),
    # Grouped GEMMs gather the tokens of each expert as they load, and add biases as they store.
    Rule("grouped", "_grouped_mm(index(x, i), W, i)", "gemm", ""),
    Rule("grouped", "_grouped_mm(x, W, i)", "gemm", ""),
    Rule("grouped", "add(grouped(x, W), index(B, i))", "gemm", ""),
    # Norms.
    Rule("rmsnorm", f"mul(W, {_RMS})", "norm", "rmsnorm"),
    Rule("rmsnorm", _RMS, "norm", "rmsnorm"),
    Rule("rmsnorm", "_fused_rms_norm(x, W)", "norm", "rmsnorm"),
    Rule("layernorm", "native_layer_norm(x, W, B)", "norm", "layernorm"),
    Rule("layernorm", "native_layer_norm(x, W)", "norm", "layernorm"),
    Rule("layernorm", "native_layer_norm(x)", "norm", "layernorm"),
    Rule("layernorm", f"mul(W, mul({_CENTRED}, rsqrt(add(mean(pow({_CENTRED}))))))", "norm", "layernorm"),
    # Rotary positions: rotated halves, rotated pairs, complex numbers.
    Rule("rope", "add(mul(x, C), mul(cat(neg(x), x), S))", "elementwise", "rope", merge=True),
    Rule("rope", "cat(sub(mul(x, C), mul(x, S)), add(mul(x, C), mul(x, S)))", "elementwise", "rope", merge=True),
    Rule("rope", "mul(view_as_complex(x), C)", "elementwise", "rope", merge=True),
    # Activations, then gates.
    Rule("gelu", f"mul(mul(x), add(tanh({_CUBIC})))", "elementwise", "gelu"),
    Rule("gelu", "mul(mul(x), add(tanh(mul(mul(x), add(mul(mul(x), x))))))", "elementwise", "gelu"),
    Rule("gelu", "mul(x, sigmoid(mul(x)))", "elementwise", "gelu"),
    Rule("silu", "mul(x, sigmoid(x))", "elementwise", "silu"),
    Rule("silu_mul", "mul(silu(x), y)", "elementwise", "silu_mul"),
    Rule("silu_mul", "mul(gelu(clamp(x)), add(clamp(y)))", "elementwise", "silu_mul"),
    Rule("gelu_mul", "mul(gelu(x), y)", "elementwise", "gelu_mul"),
    Rule("relu2", "pow(relu(x))", "elementwise", "relu"),
    Rule("relu2_mul", "mul(relu2(x), y)", "elementwise", "relu2_mul"),
    Rule("logit_softcap", "mul(tanh(div(x)))", "elementwise", "softcap"),
    Rule("rmsnorm", "rmsnorm(silu_mul(x, y), W)", "norm", "rmsnorm"),  # gated norm of state-space mixers
    # Learned positions are gathered together with the tokens.
    Rule("embedding", "add(embedding(W, T), embedding(P, J))", "gather", "embedding"),
    # Attention that a model spells out itself; A (position biases) and M (masks) are
    # known before the step.
    Rule("attention_of_parts", "bmm(_softmax(baddbmm(A, q, k)), v)", "attention", "softmax"),
    Rule("attention_of_parts", "bmm(_softmax(add(baddbmm(A, q, k), M)), v)", "attention", "softmax"),
    Rule("attention_of_parts", "bmm(_softmax(mul(bmm(q, k))), v)", "attention", "softmax"),
    Rule("attention_of_parts", "bmm(_softmax(div(bmm(q, k))), v)", "attention", "softmax"),
    Rule("attention_of_parts", "bmm(_softmax(bmm(q, k)), v)", "attention", "softmax"),
    Rule("attention_of_parts", "bmm(_safe_softmax(bmm(q, k)), v)", "attention", "softmax"),
    Rule("attention_of_parts", "bmm(_safe_softmax(add(bmm(q, k), A)), v)", "attention", "softmax"),
    # Factors that are numbers, or vectors that could be multiplied into the weights before, cost nothing.
    Rule("scale", "mul(x, K)", "", ""),
    Rule("scale", "mul(x)", "", ""),
    Rule("scale", "div(x)", "", ""),
)

#: Scores, choice of experts, and all the bookkeeping of who goes where.
REGIONS: tuple[Region, ...] = (Region("router_topk", "topk", "softmax", "topk"),)


@dataclass(frozen=True, slots=True)
class Single:
    """Row of a call that no rule took."""

    kind: str
    function: str


def _elementwise(function: str, *names: str) -> dict[str, Single]:
    return {name: Single("elementwise", function) for name in names}


#: Calls outside of every rule. The function is the one whose work is counted: ``add`` stands for one pass over the
#: elements, ``gelu`` for one pass with a table look-up (exponential, root, sine ...), ``copy`` for moving data.
SINGLES: dict[str, Single] = {
    **_elementwise("add", "add", "sub", "rsub", "neg", "abs", "clamp", "clamp_min", "clamp_max", "maximum", "minimum",
                   "where", "masked_fill", "bitwise_not", "bitwise_and", "bitwise_or", "logical_not", "logical_and",
                   "eq", "ne", "ge", "gt", "le", "lt", "sign", "floor", "ceil", "round", "floor_divide", "remainder",
                   "sum", "mean", "amax", "amin", "max", "min", "prod", "cumsum", "all", "any", "argmax", "argmin",
                   "fill", "zero", "tril", "triu", "threshold", "hardtanh", "max_pool2d_with_indices", "avg_pool2d",
                   "_adaptive_avg_pool2d", "var_mean", "var"),
    **_elementwise("mul", "mul", "div", "addcmul", "addcdiv", "lerp", "pow", "square"),
    **_elementwise("relu", "relu", "leaky_relu"),
    **_elementwise("silu", "silu", "hardswish"),
    **_elementwise("gelu", "gelu", "tanh", "sigmoid", "exp", "exp2", "expm1", "log", "log1p", "log2", "sqrt", "rsqrt",
                   "reciprocal", "sin", "cos", "erf", "softplus", "elu", "mish", "log_sigmoid_forward",
                   "hardsigmoid", "logsumexp", "_logcumsumexp"),
    **_elementwise("copy", "copy", "clone", "_to_copy", "cat", "stack", "constant_pad_nd", "index", "index_put",
                   "index_select", "index_add", "index_copy", "gather", "scatter", "scatter_add", "slice_scatter",
                   "select_scatter", "repeat", "flip", "roll", "unfold", "sort", "histc", "one_hot", "masked_select",
                   "upsample_nearest2d", "im2col"),
    "_safe_softmax": Single("softmax", "softmax"),
    "_softmax": Single("softmax", "softmax"),
    "_log_softmax": Single("softmax", "softmax"),
    "topk": Single("softmax", "topk"),
    "native_layer_norm": Single("norm", "layernorm"),
    "_fused_rms_norm": Single("norm", "rmsnorm"),
    "native_group_norm": Single("norm", "layernorm"),
    "native_batch_norm": Single("norm", "layernorm"),
    "_native_batch_norm_legit_no_training": Single("norm", "layernorm"),
    "cudnn_batch_norm": Single("norm", "layernorm"),
    "embedding": Single("gather", "embedding"),
    "conv1d": Single("elementwise", "conv1d"),
}  # fmt: skip

#: Last part of a parameter's (or module's) name -> name of its row, where builders of traces use another one.
NAMES: dict[str, str] = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "mlp_norm",
    "self_attn_layer_norm": "attn_norm",
    "final_layer_norm": "mlp_norm",
    "pre_ff_layernorm": "mlp_norm",
    "final_layernorm": "final_norm",
    "ln_1": "attn_norm",
    "ln_2": "mlp_norm",
    "ln_f": "final_norm",
    "norm_f": "final_norm",
    "word_embeddings_layernorm": "embed_norm",
    "wte": "embed_tokens",
    "word_embeddings": "embed_tokens",
    "embeddings": "embed_tokens",
    "q_a_layernorm": "q_a_norm",
    "kv_a_layernorm": "kv_a_norm",
    "kv_a_proj_with_mqa": "kv_a_proj",
    "c_attn": "qkv_proj",
    "query_key_value": "qkv_proj",
    "c_fc": "up_proj",
    "fc1": "up_proj",
    "dense_h_to_4h": "up_proj",
    "fc2": "down_proj",
    "dense_4h_to_h": "down_proj",
    "attn.out_proj": "o_proj",
    "layer.out_proj": "o_proj",
    "attn.dense": "o_proj",
    "attn.c_proj": "o_proj",
    "mlp.c_proj": "down_proj",
    "mixer.norm": "gated_norm",
    "layer.norm": "mixer_norm",
    "model.norm": "final_norm",
    "model.final_layer_norm": "final_norm",
    "embed_out": "lm_head",
    "experts_moe_combine": "moe_combine",
}
#: Name of a submodule of a layer -> short name of that part.
PARTS: dict[str, str] = {
    "self_attn": "attn",
    "self_attention": "attn",
    "attn": "attn",
    "attention": "attn",
    "mlp": "mlp",
    "block_sparse_moe": "mlp",
    "feed_forward": "mlp",
    "mixer": "mixer",
    "fc1": "mlp",
    "fc2": "mlp",
    "mamba": "mixer",
}
#: Name of a submodule -> what goes before the names of its rows.
PREFIXES: dict[str, str] = {"experts": "experts_", "shared_experts": "shared_", "shared_expert": "shared_"}
