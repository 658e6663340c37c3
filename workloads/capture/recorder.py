"""Records the operator calls of a torch module; tensors on the meta device need no memory.

``__torch_dispatch__`` of a ``TorchDispatchMode`` sees every ATen call with its tensors; forward hooks say in which
module. Values are told apart by the identity of the tensor object and by version: an in-place call makes a new value,
also of the tensor that the written one is a view of.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from workloads.capture.recording import Attribute, Call, Recording, Value
from workloads.errors import ChipsmithError

#: torch dtype -> our format; indices and truth values have no format of their own.
FORMATS = {
    torch.float32: "fp32",
    torch.float64: "fp32",
    torch.float16: "fp16",
    torch.bfloat16: "bf16",
    torch.float8_e4m3fn: "fp8",
    torch.float8_e5m2: "fp8",
    torch.int8: "int8",
    torch.uint8: "int8",
    torch.bool: "int8",
    torch.int16: "int16",
    torch.complex64: "fp32",  # two numbers each: recorded with one more dimension
}
_INTEGERS = "int32"


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]  # the base class is not typed
    """Collects calls and values; use :func:`record`, and :meth:`fused` inside replacements of whole kernels.

    Attributes:
        values, calls: what was recorded so far.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # the base class is not typed
        self.values: list[Value] = []
        self.calls: list[Call] = []
        self._tensors: list[torch.Tensor] = []  # keeps objects alive, so that their ids stay theirs
        self._ids: dict[int, int] = {}
        self._viewed: dict[int, torch.Tensor] = {}
        self._path: list[str] = [""]
        self._paused = 0

    @property
    def path(self) -> str:
        """Name of the module that is running."""
        return self._path[-1]

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Calls inside are not recorded."""
        self._paused += 1
        try:
            yield
        finally:
            self._paused -= 1

    def source(self, tensor: torch.Tensor, role: str, name: str) -> int:
        """Name a tensor that exists before the recording."""
        return self._add(tensor, role, name)

    def value(self, tensor: torch.Tensor) -> int:
        """Id of a tensor's current value; one that was never seen is a constant of the code."""
        known = self._ids.get(id(tensor))
        return self._add(tensor, "buffer", "") if known is None else known

    def fused(
        self,
        op: str,
        inputs: Sequence[torch.Tensor | None],
        shapes: Sequence[Sequence[int]],
        attributes: Mapping[str, Attribute] | None = None,
    ) -> tuple[torch.Tensor, ...]:
        """Record one call that stands for a whole kernel and give back its outputs (like the first input)."""
        given = [tensor for tensor in inputs if tensor is not None]
        with self.paused():
            outputs = tuple(given[0].new_empty(tuple(shape)) for shape in shapes)
        read = tuple(self.value(tensor) for tensor in given)
        written = tuple(self._add(tensor) for tensor in outputs)
        self.calls.append(Call(op, self.path, read, written, False, tuple((attributes or {}).items())))
        return outputs

    def __torch_dispatch__(  # type: ignore[no-untyped-def]  # the base class has no types either
        self, func, types, args=(), kwargs=None
    ):
        result = func(*args, **(kwargs or {}))
        if not self._paused:
            self._note(func, _tensors((args, kwargs or {})), _tensors(result))
        return result

    def _note(self, func: Any, inputs: list[torch.Tensor], outputs: list[torch.Tensor]) -> None:
        read = tuple(self.value(tensor) for tensor in inputs)
        name = func.name().split("::")[-1].split(".")[0].rstrip("_")
        view = bool(getattr(func, "is_view", False))
        written = tuple(self._add(tensor) for tensor in outputs)
        self.calls.append(Call(name, self.path, read, written, view))
        for tensor in outputs:
            if view:
                self._viewed[id(tensor)] = inputs[0]
            elif any(tensor is given for given in inputs):
                self._write_through(tensor)

    def _write_through(self, part: torch.Tensor) -> None:
        """A tensor was changed in place: what it is a view of holds something new as well."""
        whole = self._base(part)
        if whole is not part:
            read = (self.value(whole), self.value(part))
            self.calls.append(Call("copy", self.path, read, (self._add(whole),)))

    def _base(self, tensor: torch.Tensor) -> torch.Tensor:
        while (parent := self._viewed.get(id(tensor))) is not None and parent is not tensor:
            tensor = parent
        return tensor

    def _add(self, tensor: torch.Tensor, role: str = "computed", name: str = "") -> int:
        form = FORMATS.get(tensor.dtype, _INTEGERS)
        shape = (*tensor.shape, 2) if tensor.dtype.is_complex else tuple(tensor.shape)
        self.values.append(Value(shape, form, role, name))
        self._tensors.append(tensor)
        self._ids[id(tensor)] = len(self.values) - 1
        return len(self.values) - 1

    def enter(self, name: str) -> None:
        """A module starts."""
        self._path.append(name)

    def leave(self) -> None:
        """The module that is running ends."""
        self._path.pop()


