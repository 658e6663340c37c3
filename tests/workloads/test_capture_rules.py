"""The fusion rules: patterns as terms, what they match and what they leave alone."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.capture.flow import Flow
from workloads.capture.match import Term, fuse, parse
from workloads.capture.names import module_row, parameter_row, place
from workloads.capture.recording import Call, Recording, Value
from workloads.capture.rules import NAMES, REGIONS, RULES, SINGLES, Rule
from workloads.capture.trace import trace_of
from workloads.trace import KINDS


class Sketch:
    """A recording written down call by call."""

    def __init__(self) -> None:
        self.values: list[Value] = []
        self.calls: list[Call] = []

    def source(self, role: str, *shape: int, name: str = "") -> int:
        self.values.append(Value(shape, "fp16", role, name or f"{role}_{len(self.values)}"))
        return len(self.values) - 1

    def call(self, op: str, inputs: Sequence[int], *shape: int, path: str = "", view: bool = False) -> int:
        self.values.append(Value(shape, "fp16"))
        self.calls.append(Call(op, path, tuple(inputs), (len(self.values) - 1,), view))
        return len(self.values) - 1

    def done(self, *outputs: int) -> Recording:
        return Recording("sketch", tuple(self.values), tuple(self.calls), outputs)


def fused_ops(recording: Recording) -> list[str]:
    flow = Flow(recording)
    fuse(flow)
    return [node.op for _, node in flow.real()]


def rms_norm(sketch: Sketch, x: int, gain: int, flipped: Sequence[bool] = (False, False)) -> dict[str, int]:
    """An RMSNorm with the operands of its products in either order."""

    def product(pair: tuple[int, int], flip: bool, *shape: int) -> int:
        return sketch.call("mul", pair[::-1] if flip else pair, *shape)

    cast = sketch.call("_to_copy", [x], 2, 8)
    mean = sketch.call("mean", [sketch.call("pow", [cast], 2, 8)], 2, 1)
    root = sketch.call("rsqrt", [sketch.call("add", [mean], 2, 1)], 2, 1)
    scaled = product((cast, root), flipped[0], 2, 8)
    return {"root": root, "out": product((gain, scaled), flipped[1], 2, 8)}


@given(st.tuples(st.booleans(), st.booleans()))
def test_products_match_in_either_order(flipped: tuple[bool, bool]) -> None:
    sketch = Sketch()
    found = rms_norm(sketch, sketch.source("input", 2, 8), sketch.source("weight", 8), flipped)
    recording = sketch.done(found["out"])
    assert fused_ops(recording) == ["rmsnorm"]
    (op,) = trace_of(recording).ops
    assert (op.kind, op.function, op.tokens, op.width_in, op.width_out, op.param_width) == (
        "norm",
        "rmsnorm",
        2,
        8,
        8,
        8,
    )


def test_what_something_else_needs_is_not_fused() -> None:
    sketch = Sketch()
    found = rms_norm(sketch, sketch.source("input", 2, 8), sketch.source("weight", 8))
    assert "rmsnorm" not in fused_ops(sketch.done(found["out"], found["root"]))


def test_a_gain_must_be_known_before_the_step() -> None:
    sketch = Sketch()
    x = sketch.source("input", 2, 8)
    found = rms_norm(sketch, x, sketch.call("tanh", [x], 2, 8))
    assert fused_ops(sketch.done(found["out"])) == ["tanh", "rmsnorm", "mul"]


def test_gates_take_their_activation_in() -> None:
    sketch = Sketch()
    gate, up = sketch.source("input", 4, 6), sketch.source("input", 4, 6)
    out = sketch.call("mul", [sketch.call("silu", [gate], 4, 6), up], 4, 6)
    (op,) = trace_of(sketch.done(out)).ops
    assert (op.function, op.width_in, op.width_out) == ("silu_mul", 12, 6)


def test_halves_of_one_tensor_are_read_once() -> None:
    """Rotary positions read a tensor and, of the same tensor, both halves."""
    sketch = Sketch()
    x, cos, sin = sketch.source("input", 1, 2, 4, 8), sketch.source("index", 4, 8), sketch.source("index", 4, 8)
    halves = [sketch.call("slice", [x], 1, 2, 4, 4, view=True) for _ in range(2)]
    turned = sketch.call("cat", [sketch.call("neg", [halves[1]], 1, 2, 4, 4), halves[0]], 1, 2, 4, 8)
    products = [sketch.call("mul", pair, 1, 2, 4, 8) for pair in ((x, cos), (turned, sin))]
    (op,) = trace_of(sketch.done(sketch.call("add", products, 1, 2, 4, 8))).ops
    assert (op.function, op.input_elements, op.output_elements, op.weight_bytes) == ("rope", 64, 64, 0)


def test_constants_are_worked_out_before_the_step() -> None:
    sketch = Sketch()
    x, gain = sketch.source("input", 2, 8), sketch.source("weight", 8, name="norm.weight")
    shifted = sketch.call("add", [gain], 8)  # 1 + gain, as Gemma has it
    found = rms_norm(sketch, x, shifted)
    assert fused_ops(sketch.done(found["out"])) == ["rmsnorm"]
    assert trace_of(sketch.done(found["out"])).weight_bytes == 16


def test_a_sum_belongs_to_its_module() -> None:
    """The shared expert's sum joins the combination of experts; the residual of the layer around it does not."""
    for path, expected in (("l.0.mlp", ["moe_combine"]), ("l.0", ["moe_combine", "add"])):
        sketch = Sketch()
        y, s, order, x = (sketch.source("input", *shape) for shape in ((6, 8), (6, 1), (6,), (3, 8)))
        weighted = sketch.call("mul", [y, s], 6, 8, path="l.0.mlp.experts")
        sorted_ = sketch.call("index", [weighted, order], 6, 8, path="l.0.mlp.experts")
        summed = sketch.call("sum", [sorted_], 3, 8, path="l.0.mlp.experts")
        out = sketch.call("add", [summed, x], 3, 8, path=path)
        assert fused_ops(sketch.done(out)) == expected


