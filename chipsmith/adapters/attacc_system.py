"""AttAcc end to end: decode on eight GPUs, alone or with AttAcc memory, as its simulator describes it.

A record becomes the chip of one of the eight (peaks and caps of the record, the rest from the preset), a decoder layer
of its model under tensor parallelism with the operators that the simulator counts, and a mean over the output tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from chipsmith.adapters.base import AMPLE_BYTES, Adapter, Fields, NotModelledError, Prediction, Value, keep_chips
from chipsmith.adapters.base import simulated as simulated_on
from models.chip import Chip, load_chip
from models.pim import load_device
from sim.evaluate import DYNAMIC
from sim.result import Result
from workloads.dtypes import format_bytes
from workloads.graph import Graph
from workloads.operators import Operator, Segment
from workloads.trace import Trace
from workloads.transforms.head_groups import base_name

#: Steps of a generation that are simulated; the mean over them stands for all (time is smooth in the context).
_SAMPLES = 4
_MS = 1e3
#: Bandwidth of one step of an all-reduce between A100s, and the link that it was measured on (the source's fit).
_STEP_BYTES_PER_S, _STEP_LINK_GBPS = 1.0 / 0.009e-9, 600.0
#: Energy components of one rank, by the source's names.
_ENERGY = {
    "energy_dram_j": ("dram_core", "dram_io"),
    "energy_l2_j": ("noc",),
    "energy_l1_j": ("sram",),
    "energy_register_j": ("regfile",),
    "energy_alu_j": ("mac", "vector"),
}
_FORMATS = {1: "int8", 2: "fp16"}
_PLACEMENTS = {"bank": "attacc_bank", "bank_group": "attacc_bankgroup", "buffer_die": "attacc_buffer"}


@dataclass(frozen=True)
class Model:
    """A decoder of the record, on one of ``ranks`` ranks.

    Attributes:
        name, layers, hidden, heads, head_dim: as the record says. ffn: features of the feed-forward network.
        form: number format of everything. ranks: of tensor parallelism.
    """

    name: str
    layers: int
    hidden: int
    heads: int
    head_dim: int
    ffn: int
    form: str
    ranks: int

    @property
    def own_heads(self) -> int:
        """Heads of one rank."""
        return self.heads // self.ranks

    @property
    def weight_bytes(self) -> int:
        """Parameters of one rank: its share of the four projections and two matrices of each layer."""
        own = self.own_heads * self.head_dim
        return self.layers * format_bytes(self.hidden * (4 * own + 2 * self.ffn // self.ranks), self.form)

    @property
    def cache_bytes(self) -> int:
        """Keys and values of one token on one rank, all layers."""
        return self.layers * 2 * format_bytes(self.own_heads * self.head_dim, self.form)


def model_of(workload: Fields) -> Model:
    """The model of a record.

    Raises:
        NotModelledError: heads that don't divide among the ranks.
    """
    ranks, heads = workload.whole("tensor_parallel"), workload.whole("heads")
    if heads % ranks:
        raise NotModelledError(f"{heads} heads on {ranks} ranks")
    sizes = {key: workload.whole(key) for key in ("layers", "head_dim")}
    hidden = workload.whole("d_model")
    ffn = hidden * workload.whole("ffn_multiplier")
    form = _FORMATS[workload.whole("dtype_bytes")]
    return Model(workload.word("model"), hidden=hidden, heads=heads, ffn=ffn, form=form, ranks=ranks, **sizes)


class _Layer:
    """Rows of one decoder layer, as the source lists them."""

    def __init__(self, model: Model, segments: Sequence[Segment], phase: str) -> None:
        self.model, self.segments, self.phase = model, tuple(segments), phase
        self.tokens = sum(s.new_tokens * s.multiplicity for s in segments)
        self.graph = Graph()
        self.graph.begin("layers", model.layers, "layer")

    def _row(self, name: str, kind: str, **fields: Any) -> Operator:
        form = self.model.form
        formats: dict[str, Any] = {"act": form, "weight": form, "kv": form, "out": form}
        return Operator(name, kind, 0, (Segment(self.tokens),), phase=self.phase, **formats, **fields)

    def linear(self, name: str, x: int, k: int, n: int) -> int:
        """A projection."""
        weight = self.graph.source(f"{name}.weight", "weight", k * n, self.model.form)
        return self.graph.append(self._row(name, "gemm", k=k, n=n), (x, weight), {"": n})[0]

    def vector(self, name: str, kind: str, function: str, x: int, width: int) -> int:
        """A norm or an activation function."""
        row = self._row(name, kind, function=function, width_in=width, width_out=width)
        return self.graph.append(row, (x,), {"": width})[0]

    def reduce(self, name: str, x: int) -> int:
        """An all-reduce of hidden features."""
        width = self.model.hidden
        row = self._row(name, "collective", function="all_reduce", width_in=width, width_out=width)
        return self.graph.append(replace(row, ranks=self.model.ranks), (x,), {"": width})[0]

    def attention(self, qkv: int) -> int:
        """Attention of this rank's heads."""
        own, width = self.model.own_heads, self.model.own_heads * self.model.head_dim
        held = sum(s.context * s.multiplicity for s in self.segments)
        cache = self.graph.source("kv_cache", "kv", 2 * width * held, self.model.form)
        dims = {"heads": own, "kv_heads": own, "qk_dim": self.model.head_dim, "v_dim": self.model.head_dim}
        row = self._row("attention", "attention", kv_width=2 * width, function="softmax", **dims)
        return self.graph.append(replace(row, segments=self.segments), (qkv, cache), {"": width})[0]

    def trace(self, activation: str) -> Trace:
        """The layer, as often as the model has it."""
        m, own = self.model, self.model.own_heads * self.model.head_dim
        x = first = self.graph.source("x", "input", self.tokens * m.hidden, m.form)
        x = self.attention(self.linear("qkv_proj", x, m.hidden, 3 * own))
        x = self.reduce("attn_all_reduce", self.linear("o_proj", x, own, m.hidden))
        x = self.vector("norm1", "norm", "layernorm", x, m.hidden)
        ffn = m.ffn // m.ranks
        x = self.vector("act", "elementwise", activation, self.linear("up_proj", x, m.hidden, ffn), ffn)
        x = self.reduce("ffn_all_reduce", self.linear("down_proj", x, ffn, m.hidden))
        x = self.vector("norm2", "norm", "layernorm", x, m.hidden)
        self.graph.carry(x, first)
        kept = sum((s.context + s.new_tokens) * s.multiplicity for s in self.segments)
        meta = {"parameter_bytes": m.weight_bytes, "kv_cache_bytes": m.cache_bytes * kept}
        return self.graph.finish(f"{m.name} {self.phase}", {**meta, "tokens": self.tokens}).check()