def _tensors(tree: object) -> list[torch.Tensor]:
    """All tensors of nested tuples, lists, mappings and model outputs, in order."""
    if isinstance(tree, torch.Tensor):
        return [tree]
    if isinstance(tree, Mapping):
        return [tensor for item in tree.values() for tensor in _tensors(item)]
    if isinstance(tree, tuple | list):
        return [tensor for item in tree for tensor in _tensors(item)]
    return []


@contextmanager
def _followed(module: torch.nn.Module, recorder: Recorder) -> Iterator[None]:
    """Tell the recorder which submodule runs; meanwhile the module is in inference mode."""
    hooks, modes = [], [(part, part.training) for part in module.modules()]
    module.eval()  # training only adds noise
    for name, part in module.named_modules():
        before: Callable[..., None] = lambda _m, _a, name=name: recorder.enter(name)  # noqa: E731  (binds the name)
        hooks.append(part.register_forward_pre_hook(before))
        hooks.append(part.register_forward_hook(lambda _m, _a, _o: recorder.leave()))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for part, mode in modes:
            part.training = mode


def record(
    module: torch.nn.Module,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    name: str,
    meta: Mapping[str, object],
    recorder: Recorder | None = None,
    select: Callable[[Any], object] = lambda result: result,
) -> Recording:
    """Run a module once and record it.

    Args:
        module: on any device; on the meta device nothing is computed.
        args, kwargs: of its ``forward``.
        name, meta: of the recording.
        recorder: one that replacements of kernels already hold.
        select: picks what counts as output from what ``forward`` returned.

    Raises:
        ChipsmithError: the module asks for the value of a tensor (data-dependent control flow), or an operator has
            no meta kernel; names the module.
    """
    recorder = recorder or Recorder()
    _name_sources(module, args, kwargs, recorder)
    # Some models warn about reference kernels or deprecated arguments: nothing of what a recording is about.
    with warnings.catch_warnings(), torch.no_grad(), _followed(module, recorder), recorder:
        warnings.simplefilter("ignore")
        try:
            result = module(*args, **kwargs)
        except (RuntimeError, NotImplementedError) as error:
            raise _explained(error, recorder.path or type(module).__name__, name) from error
    outputs = tuple(recorder.value(tensor) for tensor in _tensors(select(result)))
    facts = {**meta, "torch": str(torch.__version__)}
    return Recording(name, tuple(recorder.values), tuple(recorder.calls), outputs, facts)


def _explained(error: Exception, path: str, name: str) -> ChipsmithError:
    first = str(error).splitlines()[0] if str(error) else type(error).__name__
    hint = "a model whose control flow depends on tensor values can't be captured"
    return ChipsmithError(f"{name}, module {path}", None, f"{first} ({hint})" if "meta tensors" in first else first)


def _name_sources(module: torch.nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], recorder: Recorder) -> None:
    for name, parameter in module.named_parameters():
        recorder.source(parameter, "weight", name)
    for name, buffer in module.named_buffers():
        recorder.source(buffer, "buffer", name)
    named = {**{f"input_{i}": arg for i, arg in enumerate(args)}, **kwargs}
    for name, arg in named.items():
        for tensor in _tensors(arg):
            recorder.source(tensor, "input" if tensor.dtype.is_floating_point else "index", name)
