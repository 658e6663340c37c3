# ruff: noqa: D100, E402  (a notebook: cells import where they first need something, the name gives the order)
# %% [markdown]
# # Which systolic array for Llama-2-7B chat serving?
#
# An accelerator for chat has two jobs that pull its array apart. **Prefill** multiplies a whole prompt by every
# weight and wants multipliers. **Decode** multiplies a handful of new tokens by the same weights and wants to
# swallow weights as fast as memory delivers them. This study asks how many rows and columns, how many cores, how
# much SRAM and how much bandwidth one chip should have to do both, searches that space, generates Verilog for the
# array that wins, and ends with what not to believe.
#
# Every number in the text is computed by the cell above it, and `tests/notebooks` holds what is claimed around them.

# %%
import json
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Image, Markdown, display
from matplotlib.colors import LogNorm
from matplotlib.lines import Line2D

from chipsmith import (
    Batch,
    ChipsmithError,
    Space,
    Study,
    build_trace,
    generate,
    load_chip,
    load_config,
    simulate,
    validate,
    verify,
)
from dse.workload import Workload
from models.chip import ChipTable
from sim.batch import evaluate
from sim.evaluate import evaluate_chips
from sim.figures import comparison_figure, roofline_compare_figure
from sim.generation import generate_tokens
from sim.mapping import Mapping
from workloads.precision import Precision
from workloads.requests import length_percentiles, read_requests

ROOT = next(folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "pyproject.toml").exists())
RESULTS = {}  # the key numbers, printed at the end
BLUE, ORANGE, GREEN, RED, GREY, INK = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#8C8C8C", "#222222"
plt.rcParams.update(
    {
        "figure.dpi": 110,
        "figure.constrained_layout.use": True,
        "font.size": 9,
        "axes.titlesize": 10,
        "axes.titlelocation": "left",
        "axes.titleweight": "bold",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.frameon": False,
    }
)


def say(text):
    """Show a sentence or a caption with the numbers of this run."""
    display(Markdown(text))


def tabulate(frame, index=False):
    """Show a table, as HTML and as text."""
    html = frame.to_html(index=index, border=0, justify="right")
    display({"text/html": html, "text/plain": frame.to_string(index=index)}, raw=True)


