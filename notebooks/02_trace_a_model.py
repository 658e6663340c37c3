# ruff: noqa: D100  (a notebook: its first cell says what it is)
# %% [markdown]
# # From a model's code to an operator trace
#
# A simulator is as good as the work it is given. Counting an LLM by hand goes wrong in known places: attention with
# grouped heads, experts that nobody chose, a latent cache that is expanded at every step, a KV append that looks like
# a copy. This notebook takes the operators from the model's own code, checks them against the traces that Chipsmith
# builds from configurations, shows where multiplications and bytes go, turns a request log into steps, and changes
# traces the way quantisation, sparsity, eviction and speculation change them.
#
# Every number in the text is computed by the cell above it, and `tests/notebooks` holds what is claimed around them.

# %%
import json
import os
import tempfile
import warnings
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Markdown, display
from matplotlib.lines import Line2D

from chipsmith import Batch, ChipsmithError, build_trace, load_chip, load_config, simulate
from sim.figures import roofline_data
from workloads.capture.recording import read_recording, write_recording
from workloads.capture.trace import trace_of
from workloads.diff import diff, short_name
from workloads.precision import Precision
from workloads.requests import length_percentiles, read_requests
from workloads.routing import Routing
from workloads.trace_io import read_trace, write_trace

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="IProgress not found")  # a progress bar that nobody asked for
    try:  # the library imports torch and transformers
        from workloads.capture.huggingface import record_model
    except ImportError:
        record_model = None

ROOT = next(folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "pyproject.toml").exists())
RESULTS = {}  # the key numbers, printed at the end
BLUE, ORANGE, GREEN, RED, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
GREY, INK = "#8C8C8C", "#222222"
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


def light_grid(axes, axis="both"):
    """Thin lines behind the marks."""
    axes.grid(True, axis=axis, color="#E4E4E4", linewidth=0.6)
    axes.set_axisbelow(True)


# %% [markdown]
# ## 1. Record one step, without weights
#
# `capture_model(config, batch)` builds the model that `transformers` has for a configuration on PyTorch's meta device,
# where tensors have shapes and no contents, runs one step and writes down every operator call. No weight is
# downloaded or made, so a model of 236 billion parameters costs a few seconds. It goes in two halves: a *recording*
# (what the dispatcher saw, plain data) and `trace_of(recording)` (what a machine has to do). The second half needs no
# PyTorch; where PyTorch is missing, the recordings that are stored beside this notebook are read instead, and every
# number below is the same. (`CHIPSMITH_STORE_RECORDINGS=1` writes them anew.)

# %%
STORED = ROOT / "notebooks" / "recordings"
PROMPT, REQUESTS_AT_ONCE, CONTEXT = 1024, 8, 2048
STEP = {"prefill": Batch.prefill([PROMPT]), "decode": Batch.decode(REQUESTS_AT_ONCE, CONTEXT)}
WANTED = [
    ("llama-3.1-8b", "prefill"),
    ("llama-3.1-8b", "decode"),
    ("mixtral-8x7b", "prefill"),
    ("mixtral-8x7b", "decode"),
    ("gpt-oss-20b", "decode"),
    ("deepseek-v2", "decode"),
    ("mamba2-2.7b", "prefill"),
    ("mamba2-2.7b", "decode"),
]


def recording(name, phase):
    """What the dispatcher sees in one step: recorded here, or read from the stored file where torch is missing."""
    file = STORED / f"{name}_{phase}.json.gz"
    if record_model is None:
        return read_recording(file)
    found = record_model(load_config(name), STEP[phase])
    if os.environ.get("CHIPSMITH_STORE_RECORDINGS"):
        write_recording(found, file)
    return found


RECORDED = {wanted: recording(*wanted) for wanted in WANTED}
SIXTEEN = Precision()  # 16 bits everywhere, so that captured and built traces count alike
CAPTURED = {key: trace_of(found, SIXTEEN) for key, found in RECORDED.items()}
versions = RECORDED["llama-3.1-8b", "decode"].meta
libraries = f"torch {versions['torch']}, transformers {versions['transformers']}"
if record_model is None:
    say(f"**PyTorch is not installed: these are the stored recordings, made with {libraries}.**")
else:
    say(f"Recorded here with {libraries}.")


def operators(trace):
    """Operators of a step with every layer written out."""
    return sum(trace.blocks[op.block].count for op in trace.ops)


def label_of(key):
    """Model and phase in words."""
    return f"{key[0]} {key[1]}"


FUNNEL = {
    key: [
        len(found.calls),
        sum(not call.view for call in found.calls),
        operators(CAPTURED[key]),
        len(CAPTURED[key].ops),
    ]
    for key, found in RECORDED.items()
    if key[1] == "decode"
}
STAGES = ("operator calls", "of them no views", "fused operators", "rows of the trace")
figure, axes = plt.subplots(figsize=(8.6, 2.7))
for place, counts in enumerate(FUNNEL.values()):
    axes.plot(counts, [place] * len(counts), color="#C4CAD0", linewidth=2, zorder=1)
    for count, colour in zip(counts, (GREY, SKY, ORANGE, BLUE), strict=True):
        axes.scatter(count, place, s=46, color=colour, zorder=2)
        axes.annotate(
            f"{count:,}", (count, place), xytext=(0, 6), textcoords="offset points", ha="center", fontsize=7.5
        )
