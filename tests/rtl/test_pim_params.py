from __future__ import annotations

import pytest

from models.pim import load_device
from rtl.pim_layout import PimLayout
from rtl.pim_matrix import PIM_MATRICES, pim_matrix
from rtl.pim_params import PimBankParams
from rtl.pim_roles import binding, bus_commands, roles, spacings, timers, windows
from sim.pim.newton import NewtonProgram
from workloads.errors import ChipsmithError


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (
            {"device": "attacc_bank"},
            "pim_bank.device: got 'attacc_bank'; a device with units at its banks that run a dot product: "
            "aim, neupims or newton",
        ),
        ({"dtype": "fp32"}, "pim_bank.dtype: got 'fp32'; did you mean 'fp16'? known: bf16, fp16, int8"),
        ({"lanes": 12}, "pim_bank.lanes: got 12; a power of two: 2, 4, 8, 16, 32, 64"),
        ({"columns": 1}, "pim_bank.columns: got 1; an integer from 2 to 256"),
        ({"rows": 70000}, "pim_bank.rows: got 70000; an integer from 2 to 65536"),
        ({"tree_pipe": 2}, "pim_bank.tree_pipe: got 2; an integer from 0 to 1"),
        ({"acc_bits": 19}, "pim_bank.acc_bits: got 19; an integer from 20 to 32"),
        ({"dtype": "bf16", "acc_bits": 24}, "pim_bank.acc_bits: got 24; bf16 is summed in fp32: 32"),
        (
            {"buffer_bytes": 100},
            "pim_bank.buffer_bytes: got 100; a multiple of 16 from 512 (a row's operands) to 16384",
        ),
        (
            {"timing": (("tCL", 2), ("tBURST", 0)), "lanes": 64, "tree_pipe": 1},
            "pim_bank.tree_pipe: got 1; at most 7 clocks from a column to its sum on neupims",
        ),
    ],
)
def test_what_cannot_be_built_is_refused(given: dict[str, object], text: str) -> None:
    with pytest.raises(ChipsmithError) as caught:
        PimBankParams(**given)  # type: ignore[arg-type]  # wrong values are the point
    assert str(caught.value) == text


def test_an_unknown_clock_is_refused() -> None:
    with pytest.raises(ChipsmithError, match="tRDC"):
        PimBankParams(timing=(("tRDC", 3),))


def test_the_device_gives_what_is_not_said() -> None:
    params = PimBankParams()
    assert (params.columns, params.rows, params.buffer_bytes, params.acc_bits) == (32, 32768, 512, 32)
    assert params.name == "pim_neupims_int8_l16"
    assert PimBankParams("aim", "bf16").buffer_bytes == 2048 == load_device("aim").unit.global_buffer_bytes
    assert PimBankParams("neupims", "fp16").buffer_bytes == load_device("neupims").unit.global_buffer_bytes
    narrow = PimBankParams("newton", lanes=4, columns=8, rows=64, buffer_bytes=64, acc_bits=20, tree_pipe=1)
    assert narrow.name == "pim_newton_int8_l4_c8_r64_b64_p20_pipe"


def test_names_of_all_designs_differ() -> None:
    names = [params.name for params in PIM_MATRICES["pim_full"]]
    assert len(set(names)) == len(names) >= 14
    assert set(pim_matrix("pim_standard")) <= set(pim_matrix("pim_full"))


def test_an_unknown_matrix_is_refused() -> None:
    with pytest.raises(ChipsmithError) as caught:
        pim_matrix("pim_standart")
    assert str(caught.value) == (
        "matrix: got 'pim_standart'; did you mean 'pim_standard'? known: pim_full, pim_quick, pim_smoke, pim_standard"
    )


@pytest.mark.parametrize("device", ["neupims", "newton", "aim"])
def test_every_command_has_a_part_and_a_bus(device: str) -> None:
    found = load_device(device)
    named = bus_commands(found, "row") + bus_commands(found, "column")
    assert sorted(named) == sorted(roles(found))
    assert set(named) <= set(found.commands)


def test_timers_of_neupims_by_hand() -> None:
    found = {one.command: one for one in timers(load_device("neupims"))}
    assert found["COMPS"].row == (("GACT", 2, 14),)
    assert found["COMPS"].column == ()
    # A column of the bank group waits longer than one of the pseudo-channel, which tCCD_S and tBURST name twice.
    assert [load for load in found["RD"].column if load[0] == "RD"] == [("RD", 3, 2), ("RD", 1, 1)]
    # tRC_PIM (6, bank) is within tRRD_L (6, bank group), tFAW (30, rank) above tRC_PIM.
    assert [load for load in found["GACT"].row if load[0] == "ACT"] == [("ACT", 3, 6), ("ACT", 2, 4)]
    assert [load for load in found["ACT"].row if load[0] == "GACT"] == [("GACT", 2, 30)]
    (window,) = windows(load_device("neupims"))
    assert (window.before, window.level, window.delay_cycles, window.window) == ("ACT", 2, 30, 4)


def test_one_row_buffer_keeps_the_banks_own_clocks_between_host_and_units() -> None:
    said = {(one.before, one.after, one.level): one.delay_cycles for one in spacings(load_device("aim"))}
    clocks = load_device("aim").timing_ck
    assert said["ACT", "ACTAB", 4] == said["ACTAB", "ACT", 4] == clocks["tRC"]
    assert said["PRE", "ACTAB", 4] == clocks["tRP"]
    newton = {(one.before, one.after, one.level): one.delay_cycles for one in spacings(load_device("newton"))}
    assert newton["ACT", "GACT", 4] == load_device("newton").timing_ck["tRC_PIM"]


def test_rules_that_never_bind_are_told_apart() -> None:
    device = load_device("neupims")
    never = {(one.before, one.after, one.level, one.window) for one in set(spacings(device)) - set(binding(device))}
    assert never == {
        ("COMPS", "PPRE", 0, 1),  # the units are busy for longer
        ("COMPS", "PREA", 0, 1),
        ("GACT", "ACT", 4, 1),  # tFAW of the rank is longer than tRC_PIM
        ("ACT", "GACT", 4, 1),  # tRRD_L of the bank group is as long
        ("ACT", "ACT", 2, 4),  # four banks a rank: the fifth activation waits for tRC
    }


def test_the_verilogs_clocks_are_the_programs() -> None:
    """The sequencer's constants against the formulas of the channel's program."""
    params = PimBankParams(lanes=4, columns=8)
    layout, program = PimLayout(params), NewtonProgram(params.bench_spec)
    for columns in range(1, 9):
        assert (max(columns, layout.shortest) + 1) * layout.step + layout.done == program.composite_ck(columns)
    assert layout.fill_cycles == program.write_ck
    assert layout.busy_bits == max(program.composite_ck(8), program.write_ck).bit_length()
