"""simulate: one trace on one chip, at one fidelity, with one mapping."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from models.chip import Chip, ChipTable, load_chip
from sim.capacity import most_missing
from sim.demand import EVENTS, NO_MEMORY, OK, STATUS_TEXT
from sim.engine import Array
from sim.evaluate import COMPONENTS, DYNAMIC, Evaluation, evaluate_chips, plan_arrays, total_energy_j, utilisation
from sim.evidence import evidence_of
from sim.mapping import Mapping, load_mapping
from sim.result import OpResult, Result, digest, trace_digest
from sim.timeline import plan, play
from workloads.errors import ChipsmithError
from workloads.trace import Trace

BYTES = {
    "dram_read_bytes": "dram_read",
    "dram_write_bytes": "dram_write",
    "sram_read_bytes": "sram_read",
    "sram_write_bytes": "sram_write",
    "noc_bytes": "noc",
    "reg_bytes": "register",
    "link_bytes": "link",
}


def simulate(trace: Trace, chip: Chip | str, mapping: str | Path | Mapping = "auto", fidelity: str = "tile") -> Result:
    """Simulate a trace on a chip.

    Args:
        trace: what runs.
        chip: a Chip or a preset's name.
        mapping: ``auto`` (searched), ``gemmini`` (heuristic), a YAML file, or a Mapping to replay.
        fidelity: ``bound`` (roofline floor), ``tile`` or ``command`` (DRAM channels price the memory traffic).

    Raises:
        ChipsmithError: the model does not fit the memory (how much is missing), no tile fits, an operator that
            no engine takes, an illegal mapping, or at ``command`` a memory without a DRAM grade.
    """
    spec = load_chip(chip) if isinstance(chip, str) else chip
    given = load_mapping(mapping)
    evaluation = evaluate_chips(trace, ChipTable(spec), given, fidelity)
    refuse(evaluation)
    start, end = _times(evaluation)
    ops = _operators(evaluation, start, end)
    parts, total = total_energy_j(evaluation)
    used = _used_mapping(evaluation)
    latency = float(evaluation.makespan_s[0])
    return Result(
        trace=evaluation.trace,
        chip=spec,
        mapping=used,
        fidelity=fidelity,
        ops=ops,
        latency_s=latency,
        tokens=new_tokens(evaluation.trace),
        energy_j=float(total[0]),
        energy_parts_j={name: float(parts[0, i]) for i, name in enumerate(COMPONENTS)},
        area_mm2=float(evaluation.prices.area_mm2[0]),
        area_parts_mm2={name: float(area[0]) for name, area in evaluation.prices.blocks().items()},
        utilisation=float(utilisation(evaluation)[0]),
        **_limits(ops, evaluation),
        evidence=evidence_of(spec, fidelity),
        manifest=_manifest(evaluation.trace, spec, used, evaluation),
    )


def new_tokens(trace: Trace) -> float:
    """New tokens of a step: those it processes, or on average yields where it verifies drafted ones."""
    tokens = trace.expected_tokens
    return int(tokens) if tokens.is_integer() else tokens


def refuse(evaluation: Evaluation) -> None:
    """Word the status of an illegal (trace, chip) pair."""
    status = int(evaluation.status[0])
    if status == OK:
        return
    chip, trace = evaluation.table.base, evaluation.trace
    if status == NO_MEMORY:
        name, want, have = most_missing(trace, evaluation.table, evaluation.placement, evaluation.rows)
        raise ChipsmithError(
            f"chip.memories.{name}.capacity_bytes",
            have,
            f"{trace.name} needs {want} bytes (weights and KV cache): "
            f"{want - have} bytes ({(want - have) / 2**30:.2f} GiB) are missing",
        )
    raise ChipsmithError(f"chip {chip.name}", None, f"{_culprit(evaluation)}{STATUS_TEXT[status]}")


def _culprit(evaluation: Evaluation) -> str:
    for index, (mine, out, _) in evaluation.demands.items():
        for slot, j in enumerate(mine):
            if out["cycles"][0, slot] == 0.0:
                op = evaluation.trace.ops[int(evaluation.rows.trace_row[j])]
                return f"operator {op.name} on {evaluation.placement.names[index]}: "
    return ""


def _times(evaluation: Evaluation) -> tuple[Array, Array]:
    """Start and end of the first iteration of every operator, repeats of earlier blocks included."""
    table = evaluation.plan
    if int(evaluation.unrolls[0]) > int(table.unrolled.max()):
        table = plan(evaluation.trace, evaluation.placement.engine_of, int(evaluation.unrolls[0]))
    start, end, extra = np.zeros(len(table.op)), np.zeros(len(table.op)), np.zeros(len(table.unrolled))
    play(*(*plan_arrays(table), evaluation.fixed[0], evaluation.busy[0], evaluation.need[0], start, end, extra))
    shift = np.concatenate([[0.0], np.cumsum(extra)])[:-1]
    first = np.flatnonzero(table.iteration == 0)
    order = first[np.argsort(table.op[first])]
    offset = shift[table.block[order]]
    return start[order] + offset, end[order] + offset


def _operators(evaluation: Evaluation, start: Array, end: Array) -> tuple[OpResult, ...]:
    gathered = _gather(evaluation)
    results = []
    for row, op in enumerate(evaluation.trace.ops):
        events, cycles, busy_cycles = gathered[row]
        needs = {
            name: float(evaluation.need[0, row, r])
            for r, name in enumerate(evaluation.resources)
            if evaluation.need[0, row, r] > 0
        }
        fixed, busy = float(evaluation.fixed[0, row]), float(evaluation.busy[0, row])
        engine = evaluation.placement.names[evaluation.placement.engine_of[row]]
        energy = evaluation.energy_pj[0, row]
        results.append(
            OpResult(
                name=op.name,
                kind=op.kind,
                engine=engine,
                phase=op.phase,
                block=evaluation.trace.blocks[op.block].name,
                count=int(evaluation.counts[row]),
                start_s=float(start[row]),
                end_s=float(end[row]),
                duration_s=fixed + max([busy, *needs.values()]),
                cycles=cycles,
                busy_cycles=busy_cycles,
                fixed_s=fixed,
                busy_s=busy,
                needs_s=needs,
                macs=events["macs"],
                blocks=events["blocks"],
                bytes={label: events[event] for event, label in BYTES.items()},
                events=events,
                energy_pj={name: float(energy[i]) for i, name in enumerate(DYNAMIC)},
                bound_by=_bound_by(engine, fixed, busy, needs),
            )
        )
    return tuple(results)


def _gather(evaluation: Evaluation) -> dict[int, tuple[dict[str, int], float, float]]:
    """Events, cycles and busy cycles per trace row, summed over its operator rows."""
    count = len(evaluation.trace.ops)
    events = {name: np.zeros(count, np.int64) for name in EVENTS}
    cycles, busy = np.zeros(count), np.zeros(count)
    for mine, out, _ in evaluation.demands.values():
        rows = evaluation.rows.trace_row[mine]
        for name, total in (*events.items(), ("cycles", cycles), ("busy", busy)):
            np.add.at(total, rows, out[name][0])
    return {
        row: ({name: int(total[row]) for name, total in events.items()}, float(cycles[row]), float(busy[row]))
        for row in range(count)
    }


def _bound_by(engine: str, fixed: float, busy: float, needs: dict[str, float]) -> str:
    name, longest = max([(engine, busy), *needs.items()], key=lambda item: item[1])
    return name if longest >= fixed else "latency"


def _limits(ops: tuple[OpResult, ...], evaluation: Evaluation) -> dict[str, Any]:
    """What limits the time, and the share of it that lies in the array part."""
    time: dict[str, float] = {}
    array = 0.0
    for op in ops:
        time[op.bound_by] = time.get(op.bound_by, 0.0) + op.duration_s * op.count
        if evaluation.table.base.engines.get(op.engine) is not None and op.bound_by == op.engine and op.blocks > 0:
            array += op.busy_s * op.count
    total = sum(time.values()) or 1.0
    share = {name: t / total for name, t in sorted(time.items(), key=lambda item: -item[1])}
    return {"bound_by": next(iter(share)), "bound_share": share, "rtl_share": array / total}


def _used_mapping(evaluation: Evaluation) -> Mapping:
    """The mapping that was used, as data that replays."""
    engines: dict[str, str] = {}
    tiles: dict[str, tuple[dict[str, Any], ...]] = {}
    for row, op in enumerate(evaluation.trace.ops):
        engines[op.name] = evaluation.placement.names[evaluation.placement.engine_of[row]]
    for index, (mine, _, records) in evaluation.demands.items():
        to_dict = evaluation.placement.engines[index].mapping_to_dict
        if to_dict is None:
            continue
        for slot, j in enumerate(mine):
            op = evaluation.trace.ops[int(evaluation.rows.trace_row[j])]
            if evaluation.fidelity != "bound" and any(records[0, slot].item()):  # a bound chooses nothing
                tiles[op.name] = (*tiles.get(op.name, ()), to_dict(records[0, slot]))
    return Mapping("given", engines, tiles)


def _manifest(trace: Trace, chip: Chip, mapping: Mapping, evaluation: Evaluation) -> dict[str, object]:
    from importlib.metadata import version

    return {
        "version": version("chipsmith"),
        "trace": trace_digest(trace),
        "chip": digest(chip.model_dump_json()),
        "mapping": mapping.digest,
        "calibration": evaluation.prices.calibration_hash,
        "constants": chip.technology.constants,
        "seed": None,
    }