axes.set(xscale="log", xlim=(7, 14000), ylim=(len(FUNNEL) - 0.4, -0.7), xlabel="number in one decode step")
axes.set_yticks(range(len(FUNNEL)), [key[0] for key in FUNNEL])
axes.set_xticks([10, 100, 1000, 10000], ["10", "100", "1,000", "10,000"])
light_grid(axes, "x")
handles = [
    Line2D([], [], marker="o", linestyle="none", color=colour, label=stage)
    for stage, colour in zip(STAGES, (GREY, SKY, ORANGE, BLUE), strict=True)
]
figure.legend(handles=handles, loc="outside upper center", ncols=4, fontsize=8)
plt.show()
RESULTS["rows"] = {label_of(key): [operators(trace), len(trace.ops)] for key, trace in CAPTURED.items()}
RESULTS["parameters"] = {name: CAPTURED[name, "decode"].meta["parameters"] for name in dict(WANTED)}
say(
    "**Figure 1.** From calls to rows. A third of the calls are views, which move nothing. Fusion rules join what one "
    "kernel does: an RMS norm alone is half a dozen calls. Layers that repeat become one block with a "
    f"count, so that DeepSeek-V2's {load_config('deepseek-v2').integer('num_hidden_layers')} layers are "
    f"{len(CAPTURED['deepseek-v2', 'decode'].blocks)} blocks: one layer is dense, the others have experts."
)

# %% [markdown]
# ### One layer, before and after
#
# The fusion rules are a table of patterns (`workloads/capture/rules.py`); a match is taken only where nothing else
# needs what lies inside it.

# %%
LAYER = "model.layers.0"
LLAMA = CAPTURED["llama-3.1-8b", "decode"]
seen = Counter(call.op for call in RECORDED["llama-3.1-8b", "decode"].calls if call.path.startswith(LAYER + "."))
print(", ".join(f"{count} {name}" for name, count in seen.most_common()))


def product(op):
    """Shape of a row in words."""
    if op.kind == "gemm":
        return f"{op.tokens} x {op.k} x {op.n}"
    if op.kind == "attention":
        return f"{op.heads} heads on {op.kv_heads}, {op.qk_dim} wide"
    return f"{op.tokens} x {op.width_in}"


rows = [
    {
        "operator": short_name(op),
        "kind": op.kind,
        "shape": product(op),
        "MMAC": round(op.macs / 1e6, 1),
        "weights MB": round(op.weight_bytes / 1e6, 2),
        "KV read MB": round(op.kv_read_bytes / 1e6, 2),
        "KV written kB": round(op.kv_write_bytes / 1e3, 1),
        "activations kB": round((op.input_bytes + op.output_bytes) / 1e3, 1),
    }
    for op in LLAMA.rows_of("layers")
]
tabulate(pd.DataFrame(rows))
attention = LLAMA.op("layer.attention")
RESULTS["attention"] = {
    "kv_read_bytes": attention.kv_read_bytes,
    "kv_read_bytes_if_heads_were_expanded": attention.kv_read_bytes * attention.heads // attention.kv_heads,
    "appended_bytes": attention.kv_write_bytes,
    "bytes_if_append_were_a_copy": 2 * attention.kv_read_bytes + 2 * attention.kv_write_bytes,
}
facts = RESULTS["attention"]
say(
    f"**Table 1.** One decoder layer of Llama-3.1-8B, {REQUESTS_AT_ONCE} requests with {CONTEXT} tokens of context: "
    f"the calls above became these {len(rows)} rows. Two of them would be wrong if calls were taken at their word. "
    f"Attention keeps its {attention.kv_heads} KV heads: expanded to {attention.heads}, as a reference implementation "
    f"does, it would read {facts['kv_read_bytes_if_heads_were_expanded'] / 1e6:.0f} MB instead of "
    f"{facts['kv_read_bytes'] / 1e6:.0f}. And the concatenation of the cache with new keys is an append of "
    f"{facts['appended_bytes'] / 1e3:.0f} kB, not a copy that moves "
    f"{facts['bytes_if_append_were_a_copy'] / 1e6:.0f} MB."
)

# %% [markdown]
# ## 2. What shapes don't tell
#
# Three things can't be read off a recording and are inputs of `trace_of`: which experts the tokens choose, which form
# of latent attention a kernel uses, and how long the context is. The lines below are traces built from
# configurations; the dots are captured.

# %%
MOE = {"mixtral-8x7b": (BLUE, 8), "gpt-oss-20b": (ORANGE, 32), "deepseek-v2": (GREEN, 160)}
BATCHES = [1, 2, 4, 8, 16, 32, 64, 128, 256]
CONTEXTS = [256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536]
ROUTINGS = {"-": Routing.uniform(), ":": Routing.zipf(1.0)}


def experts_in_use(trace, experts):
    """Share of a layer's experts that some token of the step chose."""
    return next(op.pieces for op in trace.ops if op.name.endswith("experts_down_proj")) / experts


def cache_bytes(trace, requests):
    """Bytes of KV cache or state that one request reads in one step."""
    return trace.kv_read_bytes / requests


TOUCHED = {
    (name, style): [
        experts_in_use(build_trace(name, Batch.decode(batch, CONTEXT), SIXTEEN, moe=routing), experts)
        for batch in BATCHES
    ]
    for name, (_, experts) in MOE.items()
    for style, routing in ROUTINGS.items()
}
LATENT = {
    form: [build_trace("deepseek-v2", Batch.decode(1, n), SIXTEEN, mla=form).macs / 1e9 for n in CONTEXTS]
    for form in ("naive", "absorbed")
}
FORMS = {form: trace_of(RECORDED["deepseek-v2", "decode"], SIXTEEN, mla=form) for form in LATENT}
CACHES = {
    "llama-2-7b": ("every head its own", RED),
    "llama-3.1-8b": ("4 heads share", BLUE),
    "gpt-oss-20b": ("8 share, every other layer sees 128 tokens", ORANGE),
    "deepseek-v2": ("one latent vector for all heads", GREEN),
    "mamba2-2.7b": ("a state, no cache", PURPLE),
}
CACHE_LINES = {
    name: [cache_bytes(build_trace(name, Batch.decode(1, n), SIXTEEN), 1) for n in CONTEXTS] for name in CACHES
}

figure, grid = plt.subplots(1, 3, figsize=(12.4, 4.1))
for (name, style), shares in TOUCHED.items():
    colour, experts = MOE[name]
    label = f"{name}, {experts} experts" if style == "-" else None
    grid[0].plot(BATCHES, [100 * share for share in shares], style, color=colour, label=label, linewidth=1.7)
