"""From a model configuration and the requests of one step to a Trace.

A family of models is one file in workloads/families with ``MODEL_TYPES`` and ``build(config, step)``.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, lru_cache

import workloads.families
from workloads.batch import Batch
from workloads.configs import ModelConfig, load_config
from workloads.errors import ChipsmithError, nearest
from workloads.precision import Precision
from workloads.routing import Routing
from workloads.step import Options, Step
from workloads.trace import SCHEMA_VERSION, Tensor, Trace

Builder = Callable[[ModelConfig, Step], None]


@cache
def families() -> Mapping[str, Builder]:
    """The builder of each known Hugging Face ``model_type``."""
    found: dict[str, Builder] = {}
    for info in pkgutil.iter_modules(workloads.families.__path__):
        module = importlib.import_module(f"workloads.families.{info.name}")
        found.update(dict.fromkeys(module.MODEL_TYPES, module.build))
    return found


def build_trace(
    config: ModelConfig | str,
    batch: Batch,
    precision: Precision | None = None,
    tensor_parallel: int = 1,
    moe: Routing | None = None,
    *,
    expert_parallel: int = 1,
    merge_qkv: bool = False,
    merge_gate_up: bool = False,
    logits: str = "last",
    mla: str = "auto",
) -> Trace:
    """The operators of one step on one rank.

    Args:
        config: a configuration, or the name of a shipped one.
        batch: requests of the step.
        precision: number formats; if None those that the model is published in, else 16 bits everywhere.
        tensor_parallel: ranks over which heads, feed-forward features and vocabulary are split; KV heads are copied
            where there are fewer of them than ranks. All-reduces follow.
        moe: routing of tokens to experts, uniform if None.
        expert_parallel: ranks over which whole experts are dealt. With ``tensor_parallel`` = 1 every rank brings an
            equal batch and all-to-alls move the tokens; otherwise it must equal ``tensor_parallel``.
        merge_qkv, merge_gate_up: one GEMM for q, k, v and for gate, up, as serving engines do.
        logits: ``last`` (one token a request), ``all`` or ``none``.
        mla: latent attention ``naive`` (expands the cache) or ``absorbed``; ``auto`` absorbs where a request decodes.

    Returns:
        A trace whose ``meta`` holds the origin, ``parameters`` and ``parameter_bytes`` (all of this rank),
        ``kv_cache_bytes`` (after the step, windows respected) and ``kv_bytes_per_token``.

    Raises:
        ChipsmithError: unknown model type, a missing or illegal field, degrees that do not divide.
    """
    config = load_config(config) if isinstance(config, str) else config
    options = Options(
        precision or config.precision or Precision(),
        tensor_parallel,
        expert_parallel,
        moe or Routing.uniform(),
        merge_qkv,
        merge_gate_up,
        logits,
        mla,
        config.expert_weights if precision is None else "",
    )
    trace = _build(config, batch, options)
    return replace(trace, meta=_meta(config, batch, options, trace))


def _build(config: ModelConfig, batch: Batch, options: Options) -> Trace:
    builder = families().get(config.model_type)
    if builder is None:
        raise ChipsmithError(f"{config.name}.model_type", config.model_type, nearest(config.model_type, families()))
    step = Step(batch, options)
    builder(config, step)
    if options.expert_parallel > 1 and not any(op.function == "topk" for op in step.graph.ops):
        raise ChipsmithError("expert_parallel", options.expert_parallel, f"legal: 1, {config.name} has no experts")
    return step.graph.finish(f"{config.name} {batch.phase}", {})


def _meta(config: ModelConfig, batch: Batch, options: Options, trace: Trace) -> dict[str, object]:
    """Everything in plain JSON types, so that files give back an equal trace."""
    return {
        "schema_version": SCHEMA_VERSION,
        "model": config.name,
        "model_type": config.model_type,
        "phase": batch.phase,
        "requests": len(batch),
        "tokens": batch.tokens,
        "batch": [[s.new_tokens, s.context, s.multiplicity] for s in batch.segments()],
        "precision": options.precision.to_dict(),
        **({"expert_weights": options.expert_weights} if options.expert_weights else {}),
        "accumulate": options.precision.accumulator,
        "tensor_parallel": options.tensor_parallel,
        "expert_parallel": options.expert_parallel,
        "moe": options.moe.describe(),
        "logits": options.logits,
        "parameters": _parameters(trace),
        "parameter_bytes": sum(t.bytes * count for t, count in _weights(trace)),
        "kv_cache_bytes": sum(op.kv_cached_bytes * trace.blocks[op.block].count for op in trace.ops),
        "kv_bytes_per_token": _kv_bytes_per_token(config, replace(options, moe=Routing.uniform())),
    }


def _weights(trace: Trace) -> list[tuple[Tensor, int]]:
    """Every weight tensor with the iterations of the block that reads it first (a tied table counts once)."""
    first: dict[int, int] = {}
    for op in trace.ops:
        for tensor in op.inputs:
            if trace.tensors[tensor].role == "weight":
                first.setdefault(tensor, trace.blocks[op.block].count)
    return [(trace.tensors[tensor], count) for tensor, count in first.items()]


def _parameters(trace: Trace) -> int:
    return sum(tensor.elements * count for tensor, count in _weights(trace))


def parameter_count(config: ModelConfig | str) -> int:
    """Parameters of the whole model, as its publication counts them (tied tables once)."""
    config = load_config(config) if isinstance(config, str) else config
    return _parameters(_build(config, Batch.prefill([1]), Options()))


def kv_bytes_per_token(config: ModelConfig | str, kv: str = "bf16", tensor_parallel: int = 1) -> int:
    """Bytes that one token adds to the KV cache of one rank, all layers; 0 for models with a constant state."""
    config = load_config(config) if isinstance(config, str) else config
    return _kv_bytes_per_token(config, Options(Precision(kv=kv), tensor_parallel))


@lru_cache(maxsize=256)
def _kv_bytes_per_token(config: ModelConfig, options: Options) -> int:
    trace = _build(config, Batch.prefill([1]), options)
    return sum(op.kv_write_bytes * trace.blocks[op.block].count for op in trace.ops if op.kind == "attention")
