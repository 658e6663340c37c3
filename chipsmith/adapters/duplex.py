"""Duplex (MICRO 2024): its headline ratios, its EDAP curve and its constants, from the presets alone.

A published ratio is recomputed as the paper defines it: a group of devices serves a full batch continuously, so that a
request's time is that of its decode steps, a few of which also read the prompt of another request. Nothing is fitted;
what the paper leaves open (number of devices, routing) is chosen here and said in ``misses``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from statistics import mean, median

from chipsmith.adapters.base import Adapter, Fields, NotModelledError, Prediction, Value, gemm_trace, simulated
from models.chip import Chip, ChipTable, load_chip
from models.engines.pim import PimSpec, built, design_of
from models.pim import EnergySet, PimDevice, load_device
from models.prices import price
from sim.evaluate import DYNAMIC
from sim.mapping import Mapping as GivenMapping
from workloads.batch import Batch
from workloads.build import build_trace
from workloads.configs import ModelConfig, load_config, parse_config
from workloads.routing import Routing

GPU, DUPLEX = "h100_roofline", "duplex"
BATCHES = (32, 64, 128)
#: One random draw of uniform routing, as a run of the original is.
_ROUTING = Routing.uniform(seed=1)
#: Dies of a 16 GB stack that is eight high, and the logic die under them; all have the footprint of the logic die.
_DIES, _DIE_MM2, _TSV_MM2 = 9, 121.0, 10.89
_STACKS = 5


@dataclass(frozen=True)
class Model:
    """A model of the paper.

    Attributes:
        name: of the model. parts: configurations whose layers add up to it.
        devices: smallest power of two whose memory holds weights and the caches of 128 requests of the longest kind.
        lengths: prompt and output tokens of the grid.
    """

    name: str
    parts: tuple[ModelConfig, ...]
    devices: int
    lengths: tuple[int, ...]


def _moe(name: str, layers: int, hidden: int, ffn: int, heads: int, kv_heads: int, experts: int) -> ModelConfig:
    """A mixture of experts in the fields of a Mixtral."""
    shape = {"hidden_size": hidden, "intermediate_size": ffn, "num_attention_heads": heads, "vocab_size": 32768}
    return parse_config(
        {**shape, "model_type": "mixtral", "num_hidden_layers": layers, "num_key_value_heads": kv_heads,
         "num_local_experts": experts, "num_experts_per_tok": min(2, experts), "torch_dtype": "float16",
         "sliding_window": None},
        name,
    )  # fmt: skip


@cache
def models() -> Mapping[str, Model]:
    """The models with experts, by name.

    GLaM has experts in every other layer, and two matrices in a network: here three of two thirds the width.
    """
    glam = 16384 * 2 // 3 // 64 * 64
    parts = tuple(
        _moe(f"glam-{kind}", 16, 4096, glam, 32, 32, experts) for kind, experts in (("moe", 64), ("dense", 1))
    )
    lengths = (256, 1024, 4096)
    return {
        "Mixtral": Model("Mixtral", (load_config("mixtral-8x7b"),), 4, lengths),
        "GLaM": Model("GLaM", parts, 8, (512, 1024, 2048)),
        "Grok1": Model("Grok1", (_moe("grok-1", 64, 6144, 32768, 48, 8, 8),), 16, lengths),
    }


@dataclass(frozen=True)
class Step:
    """Seconds and dynamic joules of a step on one device."""

    seconds: float
    joules: float


@lru_cache(maxsize=4096)
def step(chip: str, name: str, devices: int, batch: Batch) -> Step:
    """One step of a model on a group of ``devices`` under tensor parallelism."""
    results = [
        simulated(
            build_trace(config, batch, None, devices, _ROUTING, merge_qkv=True, merge_gate_up=True), load_chip(chip)
        )
        for config in models()[name].parts
    ]
    joules = sum(result.energy_parts_j[part] for result in results for part in DYNAMIC)
    return Step(sum(result.latency_s for result in results), joules)


@dataclass(frozen=True)
class Served:
    """A group of devices that serves ``batch`` requests at a time without a pause.

    Attributes:
        batch, output: requests in flight and tokens that each gets. decode: a step without a prompt.
        mixed: a step in which one of the requests is a prompt. devices: in the group.
    """

    batch: int
    output: int
    decode: Step
    mixed: Step
    devices: int

    @property
    def request_s(self) -> float:
        """Seconds of a request: its steps, in which each of the others reads its prompt once."""
        return self.output * self.decode.seconds + self.batch * (self.mixed.seconds - self.decode.seconds)

    @property
    def tokens_per_s(self) -> float:
        """Output tokens of the group."""
        return self.batch * self.output / self.request_s

    @property
    def token_j(self) -> float:
        """Dynamic energy of an output token, all devices."""
        total = self.output * self.decode.joules + self.batch * (self.mixed.joules - self.decode.joules)
        return self.devices * total / (self.batch * self.output)


def serve(chip: str, name: str, batch: int, prompt: int, output: int, groups: int = 1) -> Served:
    """Continuous batching of equal requests on ``groups`` times the model's devices."""
    devices, context = groups * models()[name].devices, prompt + output // 2
    decode = Batch.decode(batch, context)
    mixed = Batch.from_pairs([(prompt, 0), *[(1, context)] * (batch - 1)])
    return Served(batch, output, step(chip, name, devices, decode), step(chip, name, devices, mixed), devices)


