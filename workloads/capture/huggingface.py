"""Causal language models of ``transformers``: built from their configuration on the meta device, attention kept whole.

The library is extended where it lets itself be extended, and only while a recording runs: attention and attention
masks are looked up in its registries by the name ``chipsmith``, keys and values go through a cache of our own, and the
kernels of state-space mixers are replaced.
"""

from __future__ import annotations

import difflib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, cast
from unittest import mock

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from workloads.batch import Batch
from workloads.capture.recorder import Recorder, record
from workloads.capture.recording import Attribute, Recording
from workloads.configs import ModelConfig
from workloads.errors import ChipsmithError, nearest

_NAME = "chipsmith"
#: Keyword arguments of attention functions that don't change what is computed from which operands.
_HARMLESS = ("position_ids", "cache_position", "position_embeddings", "cu_seq_lens_q", "cu_seq_lens_k")
_SINKS = ("s_aux", "sinks")
_MASKS = ("causal", "window", "full")
#: A mask is told from a few rows of it: the first, the last, and some in between.
_PROBES = 8


@dataclass(frozen=True, slots=True)
class Shape:
    """How the requests of a step are laid out as one input tensor.

    Attributes:
        rows: requests side by side; 1 where requests of different lengths are packed into one row.
        new_tokens, context: of a row.
        logits: positions of a row for which logits are wanted, from the end; 0 = all.
    """

    rows: int
    new_tokens: int
    context: int
    logits: int


def layout(batch: Batch, logits: str) -> Shape:
    """Equal requests side by side; others packed one after another, as serving engines do."""
    if logits not in ("last", "all"):
        raise ChipsmithError("logits", logits, nearest(logits, ("last", "all")))
    segments = batch.segments()
    if len(segments) == 1:
        return Shape(len(batch), segments[0].new_tokens, segments[0].context, int(logits == "last"))
    context = sum(segment.context * segment.multiplicity for segment in segments)
    return Shape(1, batch.tokens, context, len(batch) if logits == "last" else 0)


def record_model(config: ModelConfig, batch: Batch, logits: str = "last") -> Recording:
    """Build a causal language model from its configuration without weights, and record one step of it.

    Args:
        config: any configuration whose ``model_type`` the installed transformers knows as a causal language model.
        batch: requests; of unequal length they are packed into one row.
        logits: ``last`` (one token a request) or ``all``.

    Raises:
        ChipsmithError: unknown model type, fields the library refuses, an attention mask that is neither causal nor
            a sliding window nor full, operands of attention that we don't know, data-dependent control flow.
    """
    shape = layout(batch, logits)
    recorder = Recorder()
    meta: dict[str, object] = {
        "model": config.name,
        "config": {"model_type": config.model_type, **thawed(config)},
        "batch": [list(pair) for pair in batch.requests],
        "rows": shape.rows,
        "logits": logits,
        "transformers": str(transformers.__version__),
    }
    with _registered(recorder):
        model = _build(config)
        kwargs = _arguments(model, shape, recorder)
        with _kernels(model, recorder):
            return record(model, (), kwargs, config.name, meta, recorder, lambda result: result.logits)


def _build(config: ModelConfig) -> torch.nn.Module:
    """The model on the meta device, in 16 bits (formats are given to the trace, not to the model)."""
    if config.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        close = difflib.get_close_matches(config.model_type, MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, n=3)
        text = (
            f"no causal language model of transformers {transformers.__version__}; near: {', '.join(close) or 'none'}"
        )
        raise ChipsmithError(f"{config.name}.model_type", config.model_type, text)
    try:
        built = AutoConfig.for_model(config.model_type, **thawed(config))
        with torch.device("meta"):
            factory: Any = AutoModelForCausalLM  # its methods have no types
            model = factory.from_config(built, dtype=torch.bfloat16, attn_implementation=_NAME)
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise ChipsmithError(config.name, None, f"transformers refuses it: {str(error).splitlines()[0]}") from error
    return cast(torch.nn.Module, model.eval())


def thawed(config: ModelConfig) -> dict[str, Any]:
    """The fields of a configuration file, tuples turned back into lists and objects."""
    return {name: _plain(value) for name, value in config.items if name != "model_type"}


def _plain(value: object) -> Any:
    if not isinstance(value, tuple):
        return value
    if value and all(isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str) for item in value):
        return {name: _plain(item) for name, item in value}
    return [_plain(item) for item in value]


def _arguments(model: torch.nn.Module, shape: Shape, recorder: Recorder) -> dict[str, Any]:
    """Arguments of the model's ``forward``, of those that it has."""
    accepted = inspect.signature(model.forward).parameters
    tokens = torch.empty((shape.rows, shape.new_tokens), dtype=torch.long, device="meta")
    cache = RecordingCache(recorder, shape.context, getattr(model, "config"))  # noqa: B009  (torch types it as Tensor)
    known = {
        "input_ids": tokens,
        "position_ids": torch.empty_like(tokens),
        "past_key_values": cache,
        "cache_params": cache,
        "use_cache": True,
        "logits_to_keep": shape.logits,
    }
    return {name: value for name, value in known.items() if name in accepted}