def step_trace(model: Model, batch: int, new_tokens: int, context: int) -> Trace:
    """One step of ``batch`` equal requests on one rank."""
    phase = "prefill" if new_tokens > 1 else "decode"
    activation = "relu" if model.name.startswith("OPT") else "gelu"
    return _Layer(model, (Segment(new_tokens, context, batch),), phase).trace(activation)


def _machine(hardware: Fields) -> dict[str, Any]:
    """The chip of one rank as data: the preset with the record's peaks, caps and sizes."""
    pim = hardware.get("pim")
    base = load_chip(_PLACEMENTS[pim.word("placement", tuple(_PLACEMENTS))] if pim else "attacc_gpu")
    gigabytes = hardware.whole("gpu_memory_gb") * 2**30
    changes: dict[str, Any] = {
        "engines.gpu.flops_per_s": hardware.number("gpu_tflops_fp16") * 1e12,
        "engines.gpu.flops_8bit_per_s": 2 * hardware.number("gpu_tflops_fp16") * 1e12,
        "engines.gpu.cores": hardware.whole("gpu_sms"),
        "engines.gpu.compute_efficiency": hardware.number("compute_efficiency"),
        "engines.gpu.memory_efficiency": hardware.number("memory_efficiency"),
        "engines.gpu.occupancy_limits_bandwidth": True,
        "memories.hbm.bandwidth_bytes_per_s": hardware.number("gpu_memory_gbps") * 1e9,
        "memories.hbm.capacity_bytes": gigabytes,
        "links.nvlink.bandwidth_bytes_per_s": _STEP_BYTES_PER_S * hardware.number("link_gbps") / _STEP_LINK_GBPS,
    }
    if pim:
        changes |= {"engines.attacc.stacks": pim.whole("stacks_per_device"), **_power(pim)}
    return base.with_fields(changes).model_dump()


