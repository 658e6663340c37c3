"""Family ``dram``: one DRAM channel under a request stream, command by command (Ramulator 2.1, DRAMsim3).

A record's device becomes a DRAM specification, its controller one of the named policies: with a command queue for
every bank it is DRAMsim3's, else the one with a read and a write queue.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from chipsmith.adapters.base import Adapter, Fields, NotModelledError, Prediction, Value
from models.dram.library import list_standards, load_dram
from models.dram.policy import ControllerPolicy, load_policy
from models.dram.spec import DramSpec, Timing, parse_dram
from sim.memory.channel import ChannelRun, simulate_stream
from sim.memory.streams import Stream
from workloads.errors import ChipsmithError

#: Streams of the records (their README defines the digits) as ours.
STREAMS = {
    "seq_bgil": Stream("sequential"),
    "seq_row": Stream("sequential", mapping="row_by_row"),
    "seq_bankil": Stream("sequential", mapping="bank_interleaved"),
    "rowmiss": Stream("sequential", mapping="row_per_burst"),
    "samebank": Stream("same_bank"),
    "random": Stream("random"),
    "rand8": Stream("random", run=8),
}
#: Clocks between the end of read data and the beginning of write data where a record gives no tRTW: two for the bus,
#: two more for DDR5's preamble (JESD79-5; Ramulator 2.1). GDDR6 counts one from the read latency instead (JESD250).
_TURNAROUND_CK = {"DDR5": 4}
_DEFAULT_TURNAROUND_CK = 2
#: DRAMsim3's tRTRS where its file gives none.
_RANK_SWITCH_CK = 2
_CURRENTS = ("IDD0", "IDD2N", "IDD3N", "IDD4R", "IDD4W", "IDD5AB", "IDD5PB")


def _rtw_ck(hardware: Fields, timing: Fields) -> int:
    """RD to WR."""
    given = timing.get("tRTW")
    if given:
        return int(given)
    standard = hardware.word("standard")
    latency = timing.whole("tCL")
    if hardware.get("bank_queue_entries"):
        gap = timing.get("tRTRS") or _RANK_SWITCH_CK
    elif standard == "GDDR6":
        return latency + 1
    else:
        gap = _TURNAROUND_CK.get(standard, _DEFAULT_TURNAROUND_CK)
    return latency + timing.whole("tBURST") - timing.whole("tCWL") + int(gap)


def _timing(hardware: Fields) -> dict[str, Any]:
    timing = hardware.get("timing_ck")
    if not isinstance(timing, Fields):
        raise ChipsmithError(f"{hardware.where}.timing_ck", None, "this key is required")
    known = {name: value for name, value in timing.items if name in Timing.model_fields}
    standard = hardware.word("standard")
    shipped = load_dram(standard).timing.tPPD if standard in list_standards() else 0
    return {"tPPD": shipped, **known, "tRTW": _rtw_ck(hardware, timing)}


def _bus(hardware: Fields) -> dict[str, Any]:
    bus = hardware.get("command_bus")
    two_part = hardware.word("standard") == "LPDDR5"
    return {
        "row_and_column_separate": bool(bus.get("row_and_column_separate")),
        "clock_resolution_ck": hardware.number("clock_resolution_ck"),
        "ACT_ck": 1 if two_part else bus.number("ACT_ck"),
        "PRE_ck": bus.number("PRE_ck"),
        "RD_WR_ck": bus.number("RD_WR_ck"),
        "two_part_activation": two_part,
        "data_clock_sync": two_part,
    }


def _currents(hardware: Fields) -> dict[str, Any] | None:
    found = hardware.get("currents_ma")
    if not isinstance(found, Fields):
        return None
    known = {name: found.get(name) for name in _CURRENTS if found.get(name) is not None}
    return {"vdd_v": hardware.number("vdd_v"), "source": "the record", **known}


@lru_cache(maxsize=64)
def _device(hardware: Fields) -> DramSpec:
    if hardware.get("ranks") not in (None, 1):
        raise NotModelledError("more than one rank a channel is not modelled")
    sizes = ("channel_width_bits", "pseudo_channels", "bank_groups", "banks_per_group", "rows", "bursts_per_row")
    organisation = {name: hardware.whole(name) for name in (*sizes, "burst_bytes")}
    data = {
        "name": hardware.word("device"),
        "standard": hardware.word("standard"),
        "source": "a reference record",
        "data_rate_mtps": hardware.number("data_rate_mtps"),
        "tck_ns": hardware.number("tCK_ns"),
        "organisation": {**organisation, "devices_per_rank": hardware.get("devices_per_rank") or 1},
        "command_bus": _bus(hardware),
        "timing": _timing(hardware),
        "currents": _currents(hardware),
    }
    return parse_dram(data, hardware.where)


def _policy(hardware: Fields) -> ControllerPolicy:
    changes: dict[str, object] = {
        "refresh": hardware.word("refresh", ("all-bank", "per-bank", "none")),
        "row_policy": hardware.word("row_policy", ("open", "closed")),
        "read_entries": hardware.whole("read_queue_entries"),
    }
    if hardware.get("bank_queue_entries"):
        return load_policy("dramsim3").changed(bank_entries=hardware.whole("bank_queue_entries"), **changes)
    changes["write_entries"] = hardware.whole("write_queue_entries")
    changes["drain_start"] = hardware.number("write_drain_start")
    changes["drain_stop"] = hardware.number("write_drain_stop")
    return load_policy("ramulator2").changed(**changes)


def _stream(workload: Fields) -> Stream:
    kind = workload.word("stream", tuple(STREAMS))
    if workload.get("injection") not in (None, "saturating"):
        raise NotModelledError(f"injection {workload.get('injection')!r} is not modelled")
    every = workload.get("write_every") or 0
    return Stream(**{**vars(STREAMS[kind]), "requests": workload.whole("requests"), "write_every": int(every)})


def _metrics(run: ChannelRun, spec: DramSpec, policy: ControllerPolicy, stream: Stream) -> dict[str, Value]:
    """The run under the records' names."""
    counts = {name: float(run.commands[name]) for name in ("ACT", "PRE", "PREA", "RD", "WR", "REF", "REFpb")}
    two_queues = policy.queues == "read_write"
    metrics: dict[str, Value] = {
        "cycles": run.cycles_ck,
        "time_ns": run.time_s * 1e9,
        "bandwidth_gbps": run.bandwidth_bytes_per_s / 1e9,
        "fraction_of_peak": run.fraction_of_peak,
        **counts,
        "CAS_SYNC": float(run.commands["CAS"]),
        # Ramulator counts from the step before the one in which a request can first be served
        "avg_read_latency_ck": run.mean_read_latency_ck + (spec.command_bus.clock_resolution_ck if two_queues else 0),
    }
    if not (
        two_queues and stream.write_every
    ):  # Ramulator decides on a hit at a request's first command, we at its last
        metrics["row_hits"] = float(run.row_hits)
    if run.energy_pj:
        metrics |= {f"energy_{part}_pj": value for part, value in run.energy_pj.items() if part != "io"}
        metrics["energy_total_pj"] = sum(run.energy_pj.values())
        metrics["energy_pj_per_bit"] = run.energy_pj_per_bit
    return metrics


def _predict(hardware: Fields, workload: Fields) -> Prediction:
    spec, policy, stream = _device(hardware), _policy(hardware), _stream(workload)
    run = simulate_stream(spec, stream, policy)
    peak = stream.requests * spec.organisation.burst_bytes / spec.peak_bytes_per_s
    null = {"cycles": peak / (spec.tck_ns * 1e-9), "time_ns": peak * 1e9, "fraction_of_peak": 1.0}
    return Prediction(_metrics(run, spec, policy, stream), null)


ADAPTER = Adapter(
    family="dram",
    predict=_predict,
    fidelity="command",
    mapping="coordinates are given",
    quirks=("named controller policies ramulator2 and dramsim3", "a refresh of one bank stops the channel (Ramulator)"),
    misses="merging of reads and writes to one address; tRTP and burst length as in force in the source",
)
