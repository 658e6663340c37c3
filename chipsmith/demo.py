"""The main job, end to end: a model and a request log in, a compared, searched, generated and verified design out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chipsmith.output import table
from models.chip import Chip, load_chip
from models.engines.systolic import SystolicSpec
from sim.generation import Generation, generate_tokens
from sim.simulate import simulate
from workloads.batch import Batch
from workloads.build import build_trace
from workloads.configs import ModelConfig, load_config
from workloads.dtypes import dtype
from workloads.errors import ChipsmithError, MissingToolError
from workloads.precision import Precision
from workloads.requests import Request, length_percentiles, read_requests
from workloads.trace import Trace

if TYPE_CHECKING:
    from chipsmith.report import Section
    from dse.study import Study
    from rtl.lint import LintReport
    from rtl.report import VerifyReport

Say = Callable[[str], None]
CHIPS = ("tpu_v4", "neupims_npu", "gemmini_16x16")
MODEL = "llama-2-7b"
SAMPLE_LOG = "conversation_sample"
SEARCH_BASE = "tpu_v4"
LINT_SIDE = 8
SEARCH_OBJECTIVES = ("area_mm2", "tpot_s", "energy_per_token_j")
#: The search starts from an int8 weight-stationary array as our generator makes it.
SEARCH_CHANGES: dict[str, object] = {
    "name": "searched",
    "description": "int8 weight-stationary NPU of the demo's search",
    "engines.npu.act_dtype": "int8",
    "engines.npu.weight_dtype": "int8",
    "engines.npu.accum_dtype": "int32",
    "engines.npu.weight_reuse_rows": 0,
    "engines.npu.first_preload_extra_cycles": 0,
    "engines.npu.store_by_block": False,
}
SEARCH_PARAMETERS: dict[str, Any] = {
    "engines.npu.rows": {"values": [16, 32, 64, 128, 256]},
    "engines.npu.cols": {"values": [16, 32, 64, 128, 256]},
    "engines.npu.cores": {"values": [1, 2, 4, 8]},
    "engines.npu.spad_bytes": {"log2": {"low": 2**18, "high": 2**25}},
    "engines.npu.accum_bytes": {"log2": {"low": 2**16, "high": 2**22}},
    "engines.vector.lanes": {"values": [64, 128, 256, 512]},
    "memories.dram.bandwidth_bytes_per_s": {"values": [2.048e11, 4.096e11, 6.144e11, 8.192e11, 1.2288e12]},
}


@dataclass(frozen=True)
class Options:
    """What the demo runs.

    Attributes:
        model: configuration name or path. requests: request log, or the name of the shipped one.
        batch: requests taken from the log, evenly spaced. chips: presets to compare.
        budget_s: seconds of search, at most 20. out: folder of all files. seed: of the search.
    """

    model: str = MODEL
    requests: str = SAMPLE_LOG
    batch: int = 8
    chips: tuple[str, ...] = CHIPS
    budget_s: float = 10.0
    out: Path = Path("out/demo")
    seed: int = 1


@dataclass
class Outcome:
    """What the demo found, filled stage by stage.

    Attributes:
        generations: chip name to totals of the request batch. precisions: chip name to its number formats.
        seconds: stage to seconds. simulated_s: seconds spent in simulation proper.
        front: the search's front as rows. difference: largest difference of the re-simulated front.
        notes: what was simulated, only elaborated, or missing.
    """

    generations: dict[str, Generation] = field(default_factory=dict)
    precisions: dict[str, Precision] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    simulated_s: float = 0.0
    front: list[dict[str, Any]] = field(default_factory=list)
    designs: int = 0
    difference: float = 0.0
    chosen: dict[str, Any] = field(default_factory=dict)
    verified: bool | None = None
    notes: list[str] = field(default_factory=list)


def pick_requests(requests: Sequence[Request], count: int) -> list[tuple[int, int]]:
    """(input, output) tokens of ``count`` requests spread evenly over the log, ordered by input length.

    Raises:
        ChipsmithError: the log has fewer requests, or ``count`` is not positive.
    """
    if not 1 <= count <= len(requests):
        raise ChipsmithError("--batch", count, f"from 1 to the {len(requests)} requests of the log")
    ordered = sorted(requests, key=lambda r: (r.input_tokens, r.output_tokens, r.arrival_s))
    chosen = [ordered[(2 * i + 1) * len(ordered) // (2 * count)] for i in range(count)]
    return [(r.input_tokens, max(1, r.output_tokens)) for r in chosen]


def precision_for(chip: Chip) -> Precision:
    """8-bit weights, activations and KV on an integer machine, 16-bit otherwise."""
    spec = next((s for s in chip.engines.values() if isinstance(s, SystolicSpec)), None)
    if spec is not None and not dtype(spec.act_dtype).is_float:
        return Precision(weights="int8", activations="int8", kv="int8")
    return Precision()


def _build(config: ModelConfig, precision: Precision, batch: Batch) -> Trace:
    return build_trace(config, batch, precision)


def _load_kernels(chip: str) -> float:
    """Seconds to bring the compiled kernels into this process, by simulating something small."""
    began = time.perf_counter()
    simulate(build_trace("opt-125m", Batch.decode(1, 16)), chip)
    return time.perf_counter() - began


def compare(options: Options, outcome: Outcome, say: Say) -> None:
    """Prefill and decode of the request batch on every chip; prints the comparison table."""
    config = load_config(options.model)
    requests = read_requests(options.requests)
    marks = length_percentiles(requests)
    medians = f"median {marks['input_tokens'][50]} in, {marks['output_tokens'][50]} out"
    say(f"{options.requests}: {len(requests)} requests, {medians}")
    mix = pick_requests(requests, options.batch)
    loading = _load_kernels(options.chips[0])
    for name in options.chips:
        chip = load_chip(name)
        precision = precision_for(chip)
        began = time.perf_counter()
        outcome.generations[name] = generate_tokens(partial(_build, config, precision), chip, mix)
        outcome.simulated_s += time.perf_counter() - began
        outcome.precisions[name] = precision
    say(table(comparison_rows(outcome)))
    evaluations = sum(g.evaluations for g in outcome.generations.values())
    steps = sum(g.steps for g in outcome.generations.values())
    say(
        f"TPOT integrates {steps} decode steps over the growing context from {evaluations} simulations, "
        f"which took {outcome.simulated_s:.2f} s (and loading the compiled kernels {loading:.2f} s)"
    )


def comparison_rows(outcome: Outcome) -> list[dict[str, Any]]:
    """One row a chip: the figures that architects compare."""
    return [
        {
            "chip": name,
            "precision": outcome.precisions[name].weights,
            "TTFT ms": g.ttft_s * 1e3,
            "TPOT ms": g.tpot_s * 1e3,
            "tokens/s": g.tokens_per_s,
            "J/token": g.energy_per_token_j,
            "mm2": g.prefill.area_mm2,
            "prefill util %": 100 * g.prefill.utilisation,
            "decode util %": 100 * g.first.utilisation,
            "prefill bound by": g.prefill.bound_by,
            "decode bound by": g.first.bound_by,
        }
        for name, g in outcome.generations.items()
    ]


def search(options: Options, outcome: Outcome, say: Say) -> Study:
    """Search array, SRAM and bandwidth for area, TPOT and energy; prints the re-simulated front."""
    from dse.space import Space
    from dse.study import Study
    from dse.workload import Workload

    config = load_config(options.model)
    precision = Precision(weights="int8", activations="int8", kv="int8")
    mix = pick_requests(read_requests(options.requests), options.batch)
    mean_in = sum(prompt for prompt, _ in mix) // len(mix)
    mean_out = sum(output for _, output in mix) // len(mix)
    decode = _build(config, precision, Batch.decode(options.batch, mean_in + mean_out // 2))
    base = load_chip(SEARCH_BASE).with_fields(SEARCH_CHANGES)
    space = Space(base, SEARCH_PARAMETERS)
    study = Study(space, Workload(decode=decode, decode_steps=mean_out), SEARCH_OBJECTIVES, seed=options.seed)
    state = study.run(budget_s=min(20.0, options.budget_s))
    verification = study.verify_front()
    outcome.designs = len(study)
    outcome.difference = verification.largest_difference
    front = study.front()
    outcome.front = [{str(k): v for k, v in row.items()} for row in front.to_dict("records")]
    say(
        f"{len(study)} of {space.size} designs searched in {state.elapsed_s:.1f} s "
        f"({state.designs_per_s:.0f} designs/s), {len(front)} on the front"
    )
    say(table(_short_front(outcome.front, space.paths)))
    say(f"front re-simulated one by one: largest difference {outcome.difference:g}")
    return study


def _short_front(front: Sequence[dict[str, Any]], paths: Sequence[str], shown: int = 12) -> list[dict[str, Any]]:
    """At most ``shown`` rows of the front, evenly spaced along the area axis."""
    ordered = sorted(front, key=lambda row: float(row["area_mm2"]))
    step = max(1, -(-len(ordered) // shown))
    return [
        {
            **{path.split(".", 1)[1].removeprefix("npu."): row[path] for path in paths},
            "mm2": row["area_mm2"],
            "TPOT ms": row["tpot_s"] * 1e3,
            "J/token": row["energy_per_token_j"],
        }
        for row in ordered[::step]
    ]


def knee(front: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The design with the least product of area, TPOT and energy per token: no weights to choose."""
    return min(front, key=lambda r: float(r["area_mm2"]) * float(r["tpot_s"]) * float(r["energy_per_token_j"]))