def _power(pim: Fields) -> dict[str, Any]:
    """Without the power cap a multiplication starts every 4 clocks."""
    return {} if pim.get("power_capped") else {"engines.attacc.mac_interval_ck": 4}


_chip = keep_chips(_machine)


def _roomy(chip: Chip) -> Chip:
    """The chip with memory for anything: the source computes times of batches that don't fit."""
    return chip.with_fields({f"memories.{name}.capacity_bytes": AMPLE_BYTES for name in chip.memories})


def _arranged(chip: Chip, workload: Fields, trace: Trace) -> Chip:
    """The chip with the record's options; of the head groups that divide the heads, those that are fastest."""
    shared = chip.with_fields({"policy.co_process": "attacc"}) if workload.get("ffn_coprocessing") else chip
    if not workload.get("head_level_pipelining"):
        return shared
    heads = max(op.heads for op in trace.ops)
    groups = [shared.with_fields({"policy.head_groups": g}) for g in _divisors(heads)]
    return min(groups, key=lambda candidate: simulated_on(trace, candidate).latency_s)


def _divisors(number: int) -> list[int]:
    return [part for part in range(1, number + 1) if number % part == 0]


def _contexts(workload: Fields) -> list[int]:
    """Cached tokens of the sampled steps: midpoints of equal parts of the generation."""
    prompt, steps = workload.whole("prompt_tokens"), workload.whole("output_tokens") - 1
    return [prompt + int((part + 0.5) / _SAMPLES * steps) for part in range(_SAMPLES)]


def _mean(results: Sequence[Result], measure: Callable[[Result], float]) -> float:
    return sum(measure(result) for result in results) / len(results)


def _busy_s(result: Result, kinds: Sequence[str], names: Sequence[str] = ()) -> float:
    """Seconds of the operators of some kinds (and names); parts of one operator on two engines count once."""
    engines: dict[str, dict[str, float]] = {}
    for op in result.ops:
        name = base_name(op.name)
        if op.kind in kinds and (not names or name.rpartition(".")[2] in names):
            spent = engines.setdefault(name, {})
            spent[op.engine] = spent.get(op.engine, 0.0) + op.duration_s * op.count
    return sum(max(spent.values()) for spent in engines.values())


def _metrics(results: Sequence[Result], prefill: Result, workload: Fields, ranks: int) -> dict[str, Value]:
    """Times by class and energies, from results without a pipeline of head groups, as the source counts classes."""
    vector = ("softmax", "norm", "elementwise")
    parts = {
        "attention_ms": _mean(results, lambda r: _busy_s(r, ("attention",))),
        "ffn_ms": _mean(results, lambda r: _busy_s(r, ("gemm",), ("up_proj", "down_proj"))),
        "communication_ms": _mean(results, lambda r: _busy_s(r, ("collective",))),
        "other_ms": _mean(results, lambda r: _busy_s(r, vector)),
        "prefill_ms": prefill.latency_s,
    }
    if not workload.get("head_level_pipelining"):  # else the source subtracts what attention hides
        parts["qkv_ms"] = _mean(results, lambda r: _busy_s(r, ("gemm",), ("qkv_proj",)))
        parts["projection_ms"] = _mean(results, lambda r: _busy_s(r, ("gemm",), ("o_proj",)))
        parts["fc_ms"] = _mean(results, lambda r: _busy_s(r, ("gemm",)))
    energy = {name: ranks * _joules(results, own) for name, own in {**_ENERGY, "energy_per_token_j": DYNAMIC}.items()}
    return {**{name: _MS * seconds for name, seconds in parts.items()}, **energy}