for name, (colour, experts) in MOE.items():
    share = experts_in_use(CAPTURED[name, "decode"], experts)
    grid[0].plot(REQUESTS_AT_ONCE, 100 * share, "o", color=colour, markeredgecolor=INK)
grid[0].plot([], [], ":", color=INK, label="popularity falls as 1/rank")
grid[0].set(xscale="log", xlabel="requests in a decode step", ylabel="experts that are read (%)", ylim=(0, 103))
grid[0].set_xticks([1, 4, 16, 64, 256], ["1", "4", "16", "64", "256"])
grid[0].set_title("experts")
grid[0].legend(fontsize=7.5, loc="lower right")
for (form, line), colour in zip(LATENT.items(), (RED, GREEN), strict=True):
    grid[1].plot(CONTEXTS, line, color=colour, linewidth=1.7, label=form)
    grid[1].plot(CONTEXT, FORMS[form].macs / 1e9 / REQUESTS_AT_ONCE, "o", color=colour, markeredgecolor=INK)
grid[1].set(xscale="log", yscale="log", xlabel="context (tokens)", ylabel="GMAC for one token")
grid[1].set_title("latent attention, deepseek-v2")
grid[1].legend(fontsize=8)
for name, line in CACHE_LINES.items():
    words, colour = CACHES[name]
    grid[2].plot(CONTEXTS, np.array(line) / 1e6, color=colour, linewidth=1.7, label=f"{name}: {words}")
    if (name, "decode") in CAPTURED:
        captured = cache_bytes(CAPTURED[name, "decode"], REQUESTS_AT_ONCE)
        grid[2].plot(CONTEXT, captured / 1e6, "o", color=colour, markeredgecolor=INK)
grid[2].set(xscale="log", yscale="log", xlabel="context (tokens)", ylabel="MB of cache for one token", ylim=(6, 8e5))
grid[2].set_title("cache")
grid[2].legend(fontsize=7, loc="upper left")
for axes in grid:
    if axes is not grid[0]:
        axes.set_xticks([256, 1024, 4096, 16384, 65536], ["256", "1k", "4k", "16k", "64k"])
    axes.minorticks_off()
    light_grid(axes)
plt.show()
at = CONTEXTS.index(CONTEXT)
RESULTS["experts"] = {name: round(TOUCHED[name, "-"][BATCHES.index(8)], 5) for name in MOE}
RESULTS["latent"] = {form: trace.macs for form, trace in FORMS.items()}
RESULTS["latent"]["built_over_captured"] = round(LATENT["naive"][at] * 1e9 * 8 / FORMS["naive"].macs, 6)
RESULTS["cache_bytes_at_2048"] = {name: line[at] for name, line in CACHE_LINES.items()}
state, latent_token = CACHE_LINES["mamba2-2.7b"][0], CACHE_LINES["deepseek-v2"][at] / CONTEXT
RESULTS["state_equals_latent_cache_tokens"] = round(state / latent_token)
ratio = FORMS["naive"].macs / FORMS["absorbed"].macs
mixtral = [round(8 * TOUCHED["mixtral-8x7b", "-"][BATCHES.index(batch)]) for batch in (1, 8)]
say(
    f"**Figure 2.** *Left:* a token of Mixtral chooses two experts of eight, so one request reads {mixtral[0]} of them "
    f"and eight requests read {mixtral[1]}: batching saves weight traffic only after all experts are in use, and later "
    "the more experts there are. Skewed popularity (dotted) delays it. *Middle:* the code of DeepSeek-V2 expands its "
    f"latent cache to keys and values at every step, {ratio:.0f} times the multiplications at {CONTEXT} tokens of the "
    "form that kernels use, where the expansion is absorbed into query and output; `trace_of` finds it in the data "
    "flow and rewrites it where a request decodes. *Right:* what one more token reads. The state of Mamba-2 is large, "
    f"but constant: DeepSeek-V2's latent cache is larger from {RESULTS['state_equals_latent_cache_tokens']} tokens on."
)

# %% [markdown]
# ## 3. Do captured and built traces agree?
#
# `build_trace` knows the families; `capture_model` knows nothing and reads the code. `diff` compares them by operator
# kind. What counts is the largest difference of any kind, and the reasons, which `diff` words itself.

# %%
MEASURES = {
    "MACs": "macs",
    "weight bytes": "weight_bytes",
    "KV bytes": "kv_bytes",
    "activation bytes": "activation_bytes",
}
BUILT = {(name, phase): build_trace(name, STEP[phase], SIXTEEN) for name, phase in WANTED}
DIFFERENCES = {key: diff(BUILT[key], CAPTURED[key]) for key in WANTED}


def largest(difference, measure):
    """Largest difference of any kind of operator in percent."""
    return difference.worst((measure,))[2]


agreement = [
    {
        "model": key[0],
        "step": key[1],
        "GMAC": round(found.total.left["macs"] / 1e9, 1),
        "weights GB": round(found.total.left["weight_bytes"] / 1e9, 2),
        "KV MB": round(found.total.left["kv_bytes"] / 1e6, 1),
        **{f"{words} %": round(largest(found, measure), 2) for words, measure in MEASURES.items()},
    }
    for key, found in DIFFERENCES.items()
]
tabulate(pd.DataFrame(agreement))
for reason in dict.fromkeys(reason for found in DIFFERENCES.values() for reason in found.reasons):
    print("-", reason)