def chosen_chip(study: Study, outcome: Outcome) -> Chip:
    """The chip at the knee of the front."""
    outcome.chosen = knee(outcome.front)
    changes = {path: outcome.chosen[path] for path in study.space.paths}
    return study.space.base.with_fields({k: v.item() if hasattr(v, "item") else v for k, v in changes.items()})


def generate_rtl(chip: Chip, options: Options, outcome: Outcome, say: Say) -> LintReport:
    """Verilog of the chosen array: the whole elaborated and counted, a corner of it linted.

    Lint time grows with the number of PEs although all are alike, so the lint looks at no more than
    ``LINT_SIDE`` x ``LINT_SIDE`` of them with otherwise equal parameters.
    """
    from rtl.generate import generate, write
    from rtl.lint import lint, structure

    design = generate(chip)
    folder = write(design, options.out / "rtl")
    spec = next(s for s in chip.engines.values() if isinstance(s, SystolicSpec))
    corner = generate(chip, rows=min(spec.rows, LINT_SIDE), cols=min(spec.cols, LINT_SIDE))
    whole, findings = structure(design)
    parts = ", ".join(f"{count} {name}" for name, count in sorted(whole.instances.items()))
    say(f"{design.name} elaborated: {parts}; {whole.register_bits} register bits; files in {folder}")
    report = lint(corner, flow=False)
    checks = ", ".join(f"{name} {state}" for name, state in report.checks.items())
    say(f"{corner.name}, a corner of it: {checks}")
    for text in (*findings, *report.findings):
        say(f"finding: {text}")
    outcome.notes.append(f"{design.name} was elaborated, its corner {corner.name} linted; neither was simulated")
    return report