def test_broadcast_operands_count_their_own_elements() -> None:
    sketch = Sketch()
    wide, narrow = sketch.source("input", 4, 8), sketch.source("input", 4, 1)
    grown = sketch.call("expand", [narrow], 4, 8, view=True)
    (op,) = trace_of(sketch.done(sketch.call("maximum", [wide, grown], 4, 8))).ops
    assert op.input_elements == 36


# ---------------------------------------------------------------- the tables


def test_patterns_are_terms() -> None:
    assert parse("mul(silu(x), W)") == Term("mul", True, (Term("silu", True, (Term("x", False),)), Term("W", False)))
    for wrong in ("x + y", "mul(x, 2)", "mul(x, y=z)"):
        with pytest.raises(ValueError, match="a pattern holds calls and names only"):
            parse(wrong)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.pattern)
def test_each_rule_is_a_pattern_of_a_known_kind(rule: Rule) -> None:
    assert parse(rule.pattern).call
    assert rule.kind in (*KINDS, "")


def test_rows_outside_of_rules_have_known_kinds() -> None:
    assert {single.kind for single in SINGLES.values()} | {region.kind for region in REGIONS} <= set(KINDS)


# ---------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("parameter", "row"),
    [
        ("model.layers.0.self_attn.q_proj.weight", "q_proj"),
        ("model.layers.11.mlp.experts.gate_up_proj", "experts_gate_up_proj"),
        ("model.layers.3.mlp.shared_experts.down_proj.weight", "shared_down_proj"),
        ("transformer.h.5.attn.c_proj.weight", "o_proj"),
        ("transformer.h.5.mlp.c_proj.weight", "down_proj"),
        ("backbone.layers.1.mixer.norm.weight", "gated_norm"),
        ("backbone.layers.1.norm.weight", "mixer_norm"),
        ("model.norm.weight", "final_norm"),
        ("0.weight", "linear"),
        ("weight", "linear"),
    ],
)
def test_rows_are_called_as_builders_call_them(parameter: str, row: str) -> None:
    assert parameter_row(parameter, "linear") == row


def test_places_in_a_model() -> None:
    where = place("model.layers.12.mlp.up_proj")
    assert (where.stack, where.number, where.inside) == ("model.layers", 12, ("mlp", "up_proj"))
    assert place("lm_head").number == -1
    assert module_row("3", "convolution") == "convolution"
    assert set(NAMES.values()) >= {"attn_norm", "mlp_norm", "final_norm", "qkv_proj", "o_proj"}