RESULTS["agreement_worst_percent"] = {
    words: round(max(largest(found, measure) for found in DIFFERENCES.values()), 4)
    for words, measure in MEASURES.items()
}
worst = RESULTS["agreement_worst_percent"]
say(
    "**Table 2.** Captured against built, the largest difference of any kind of operator. MACs, weight bytes and KV "
    f"bytes differ by at most {max(worst['MACs'], worst['weight bytes'], worst['KV bytes']):g} %. Activations differ "
    f"by up to {worst['activation bytes']:.0f} % in one kind: `transformers` multiplies gate and up projection of the "
    "experts in one GEMM, which reads its input once where two GEMMs read it twice. Both exist in practice, and the "
    "list above says which is which."
)

# %% [markdown]
# ## 4. Where multiplications and bytes go
#
# Bytes are those that each operator reads and writes by itself: weights, cache, inputs and outputs. A chip that keeps
# an activation on the chip moves less; that is the simulator's matter.

# %%
PARTS = {
    "projections": BLUE,
    "feed-forward": SKY,
    "head": "#9EB4C8",
    "attention": ORANGE,
    "scan": PURPLE,
    "norms, element-wise, gather": "#B9B9B9",
}
FEED_FORWARD = ("gate", "up", "down", "router", "experts", "shared")


def part_of(op):
    """Which coloured part an operator belongs to."""
    if op.kind in ("attention", "scan"):
        return op.kind
    if op.kind != "gemm":
        return "norms, element-wise, gather"
    name = short_name(op)
    if name == "lm_head":
        return "head"
    return "feed-forward" if name.startswith(FEED_FORWARD) else "projections"


def all_bytes(op):
    """Bytes that an operator reads and writes."""
    return op.weight_bytes + op.kv_read_bytes + op.kv_write_bytes + op.input_bytes + op.output_bytes


def shares(trace, measure):
    """Share of each part in a measure."""
    sums = defaultdict(float)
    for op in trace.ops:
        sums[part_of(op)] += measure(op) * trace.blocks[op.block].count
    total = sum(sums.values())
    return {name: sums[name] / total for name in PARTS}, total


WORK = {"multiply-accumulates": lambda op: op.macs, "bytes": all_bytes}
SHARES = {(key, what): shares(trace, measure) for key, trace in CAPTURED.items() for what, measure in WORK.items()}
ordered = sorted(WANTED, key=lambda key: key[1] == "decode")
figure, grid = plt.subplots(1, 2, figsize=(11.6, 3.9), sharey=True)
for axes, what in zip(grid, WORK, strict=True):
    for place, key in enumerate(ordered):
        found, total = SHARES[key, what]
        left = 0.0
        for name, colour in PARTS.items():
            axes.barh(place, 100 * found[name], 0.68, left=left, color=colour, edgecolor="white", linewidth=0.5)
            if found[name] >= 0.07:
                text = f"{100 * found[name]:.0f}"
                axes.text(left + 50 * found[name], place, text, ha="center", va="center", fontsize=7.5, color=INK)
            left += 100 * found[name]
        unit = f"{total / 1e12:.2f} T" if total >= 1e12 else f"{total / 1e9:.1f} G"
        axes.text(101, place, unit, va="center", fontsize=7.5, color=INK)
    axes.set(xlim=(0, 100), xlabel=f"share of {what} (%), total at the right")
    axes.set_title(what)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
grid[0].set_yticks(range(len(ordered)), [label_of(key) for key in ordered])
grid[0].invert_yaxis()
handles = [plt.Rectangle((0, 0), 1, 1, color=colour, label=name) for name, colour in PARTS.items()]
figure.legend(handles=handles, loc="outside lower center", ncols=6, fontsize=8)
plt.show()
RESULTS["shares"] = {
    label_of(key): {
        what: {name: round(value, 5) for name, value in SHARES[key, what][0].items() if value} for what in WORK
    }
    for key in WANTED
}
tokens = {"prefill": PROMPT, "decode": REQUESTS_AT_ONCE}
vector = RESULTS["shares"]["llama-3.1-8b prefill"]
say(
    f"**Figure 3.** One prompt of {PROMPT} tokens against one decode step of {REQUESTS_AT_ONCE} requests. Norms and "
    "element-wise operators multiply nothing, yet move "
    f"{vector['bytes']['norms, element-wise, gather']:.0%} of Llama's bytes in prefill; in decode nearly all bytes are "
    "weights and cache. Experts dominate both phases of Mixtral: with eight requests nearly all of them are read."
)

# %% [markdown]
# ### Prefill against decode
#
# Operations per byte decide what an operator can reach on a chip. The same projection is reused by every token of a
# prompt and by eight tokens in decode; attention of decode reads every key for one query.

# %%
CHIPS = {"tpu_v4": RED, "edge_32x32": PURPLE}


def ridge(name):
    """Operations per byte above which a chip's arrays, not its memory, are the limit."""
    chip = load_chip(name)
    npu, memory = chip.engines["npu"], chip.memories["dram"]
    macs = npu.rows * npu.cols * npu.arrays * npu.cores * npu.clock_hz
    return 2 * macs / (memory.bandwidth_bytes_per_s * memory.streaming_efficiency)


INTENSITY = {
    phase: {short_name(op): 2 * op.macs / all_bytes(op) for op in CAPTURED["llama-3.1-8b", phase].ops if op.macs}
    for phase in ("prefill", "decode")
}
names = list(INTENSITY["prefill"])[::-1]
figure, axes = plt.subplots(figsize=(8.2, 3.5))
for place, name in enumerate(names):
    pair = [INTENSITY[phase][name] for phase in ("decode", "prefill")]
    axes.plot(pair, [place, place], color="#C4CAD0", linewidth=2, zorder=1)
    for value, colour in zip(pair, (ORANGE, BLUE), strict=True):
        axes.scatter(value, place, s=52, color=colour, edgecolors=INK, linewidths=0.5, zorder=2)
for (name, colour), side in zip(CHIPS.items(), ("left", "right"), strict=True):
    axes.axvline(ridge(name), color=colour, linestyle=":", linewidth=1.4)
    text = f" ridge of {name} "
    axes.text(ridge(name), len(names) - 0.4, text, color=colour, fontsize=8, va="center", ha=side)