def verify_rtl(options: Options, outcome: Outcome, say: Say) -> VerifyReport | None:
    """The same generator at 4x4 and 8x8 in cocotb, against numpy and against the cycle kernel."""
    from rtl.verify import quick_verify

    try:
        report = quick_verify()
    except MissingToolError as missing:
        outcome.notes.append(f"nothing was simulated: {missing}")
        say(outcome.notes[-1])
        return None
    outcome.verified = report.passed
    say(table(report.rows()))
    for text in report.complaints():
        say(text)
    say("measured cycles equal the kernel's" if report.passed else "VERIFICATION FAILED")
    outcome.notes.append("4x4 and 8x8 arrays of the same generator were simulated against numpy and the cycle kernel")
    return report


def report_sections(options: Options, outcome: Outcome, study: Study, lint: LintReport) -> list[Section]:
    """Everything for ``report.html``."""
    from chipsmith.report import Picture, Table, Text, designs_section, result_sections
    from dse.figures import pareto_figure
    from sim.figures import comparison_figure, roofline_compare_figure

    pictures = options.out / "figures"
    pictures.mkdir(parents=True, exist_ok=True)
    pareto_figure(study, pictures / "pareto.png")
    results = [r for g in outcome.generations.values() for r in (g.prefill, g.first)]
    comparison_figure(results, pictures / "all_chips.png")
    roofline_compare_figure(results, pictures / "all_rooflines.png")
    rows = comparison_rows(outcome)
    lines = [[name, *(f"{value}" for value in (state,))] for name, state in lint.checks.items()]
    return [
        Table(
            "Chips compared",
            list(rows[0]),
            [list(row.values()) for row in rows],
            "One batch of requests from prompt to last token; TPOT is integrated over the growing context.",
        ),
        designs_section(study),
        Picture("Chips side by side", pictures / "all_chips.png", "Bars: latency, energy per token, area"),
        Picture("Rooflines", pictures / "all_rooflines.png", "Rooflines of all chips with prefill and decode"),
        Picture("Search", pictures / "pareto.png", "Pareto front of the search and hypervolume over designs"),
        Table("Generated Verilog", ["check", "result"], lines, "; ".join(outcome.notes)),
        Text("Seconds", ", ".join(f"{name} {seconds:.1f}" for name, seconds in outcome.seconds.items())),
        *result_sections(results[:2], pictures),
    ]


def run_demo(options: Options, say: Say) -> Outcome:
    """Run all stages; ``say`` gets what a reader should see.

    Raises:
        ChipsmithError: bad input, or a verification that failed.
    """
    from chipsmith.report import write_report

    options.out.mkdir(parents=True, exist_ok=True)
    outcome = Outcome()
    began = time.perf_counter()

    def stage(name: str) -> None:
        nonlocal began
        outcome.seconds[name] = time.perf_counter() - began
        began = time.perf_counter()

    say(f"== 1. {options.model} on {len(options.chips)} chips")
    compare(options, outcome, say)
    stage("compare")
    say(f"\n== 2. Design search, at most {min(20.0, options.budget_s):g} s")
    study = search(options, outcome, say)
    chip = chosen_chip(study, outcome)
    stage("search")
    say("\n== 3. Verilog of the design with the least area x TPOT x energy")
    lint = generate_rtl(chip, options, outcome, say)
    stage("generate")
    say("\n== 4. The same generator, simulated")
    verify_rtl(options, outcome, say)
    stage("verify")
    path = options.out / "report.html"
    sections = report_sections(options, outcome, study, lint)
    write_report(path, sections, "Chipsmith demo", f"{options.model}, {options.batch} requests of {options.requests}")
    stage("report")
    study.close()
    total = sum(outcome.seconds.values())
    stages = ", ".join(f"{name} {seconds:.1f}" for name, seconds in outcome.seconds.items())
    say(
        f"\n{path} written; {total:.1f} s in all ({stages}); simulating the comparison took {outcome.simulated_s:.2f} s"
    )
    return outcome
