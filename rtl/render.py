"""Fills the Verilog templates in ``rtl/templates``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from rtl.params import GENERATOR_VERSION, SystolicParams

if TYPE_CHECKING:
    from jinja2 import Environment

_PARTS = {
    "ws": ("delay", "ws_pe", "ws_array", "ws_acc", "ws_ctrl", "ws_top", "axis"),
    "os": ("delay", "os_pe", "os_array", "os_ctrl", "os_top", "axis"),
}
_BENCH_PARTS = ("checker", "tb")


def _extend(name: str, have: int, want: int) -> str:
    """Sign-extend or cut ``name``, with explicit selects that every Verilog reader understands."""
    if want > have:
        return f"{{{{{want - have}{{{name}[{have - 1}]}}}}, {name}}}"
    return name if want == have else f"{name}[{want - 1}:0]"


def _extend_zero(name: str, have: int, want: int) -> str:
    """``name`` with zeros in front, at least as wide as it is."""
    return f"{{{want - have}'d0, {name}}}" if want > have else name


def _zeros(count: int) -> str:
    """Leading zeros of a concatenation, with the comma; nothing for none."""
    return f"{count}'d0, " if count > 0 else ""


def _bytes(bits: int) -> int:
    """``bits`` rounded up to whole bytes, in bits."""
    return -(-bits // 8) * 8


def _pad(name: str, bits: int) -> str:
    """``name`` with zeros in front, up to whole bytes."""
    missing = _bytes(bits) - bits
    return f"{{{missing}'d0, {name}}}" if missing else name


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    # Verilog owns the usual braces, hence the @{...} and %% marks.
    return Environment(
        loader=PackageLoader("rtl", "templates"),
        undefined=StrictUndefined,
        variable_start_string="@{",
        variable_end_string="}",
        line_statement_prefix="%%",
        trim_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )


def _module(part: str, params: SystolicParams) -> str:
    """Module name of a template: ``ws_pe`` is NAME_pe, the top is NAME."""
    suffix = part.removeprefix("ws_").removeprefix("os_")
    return params.name if suffix == "top" else f"{params.name}_{suffix}"


def render_files(templates: Mapping[str, str], described: Any, notes: tuple[str, ...] = ()) -> dict[str, str]:
    """Fill templates.

    Args:
        templates: file name to template (without ``.v.j2``).
        described: what the templates call ``d``; it has a ``name`` and a ``summary``.
        notes: lines for the file headers.
    """
    helpers = {"extend": _extend, "extend_zero": _extend_zero, "zeros": _zeros, "bytes": _bytes, "pad": _pad}
    return {
        name: _environment()
        .get_template(f"{template}.v.j2")
        .render(d=described, notes=notes, generator=GENERATOR_VERSION, **helpers)
        for name, template in templates.items()
    }


def render_sources(params: SystolicParams, notes: tuple[str, ...] = ()) -> dict[str, str]:
    """Synthesisable sources, file name to text, leaves first."""
    return render_files({f"{_module(part, params)}.v": part for part in _PARTS[params.dataflow]}, params, notes)


def render_bench(params: SystolicParams) -> dict[str, str]:
    """Checker and bench wrapper, file name to text."""
    return render_files({f"{_module(part, params)}.v": part for part in _BENCH_PARTS}, params)
