"""The command scheduler: every log obeys every rule, nothing waits longer than a rule asks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.jit import interpret_first
from models.pim import PimDevice, load_device
from sim.pim import aim, attacc, hbm_pim, newton, plain
from sim.pim.channel import ChannelRun, run
from sim.pim.program import Program, bank_number
from workloads.errors import ChipsmithError

from .legal import complaints

PROGRAMS = {
    "hbm_pim gemv": lambda: hbm_pim.gemv_program(load_device("hbm_pim"), 2, 3, 2),
    "hbm_pim add": lambda: hbm_pim.elementwise_program(load_device("hbm_pim"), 5, 2),
    "hbm_pim plain": lambda: plain.plain_program(load_device("hbm_pim"), 900, 300),
    "aim gemv": lambda: aim.gemv_program(load_device("aim"), 3, 80, 2),
    "aim plain": lambda: plain.plain_program(load_device("aim"), 900, 100),
    "newton": lambda: newton.gemv_program(load_device("newton"), 70, 700, 2),
    "neupims beside the host": lambda: newton.gemv_program(load_device("neupims"), 200, 700, 1, host_reads=2000),
    "newton beside the host": lambda: newton.gemv_program(load_device("newton"), 200, 700, 1, host_reads=2000),
    "attacc bank": lambda: attacc.attention_program(load_device("attacc_bank"), 3, 600, 128),
    "attacc bank group": lambda: attacc.attention_program(load_device("attacc_bank_group"), 2, 300, 128),
    "attacc buffer die": lambda: attacc.attention_program(load_device("attacc_buffer_die"), 1, 300, 128),
    "duplex": lambda: attacc.gemv_program(load_device("duplex"), 40, 640, 9),
}  # fmt: skip


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("phase", [0.0, 0.9])
def test_logs_obey_every_rule(name: str, phase: float) -> None:
    program = PROGRAMS[name]()
    done = run(program, phase, log_commands=20_000)
    assert len(done.log) == sum(done.commands.values())
    assert complaints(program, done) == []


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_entry_is_issued(name: str) -> None:
    program = PROGRAMS[name]()
    done = run(program)
    entries, starts = program.entries()
    assert done.finished[: program.lead] == tuple(np.diff(starts)[: program.lead])
    for index, command in enumerate(program.device.commands):
        leading = entries[: starts[program.lead]]
        wanted = int(leading[leading[:, 0] == index, 3].sum())
        if program.device.commands[command].kind in ("data", "control") or command == program.device.mac:
            assert done.commands.get(command, 0) == wanted


@st.composite
def plain_lists(draw: Any) -> tuple[PimDevice, list[tuple[str, int, int]], int]:
    device = load_device(draw(st.sampled_from(["hbm_pim", "neupims", "attacc_bank"])))
    request = st.tuples(st.sampled_from(["RD", "WR"]), st.integers(0, device.organisation.banks - 1), st.integers(0, 3))
    return device, draw(st.lists(request, min_size=1, max_size=40)), draw(st.integers(1, 40))


@given(plain_lists())
@settings(max_examples=40)
def test_random_reads_and_writes_are_legal(case: tuple[PimDevice, list[tuple[str, int, int]], int]) -> None:
    device, requests, queue = case
    program = Program(device, queue_commands=queue)
    for command, bank, row in requests:
        program.add(command, program.bank_set((bank,)), row)
    done = run(program, 0.98, log_commands=1000)
    assert complaints(program, done) == []
    issued = [list(device.commands)[index] for _, index, _ in done.log]
    assert [name for name in issued if name in ("RD", "WR")] == [command for command, _, _ in requests]


def clocks(program: Program, *names: str) -> list[int]:
    done = run(program, 0.0, log_commands=40_000)
    commands = list(program.device.commands)
    return [int(clock) for clock, index, _ in done.log if commands[index] in names]


def single(device: PimDevice, steps: list[tuple[str, int, int]]) -> Program:
    program = Program(device)
    for command, bank, row in steps:
        program.add(command, program.bank_set((bank,)), row)
    return program


def test_ready_at_the_first_legal_clock() -> None:
    """HBM-PIM: bank 0 and 1 are of one group, 4 of the next."""
    device = load_device("hbm_pim").with_timing(tREFI=0)
    t = device.timing_ck
    turn = t["tCL"] + t["tBURST"] + 2 - t["tCWL"]
    back = t["tCWL"] + t["tBURST"]
    assert clocks(single(device, [("RD", 0, 0)] * 2), "RD") == [t["tRCDRD"], t["tRCDRD"] + t["tCCD_L"]]
    assert clocks(single(device, [("RD", 0, 0), ("WR", 0, 0)]), "RD", "WR") == [14, 14 + turn]
    assert clocks(single(device, [("WR", 0, 0), ("RD", 0, 0)]), "RD", "WR") == [10, 10 + back + t["tWTR_L"]]
    assert clocks(single(device, [("RD", 0, 0), ("RD", 0, 1)]), "ACT") == [0, t["tRC"]]
    assert clocks(single(device, [("WR", 0, 0), ("RD", 0, 1)]), "PRE") == [10 + back + t["tWR"]]
    assert clocks(single(device, [("RD", 0, 0), ("RD", 1, 0)]), "ACT") == [0, t["tRRD_L"]]
    assert clocks(single(device, [("RD", 0, 0), ("RD", 4, 0)]), "ACT") == [0, t["tRRD_S"]]
    assert clocks(single(device, [("RD", bank, 0) for bank in (0, 4, 8, 12, 1)]), "ACT") == [0, 4, 8, 12, 16]


def test_four_activations_a_window() -> None:
    device = load_device("hbm_pim").with_timing(tREFI=0, tFAW=40)
    assert clocks(single(device, [("RD", bank, 0) for bank in (0, 4, 8, 12, 1, 5)]), "ACT") == [0, 4, 8, 12, 40, 44]


def test_a_row_is_opened_ahead_only_as_far_as_the_queue_reaches() -> None:
    steps = [("RD", 0, 0)] * 10 + [("RD", 4, 0)]
    device = load_device("hbm_pim").with_timing(tREFI=0)
    first, second = clocks(single(device, steps), "ACT")
    assert (first, second) == (0, device.timing_ck["tRRD_S"])
    short = single(device, steps)
    short.queue_commands = 3
    assert clocks(short, "ACT")[1] == clocks(short, "RD")[7]  # the eleventh read is third in the queue after the eighth


def test_a_barrier_holds_both_lanes() -> None:
    program = Program(load_device("attacc_bank").with_timing(tREFI=0), lead=2)
    program.add("MACAB", 0, 0, 4, lane=0)
    program.add("WRGB", 0, lane=1)
    program.barrier()
    program.add("MVSB", 0, lane=1)
    last_mac = clocks(program, "MACAB")[-1]
    assert clocks(program, "WRGB") == [0]
    assert clocks(program, "MVSB") == [last_mac + 1]  # the column bus carries one command a clock


def test_refresh_comes_at_its_interval_and_closes_all_rows() -> None:
    device = load_device("hbm_pim")
    program = plain.plain_program(device, 6000, 0)
    refreshes = clocks(program, "REF")
    assert len(refreshes) == 3
    assert all(0 <= clock - 3900 * (i + 1) < 60 for i, clock in enumerate(refreshes))
    half = run(program, 0.5, log_commands=40_000)
    names = list(device.commands)
    first = next(int(clock) for clock, index, _ in half.log if names[index] == "REF")
    assert 1950 <= first < 2010


def test_no_matrix_product_of_neupims_crosses_a_refresh() -> None:
    device = load_device("neupims")
    program = newton.tile_program(device, [newton.Tile(60, 4, 8)])
    done = run(program, 0.0, log_commands=10_000)
    names = list(device.commands)
    open_tile, tiles = 0, 0
    for _, index, _ in done.log:
        name = names[index]
        assert not (name == "REF" and 0 < open_tile < 4)
        open_tile = 0 if name == "HEADER" else open_tile + (name == "COMPS")
        tiles += name == "HEADER"
    assert tiles == 60
    assert done.commands["REF"] == done.cycles // 3900


def test_what_never_fits_between_refreshes_is_refused() -> None:
    program = Program(load_device("neupims"))
    program.add("HEADER", fits_ck=3627)
    with pytest.raises(ChipsmithError) as caught:
        run(program)
    assert str(caught.value) == "pim program of neupims: got 3627; at most 3626 clocks fit between refreshes"


def test_a_program_that_two_lanes_block_is_refused() -> None:
    """The second lane's row can't be closed while the first, ended only by a barrier of the second, still needs it."""
    device = load_device("hbm_pim").with_timing(tREFI=0)
    program = Program(device, lead=2)
    bank = program.bank_set((0,))
    program.segment = 1
    program.add("RD", bank, 0, lane=0)
    program.segment = 0
    program.add("RD", bank, 1, lane=1)
    with pytest.raises(ChipsmithError, match="pim program of hbm_pim; it can never go on: rows or bounds exclude it"):
        run(program)


@pytest.mark.parametrize("phase", [-0.1, 1.0])
def test_the_refresh_phase_is_a_share(phase: float) -> None:
    with pytest.raises(ChipsmithError) as caught:
        run(PROGRAMS["aim gemv"](), phase)
    assert str(caught.value) == f"refresh_phase: got {phase}; from 0 up to, not including, 1"


def interpreted(program: Program) -> ChannelRun:
    interpret_first(120.0)
    try:
        return run(program, 0.9, log_commands=300)
    finally:
        interpret_first(0.0)


@pytest.mark.parametrize("name", ["hbm_pim add", "neupims beside the host", "attacc bank group"])
def test_interpreted_and_compiled_give_the_same_commands(name: str) -> None:
    compiled, plain_python = run(PROGRAMS[name](), 0.9, log_commands=300), interpreted(PROGRAMS[name]())
    assert compiled.commands == plain_python.commands
    assert compiled.cycles == plain_python.cycles
    assert (compiled.log == plain_python.log).all()


def test_banks_are_numbered_from_the_pseudo_channel_down() -> None:
    org = load_device("attacc_bank").organisation
    assert [bank_number(org, 1, 0, 0, 0), bank_number(org, 0, 1, 0, 0), bank_number(org, 1, 1, 3, 3)] == [32, 16, 63]
