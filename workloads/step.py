"""One step of a model on one rank: options, and the rows that all families are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from workloads.batch import Batch
from workloads.errors import ChipsmithError, nearest
from workloads.graph import Graph
from workloads.precision import Precision
from workloads.routing import Routing
from workloads.trace import Operator, Segment

LOGITS = ("last", "all", "none")
MLA_FORMS = ("auto", "naive", "absorbed")
Widths = Mapping[str, int]


@dataclass(frozen=True)
class Options:
    """How a model is deployed; see :func:`workloads.build.build_trace` for the meaning of each field.

    ``expert_weights`` is the format of the experts' matrices where it differs from that of the other weights.
    """

    precision: Precision = field(default_factory=Precision)
    tensor_parallel: int = 1
    expert_parallel: int = 1
    moe: Routing = field(default_factory=Routing)
    merge_qkv: bool = False
    merge_gate_up: bool = False
    logits: str = "last"
    mla: str = "auto"
    expert_weights: str = ""

    def __post_init__(self) -> None:
        for name in ("tensor_parallel", "expert_parallel"):
            if getattr(self, name) < 1:
                raise ChipsmithError(name, getattr(self, name), "legal: 1 or more")
        for name, legal in (("logits", LOGITS), ("mla", MLA_FORMS)):
            if getattr(self, name) not in legal:
                raise ChipsmithError(name, getattr(self, name), nearest(str(getattr(self, name)), legal))

    @property
    def expert_format(self) -> tuple[str, int]:
        """Format and scale group of the experts' matrices: their own where there is one, else that of the weights."""
        form = self.precision
        return (self.expert_weights, 0) if self.expert_weights else (form.weights, form.weight_group)


