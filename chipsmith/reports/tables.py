"""Tables that most reports have: totals, evidence, operators, manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256

from chipsmith.reports.sections import Fact, Facts, Table
from sim.pictures.words import si
from sim.result import Result

_LONGEST_FACT = 200


def manifest_table(manifest: Mapping[str, object], title: str = "Manifest") -> Table:
    """Versions and hashes that the figures come from."""
    rows = [(name, "none" if value is None else _brief(str(value))) for name, value in manifest.items()]
    note = "Equal hashes of trace, chip, mapping and calibration, at an equal version, give equal numbers to the bit."
    return Table(title, ("what", "value"), rows, note)


def _brief(text: str) -> str:
    """A fact that is a whole document: its beginning, its length and its hash."""
    if len(text) <= _LONGEST_FACT:
        return text
    digest = sha256(text.encode()).hexdigest()[:16]
    return f"{text[:_LONGEST_FACT]}… ({len(text):,} characters, SHA-256 {digest})"


def headline_table(results: Sequence[Result]) -> Table:
    """Totals of each result, one row each."""
    columns = (
        "chip", "workload", "latency (ms)", "tokens/s", "energy (mJ/token)", "power (W)", "area (mm²)",
        "utilisation (%)", "bound by",
    )  # fmt: skip
    rows = [
        (
            r.chip.name, r.trace.name, r.latency_s * 1e3, r.tokens_per_s, r.energy_per_token_j * 1e3, r.power_w,
            r.area_mm2, r.utilisation * 100, r.bound_by,
        )
        for r in results
    ]  # fmt: skip
    note = (
        "One step of the workload: a prefill step processes whole prompts (its latency is the time to first token), "
        "a decode step adds one token to every request (its latency is the time per output token)."
    )
    return Table("Totals", columns, rows, note)


def result_facts(result: Result) -> Facts:
    """The totals of one result in large type, each with what it rests on."""
    limits = ", ".join(f"{name} {share:.0%}" for name, share in list(result.bound_share.items())[:3])
    facts = (
        Fact("latency of a step", si(result.latency_s, "s"), _rests_on(result, "latency_s")),
        Fact("throughput", f"{result.tokens_per_s:,.5g} tokens/s", f"{result.tokens:,} tokens a step"),
        Fact("energy", f"{si(result.energy_per_token_j, 'J')}/token", _rests_on(result, "energy_j")),
        Fact("power", f"{result.power_w:.4g} W", f"{si(result.energy_j, 'J')} a step"),
        Fact("area", f"{result.area_mm2:.4g} mm²", _rests_on(result, "area_mm2")),
        Fact("utilisation", f"{result.utilisation:.2%}", "of the matrix engines' peak"),
        Fact("bound by", result.bound_by, f"{limits} of operator time"),
        Fact("array part", f"{result.rtl_share:.1%}", "of operator time is bound by the array's cycles"),
    )  # fmt: skip
    return Facts("Totals", facts)


def _rests_on(result: Result, total: str) -> str:
    """The evidence behind a total in few words."""
    evidence = result.evidence.get(total)
    if evidence is None:
        return ""
    error = f", mean error ±{evidence.interval_pct:g} %" if evidence.interval_pct is not None else ", not compared"
    return f"{evidence.kind}{error}"


def evidence_table(results: Sequence[Result]) -> Table:
    """What stands behind each total."""
    found = dict.fromkeys(
        (r.chip.name, r.fidelity, total, e.kind, e.interval_pct, e.source)
        for r in results
        for total, e in r.evidence.items()
    )
    columns = ("chip", "fidelity", "total", "evidence", "mean error (%)", "compared with")
    note = "The mean absolute error is the one that validation measured for this class of total; a dash: not compared."
    return Table("Evidence", columns, list(found), note)


def operator_table(result: Result) -> Table:
    """Every operator of a result."""
    columns = (
        "operator", "engine", "times", "time each (µs)", "share of time (%)", "GMAC", "DRAM (MB)", "energy (µJ)",
        "bound by",
    )  # fmt: skip
    total_s = sum(op.duration_s * op.count for op in result.ops) or 1.0
    rows = [
        (
            op.name, op.engine, op.count, op.duration_s * 1e6, 100 * op.duration_s * op.count / total_s,
            op.macs / 1e9, (op.bytes.get("dram_read", 0) + op.bytes.get("dram_write", 0)) / 1e6,
            sum(op.energy_pj.values()) / 1e6, op.bound_by,
        )
        for op in result.ops
    ]  # fmt: skip
    note = (
        "Time, work, traffic and energy are of one iteration at a full share of the shared resources; the share of "
        "time counts all iterations. Energy is the dynamic part: leakage, clock and DRAM background are in the totals."
    )
    return Table(f"Operators: {result.trace.name} on {result.chip.name}", columns, rows, note)