def grid(name: str) -> list[tuple[int, int, int]]:
    """(batch, prompt, output) of a model: prompts as long as outputs."""
    return [(batch, length, length) for batch in BATCHES for length in models()[name].lengths]


def ratios(names: Iterable[str], measure: Callable[[Served, Served], float], groups: int = 1) -> list[float]:
    """``measure(gpu, duplex)`` over the grids of some models."""
    return [
        measure(serve(GPU, name, *point, groups=groups), serve(DUPLEX, name, *point))
        for name in names
        for point in grid(name)
    ]


def _reduction(before: float, after: float) -> float:
    return 100.0 * (1.0 - after / before)


def throughput_ratios() -> list[float]:
    """Tokens a second over those of GPUs, every point."""
    return ratios(models(), lambda gpu, ours: ours.tokens_per_s / gpu.tokens_per_s)


def energy_reductions() -> list[float]:
    """Energy of a token below that of GPUs, %."""
    return ratios(models(), lambda gpu, ours: _reduction(gpu.token_j, ours.token_j))


def _glam_times() -> dict[str, Value]:
    def whole(gpu: Served, ours: Served) -> float:
        return _reduction(gpu.request_s, ours.request_s)

    between = ratios(["GLaM"], lambda gpu, ours: _reduction(gpu.decode.seconds, ours.decode.seconds))
    return {
        "median_time_between_tokens_reduction": median(between),
        "end_to_end_latency_reduction.vs_gpu": mean(ratios(["GLaM"], whole)),
        "end_to_end_latency_reduction.vs_2xgpu": mean(ratios(["GLaM"], whole, groups=2)),
    }


def _queries(workload: Fields) -> dict[str, Value]:
    point = workload.whole("max_batch"), workload.whole("prompt_tokens"), workload.whole("output_tokens")
    rates = tuple(serve(chip, workload.word("model"), *point).tokens_per_s / point[2] for chip in (GPU, DUPLEX))
    return {"sustained_queries_per_s_gpu_duplex": rates}


# ---------------------------------------------------------------- EDAP


def edap(chip_name: str, rows: int, weights: tuple[int, int]) -> float:
    """Energy x delay x area of a GEMM on the units of a chip; area of the stacks with what is added to them."""
    chip = load_chip(chip_name).with_fields({"policy.co_process": ""})
    unit = next(name for name, spec in chip.engines.items() if isinstance(spec, PimSpec))
    trace = gemm_trace(rows, weights[1], weights[0], "fp16", "fp16", "fp16")
    (op,) = simulated(trace, chip, GivenMapping("given", {"gemm": unit})).ops
    added = float(price(ChipTable(chip)).engines[unit].total_mm2[0]) / _STACKS
    area = _DIES * _DIE_MM2 + added + (_TSV_MM2 if chip_name == DUPLEX else 0.0)
    return sum(op.energy_pj.values()) * op.duration_s * area


_EDAP_CHIPS = {"Logic-PIM": DUPLEX, "BankGroup-PIM": "duplex_bankgroup_pim"}


def _edap_curve(workload: Fields) -> dict[str, Value]:
    own = _EDAP_CHIPS[workload.word("system", tuple(_EDAP_CHIPS))]
    curve = []
    for rows in workload.get("op_per_byte"):
        costs = {chip: edap(chip, rows, workload.get("weight_shape")) for chip in _EDAP_CHIPS.values()}
        curve.append(costs[own] / max(costs.values()))
    return {"edap_normalised": tuple(curve)}