axes.set(xscale="log", xlim=(0.7, 2000), ylim=(-0.6, len(names)), xlabel="operations per byte (16 bits)")
axes.set_yticks(range(len(names)), names)
axes.set_xticks([1, 10, 100, 1000], ["1", "10", "100", "1000"])
light_grid(axes, "x")
handles = [
    Line2D([], [], marker="o", linestyle="none", color=ORANGE, label=f"decode, {REQUESTS_AT_ONCE} requests"),
    Line2D([], [], marker="o", linestyle="none", color=BLUE, label=f"prefill, {PROMPT} tokens"),
]
figure.legend(handles=handles, loc="outside upper center", ncols=2, fontsize=8)
plt.show()
RESULTS["intensity"] = {phase: {n: round(v, 4) for n, v in found.items()} for phase, found in INTENSITY.items()}
RESULTS["ridge"] = {name: round(ridge(name), 3) for name in CHIPS}
projection = [INTENSITY[phase]["up_proj"] for phase in ("prefill", "decode")]
say(
    f"**Figure 4.** Llama-3.1-8B: the up projection does {projection[0]:.0f} operations a byte in prefill and "
    f"{projection[1]:.1f} in decode, about as many as there are requests (two operations on two bytes). Batching moves "
    "projections to the right; attention of decode "
    f"stays at {INTENSITY['decode']['attention']:.1f}, four query heads on each key, whatever the batch: its bytes "
    "belong to the requests. The head turns around: a prompt needs the logits of its last token only."
)

# %% [markdown]
# ## 5. From a request log to steps
#
# The shipped log `conversation_sample` is synthetic, with the length percentiles of the public Azure 2023
# conversation trace. Requests of different length are one attention row with a segment for each length; nothing is
# padded. How much does that matter?

# %%
LOG = read_requests("conversation_sample")
SIZES = [2, 4, 8, 16, 32]


def batches(requests, size):
    """Groups in the order given."""
    return [requests[at : at + size] for at in range(0, len(requests) - size + 1, size)]


def padding(requests, size, lengths):
    """Share of a batch's rectangle that is no token, over the whole log."""
    groups = [[lengths(request) for request in group] for group in batches(requests, size)]
    return 1 - sum(map(sum, groups)) / sum(len(group) * max(group) for group in groups)


def prompt(request):
    """Tokens that prefill processes."""
    return request.input_tokens


def halfway(request):
    """Context in the middle of the answer."""
    return request.input_tokens + request.output_tokens // 2


ORDERS = {"as they arrive": list(LOG), "sorted by prompt": sorted(LOG, key=prompt)}
WASTE = {
    (order, what): [padding(requests, size, lengths) for size in SIZES]
    for order, requests in ORDERS.items()
    for what, lengths in (("prefill", prompt), ("decode", halfway))
}
figure, grid = plt.subplots(1, 2, figsize=(11.2, 3.5), width_ratios=(1.6, 1))
place = 0
for number, group in enumerate(batches(LOG, 8)[:4]):
    longest = max(map(prompt, group))
    grid[0].bar(range(place, place + 8), [longest] * 8, 0.9, color="#EFE3CF", label="padding" if not number else None)
    own = [prompt(request) for request in group]
    grid[0].bar(range(place, place + 8), own, 0.9, color=BLUE, label="tokens of the prompt" if not number else None)
    grid[0].text(place + 3.5, longest + 60, f"batch {number + 1}", ha="center", fontsize=8)
    place += 9
