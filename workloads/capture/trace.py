"""Captured traces: from a configuration, from a torch module, or from a stored recording.

Only the first two need torch; without it they raise a :class:`MissingToolError` that says how to install it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import ModuleType
from typing import TYPE_CHECKING, Any

from workloads.batch import Batch
from workloads.capture.emit import emit_rows, warn_unknown
from workloads.capture.emitter import Emitter
from workloads.capture.flow import Flow
from workloads.capture.fold import fold
from workloads.capture.latent import absorb
from workloads.capture.match import fuse as apply_rules
from workloads.capture.recording import Recording
from workloads.capture.rules import RULES
from workloads.configs import ModelConfig, load_config
from workloads.errors import ChipsmithError, MissingToolError
from workloads.precision import Precision
from workloads.routing import Routing
from workloads.step import Options, Step
from workloads.trace import SCHEMA_VERSION, Tensor, Trace

if TYPE_CHECKING:
    import torch

#: Spelled-out attention needs to know which of its pieces are heads of one request.
_RULES_WITHOUT_REQUESTS = tuple(rule for rule in RULES if rule.kind != "attention")
_INSTALL = "capturing needs PyTorch and transformers: pip install 'chipsmith[trace]'"


def capture_model(
    config: ModelConfig | str,
    batch: Batch,
    precision: Precision | None = None,
    moe: Routing | None = None,
    *,
    logits: str = "last",
    mla: str = "auto",
) -> Trace:
    """The operators of one step of a causal language model, taken from its code in ``transformers``.

    No weights are needed and none are made: the model is built on the meta device.

    Args:
        config: a configuration, or the name of a shipped one; any ``model_type`` that transformers knows.
        batch: requests of the step.
        precision: number formats, as for :func:`workloads.build.build_trace`.
        moe: routing of tokens to experts, uniform if None.
        logits: ``last`` (one token a request) or ``all``.
        mla: latent attention ``naive`` (as the code does it), ``absorbed``, or ``auto`` (absorbed where a request
            decodes).

    Raises:
        MissingToolError: torch or transformers is not installed.
        ChipsmithError: a model that can't be built or recorded, with the module.
    """
    config = load_config(config) if isinstance(config, str) else config
    recording = _library().record_model(config, batch, logits)
    precision = precision or config.precision
    experts = config.expert_weights if precision is config.precision else ""
    return trace_of(recording, precision, moe, mla=mla, expert_weights=experts)


def capture_module(
    module: torch.nn.Module,
    inputs: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    name: str = "",
    precision: Precision | None = None,
    fuse: bool = False,
) -> Trace:
    """The operators of one forward pass of any torch module.

    Args:
        module: on any device; on the meta device nothing is computed.
        inputs, kwargs: arguments of its ``forward``.
        name: of the trace, default the class name.
        precision: number formats; default those of the module's parameters and inputs.
        fuse: apply the fusion rules of language models; otherwise each operator that moves data is a row.

    Raises:
        MissingToolError: torch is not installed.
        ChipsmithError: control flow that depends on values of tensors on the meta device; nothing recorded.
    """
    try:
        from workloads.capture.recorder import record
    except ImportError as error:
        raise _missing(error) from None
    title = name or type(module).__name__
    return trace_of(record(module, inputs, kwargs or {}, title, {"logits": "all"}), precision, fuse=fuse)


def _library() -> ModuleType:
    try:
        from workloads.capture import huggingface
    except ImportError as error:
        raise _missing(error) from None
    return huggingface


def _missing(error: ImportError) -> MissingToolError:
    return MissingToolError(error.name or "torch", None, _INSTALL)


def trace_of(
    recording: Recording,
    precision: Precision | None = None,
    moe: Routing | None = None,
    *,
    mla: str = "auto",
    fuse: bool = True,
    expert_weights: str = "",
) -> Trace:
    """The trace of a recording; needs no torch.

    Args:
        recording: what a recorder saw.
        precision: number formats; default 16 bits for models, the recorded formats for other modules.
        moe: routing of tokens to experts, uniform if None.
        mla: form of latent attention, see :func:`capture_model`.
        fuse: apply the rules of workloads/capture/rules.py and look through copies of layout.
        expert_weights: format of experts where it is not that of the other weights.

    Raises:
        ChipsmithError: a recording without any operator that does work, or an illegal trace.
    """
    batch = _batch(recording)
    options = Options(precision or _formats(recording), moe=moe or Routing.uniform(), mla=mla,
                      logits=str(recording.meta.get("logits", "last")), expert_weights=expert_weights)  # fmt: skip
    flow = Flow(recording, fuse)
    if fuse:
        apply_rules(flow, RULES if "rows" in recording.meta else _RULES_WITHOUT_REQUESTS)
    emitter = Emitter(flow, Step(batch, options), "config" in recording.meta)
    absorb(emitter)
    emit_rows(emitter)
    if not emitter.locals:
        raise ChipsmithError(recording.name, None, "no operator that does work was recorded")
    warn_unknown(emitter.unknown)
    unrolled = emitter.step.graph.finish(_title(recording, batch), {})
    trace = fold(unrolled, emitter.keys, emitter.locals)
    return replace(trace, meta=_meta(recording, batch, options, trace, emitter)).check()


def _title(recording: Recording, batch: Batch) -> str:
    return f"{recording.name} {batch.phase}, captured" if "rows" in recording.meta else recording.name


def _batch(recording: Recording) -> Batch:
    """The requests; for a plain module the rows of its first input with numbers."""
    pairs = recording.meta.get("batch")
    if isinstance(pairs, list):
        return Batch.from_pairs((int(new), int(context)) for new, context in pairs)
    sources = [v for v in recording.values if v.role in ("input", "index")]
    first = next((v for v in sources if v.role == "input"), sources[0] if sources else None)
    if first is None:
        return Batch.prefill([1])
    width = first.shape[-1] if first.role == "input" and len(first.shape) > 1 else 1
    return Batch.prefill([max(1, first.elements // max(1, width))])


def _formats(recording: Recording) -> Precision:
    """Formats of a plain module: of its largest parameter and of its first input with numbers."""
    if "config" in recording.meta:
        return Precision()
    weights = max((v for v in recording.values if v.role == "weight"), key=lambda v: v.elements, default=None)
    inputs = next((v for v in recording.values if v.role == "input"), weights)
    act = inputs.dtype if inputs else "fp32"
    return Precision(weights.dtype if weights else act, act, act)


def _meta(recording: Recording, batch: Batch, options: Options, trace: Trace, emitter: Emitter) -> dict[str, object]:
    """Facts about the origin, as :func:`workloads.build.build_trace` words them, in plain JSON types."""
    counts = [trace.blocks[op.block].count for op in trace.ops]
    written = sum(op.kv_write_bytes * n for op, n in zip(trace.ops, counts, strict=True) if op.kind == "attention")
    parameters = _parameters(trace)
    caps = {float(node.attribute("softcap")) for _, node in emitter.flow.real()} - {0.0}
    config = recording.meta.get("config")
    return {
        "schema_version": SCHEMA_VERSION,
        "model": recording.name,
        **({"model_type": config["model_type"]} if isinstance(config, dict) else {}),
        "captured_with": {k: v for k, v in recording.meta.items() if k in ("torch", "transformers")},
        "phase": batch.phase,
        "requests": len(batch),
        "tokens": batch.tokens,
        "batch": [[s.new_tokens, s.context, s.multiplicity] for s in batch.segments()],
        "precision": options.precision.to_dict(),
        "accumulate": options.precision.accumulator,
        "tensor_parallel": 1,
        "moe": options.moe.describe(),
        "logits": options.logits,
        "parameters": sum(tensor.elements * count for tensor, count in parameters),
        "parameter_bytes": sum(tensor.bytes * count for tensor, count in parameters),
        "kv_cache_bytes": sum(op.kv_cached_bytes * n for op, n in zip(trace.ops, counts, strict=True)),
        "kv_bytes_per_token": written // batch.tokens,
        **({"attention_softcap": sorted(caps)} if caps else {}),
        **({"unknown_operators": dict(sorted(emitter.unknown.items()))} if emitter.unknown else {}),
    }


def _parameters(trace: Trace) -> list[tuple[Tensor, int]]:
    """All parameters that any row reads, with the iterations of the first block that reads each."""
    first: dict[int, int] = {}
    for op in trace.ops:
        for tensor in op.inputs:
            if trace.tensors[tensor].role == "weight":
                first.setdefault(tensor, trace.blocks[op.block].count)
    return [(trace.tensors[tensor], count) for tensor, count in first.items()]