def _joules(results: Sequence[Result], components: Sequence[str]) -> float:
    return _mean(results, lambda result: sum(result.energy_parts_j[part] for part in components))


def _constants() -> dict[str, Value]:
    """What the preset and the devices hold of the published constants."""
    spec, links = load_chip("attacc_gpu").engines["gpu"].model_dump(), load_chip("attacc_gpu").links
    devices = {place: load_device(f"attacc_{place}") for place in _PLACEMENTS}
    energies, bits = devices["bank"].energy_set("attacc"), 8 * devices["bank"].organisation.row_bytes
    activate = energies.act_pj / bits
    reads = {
        **{place: energies.bit_pj("array", place) for place in _PLACEMENTS},
        "off_chip": energies.pj_per_bit["external"],
    }
    found = {
        "dram_energy_components.activate": activate,
        "dram_energy_components.cell": reads["bank"],
        "dram_energy_components.column_to_bank_group_mux": reads["bank_group"] - reads["bank"],
        "dram_energy_components.interposer": reads["off_chip"] - reads["buffer_die"],
        **{f"energy_to_read_one_bit.{place}": activate + pj for place, pj in reads.items()},
        "mac_energy": energies.mac_pj,
        **{f"gpu_energy.{level}": spec[f"{level}_pj_per_byte"] for level in ("register", "l1", "l2")},
        "gpu_energy.link": 8 * links["nvlink"].energy_pj_per_bit,
    }
    for place, device in devices.items():
        free = (
            device.with_timing(**{device.mac_interval_ck: device.timing_ck["tCCD_L"]})
            if place != "buffer_die"
            else device
        )
        for label, one in (("capped", device), ("uncapped", free)):
            ratio = one.internal_bytes_per_ck / one.external_bytes_per_ck
            found[f"internal_bandwidth_over_external.{label}.{place}"] = ratio
    return {**found}


def _predict(hardware: Fields, workload: Fields) -> Prediction:
    if workload.get("scope") == "constant":
        return Prediction(_constants())
    model, batch, contexts = model_of(workload), workload.whole("batch"), _contexts(workload)
    traces = [step_trace(model, batch, 1, context) for context in contexts]
    machine = _chip(hardware)
    if hardware.get("pim"):
        machine = machine.with_fields({"engines.attacc.dtype": model.form})
    chip = _arranged(_roomy(machine), workload, traces[_SAMPLES // 2])
    plain = chip.with_fields({"policy.head_groups": 1})
    steps = [simulated_on(trace, chip) for trace in traces]
    classes = steps if chip == plain else [simulated_on(trace, plain) for trace in traces]
    prompt = simulated_on(step_trace(model, batch, workload.whole("prompt_tokens"), 0), plain)
    metrics = _metrics(classes, prompt, workload, model.ranks)
    metrics["time_per_token_ms"] = _MS * _mean(steps, lambda r: r.latency_s)
    kept = workload.whole("prompt_tokens") + workload.whole("output_tokens")
    last = step_trace(model, batch, 1, kept - 1)
    null = _mean([simulated_on(trace, chip, fidelity="bound") for trace in traces], lambda r: r.latency_s)
    resident = {"required_memory_bytes": float(model.ranks * last.resident_bytes)}
    return Prediction({**metrics, **resident}, {"time_per_token_ms": _MS * null})


ADAPTER = Adapter(
    family="pim-system",
    predict=_predict,
    sources=("AttAcc simulator",),
    quirks=(
        "bandwidth shrinks with the share of cores that have a thread block (occupancy_limits_bandwidth)",
        "an all-reduce in r - 1 steps (all_reduce: one_pass), each as interpolated from A100s",
        "units of 8-bit caches multiply int8 in twice the lanes",
        "times of batches that don't fit in memory are computed (capacity ignored)",
    ),
    not_compared={
        "energy_register_j": "the source multiplies a price per byte by elements, and leaves out attention",
        "fits_in_memory": "yes or no; required_memory_bytes is compared",
    },
    misses="moving queries and outputs between GPU and AttAcc, score matrices of prefill in memory, standby power",
)