def picture(draw):
    """Show a picture that ``draw`` writes to a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "figure.png"
        draw(path)
        display(Image(data=path.read_bytes(), width=860))


# %% [markdown]
# ## 1. The workload
#
# Llama-2-7B as published, and the shipped request log `conversation_sample`. The log is synthetic: no recorded
# request is in it, its length percentiles are those of the public Azure 2023 conversation trace.

# %%
MODEL = load_config("llama-2-7b")
REQUESTS = read_requests("conversation_sample")
PERCENTILES = length_percentiles(REQUESTS)
tabulate(pd.DataFrame(PERCENTILES).T.rename(columns="p{}".format), index=True)

lengths = {name: [getattr(request, name) for request in REQUESTS] for name in PERCENTILES}
figure, axes = plt.subplots(figsize=(6.2, 2.7))
for (name, values), colour in zip(lengths.items(), (BLUE, ORANGE), strict=True):
    axes.ecdf(values, color=colour, linewidth=1.8, label=name.replace("_", " "))
    axes.plot(list(PERCENTILES[name].values()), [p / 100 for p in PERCENTILES[name]], "o", color=colour, markersize=4)
axes.set(xscale="log", xlabel="tokens per request", ylabel="share of requests", ylim=(0, 1.02))
axes.set_xticks([10, 100, 1000], ["10", "100", "1000"])
axes.grid(True, color="#DDDDDD", linewidth=0.6)
axes.legend(loc="upper left")
plt.show()
RESULTS["requests"] = len(REQUESTS)
RESULTS["input_p50"], RESULTS["output_p50"] = PERCENTILES["input_tokens"][50], PERCENTILES["output_tokens"][50]
say(
    f"**Figure 1.** Prompt and answer lengths of the {len(REQUESTS)} requests (dots: p50, p90, p95, p99). The median "
    f"request brings {RESULTS['input_p50']} tokens and takes {RESULTS['output_p50']}."
)

# %% [markdown]
# The study runs two steps of this workload. *Prefill*: one prompt of median length; its time is the time to first
# token (TTFT). *Decode*: one step of the first requests of the log together, each halfway through its own answer, so
# that their contexts differ as they do in serving; its time is the time per output token (TPOT). The batch is the
# largest power of two that the smallest chip of section 2 can hold.

# %%
EDGE_FORMATS = Precision(weights="int4", activations="int8", kv="int8")


def prefill_trace(precision=None):
    """One prompt of median length."""
    return build_trace(MODEL, Batch.prefill([PERCENTILES["input_tokens"][50]]), precision)


def decode_trace(batch, precision=None):
    """One decode step of the first requests of the log, each halfway through its answer."""
    contexts = [request.input_tokens + request.output_tokens // 2 for request in REQUESTS[:batch]]
    return build_trace(MODEL, Batch.decode(batch, contexts), precision)


room = load_chip("edge_32x32").memories["dram"].capacity_bytes
BATCH = max(b for b in (1, 2, 4, 8, 16, 32) if decode_trace(b, EDGE_FORMATS).resident_bytes <= room)
PREFILL, DECODE = prefill_trace(), decode_trace(BATCH)
try:
    simulate(DECODE, "edge_32x32")
except ChipsmithError as refusal:
    print("refused:", refusal)
RESULTS["batch"] = BATCH
RESULTS["decode_resident_gib"] = round(DECODE.resident_bytes / 2**30, 3)
say(
    f"The batch is {BATCH}. With 16-bit weights and cache it occupies {RESULTS['decode_resident_gib']:.1f} GiB: the "
    "edge chip refuses it (above) and runs 4-bit weights with 8-bit activations and cache instead. That is not the "
    "same model quality, and nothing here says what it costs in accuracy."
)

# %% [markdown]
# ## 2. Roofline: three published machines
#
# `tpu_v4` and `neupims_npu` at 16 bits, `edge_32x32` at int4/int8.

# %%
FORMATS = {"tpu_v4": None, "neupims_npu": None, "edge_32x32": EDGE_FORMATS}
STEPS = {
    (chip, phase): simulate(trace, chip)
    for chip, precision in FORMATS.items()
    for phase, trace in (("prefill", prefill_trace(precision)), ("decode", decode_trace(BATCH, precision)))
}
picture(lambda path: roofline_compare_figure(list(STEPS.values()), path))
RESULTS["presets"] = {
    f"{chip} {phase}": {
        "latency_ms": round(result.latency_s * 1e3, 4),
        "bound_by": result.bound_by,
        "bound_share": round(max(result.bound_share.values()), 4),
        "utilisation": round(result.utilisation, 4),
    }
    for (chip, phase), result in STEPS.items()
}
decode_use = [RESULTS["presets"][f"{chip} decode"]["utilisation"] for chip in FORMATS]
say(
    "**Figure 2.** Roofline of one prefill and one decode step on three machines (dots: operators; solid slope: peak "
    "bandwidth, dashed: what a sequential stream reaches). Both server chips are compute bound in prefill and memory "
    f"bound in decode, where they use {decode_use[0]:.1%} and {decode_use[1]:.1%} of their multipliers. The edge chip "
    "should be memory bound in decode too, far left of its ridge; yet "
    f"{RESULTS['presets']['edge_32x32 decode']['bound_by']} limits "
    f"{RESULTS['presets']['edge_32x32 decode']['bound_share']:.0%} of that time. Section 3 finds out why."
)

# %%
picture(lambda path: comparison_figure(list(STEPS.values()), path))
tabulate(pd.DataFrame(RESULTS["presets"]).T, index=True)
say(
    "**Figure 3.** The same machines in time, energy and area. Intervals are the mean error of the validation that "
    "backs the number; where none is drawn, nothing was compared (section 7)."
)

# %% [markdown]
# ## 3. The shape of the array
#
# The chip of this section is `neupims_npu` without its peer-specific quirks: 2^17 fp16 multipliers at 1 GHz,
# HBM2 at 1024 GB/s, 128 MiB of scratchpad, 32 MiB of accumulators, 1024 vector lanes. The multipliers are cut into
# arrays of R rows by C columns, R and C from 16 to 512, in two ways:
#
# * **constant PEs**: all arrays share one core's SRAM; only the shape changes, and the area does not;
# * **constant area**: every array is a core with SRAM of its own, sized by its edges (4 KiB of scratchpad for each row
#   and column, 2 KiB of accumulators for each column), and there are as many cores as fit the same area. Small
#   arrays pay for their edges.
#
# `sim.batch.evaluate` prices all shapes of a panel at once; weight stationary (WS) only, output stationary follows.

# %%
SIZES = [16, 32, 64, 128, 256, 512]
PES = 2**17
NPU = "engines.npu."
STUDY_CHIP = load_chip("neupims_npu").with_fields(
    {
        "name": "study",
        NPU + "dataflows": ["ws"],
        NPU + "first_preload_extra_cycles": 0,
        NPU + "min_issue_cycles": 1,
        NPU + "spad_bytes": 2**27,
        NPU + "spad_banks": 16,
        NPU + "accum_bytes": 2**25,
    }
)
ROWS, COLS = (axis.ravel() for axis in np.meshgrid(SIZES, SIZES, indexing="ij"))


def constant_pes(chip, rows, cols):
    """One core with as many R x C arrays as the multipliers make; shapes beyond the budget hold one array."""
    return ChipTable(
        chip, {NPU + "rows": rows, NPU + "cols": cols, NPU + "arrays": np.maximum(1, PES // (rows * cols))}
    )


def own_sram(chip, rows, cols, cores):
    """One array a core, each with SRAM for its edges."""
    columns = {"rows": rows, "cols": cols, "cores": cores, "arrays": np.ones_like(rows)}
    columns |= {"spad_bytes": 4096 * (rows + cols), "accum_bytes": 2048 * cols}
    return ChipTable(chip, {NPU + name: values for name, values in columns.items()})


def constant_area(chip, rows, cols, area_mm2):
    """As many cores with SRAM of their own as fit ``area_mm2``; area is a straight line in the number of cores."""
    one, two = (evaluate(own_sram(chip, rows, cols, np.full_like(rows, n)), PREFILL, fidelity="bound") for n in (1, 2))
    each = two.area_mm2 - one.area_mm2
    cores = np.clip((area_mm2 - one.area_mm2) // each + 1, 1, 4096).astype(np.int64)
    return own_sram(chip, rows, cols, cores)


AREA_MM2 = float(evaluate(constant_pes(STUDY_CHIP, ROWS[:1], COLS[:1]), PREFILL).area_mm2[0])
SHAPES = {
    "constant PEs": constant_pes(STUDY_CHIP, ROWS, COLS),
    "constant area": constant_area(STUDY_CHIP, ROWS, COLS, AREA_MM2),
}
TRACES = {"prefill": PREFILL, "decode": DECODE}
SWEEP = {(budget, phase): evaluate(table, trace) for budget, table in SHAPES.items() for phase, trace in TRACES.items()}


def anatomy(trace, table):
    """Per design: the letter of what limits most of the operators' time, and bytes read from memory.

    C: the array, V: the vector unit, M: memory, F: fixed latency.
    """
    found = evaluate_chips(trace, table, Mapping("auto"))
    needs = found.need[:, :, found.resources.index("memory:dram")]
    vector = np.array([found.placement.names[found.placement.engine_of[i]] == "vector" for i in range(len(trace.ops))])
    parts = np.stack([np.where(vector, 0, found.busy), np.where(vector, found.busy, 0), needs, found.fixed])
    rest = found.need.max(axis=2, initial=0)
    parts[1] = np.maximum(parts[1], np.where(rest > needs, rest, 0))  # softmax borrows the vector unit
    time = (found.fixed + parts[:3].max(axis=0)) * found.counts
    limits = np.stack([(time * (parts.argmax(axis=0) == i)).sum(axis=1) for i in range(4)]).argmax(axis=0)
    read = np.zeros(table.n)
    for mine, demand, _ in found.demands.values():
        read += (demand["dram_read_bytes"] * found.counts[found.rows.trace_row[mine]]).sum(axis=1)
    return ["CVMF"[i] for i in limits], read


ANATOMY = {
    (budget, phase): anatomy(trace, table) for budget, table in SHAPES.items() for phase, trace in TRACES.items()
}


# %%


def within(budget):
    """Which shapes keep the budget."""
    if budget == "constant PEs":
        return ROWS * COLS <= PES
    return evaluate(SHAPES[budget], PREFILL, fidelity="bound").area_mm2 <= AREA_MM2 * (1 + 1e-9)


def heatmap(axes, budget, phase):
    """Latency in ms of every shape, coloured by how far it is from the best one."""
    legal = within(budget)
    latency_ms = np.where(legal, SWEEP[budget, phase].latency_s * 1e3, np.nan)
    slowdown = (latency_ms / np.nanmin(latency_ms)).reshape(len(SIZES), -1)
    image = axes.imshow(slowdown, cmap="cividis_r", norm=LogNorm(1, 8), origin="lower", aspect="auto")
    for i, value in enumerate(latency_ms):
        row, col = divmod(i, len(SIZES))
        dark = legal[i] and slowdown[row, col] > 2.6
        text = f"{value:.3g} {ANATOMY[budget, phase][0][i]}" if legal[i] else "over\nbudget"
        axes.text(col, row, text, ha="center", va="center", fontsize=7.5, color="white" if dark else INK)
    axes.set(xticks=range(len(SIZES)), xticklabels=SIZES, yticks=range(len(SIZES)), yticklabels=SIZES)
    axes.set(xlabel="columns C", ylabel="rows R", title=f"{phase}, {budget}")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return image


figure, grid = plt.subplots(2, 2, figsize=(9.2, 6.6))
for axes, (budget, phase) in zip(grid.ravel(), SWEEP, strict=True):
    image = heatmap(axes, budget, phase)
bar = figure.colorbar(image, ax=grid, aspect=40, pad=0.015, ticks=[1, 1.5, 2, 3, 4, 6, 8], format="%g x")
bar.set_label("latency relative to the best shape of the panel")
bar.outline.set_visible(False)
plt.show()


# %%
def cell(budget, phase, rows, cols):
    """Latency of one shape, ms."""
    return float(SWEEP[budget, phase].latency_s[(rows == ROWS) & (cols == COLS)][0] * 1e3)


READS = ANATOMY["constant area", "prefill"][1]
flat = [cell("constant PEs", "prefill", r, c) for r in SIZES for c in SIZES if r * c <= PES]
RESULTS["shape"] = {
    "area_mm2": round(AREA_MM2, 3),
    "prefill_spread": round(max(flat) / min(flat), 4),
    "decode_128x128_ms": round(cell("constant PEs", "decode", 128, 128), 4),
    "decode_512x128_ms": round(cell("constant PEs", "decode", 512, 128), 4),
    "decode_128x512_ms": round(cell("constant PEs", "decode", 128, 512), 4),
    "prefill_reads_16x16_over_512x512": round(READS[0] / READS[-1], 3),
    "prefill_16x16_area_ms": round(cell("constant area", "prefill", 16, 16), 4),
    "prefill_128x128_area_ms": round(cell("constant area", "prefill", 128, 128), 4),
}
for (budget, phase), result in SWEEP.items():
    best = int(np.nanargmin(np.where(within(budget), result.latency_s, np.nan)))
    RESULTS["shape"][f"best {phase}, {budget}"] = f"{ROWS[best]}x{COLS[best]}"
shape = RESULTS["shape"]
say(
    f"**Figure 4.** Latency (ms) of prefill and decode for every array shape, WS, {AREA_MM2:.0f} mm²; the letter is "
    "what limits most of the time: C the array, V the vector unit, M memory, F fixed latency. With the multipliers "
    f"given, shape hardly matters to prefill (worst over best: {shape['prefill_spread']:.2f}), but decode punishes "
    f"*rows*: 512x128 takes {shape['decode_512x128_ms'] / shape['decode_128x128_ms']:.1f} times as long as 128x128, "
    f"while 128x512 takes {shape['decode_128x512_ms'] / shape['decode_128x128_ms']:.2f} times. At constant area the "
    f"small arrays lose as well: 16x16 cores spend the area on edges and take "
    f"{shape['prefill_16x16_area_ms'] / shape['prefill_128x128_area_ms']:.1f} times as long as 128x128 in prefill. "
    "What limits them is memory: a small SRAM holds small tiles, which read their operands again and again (16x16 "
    f"reads {shape['prefill_reads_16x16_over_512x512']:.0f} times the bytes of 512x512)."
)

# %% [markdown]
# ### Why rows hurt: the array must swallow the weights
#
# With few tokens, a weight is used once or a few times and replaced. A weight-stationary array of R rows loads a block
# of R x C weights in R cycles, so it takes in C weights a cycle, whatever R is; an output-stationary array with one
# row of activations does the same. All arrays together take in `PEs / R` weights a cycle. Memory delivers
# `bandwidth / (2 bytes x clock)`. So decode stays memory bound only while
#
# $$ R \;\le\; \frac{\mathrm{PEs} \times \mathrm{bytes\ per\ weight} \times f}{\mathrm{bandwidth}} . $$
#
# The figure tests this law, which the simulator does not know, against three machines: WS with the next block
# preloaded under the present one, WS that preloads serially, and output stationary (OS).

# %%
TALL = np.array([16, 32, 64, 128, 256, 512, 1024])
MACHINES = {
    "WS, overlapped preload": ({NPU + "dataflows": ["ws"]}, BLUE, "o"),
    "WS, serial preload": ({NPU + "dataflows": ["ws"], NPU + "preload": "serial"}, RED, "s"),
    "OS": ({NPU + "dataflows": ["os"]}, GREEN, "^"),
}
SINGLE = decode_trace(1)
LINES = {}
for name, (fields, _, _) in MACHINES.items():
    table = constant_pes(STUDY_CHIP.with_fields(fields), TALL, np.full_like(TALL, 128))
    for batch, trace in ((1, SINGLE), (BATCH, DECODE)):
        LINES[name, batch] = [evaluate(table, trace, fidelity=level).latency_s * 1e3 for level in ("tile", "bound")]

memory = STUDY_CHIP.memories["dram"]
BYTES_PER_S = memory.bandwidth_bytes_per_s * memory.streaming_efficiency
LAW_ROWS = PES * 2 * STUDY_CHIP.engines["npu"].clock_hz / BYTES_PER_S
weights = sum(op.macs * SINGLE.blocks[op.block].count for op in SINGLE.ops if op.kind == "gemm")  # each used once
LAW_MS = np.maximum(LINES["OS", 1][1], weights / (PES / TALL) / STUDY_CHIP.engines["npu"].clock_hz * 1e3)

figure, grid = plt.subplots(1, 2, figsize=(9.2, 3.5), sharex=True)
for axes, batch in zip(grid, (1, BATCH), strict=True):
    for name, (_, colour, marker) in MACHINES.items():
        axes.plot(TALL, LINES[name, batch][0], marker=marker, color=colour, label=name, markersize=5)
    axes.plot(TALL, LINES["OS", batch][1], color=INK, linewidth=1.2, label="bound (roofline)")
    if batch == 1:
        axes.plot(TALL, LAW_MS, "--", color=GREY, linewidth=1.6, label="law: PEs / R weights a cycle")
    axes.axvline(LAW_ROWS, color=GREY, linestyle=":", linewidth=1.2)
    axes.set(xscale="log", yscale="log", xticks=TALL, xticklabels=TALL, xlabel="rows R (C = 128, constant PEs)")
    axes.minorticks_off()
    ticks = [15, 20, 30, 50, 100, 200, 500]
    axes.set(yticks=ticks, yticklabels=ticks, ylabel="time of a decode step (ms)")
    axes.set_title(f"{batch} request{'s' if batch > 1 else ''}")
    axes.grid(True, color="#E4E4E4", linewidth=0.6)
grid[0].legend(fontsize=8)
plt.show()

edge = load_chip("edge_32x32")
edge_memory = edge.memories["dram"].bandwidth_bytes_per_s * edge.memories["dram"].streaming_efficiency
edge_law = edge.engines["npu"].cols * edge.engines["npu"].clock_hz / (edge_memory * 2)  # two int4 weights a byte
attention = {}
for dataflow in ("ws", "os"):
    tall = constant_pes(STUDY_CHIP.with_fields({NPU + "dataflows": [dataflow]}), TALL[5:6], np.array([128])).chip(0)
    attention[dataflow] = sum(op.duration_s * op.count for op in simulate(DECODE, tall).ops if op.kind == "attention")
every = [(tile, bound) for tile, bound in LINES.values()]
RESULTS["dataflow"] = {
    "law_rows": round(LAW_ROWS, 2),
    "os_over_serial_ws_m1_128": round(float(LINES["OS", 1][0][3] / LINES["WS, serial preload", 1][0][3]), 4),
    "ws_over_os_m1_128": round(float(LINES["WS, overlapped preload", 1][0][3] / LINES["OS", 1][0][3]), 4),
    "largest_bound_over_tile": round(max(float((bound / tile).max()) for tile, bound in every), 6),
    "gap_at_128_pct": round(
        float(LINES["WS, overlapped preload", BATCH][0][3] / LINES["OS", BATCH][1][3] - 1) * 100, 3
    ),
    "gap_at_512_pct": round(
        float(LINES["WS, overlapped preload", BATCH][0][5] / LINES["OS", BATCH][1][5] - 1) * 100, 3
    ),
    "edge_array_over_memory": round(edge_law, 4),
    "attention_ws_over_os_512": round(attention["ws"] / attention["os"], 3),
    "law_error_at_512_pct": round(float(LAW_MS[5] / LINES["OS", 1][0][5] - 1) * 100, 3),
}
flow = RESULTS["dataflow"]
say(
    f"**Figure 5.** Decode step against rows at constant PEs. The law puts the knee at R = {LAW_ROWS:.0f} (dotted) and "
    f"predicts OS at 512 rows to {abs(flow['law_error_at_512_pct']):.0f} %. For one request OS needs "
    f"{flow['os_over_serial_ws_m1_128']:.2f} of the time of a serially preloaded WS array of 128 rows; overlapping the "
    f"preload closes that gap (WS over OS: {flow['ws_over_os_m1_128']:.3f}). With {BATCH} requests tall WS arrays also "
    f"lose in attention, whose keys and values are weights for one token each: {flow['attention_ws_over_os_512']:.1f} "
    "times the time of OS at 512 rows. The edge chip of section 2 breaks the same law: its 32 columns take in "
    f"{flow['edge_array_over_memory']:.2f} of the int4 weights that its memory delivers. The gap between `tile` "
    f"and `bound` is {flow['gap_at_128_pct']:.1f} % at 128 rows, nearly all of it what streams lose of the memory's "
    f"peak, and {flow['gap_at_512_pct']:.0f} % at 512: a roofline would have called all these shapes equal. No design "
    "of the sweep is faster than its bound."
)

# %% [markdown]
# ## 4. Search
#
# Rows, columns, cores, scratchpad and accumulators a core, and HBM2 bandwidth; each core has one array and one vector
# unit as wide as the array's columns. Rows and columns end at 256, the largest array that the Verilog generator
# makes; bandwidth at 1229 GB/s, four HBM2 stacks of 1024 pins at 2.4 Gb/s, while capacity stays 32 GiB. Four
# objectives (TPOT, TTFT, area, energy a decoded token) under 400 mm² and 300 W; NSGA-II, fixed seed. Number formats do
# not vary, so all designs compute the same thing.

# %%
SEARCH_CHIP = STUDY_CHIP.with_fields(
    {
        "name": "searched",
        NPU + "arrays": 1,
        NPU + "spad_bytes": 2**20,
        NPU + "accum_bytes": 2**18,
        NPU + "spad_banks": 8,
    }
)
STACK = 1024 * 2.4e9 / 8  # bytes per second of one HBM2 stack (JESD235B)
BANDWIDTH = "memories.dram.bandwidth_bytes_per_s"
SPACE = Space(
    SEARCH_CHIP,
    {
        NPU + "rows": {"log2": {"low": 16, "high": 256}},
        NPU + "cols": {"log2": {"low": 16, "high": 256}},
        NPU + "cores": {"log2": {"low": 1, "high": 256}},
        NPU + "spad_bytes": {"log2": {"low": 2**16, "high": 2**26}},
        NPU + "accum_bytes": {"log2": {"low": 2**14, "high": 2**23}},
        BANDWIDTH: [STACK, 2 * STACK, 3 * STACK, 4 * STACK],
        "engines.vector.units": {"same_as": NPU + "cores"},
        "engines.vector.lanes": {"same_as": NPU + "cols"},
    },
    constraints=["area_mm2 <= 400"],
    name="one systolic chip",
)
OBJECTIVES = ["tpot_s", "ttft_s", "area_mm2", "energy_per_token_j"]
WORKLOAD = Workload(PREFILL, DECODE, decode_steps=PERCENTILES["output_tokens"][50])
STUDY = Study(SPACE, WORKLOAD, OBJECTIVES, ["power_w <= 300"], sampler="nsga2", seed=7)
progress = STUDY.run(budget_designs=3000)
VERIFIED = STUDY.verify_front()
FRONT = STUDY.front()
RESULTS["search"] = {
    "space": SPACE.size,
    "designs": progress.designs,
    "feasible": progress.feasible,
    "front": progress.front,
    "hypervolume": round(progress.hypervolume, 5),
    "front_difference": VERIFIED.largest_difference,
    "front_resimulated": len(VERIFIED.numbers),
}
say(
    f"{progress.designs:,} of {SPACE.size:,} designs were simulated, {progress.feasible:,} are feasible and "
    f"{progress.front} form the front. All {len(VERIFIED.numbers)} designs of the front were simulated again, one by "
    f"one: the largest difference of any number is **{VERIFIED.largest_difference:g}**."
)

# %% [markdown]
# ## 5. Choosing one design
#
# A front of four objectives is large and every design on it is somebody's best. The rule, stated before looking:
#
# 1. chat is pleasant: TTFT at most 250 ms for the median prompt, TPOT at most 50 ms;
# 2. among those, the smallest product TPOT x TTFT x area x energy per token. A product weighs a per cent of each
#    objective equally and needs no scaling to the extent of a front.

# %%
GOOD = FRONT[(FRONT.ttft_s <= 0.25) & (FRONT.tpot_s <= 0.05)].copy()
GOOD["product"] = GOOD[OBJECTIVES].prod(axis=1)
GOOD = GOOD.sort_values(["product", "number"])
CHOSEN = GOOD.iloc[0]
CHIP = SPACE.chip(SPACE.encode(ChipTable(SEARCH_CHIP, {path: [CHOSEN[path]] for path in SPACE.paths}))[0]).with_fields(
    {"name": "chosen"}
)
SHORT = {path: path.rpartition(".")[2].removesuffix("_per_s") for path in SPACE.paths}


def readable(frame):
    """Designs in readable units."""
    shown = frame[[*SPACE.paths, *OBJECTIVES]].rename(columns=SHORT)
    shown = shown.assign(
        spad_KiB=shown.spad_bytes // 1024,
        accum_KiB=shown.accum_bytes // 1024,
        GB_per_s=(shown.bandwidth_bytes / 1e9).round().astype(int),
        tpot_ms=(shown.tpot_s * 1e3).round(2),
        ttft_ms=(shown.ttft_s * 1e3).round(1),
        area_mm2=shown.area_mm2.round(1),
        mJ_per_token=(shown.energy_per_token_j * 1e3).round(1),
    )
    return shown.drop(
        columns=["spad_bytes", "accum_bytes", "bandwidth_bytes", "tpot_s", "ttft_s", "energy_per_token_j"]
    )


tabulate(readable(GOOD.head(8)))
tabulate(readable(GOOD.groupby(BANDWIDTH).head(1).sort_values(BANDWIDTH)))
say(
    "**Table 1.** Above: the eight best designs by the rule. Below: the best for each bandwidth. The first line is "
    "the chosen one."
)

# %%
TRIALS = STUDY.trials
FEASIBLE = TRIALS[TRIALS.feasible]
SERVER = {name: (STEPS[name, "prefill"], STEPS[name, "decode"]) for name in ("tpu_v4", "neupims_npu")}


def front_panel(axes, column, label, limits, ticks):
    """One objective against area: all feasible designs, the front, the chosen design and two presets."""
    axes.scatter(FEASIBLE.area_mm2, FEASIBLE[column] * 1e3, s=6, color="#C4CAD0", linewidths=0)
    points = axes.scatter(
        FRONT.area_mm2, FRONT[column] * 1e3, c=FRONT.energy_per_token_j * 1e3, s=20, cmap="viridis",
        norm=LogNorm(120, 250), edgecolors="white", linewidths=0.3,
    )  # fmt: skip
    for (name, steps), marker in zip(SERVER.items(), "Ds", strict=True):
        at = (steps[0].area_mm2, steps[column == "tpot_s"].latency_s * 1e3)
        axes.plot(*at, marker, color=ORANGE, markeredgecolor=INK, markersize=7)
        words = axes.annotate(name, at, xytext=(7, -3), textcoords="offset points", fontsize=8, zorder=6)
        words.set_bbox({"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.6})
    axes.plot(CHOSEN.area_mm2, CHOSEN[column] * 1e3, "*", color=RED, markeredgecolor=INK, markersize=15, zorder=5)
    axes.set(xscale="log", yscale="log", xlabel="die area (mm²)", ylabel=label, xlim=(15, 560), ylim=limits)
    axes.set_xticks([20, 50, 100, 200, 400], ["20", "50", "100", "200", "400"])
    axes.set_yticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.grid(True, color="#E4E4E4", linewidth=0.6)
    return points


figure, grid = plt.subplots(1, 3, figsize=(11.5, 4.1), width_ratios=(1.15, 1.25, 0.75))
front_panel(grid[0], "tpot_s", "time per output token (ms)", (19, 105), (20, 30, 40, 50, 70, 100))
points = front_panel(grid[1], "ttft_s", "time to first token (ms)", (35, 1500), (50, 100, 250, 500, 1000))
for axes, limit, title in zip(grid, (50, 250), ("decode", "prefill"), strict=False):
    axes.axhline(limit, color=RED, linestyle=":", linewidth=1.2)
    axes.set_title(title)
bar = figure.colorbar(points, ax=grid[1], pad=0.02, aspect=30, extend="max")
bar.set_ticks([120, 150, 200, 250], labels=["120", "150", "200", "250"])
bar.ax.minorticks_off()
bar.set_label("energy per decoded token (mJ)")
bar.outline.set_visible(False)
dots = {"linestyle": "none", "markeredgecolor": INK}
handles = [
    Line2D([], [], marker="o", linestyle="none", color="#C4CAD0", markersize=4, label="feasible designs"),
    Line2D(
        [], [], marker="o", linestyle="none", color="#31688E", markersize=5, label="Pareto front of four objectives"
    ),
    Line2D([], [], marker="*", color=RED, markersize=11, label="chosen", **dots),
    Line2D([], [], marker="D", color=ORANGE, markersize=6, label="presets", **dots),
    Line2D([], [], color=RED, linestyle=":", label="limit of the rule"),
]
figure.legend(handles=handles, fontsize=8, loc="outside lower center", ncols=5)
counts, volumes = STUDY.hypervolume_curve()
grid[2].plot(counts, volumes / volumes[-1] * 100, color=BLUE, linewidth=1.8)
grid[2].set(xlabel="designs simulated", ylabel="hypervolume (% of the final one)", title="search progress")
grid[2].grid(True, color="#E4E4E4", linewidth=0.6)
plt.show()
engine = CHIP.engines["npu"]
RESULTS["chosen"] = {
    **{name: int(getattr(engine, name)) for name in ("rows", "cols", "cores", "spad_bytes", "accum_bytes")},
    "bandwidth_gb_per_s": round(CHIP.memories["dram"].bandwidth_bytes_per_s / 1e9, 1),
    "tpot_ms": round(CHOSEN.tpot_s * 1e3, 4),
    "ttft_ms": round(CHOSEN.ttft_s * 1e3, 4),
    "area_mm2": round(CHOSEN.area_mm2, 3),
    "energy_per_token_mj": round(CHOSEN.energy_per_token_j * 1e3, 4),
    "power_w": round(CHOSEN.power_w, 3),
}
RESULTS["chosen"]["eighth_product_pct"] = round(float(GOOD["product"].iloc[7] / CHOSEN["product"] - 1) * 100, 3)
latency_pct = STUDY.evidence_pct()["tpot_s"]
TIES = GOOD[(GOOD.tpot_s / CHOSEN.tpot_s - 1).abs() <= 2 * latency_pct / 100]
RESULTS["search"]["hypervolume_share_at_half"] = round(float(volumes[len(volumes) // 2] / volumes[-1]), 4)
shown = FEASIBLE[(FEASIBLE.tpot_s > 0.105) | (FEASIBLE.area_mm2 < 15)]
say(
    f"**Figure 6.** Every feasible design in grey, the front coloured by energy. A front of four objectives fills a "
    f"region in two of them; the stripes on the left are numbers of HBM stacks, and {len(shown):,} slow or tiny "
    "designs lie outside the picture. Half of the designs already reach "
    f"{RESULTS['search']['hypervolume_share_at_half']:.1%} of the final hypervolume.\n\n"
    f"Chosen: **{engine.cores} cores of {engine.rows}x{engine.cols}**, "
    f"{engine.spad_bytes // 1024} KiB of scratchpad and {engine.accum_bytes // 1024} KiB of accumulators each, "
    f"{RESULTS['chosen']['bandwidth_gb_per_s']:.0f} GB/s. It lies at the upper end of the bandwidth axis because in "
    "these prices bandwidth costs only the area of its interface; what the stacks cost in money is not modelled. "
    f"{len(TIES) - 1} other designs of the rule are within the error interval of its TPOT, and the first eight of "
    f"table 1 lie within {RESULTS['chosen']['eighth_product_pct']:.0f} % of the best product of four numbers: take the "
    "first line as the middle of a region, not as a point."
)

# %%
CHOSEN_PREFILL, CHOSEN_DECODE = simulate(PREFILL, CHIP), simulate(DECODE, CHIP)
assert CHOSEN_DECODE.latency_s == CHOSEN.tpot_s
picture(CHOSEN_DECODE.timeline)
say(
    "**Figure 7.** Decode on the chosen chip: one layer, the repeats cut out. Memory is in use nearly all the time "
    f"while {CHOSEN_DECODE.utilisation:.1%} of the multipliers' cycles are: they are there for prefill, where it is "
    f"{CHOSEN_PREFILL.utilisation:.0%}."
)

# %%
picture(CHOSEN_DECODE.breakdown)
picture(CHOSEN_PREFILL.breakdown)
dram = sum(CHOSEN_DECODE.energy_parts_j[name] for name in ("dram_core", "dram_io", "dram_background"))
RESULTS["chosen"]["decode_dram_energy_share"] = round(dram / CHOSEN_DECODE.energy_j, 4)
RESULTS["chosen"]["decode_utilisation"] = round(CHOSEN_DECODE.utilisation, 4)
RESULTS["chosen"]["prefill_utilisation"] = round(CHOSEN_PREFILL.utilisation, 4)
RESULTS["chosen"]["decode_bound_by"] = CHOSEN_DECODE.bound_by
RESULTS["chosen"]["prefill_bound_by"] = CHOSEN_PREFILL.bound_by
RESULTS["chosen"]["prefill_rtl_share"] = round(CHOSEN_PREFILL.rtl_share, 4)
RESULTS["chosen"]["decode_rtl_share"] = round(CHOSEN_DECODE.rtl_share, 4)
parts = CHOSEN_DECODE.area_parts_mm2
cores_used = int(np.prod(list(CHOSEN_DECODE.mapping.tiles["layer.q_proj"][0]["cores"].values())))
RESULTS["chosen"]["mac_array_area_share"] = round(parts["npu.mac_array"] / CHOSEN_DECODE.area_mm2, 4)
say(
    f"**Figure 8.** Where time, energy and area go, decode above, prefill below. DRAM takes "
    f"{RESULTS['chosen']['decode_dram_energy_share']:.0%} of the energy of a decode step; the multipliers take "
    f"{RESULTS['chosen']['mac_array_area_share']:.0%} of the area. In decode the mapper wakes no more cores than "
    f"keep up with memory ({cores_used} of {engine.cores} for the query projection), so the array looks busy beside it."
)

# %% [markdown]
# One decode step stands for the whole answer in the search. The whole generation of the batch, from the prompts
# together through every step while contexts grow and requests leave, shows what that simplification hides.

# %%
served = [(request.input_tokens, request.output_tokens) for request in REQUESTS[:BATCH]]
WHOLE = generate_tokens(lambda batch: build_trace(MODEL, batch), CHIP, served)
RESULTS["generation"] = {
    "ttft_ms": round(WHOLE.ttft_s * 1e3, 4),
    "tpot_ms": round(WHOLE.tpot_s * 1e3, 4),
    "tokens_per_s": round(WHOLE.tokens_per_s, 3),
    "energy_per_token_mj": round(WHOLE.energy_per_token_j * 1e3, 3),
    "steps": WHOLE.steps,
    "evaluated": WHOLE.evaluations,
}
say(
    f"All {BATCH} prompts at once take {WHOLE.ttft_s:.2f} s to the first token: the 250 ms of the rule hold for one "
    f"prompt, not for a burst. After that a token takes {WHOLE.tpot_s * 1e3:.1f} ms (the search's step: "
    f"{CHOSEN.tpot_s * 1e3:.1f} ms; requests leave, and memory is read for fewer of them), and "
    f"an output token costs {WHOLE.energy_per_token_j * 1e3:.0f} mJ with its prompt "
    f"included, against {CHOSEN.energy_per_token_j * 1e3:.0f} mJ for the step alone. Of {WHOLE.steps} steps "
    f"{WHOLE.evaluations} were evaluated."
)

# %% [markdown]
# ## 6. From the design to Verilog
#
# `generate` emits the array of the chosen chip. It multiplies integers: the fp16 engine becomes its int8 variant with
# the same array and the same timing, and says so. Elaboration of the full array checks its structure; the same
# generator is linted and simulated at 4x4, where every corner is reached in seconds.

# %%
from rtl.lint import lint, structure
from rtl.tools import find_iverilog

DESIGN = generate(CHIP)
found, findings = structure(DESIGN)
facts = {
    "module": DESIGN.top,
    "files": len(DESIGN.sources),
    "lines": sum(len(text.splitlines()) for text in DESIGN.sources.values()),
    "processing elements": found.instances["pe"],
    "register bits": found.register_bits,
    "findings": len(findings),
}
tabulate(pd.DataFrame([facts]))
for note in DESIGN.notes:
    print(note)
SMALL = generate(CHIP, rows=4, cols=4, max_beats=32)
CHECKS = lint(SMALL)
print("\n".join(f"{name}: {verdict}" for name, verdict in CHECKS.checks.items()))
RESULTS["rtl"] = {
    "top": DESIGN.top,
    "processing_elements": found.instances["pe"],
    "findings": len(findings) + len(CHECKS.findings),
    "cycles_128x256x256": DESIGN.cycles(128, 2 * engine.rows, 2 * engine.cols),
}

# %%
if find_iverilog() is None:
    RESULTS["rtl"]["verified"] = None
    say("Icarus Verilog is not installed, so nothing was simulated here: `apt-get install -y iverilog`.")
else:
    (case,) = verify([SMALL]).cases
    RESULTS["rtl"]["verified"] = case.passed
    RESULTS["rtl"]["measured_cycles"], RESULTS["rtl"]["model_cycles"] = case.measured_cycles, case.model_cycles
    say(
        f"`{case.design}` in Icarus Verilog, seed {case.seed}: {len(case.outcomes)} bench tests, {case.vectors} result "
        f"rows equal to the reference, functional coverage {case.coverage_percent:g} %. The {case.gemms} matrix "
        f"products without stalls took {case.measured_cycles} cycles; the kernel that priced the search says "
        f"{case.model_cycles}."
    )

# %% [markdown]
# ## 7. What to distrust
#
# `validate` runs reference records on the same models. All of these records come from other simulators or from
# their closed forms, not from silicon: agreement means that two programs agree.

# %%
records = sorted((ROOT / "tests" / "reference").glob("*.jsonl"))
ROWS_CHECKED = [row for row in validate(records) if row.kind in ("error", "one-sided") and row.n]
CYCLES = [row for row in ROWS_CHECKED if "cycles" in row.metric or row.metric == "latency_s"]
errors = [
    {
        "source": row.source,
        "metric": row.metric,
        "records": row.n,
        "mean error %": round(row.mape_pct, 3),
        "worst %": round(row.max_ape_pct, 2),
        "roofline's error %": round(row.null_mape_pct, 2),
        "Kendall's tau": round(row.kendall_tau, 4),
        "fitted constants": row.fitted_constants,
    }
    for row in CYCLES
]
tabulate(pd.DataFrame(errors))
RESULTS["validation"] = {
    f"{row.source} {row.metric}": {"n": row.n, "mape_pct": round(row.mape_pct, 4), "max_pct": round(row.max_ape_pct, 3)}
    for row in CYCLES
}
classes = [
    {
        "total": name,
        "evidence": evidence.kind,
        "mean error": "not known" if evidence.interval_pct is None else f"{evidence.interval_pct:g} %",
        "compared with": evidence.source,
    }
    for name, evidence in CHOSEN_DECODE.evidence.items()
]
tabulate(pd.DataFrame(classes))
say(
    "**Table 2.** Errors of cycle counts against other simulators, and the evidence behind the chosen chip's totals. "
    f"The array part that generated Verilog is verified against accounts for "
    f"{RESULTS['chosen']['prefill_rtl_share']:.0%} of the operators' time in prefill and "
    f"{RESULTS['chosen']['decode_rtl_share']:.0%} in decode; the rest is memory and vector time."
)

# %% [markdown]
# * **Energy and area are analytic**: published constants, scaled between nodes, compared with no silicon of this kind.
#   The order of designs is more credible than any joule.
# * **Memory is two constants** (a streaming efficiency and a loss from interference), computed from a model of the
#   channels of its speed grade. Only DDR4 in table 2 has constants fitted to records: three, to 14 of them. At `tile`
#   no DRAM command is simulated, so row conflicts of a ragged KV cache are not in TPOT; fidelity `command` has them.
# * **Cores share nothing**: an operand that two cores need is read twice. A network with multicast would help many
#   small cores in figure 4.
# * **Attention always runs weight stationary** where an engine can; its dataflow is not searched.
# * **The clock is 1 GHz for every shape.** A larger array has longer control and clock nets, which would cost a large
#   design some of its lead.
# * **The network** between memory and cores has no contention and no placement.
# * **One batch, one step, one prompt.** Arrival times are not used: no queueing, no continuous batching, no chunked
#   prefill, so no statement about tail latency.
# * **The prices of bandwidth** are the area of an interface and energy a byte; packages and stacks cost money that no
#   objective here sees.
# * **The Verilog is an integer array.** The fp16 engine of the search shares its array timing, not its MAC.
# * **Accuracy** of the edge chip's int4/int8 formats in section 2 was not judged.

# %%
print(json.dumps(RESULTS, indent=1))