grid[0].set(ylabel="tokens", xlabel="the first 32 requests, eight at a time", xticks=[])
grid[0].legend(fontsize=8, loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
for (order, what), line in WASTE.items():
    colour = BLUE if what == "prefill" else ORANGE
    style = "-o" if order == "as they arrive" else "--s"
    label = f"{'prompts' if what == 'prefill' else 'contexts'}, {order}"
    grid[1].plot(SIZES, [100 * share for share in line], style, color=colour, label=label, markersize=4)
grid[1].set(xscale="log", xlabel="requests in a batch", ylabel="padding (% of the batch)", ylim=(0, 100))
grid[1].set_xticks(SIZES, [str(size) for size in SIZES])
grid[1].minorticks_off()
grid[1].legend(fontsize=7.5, loc="upper left")
light_grid(grid[1])
plt.show()

MODEL = "llama-3.1-8b"
RAGGED = build_trace(MODEL, Batch.decode(16, [halfway(request) for request in LOG[:16]]), SIXTEEN)
PADDED = build_trace(MODEL, Batch.decode(16, max(map(halfway, LOG[:16]))), SIXTEEN)
CHUNK = 512
pairs = [(1, halfway(request)) for request in LOG[:16]]
STEPS = {
    "decode": RAGGED,
    "chunk": build_trace(MODEL, Batch.prefill([CHUNK]), SIXTEEN),
    "both": build_trace(MODEL, Batch.from_pairs([*pairs, (CHUNK, 0)]), SIXTEEN),
}
MS = {name: simulate(trace, "tpu_v4").latency_s * 1e3 for name, trace in STEPS.items()}
RESULTS["requests"] = {
    "count": len(LOG),
    "input_p50": length_percentiles(LOG)["input_tokens"][50],
    "padding_at_8_as_they_arrive": round(WASTE["as they arrive", "prefill"][SIZES.index(8)], 5),
    "padding_at_8_sorted": round(WASTE["sorted by prompt", "prefill"][SIZES.index(8)], 5),
    "ragged_segments": len(RAGGED.op("layer.attention").segments),
    "padded_over_ragged_kv": round(PADDED.kv_read_bytes / RAGGED.kv_read_bytes, 5),
    "padded_over_ragged_ms": round(simulate(PADDED, "tpu_v4").latency_s * 1e3 / MS["decode"], 5),
    "step_ms": {name: round(value, 5) for name, value in MS.items()},
}
told = RESULTS["requests"]
say(
    f"**Figure 5.** Eight prompts as they arrive, padded to the longest, are {told['padding_at_8_as_they_arrive']:.0%} "
    f"padding; sorted by length {told['padding_at_8_sorted']:.0%}. A decode step of the first 16 requests is one "
    f"attention row with {told['ragged_segments']} segments; padded, it would read "
    f"{told['padded_over_ragged_kv']:.1f} times the cache and take {told['padded_over_ragged_ms']:.2f} times as long "
    f"on `tpu_v4`. Steps mix too: those 16 requests and a chunk of {CHUNK} prompt tokens together take "
    f"{MS['both']:.1f} ms, apart {MS['decode'] + MS['chunk']:.1f} ms ({MS['decode']:.1f} and {MS['chunk']:.1f}). The "
    "weights are read once, which is one reason why serving engines chunk their prompts."
)

# %% [markdown]
# ## 6. Change the trace, not the model
#
# Transformations are methods of a trace and compose. Llama-3.2-3B decodes four requests with 8192 tokens of context,
# on a server chip and on an edge chip whose arrays multiply int8. The starting point of both is therefore W8A8 with an
# 8-bit cache.
#
# * **W4**: weights of four bits with a scale for 128 of them, activations stay at eight.
# * **2:4**: two of four weights are zero; memory holds the others with their index, arrays multiply all.
# * **KV4**: a cache of four bits, a scale for 64.
# * **evict**: four sinks and the last 1020 tokens stay (StreamingLLM).
# * **draft**: the first eight layers draft four tokens and the model verifies them together (self-speculation); a
#   drafted token is accepted with a chance of 0.7, which is assumed, not measured.
#
# All but the last change what the model says. Nothing here judges quality.

# %%
ASKED, LONG = 4, 8192
PLAIN = build_trace("llama-3.2-3b", Batch.decode(ASKED, LONG), SIXTEEN)
BASE = PLAIN.with_quantization(weights="int8", activations="int8", kv="int8")


def four_bits(trace):
    """Weights of four bits."""
    return trace.with_quantization(weights="int4", weight_group=128)


def drafted(trace):
    """Self-speculation."""
    return trace.with_speculation(4, 0.7, trace.with_early_exit(8), shared=True)


def evicted(trace):
    """Sinks and a window."""
    return trace.with_kv_eviction(1020, sinks=4)


VARIANTS = {
    "16 bits": PLAIN,
    "8 bits": BASE,
    "W4": four_bits(BASE),
    "2:4": BASE.with_sparsity("2:4"),
    "KV4": BASE.with_kv_compression("int4", group=64),
    "evict": evicted(BASE),
    "draft": drafted(BASE),
    "W4 + evict": evicted(four_bits(BASE)),
    "all": drafted(evicted(four_bits(BASE).with_sparsity("2:4"))),
}


def run(trace, chip):
    """The result, or why there is none."""
    try:
        return simulate(trace, chip)
    except ChipsmithError as refusal:
        return refusal


RAN = {(name, chip): run(trace, chip) for name, trace in VARIANTS.items() for chip in CHIPS}
print("refused:", RAN["16 bits", "edge_32x32"])


def token_ms(name, chip):
    """Time until every request has one more token, ms; NaN where the chip refuses."""
    found = RAN[name, chip]
    yielded = VARIANTS[name].expected_tokens / ASKED
    return np.nan if isinstance(found, ChipsmithError) else found.latency_s * 1e3 / yielded


table = [
    {
        "variant": name,
        "weights GB": round(trace.weight_bytes / 1e9, 2),
        "cache GB": round(trace.kv_read_bytes / 1e9, 2),
        "GMAC": round(trace.macs / 1e9, 1),
        "effective GMAC": round(trace.effective_macs / 1e9, 1),
        "tokens a step": round(trace.expected_tokens, 2),
        **{f"{chip} ms/token": round(token_ms(name, chip), 2) for chip in CHIPS},
        **{
            f"{chip} limit": "-" if isinstance(RAN[name, chip], ChipsmithError) else RAN[name, chip].bound_by
            for chip in CHIPS
        },
    }
    for name, trace in VARIANTS.items()
]
tabulate(pd.DataFrame(table))
say("**Table 3.** What the transformations change, and the time until each request has one more token.")

# %%
figure, grid = plt.subplots(1, 3, figsize=(13.2, 4.8), width_ratios=(1.15, 1.15, 1))
NUMBER = {name: str(place) for place, name in enumerate(VARIANTS)}
FAR = ("16 bits", "draft", "all")  # the others lie close together: an inset shows them larger


def marks(axes, points, numbered, size):
    """Points with an arrow from the 8-bit step, and the numbers of some."""
    start = points["8 bits"]
    for name, point in points.items():
        if name != "8 bits":
            axes.annotate(
                "", (point.intensity, point.rate), (start.intensity, start.rate),
                arrowprops={"arrowstyle": "-", "color": "#C4CAD0", "linewidth": 1.1},
            )  # fmt: skip
        colour = {"8 bits": INK, "16 bits": GREY, "all": RED}.get(name, BLUE)
        shown = name in numbered
        axes.scatter(
            point.intensity, point.rate, s=size if shown else 22, color=colour, edgecolors="white", linewidths=0.8,
            zorder=3, clip_on=True,
        )  # fmt: skip
        if shown:
            words = {"ha": "center", "va": "center_baseline", "fontsize": 7.5, "color": "white", "weight": "bold"}
            axes.text(point.intensity, point.rate, NUMBER[name], zorder=4, **words)


def plain_ticks(axes, x, y):
    """Logarithmic axes with plain numbers, operations per second in units of 10^12."""
    axes.set(xscale="log", yscale="log", xlim=x[:2], ylim=y)
    axes.set_xticks(x[2], [f"{tick:g}" for tick in x[2]])
    steps = [step * 10.0**power for power in range(9, 15) for step in (1, 1.5, 2, 3, 5, 7)]
    ticks = [tick for tick in steps if y[0] <= tick <= y[1]]
    axes.set_yticks(ticks, [f"{tick / 1e12:g} T" for tick in ticks])
    axes.minorticks_off()
    light_grid(axes)


for axes, chip in zip(grid, CHIPS, strict=False):
    data = roofline_data(RAN["8 bits", chip])
    peak, slope = next(roof.rate for roof in data.compute if roof.matrix), data.memory[0].streaming
    reach = np.array([0.5, peak / slope, 2000])
    points = {
        name: roofline_data(RAN[name, chip]).total
        for name in VARIANTS
        if not isinstance(RAN[name, chip], ChipsmithError)
    }
    near = {name: point for name, point in points.items() if name not in FAR}
    inset = axes.inset_axes((0.43, 0.08, 0.56, 0.34))
    for panel, shown, numbered in ((axes, points, FAR), (inset, near, tuple(near))):
        panel.plot(reach, np.minimum(reach * slope, peak), color=INK, linewidth=1.5)
        marks(panel, shown, numbered, 130)
    rates = [point.rate for point in points.values()]
    plain_ticks(axes, (3, 40, (3, 5, 10, 20, 40)), (points["8 bits"].rate / 4.2, max(rates) * 1.6))
    rates = [point.rate for point in near.values()]
    plain_ticks(inset, (6.2, 12, (7, 8, 9, 10, 12)), (min(rates) / 1.12, max(rates) * 1.12))
    inset.tick_params(labelsize=7)
    inset.set_facecolor("#FAFAFA")
    axes.set(xlabel="operations per byte of DRAM traffic", ylabel="operations/s")
    axes.set_title(chip)
names = list(VARIANTS)
for shift, (chip, colour) in zip((-0.2, 0.2), CHIPS.items(), strict=True):
    speed = [token_ms("8 bits", chip) / token_ms(name, chip) for name in names]
    bars = grid[2].barh(np.arange(len(names)) + shift, np.nan_to_num(speed), 0.38, color=colour, alpha=0.85, label=chip)
    for bar, value in zip(bars, speed, strict=True):
        text = "does not fit" if np.isnan(value) else f"{value:.2f}"
        grid[2].text(bar.get_width() + 0.05, bar.get_y() + 0.19, text, va="center", fontsize=7.5, color=INK)
grid[2].axvline(1, color=INK, linewidth=1)
grid[2].set_yticks(range(len(names)), [f"{name}  {NUMBER[name]}" for name in names])
grid[2].invert_yaxis()
grid[2].set(xlabel="speed relative to 8 bits", xlim=(0, 2.6))
grid[2].set_title("tokens per second")
grid[2].legend(fontsize=8, loc="upper right", bbox_to_anchor=(1, 0.94))
light_grid(grid[2], "x")
plt.show()
RESULTS["variants"] = {
    name: {
        "weight_bytes": trace.weight_bytes,
        "kv_read_bytes": trace.kv_read_bytes,
        "macs": trace.macs,
        "effective_macs": trace.effective_macs,
        "expected_tokens": round(trace.expected_tokens, 4),
        **{
            chip: None if isinstance(RAN[name, chip], ChipsmithError) else round(token_ms(name, chip), 5)
            for chip in CHIPS
        },
    }
    for name, trace in VARIANTS.items()
}
speed = {name: token_ms("8 bits", "tpu_v4") / token_ms(name, "tpu_v4") for name in names}
edge_speed = {name: token_ms("8 bits", "edge_32x32") / token_ms(name, "edge_32x32") for name in names}
array_time = {chip: RAN["W4", chip].bound_share.get("npu", 0.0) for chip in CHIPS}
RESULTS["array_time_of_w4"] = {chip: round(share, 5) for chip, share in array_time.items()}
say(
    "**Figure 6.** Left and middle: the step as a whole against each chip's roof (what one stream of its memory "
    "reaches); numbers as on the right. A skipped multiplication by zero is still executed, so 2:4 counts dense "
    "operations. Right: tokens per second. Half the bits do not make twice the speed. **W4** gains "
    f"{speed['W4'] - 1:.0%} on the server and {edge_speed['W4'] - 1:.0%} on the edge chip: the cache is "
    f"{BASE.kv_read_bytes / (BASE.kv_read_bytes + BASE.weight_bytes):.0%} of the bytes of a step, and an array takes "
    f"in a fixed number of weights a cycle however narrow they are ({array_time['tpu_v4']:.0%} and "
    f"{array_time['edge_32x32']:.0%} of the operators' time is then array time). **Eviction** gains "
    f"{speed['evict'] - 1:.0%} and {edge_speed['evict'] - 1:.0%}, because keys and values are also weights of the "
    f"array. **Drafting** gains {speed['draft'] - 1:.0%} and {edge_speed['draft'] - 1:.0%}: every drafted token reads "
    "eight layers and the head once more. Gains don't multiply: on the edge chip everything together "
    f"({edge_speed['all']:.2f}) is slower than W4 with eviction ({edge_speed['W4 + evict']:.2f})."
)

# %% [markdown]
# ## 7. In and out
#
# A trace is a table: Parquet and JSON Lines keep it exactly, Chakra files (`.et`) go to ASTRA-sim and come back, and
# ONNX graphs come in. The ONNX model below is one decoder layer with its head, written here node by node.

# %%
with tempfile.TemporaryDirectory() as folder:
    files = {name: Path(folder) / f"step{name}" for name in (".parquet", ".jsonl", ".et")}
    written = []
    for name, file in files.items():
        write_trace(VARIANTS["all"], file)
        same = read_trace(file) == VARIANTS["all"]
        written.append(
            {"file": name, "kB": round(file.stat().st_size / 1e3, 1), "read back": "equal" if same else "differs"}
        )
tabulate(pd.DataFrame(written))
RESULTS["files"] = {row["file"]: row["read back"] for row in written}

# %%
HIDDEN, HEADS, KV_HEADS, WIDTH, INNER, WORDS = 256, 8, 2, 32, 768, 1000
TINY = {
    "model_type": "llama",
    "hidden_size": HIDDEN,
    "intermediate_size": INNER,
    "num_hidden_layers": 1,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "vocab_size": WORDS,
    "max_position_embeddings": 4096,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
}
GRAPH = [
    ("Gather", "embed ids", "x", {}),
    ("RMSNormalization", "x n1", "a", {"axis": -1}),
    ("MatMul", "a wq", "q", {}),
    ("MatMul", "a wk", "k", {}),
    ("MatMul", "a wv", "v", {}),
    ("RotaryEmbedding", "q cos sin", "qr", {"num_heads": HEADS}),
    ("RotaryEmbedding", "k cos sin", "kr", {"num_heads": KV_HEADS}),
    ("Attention", "qr kr v  pk pv", "y k2 v2", {"q_num_heads": HEADS, "kv_num_heads": KV_HEADS, "is_causal": 1}),
    ("MatMul", "y wo", "o", {}),
    ("Add", "x o", "x1", {}),
    ("RMSNormalization", "x1 n2", "b", {"axis": -1}),
    ("MatMul", "b wg", "g", {}),
    ("MatMul", "b wu", "u", {}),
    ("Sigmoid", "g", "s", {}),
    ("Mul", "g s", "gs", {}),
    ("Mul", "gs u", "h", {}),
    ("MatMul", "h wd", "d", {}),
    ("Add", "x1 d", "x2", {}),
    ("RMSNormalization", "x2 n3", "f", {"axis": -1}),
    ("MatMul", "f head", "logits", {}),
]
try:
    import onnx
except ImportError:
    onnx = None


def onnx_layer(path):
    """Write one decoder layer with embedding and head; batch and past are symbols."""
    half, number = onnx.TensorProto.FLOAT16, onnx.TensorProto.INT64
    widths = {
        "embed": (WORDS, HIDDEN), "n1": (HIDDEN,), "wq": (HIDDEN, HEADS * WIDTH), "wk": (HIDDEN, KV_HEADS * WIDTH),
        "wv": (HIDDEN, KV_HEADS * WIDTH), "wo": (HEADS * WIDTH, HIDDEN), "n2": (HIDDEN,), "wg": (HIDDEN, INNER),
        "wu": (HIDDEN, INNER), "wd": (INNER, HIDDEN), "n3": (HIDDEN,), "head": (HIDDEN, WORDS),
    }  # fmt: skip
    stored = [onnx.numpy_helper.from_array(np.zeros(shape, np.float16), name) for name, shape in widths.items()]
    nodes = [
        onnx.helper.make_node(op, inputs.split(" "), outputs.split(" "), name=f"{op}_{outputs.split(' ')[0]}", **facts)
        for op, inputs, outputs, facts in GRAPH
    ]
    cache = ["batch", KV_HEADS, "past", WIDTH]
    angles = ["batch", 1, WIDTH // 2]
    inputs = [("ids", number, ["batch", 1]), ("cos", half, angles), ("sin", half, angles)]
    inputs += [("pk", half, cache), ("pv", half, cache)]
    infos = [onnx.helper.make_tensor_value_info(*info) for info in inputs]
    outs = [onnx.helper.make_empty_tensor_value_info(name) for name in ("logits", "k2", "v2")]
    graph = onnx.helper.make_graph(nodes, "layer", infos, outs, stored)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 23)])
    path.write_bytes(model.SerializeToString())
    return path