class Step:
    """Appends rows with the formats, phase and weights that the options ask for.

    Attributes:
        batch: the requests.
        options: the deployment.
        graph: rows and tensors so far.
        tp: tensor parallel degree.
    """

    def __init__(self, batch: Batch, options: Options) -> None:
        self.batch = batch
        self.options = options
        self.graph = Graph()
        self.tp = options.tensor_parallel

    def row(self, name: str, kind: str, segments: Sequence[Segment] | None = None) -> Operator:
        """An operator with formats and phase filled in; without segments it takes all tokens of the step."""
        form = self.options.precision
        return Operator(
            name,
            kind,
            0,
            tuple(segments) if segments is not None else (Segment(self.batch.tokens),),
            act=form.activations,
            weight=form.weights,
            kv=form.kv,
            out=form.activations,
            weight_group=form.weight_group,
            kv_group=form.kv_group,
            phase=self.batch.phase,
        )

    def vector_row(self, name: str, kind: str, function: str, segments: Sequence[Segment] | None = None) -> Operator:
        """A row of a vector kind, whose parameters (gains, biases) stay at 16 bits or more."""
        row = self.row(name, kind, segments)
        form = self.options.precision.vectors
        return replace(row, function=function, weight=form, weight_group=0)

    def linear(
        self,
        name: str,
        x: int | tuple[int, ...],
        k: int,
        n: int,
        *,
        bias: bool = False,
        outputs: Widths | None = None,
    ) -> tuple[int, ...]:
        """All tokens times a ``k x n`` weight, plus a bias of n.

        Args:
            name: row name.
            x: input tensor, or tensors that hold some of the tokens each.
            k, n: inner dimension and output features on this rank.
            bias: whether n bias elements are added.
            outputs: features of each output tensor where a merged weight writes several; default one of n.
        """
        row = replace(self.row(name, "gemm"), k=k, n=n, param_width=n if bias else 0)
        weights = [self.weight(f"{name}.weight", k * n)]
        if bias:
            weights.append(self.vector(f"{name}.bias", n))
        inputs = x if isinstance(x, tuple) else (x,)
        return self.graph.append(row, (*inputs, *weights), outputs or {"": n})

    def copies_linear(
        self, name: str, inputs: tuple[int, ...], k: int, n: int, segments: Sequence[Segment], outputs: Widths
    ) -> tuple[int, ...]:
        """One ``k x n`` weight for each piece of each segment (experts, heads); ``inputs`` include the weight."""
        row = replace(self.row(name, "gemm", segments), k=k, n=n, per_segment_weights=True)
        return self.graph.append(row, inputs, outputs)

    def weight(self, name: str, elements: int) -> int:
        """A matrix in the format of the weights."""
        form = self.options.precision
        return self.graph.source(name, "weight", elements, form.weights, form.weight_group)

    def vector(self, name: str, elements: int) -> int:
        """A gain or bias vector."""
        return self.graph.source(name, "weight", elements, self.options.precision.vectors)

    def norm(
        self, name: str, inputs: Sequence[int], width: int, function: str = "rmsnorm", rows_per_token: int = 1
    ) -> int:
        """A norm over ``width`` features with its gain (layernorm: and bias); several inputs are read side by side."""
        params = 2 * width if function == "layernorm" else width
        row = self.vector_row(name, "norm", function, (Segment(self.batch.tokens * rows_per_token),))
        row = replace(row, width_in=width * len(inputs), width_out=width, param_width=params)
        return self.graph.append(row, (*inputs, self.vector(f"{name}.weight", params)), {"": width})[0]

    def split_norm(self, name: str, inputs: Sequence[int], width: int, whole: bool = False) -> tuple[int, ...]:
        """An RMSNorm over features of which each rank holds ``width``.

        Returns:
            What the next row reads: the normed share and, unless the norm is ``whole`` on this rank, the sum of
            squares that the ranks exchange for it.
        """
        out = self.norm(name, inputs, width)
        if whole or self.tp == 1:
            return (out,)
        return out, self.collective(f"{name}_all_reduce", "all_reduce", out, (1, 1), self.tp)

    def elementwise(
        self,
        name: str,
        function: str,
        inputs: Sequence[int],
        width_in: int,
        outputs: Widths,
        segments: Sequence[Segment] | None = None,
        params: int = 0,
    ) -> tuple[int, ...]:
        """A fused element-wise row; ``params`` parameter elements (gains, mixing factors) are read once."""
        row = self.vector_row(name, "elementwise", function, segments)
        row = replace(row, width_in=width_in, width_out=sum(outputs.values()), param_width=params)
        vectors = (self.vector(f"{name}.weight", params),) if params else ()
        return self.graph.append(row, (*inputs, *vectors), outputs)

    def add(self, name: str, left: int, right: int, width: int) -> int:
        """The sum of two tensors of ``width`` features."""
        return self.elementwise(name, "add", (left, right), 2 * width, {"": width})[0]

    def collective(
        self, name: str, function: str, x: int, widths: tuple[int, int], ranks: int, tokens: int | None = None
    ) -> int:
        """A collective over ``ranks``; ``widths`` = features read and written per token. One rank: nothing happens."""
        if ranks == 1:
            return x
        segments = None if tokens is None else (Segment(tokens),)
        row = self.vector_row(name, "collective", function, segments)
        row = replace(row, width_in=widths[0], width_out=widths[1], ranks=ranks)
        return self.graph.append(row, (x,), {"": widths[1]})[0]

    def all_reduce(self, name: str, x: int, width: int) -> int:
        """Sum partial results of ``width`` features over the tensor parallel ranks."""
        return self.collective(name, "all_reduce", x, (width, width), self.tp)

    def cache(self, name: str, width: int, segments: Sequence[Segment], window: int = 0) -> int:
        """The KV cache before this step: ``width`` elements a token, clipped to the window."""
        form = self.options.precision
        held = sum((min(s.context, window) if window else s.context) * s.multiplicity for s in segments)
        return self.graph.source(name, "kv", held * width, form.kv, form.kv_group)