# ---------------------------------------------------------------- constants


def _device(chip: Chip) -> PimDevice:
    return next(built(design_of(spec)) for spec in chip.engines.values() if isinstance(spec, PimSpec))


def _nj_per_32_bytes(energies: EnergySet) -> dict[str, float]:
    names = {"gpu": "external", "logic": "buffer_die", "bank_group": "bank_group", "bank": "bank"}
    return {f"energy_per_32_bytes.{key}": 0.256 * energies.bit_pj("array", place) for key, place in names.items()}


def _hbm(chip: Chip) -> float:
    return chip.memories["hbm"].bandwidth_bytes_per_s


def _constants() -> dict[str, Value]:
    """What the preset and the device hold of the published constants."""
    chip, gpu = load_chip(DUPLEX), load_chip(GPU)
    device, energies = _device(chip), load_device("duplex").energy_set("duplex")
    bank, unit = _device(load_chip("duplex_bank_pim")), chip.engines["logic_pim"]
    stack_bytes_per_s = device.internal_bytes_per_ck * unit.clock_hz
    macs_per_s = stack_bytes_per_s / 2 * device.unit.reuse
    area = price(ChipTable(chip)).engines["logic_pim"].area_mm2
    names = ("tCL", "tRP", "tRAS", "tRC", "tCCD_S", "tCCD_L", "tFAW", "tREFI")
    timing = {f"hbm3_5200_timing.{name}": float(device.timing_ck[name]) for name in names}
    return {
        "logic_pim_per_stack.tflops": 2e-12 * macs_per_s,
        "logic_pim_per_stack.op_per_byte": 2 * macs_per_s / stack_bytes_per_s,
        "logic_pim_per_stack.bandwidth_x_hbm3": device.internal_bytes_per_ck / device.external_bytes_per_ck,
        "bank_pim_assumption.bandwidth_x_hbm3": bank.internal_bytes_per_ck / bank.external_bytes_per_ck,
        "bank_pim_assumption.op_per_byte": float(bank.unit.reuse),
        "logic_die_area_per_stack.gemm": float(area["units"][0]) / _STACKS,
        "read_energy.hbm_to_gpu": energies.bit_pj("array", "external"),
        "read_energy.to_logic_die": energies.bit_pj("array", "buffer_die"),
        **_nj_per_32_bytes(energies),
        "activate_energy": energies.act_pj / 1e3,
        "mac_energy": energies.mac_pj,
        "gpu_peaks.H100": (gpu.engines["xpu"].model_dump()["flops_per_s"] / 1e12, _hbm(gpu) / 1e12),
        "nvlink_per_direction.H100": gpu.links["nvlink"].bandwidth_bytes_per_s / 1e9,
        "hbm3_5200_timing.tCK_ns": device.tck_ns,
        "hbm3_5200_timing.tRCD": float(device.timing_ck["tRCDRD"]),
        **timing,
    }  # fmt: skip


def _predict(hardware: Fields, workload: Fields) -> Prediction:
    found: dict[str, Value]
    if workload.get("scope") == "constant":
        found = _constants()
    elif workload.get("kernel") == "gemm":
        found = _edap_curve(workload)
    elif workload.get("arrivals") is not None:
        found = _queries(workload)
    elif workload.get("model") == "GLaM":
        found = _glam_times()
    elif workload.get("models") is not None:
        every = throughput_ratios()
        found = {"throughput_ratio_max": max(every), "throughput_ratio_avg": mean(every)}
    elif workload.get("baseline") == "GPU":
        found = {"energy_reduction_avg": mean(energy_reductions())}
    else:
        raise NotModelledError("neither a comparison with GPUs nor a constant")
    return Prediction(found)


ADAPTER = Adapter(
    family="pim-system",
    predict=_predict,
    sources=("Duplex",),
    quirks=("xPU as a roofline at the bandwidth that refresh leaves", "uniform routing, one random draw"),
    misses=(
        "number of devices (the smallest power of two that holds all), lengths of outputs (as of prompts), "
        "GLaM as gated networks of equal bytes, TSVs and softmax units in the area, re-use of columns beyond Op/B 8"
    ),
)