RESULTS["onnx"] = None
if onnx is None:
    say("ONNX is not installed, so no graph is read here: `pip install onnx`.")
else:
    from workloads.onnx_import import read_onnx

    with tempfile.TemporaryDirectory() as folder:
        IMPORTED = read_onnx(onnx_layer(Path(folder) / "layer.onnx"), dims={"batch": 8, "past": CONTEXT})
        (Path(folder) / "tiny.json").write_text(json.dumps(TINY))
        TWIN = build_trace(load_config(Path(folder) / "tiny.json"), STEP["decode"], SIXTEEN)
    found = diff(TWIN, replace(IMPORTED, name="from ONNX"))
    lines = [
        {
            "kind": line.name,
            **{
                f"{words} {side}": getattr(line, side)[m] for words, m in MEASURES.items() for side in ("left", "right")
            },
        }
        for line in found.lines
    ]
    tabulate(
        pd.DataFrame(lines).rename(columns=lambda name: name.replace(" left", ", built").replace(" right", ", ONNX"))
    )
    RESULTS["onnx"] = {words: round(largest(found, m), 4) for words, m in MEASURES.items() if m != "activation_bytes"}
    say(
        f"**Table 4.** A graph of {len(GRAPH)} nodes as {len(IMPORTED.ops)} rows, against the trace built from the "
        "same configuration. Matrix products, attention and cache agree exactly; the graph's activation is written out "
        "as a sigmoid and two products, which the importer fuses into one gate. An operator that is not known is "
        "refused by name; it is never counted as nothing."
    )

# %% [markdown]
# ## 8. What a trace does not know
#
# * **Which experts are chosen.** Uniform routing is an assumption; `Routing.recorded` takes counts of your own.
# * **Values.** Sparsity of activations, acceptance of drafts and the quality of narrow formats are inputs.
# * **Fusion of your runtime.** The rules fuse what common kernels fuse. Yours may fuse more (or merge q, k and v), and
#   then moves fewer bytes; `build_trace(merge_qkv=True)` and the table of rules are the places to say so.
# * **Control flow that depends on values.** A model that branches on a tensor's contents can't be recorded on the meta
#   device; the recorder names the module and stops.
# * **Formats on engines that lack them.** The simulator moves narrow operands and multiplies at the array's own rate;
#   it does not check that an array can multiply the format it is given.

# %%
print(json.dumps(RESULTS, indent=1))