class RecordingCache(DynamicCache):
    """A cache that is as long as the step says and records appends; it holds no tensors.

    A sliding window layer gives back the whole length too: which keys count is the mask's and the attention's matter.
    """

    def __init__(self, recorder: Recorder, context: int, config: Any) -> None:
        super().__init__(config=config)
        self._recorder = recorder
        self._context = context

    def update(self, key_states: Any, value_states: Any, layer_idx: int, *_args: Any, **_kwargs: Any) -> Any:
        """Append this step's keys and values; gives back those of the whole context."""
        shapes = [(*t.shape[:-2], t.shape[-2] + self._context, t.shape[-1]) for t in (key_states, value_states)]
        return self._recorder.fused("kv_append", (key_states, value_states), shapes, {"layer": layer_idx})

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Tokens before this step."""
        return self._context

    def get_mask_sizes(self, query_length: int, layer_idx: int = 0) -> tuple[int, int]:
        """Length and offset of the keys."""
        return self._context + query_length, 0

    def has_previous_state(self, *_args: Any, **_kwargs: Any) -> bool:
        """State-space layers take the path that works for any number of tokens."""
        return False

    def get_conv_state(self, *_args: Any, **_kwargs: Any) -> None:
        """State-space kernels carry their own state."""

    def get_recurrent_state(self, *_args: Any, **_kwargs: Any) -> None:
        """State-space kernels carry their own state."""

    def update_conv_state(self, conv_states: Any, *_args: Any, **_kwargs: Any) -> Any:
        """The convolution kernel reads its earlier inputs itself."""
        return conv_states

    def update_recurrent_state(self, recurrent_states: Any, *_args: Any, **_kwargs: Any) -> Any:
        """The scan kernel writes its state itself."""
        return recurrent_states


@contextmanager
def _registered(recorder: Recorder) -> Iterator[None]:
    """While it lasts, attention and masks with our name are recorded as one call each.

    Masks are only asked for by names in the library-wide mapping, so that is where ours stands meanwhile.
    """

    def attention(module: Any, query: Any, key: Any, value: Any, mask: Any, **kwargs: Any) -> Any:
        return _attention(recorder, module, (query, key, value), mask, kwargs), None

    def masks(**kwargs: Any) -> torch.Tensor:
        return _mask(recorder, **kwargs)

    with ExitStack() as stack:
        for registry, function in ((ALL_ATTENTION_FUNCTIONS, attention), (ALL_MASK_ATTENTION_FUNCTIONS, masks)):
            stack.enter_context(mock.patch.dict(registry._global_mapping, {_NAME: function}))
        yield


@contextmanager
def _kernels(model: torch.nn.Module, recorder: Recorder) -> Iterator[None]:
    """While it lasts, the state-space kernels of this model are recorded as one call each."""
    with ExitStack() as stack:
        for module in {sys.modules[type(part).__module__] for part in model.modules()}:
            for name, kernel in KERNELS.items():
                if hasattr(module, name):
                    stack.enter_context(mock.patch.object(module, name, _bound(kernel, recorder)))
        yield


def _bound(kernel: Callable[..., Any], recorder: Recorder) -> Callable[..., Any]:
    return lambda *args, **kwargs: kernel(recorder, *args, **kwargs)


# ---------------------------------------------------------------- attention


def _attention(recorder: Recorder, module: Any, qkv: tuple[Any, Any, Any], mask: Any, kwargs: Mapping[str, Any]) -> Any:
    """One fused attention; tensors come as [rows, heads, tokens, features] and go as [rows, tokens, heads, features].

    Raises:
        ChipsmithError: a mask, or an operand, that we don't know.
    """
    query, key, value = qkv
    where = f"{recorder.path}: attention"
    sinks = next((kwargs[name] for name in _SINKS if kwargs.get(name) is not None), None)
    for name, given in kwargs.items():
        if isinstance(given, torch.Tensor) and name not in (*_HARMLESS, *_SINKS):
            raise ChipsmithError(where, name, "is an operand that a fused attention row can't hold")
    kind, window = _visible(where, module, mask, kwargs)
    facts: dict[str, Attribute] = {
        "heads": query.shape[1],
        "kv_heads": key.shape[1],
        "qk_dim": query.shape[-1],
        "v_dim": value.shape[-1],
        "causal": kind != "full",
        "window": window,
        "softcap": float(kwargs.get("softcap") or 0.0),
    }
    shape = (query.shape[0], query.shape[2], query.shape[1], value.shape[-1])
    return recorder.fused("attention", (query, key, value, sinks), [shape], facts)[0]


def _visible(where: str, module: Any, mask: Any, kwargs: Mapping[str, Any]) -> tuple[str, int]:
    """Which keys a query sees: (causal, window or full; width of the window)."""
    if mask is None:
        causal = kwargs.get("is_causal")
        causal = getattr(module, "is_causal", True) if causal is None else causal
        window = int(kwargs.get("sliding_window") or 0)
        return ("window" if window else "causal", window) if causal else ("full", 0)
    kind, size = getattr(mask, "visible_keys", ("a mask of its own", 0))
    if kind not in _MASKS:
        text = "legal: causal, sliding window or full masks; chunked and blockwise ones have no row in a trace"
        raise ChipsmithError(f"{where}: mask", kind, text)
    return kind, size


def _mask(
    recorder: Recorder,
    *,
    q_length: int,
    kv_length: int,
    mask_function: Callable[..., Any],
    q_offset: int = 0,
    kv_offset: int = 0,
    local_size: int | None = None,
    attention_mask: torch.Tensor | None = None,
    **_others: Any,
) -> torch.Tensor:
    """A token that stands for a mask and knows its kind; no mask is ever built."""
    if attention_mask is not None:
        raise ChipsmithError("attention_mask", tuple(attention_mask.shape), "legal: none, requests come as segments")
    with recorder.paused():
        queries = _probes(q_length, int(q_offset))
        keys = torch.arange(int(kv_offset), int(kv_offset) + kv_length, device="cpu")
        token = torch.empty((1, 1, 1, 1), dtype=torch.bool, device="meta")
        try:
            rows = [_seen(mask_function, query, keys) for query in queries]
        except RuntimeError:  # the function holds tensors without values: what it hides can't be looked at
            rows = [(q + 1, 0) for q in queries] if local_size and local_size >= kv_length else []
    known = _classified(queries, rows, kv_length, local_size)
    token.visible_keys = known  # type: ignore[attr-defined]  # a tensor may carry any attribute
    return token


def _probes(length: int, offset: int) -> list[int]:
    step = max(1, length // _PROBES)
    return sorted({*range(offset, offset + length, step), offset + length - 1})


def _seen(mask_function: Callable[..., Any], query: int, keys: torch.Tensor) -> tuple[int, int]:
    """(number of visible keys, first visible key) of one query."""
    visible = mask_function(torch.tensor(0), torch.tensor(0), torch.tensor(query), keys)
    found = torch.nonzero(torch.broadcast_to(torch.as_tensor(visible), keys.shape))
    return (len(found), int(keys[found[0, 0]])) if len(found) else (0, 0)


def _classified(
    queries: list[int], rows: list[tuple[int, int]], kv_length: int, local_size: int | None
) -> tuple[str, int]:
    """Kind of a mask from how many keys the probed queries see, and from where; else a text that says what they see.

    A model may make masks that none of its layers uses, so an unknown one is no error yet.
    """
    window = local_size or 0
    if window and rows == [(min(q + 1, window), max(0, q + 1 - window)) for q in queries]:
        return "window", window
    if rows == [(q + 1, 0) for q in queries]:
        return "causal", 0
    if rows and all(row == (kv_length, 0) for row in rows):
        return "full", 0
    return f"queries {queries} see (keys, first key) {rows}" if rows else f"chunks of {local_size} tokens", 0


# ---------------------------------------------------------------- state-space kernels


def _convolution(recorder: Recorder, x: Any, weight: Any, bias: Any = None, *_args: Any, **_kwargs: Any) -> Any:
    """Causal convolution over each channel, [rows, channels, tokens]."""
    return recorder.fused("conv1d", (x, weight, bias), [x.shape], {"kernel": weight.shape[-1]})[0]


def _scan(recorder: Recorder, x: Any, dt: Any, a: Any, b: Any, c: Any, *_args: Any, **kwargs: Any) -> Any:
    """State-space duality scan: x [rows, tokens, heads, head features], b and c [rows, tokens, groups, state]."""
    rows, _, heads, features = x.shape
    state = (rows, heads, features, b.shape[-1])
    facts: dict[str, Attribute] = {
        "heads": heads,
        "head_dim": features,
        "groups": b.shape[-2],
        "state": b.shape[-1],
    }
    operands = (x, dt, a, b, c, kwargs.get("D"), kwargs.get("dt_bias"))
    out, final = recorder.fused("ssd", operands, [x.shape, state], facts)
    return (out, final) if kwargs.get("return_final_states") else out


#: Functions of modelling files that stand for one kernel each -> what is recorded in their place.
KERNELS: dict[str, Callable[..., Any]] = {
    "causal_conv1d_fn": _convolution,
    "causal_conv1d_update": _convolution,
    "mamba2_chunk_scan": _scan,
    "mamba2_selective_state_update": _scan,
}
