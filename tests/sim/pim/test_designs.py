"""Each design's command sequence against closed forms and against what is published of it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.pim import load_device
from sim.pim import aim, attacc, hbm_pim, newton
from sim.pim.channel import run
from workloads.errors import ChipsmithError


def aim_clocks(passes: int, in_bursts: int) -> int:
    """Chunks of n columns: 2 n for the buffer and (158 + 2 n) a pass (AiM simulator, its timing)."""
    chunks = [min(64, in_bursts - start) for start in range(0, in_bursts, 64)]
    return sum(2 * n + passes * (158 + 2 * n) for n in chunks)


@given(st.integers(1, 12), st.integers(1, 200))
@settings(max_examples=20)
def test_aim_products_take_the_closed_form_exactly(passes: int, in_bursts: int) -> None:
    device = load_device("aim").with_timing(tREFI=0)
    assert run(aim.gemv_program(device, passes, in_bursts, 1)).cycles == aim_clocks(passes, in_bursts)


def test_a_row_of_aim_takes_activation_columns_and_precharge() -> None:
    device = load_device("aim").with_timing(tREFI=0)
    program = aim.AimProgram(device)
    program.stream([["repeat", 5, [["MAC_ABK", 64, "row=i"]]]])
    row = 56 + 63 * 2 + 12 + 32
    assert run(program).cycles == 4 * row + 56 + 63 * 2 + 3


def test_aim_changes_its_mode_only_where_it_must() -> None:
    program = aim.AimProgram(load_device("aim"))
    program.stream([["WR_GB", 4], ["WR_BIAS"], ["MAC_ABK", 4, "row=3"], ["RD_MAC"], ["WR_BIAS"], ["EWADD", 1]])
    assert run(program).commands == {
        "ACTAB": 1, "MACAB": 4, "WRGB": 4, "WRBIAS": 2, "RDMAC": 1, "TMOD": 3,
    }  # fmt: skip


def test_rows_of_aim_streams() -> None:
    program = aim.AimProgram(load_device("aim"))
    program.stream([["repeat", 3, [["MAC_ABK", 1, "row=i"]]], ["MAC_ABK", 1, "new row"], ["MAC_ABK", 1, "row=7"]])
    assert program.entries()[0][:, 2].tolist() == [0, 1, 2, 3, 7]


@pytest.mark.parametrize(
    ("stream", "text"),
    [
        (
            [["MAC_ALL", 4]],
            "instructions: got 'MAC_ALL'; did you mean 'MAC_ABK'? known: AF, COPY_BKGB, COPY_GBBK, EOC, EWADD, EWMUL, "
            "MAC_ABK, MAC_SBK, RD_AF, RD_MAC, RD_SBK, SYNC, WR_ABK, WR_BIAS, WR_GB, WR_SBK",
        ),
        ([["MAC_ABK", 4, "row=j"]], "instructions: got 'row=j'; row=NUMBER, row=i or new row"),
    ],
)  # fmt: skip
def test_bad_aim_streams(stream: list[object], text: str) -> None:
    with pytest.raises(ChipsmithError) as caught:
        aim.AimProgram(load_device("aim")).stream(stream)
    assert str(caught.value) == text


@pytest.mark.parametrize(("out_tiles", "in_tiles", "batch"), [(1, 8, 1), (1, 32, 1), (2, 8, 1), (1, 8, 8), (1, 32, 4)])
def test_hbm_pim_products_are_near_the_closed_form(out_tiles: int, in_tiles: int, batch: int) -> None:
    """326 + 406 a tile, refresh included (within 4.5 % of every run of PIMSimulator)."""
    cycles = run(hbm_pim.gemv_program(load_device("hbm_pim"), out_tiles, in_tiles, batch)).cycles
    assert cycles == pytest.approx(326 + 406 * out_tiles * in_tiles * batch, rel=0.05)


def test_entering_and_leaving_hbm_pim_takes_about_300_clocks() -> None:
    program = hbm_pim.HbmPimProgram(load_device("hbm_pim"))
    program.enter()
    program.leave()
    assert run(program).cycles == 288


def test_a_batch_costs_hbm_pim_as_many_tiles() -> None:
    device = load_device("hbm_pim")
    assert run(hbm_pim.gemv_program(device, 1, 8, 2)).cycles == run(hbm_pim.gemv_program(device, 2, 8, 1)).cycles


def attacc_clocks(place: str, context: int, rounds: int) -> int:
    """Busy clocks of the multiply commands of all rounds, and tRFC for every full tREFI - tRFC of them."""
    m = 4 * -(-context // 16)
    rows = m / 32 * (19 + 31 * 6 + 8 + 19)
    busy = rounds * {"bank": rows, "bank_group": 4 * m * 6, "buffer_die": 32 * m * 2}[place]
    return round(busy + busy // (5070 - 456) * 456)


@pytest.mark.parametrize(
    ("place", "context", "rounds", "tolerance"),
    [
        ("bank", 2048, 1, 0.03), ("bank", 4096, 2, 0.04), ("bank", 1024, 3, 0.03), ("bank_group", 1024, 1, 0.03),
        ("bank_group", 2048, 3, 0.03), ("buffer_die", 512, 1, 0.03), ("buffer_die", 1024, 2, 0.03),
    ],
)  # fmt: skip
def test_attacc_attention_is_near_the_closed_form(place: str, context: int, rounds: int, tolerance: float) -> None:
    program = attacc.attention_program(load_device(f"attacc_{place}"), rounds, context, 128)
    assert run(program, 0.0).cycles == pytest.approx(attacc_clocks(place, context, rounds), rel=tolerance)


@pytest.mark.parametrize(
    ("place", "macs", "moves"), [("bank", 256, 48), ("bank_group", 1024, 48), ("buffer_die", 8192, 40)]
)
def test_commands_of_one_head_of_attacc(place: str, macs: int, moves: int) -> None:
    device = load_device(f"attacc_{place}")
    commands = run(attacc.attention_program(device, 1, 1024, 128), 0.0).commands
    assert {name: commands[name] for name in (device.mac, "MVSB", "MVGB", "WRGB", "SFM")} == {
        device.mac: macs, "MVSB": moves, "MVGB": 32, "WRGB": 8, "SFM": 1,
    }  # fmt: skip


def test_two_heads_of_attacc_overlap() -> None:
    device = load_device("attacc_bank").with_timing(tREFI=0)
    one, two = (run(attacc.attention_program(device, heads, 4096, 128)).cycles for heads in (1, 2))
    assert two < 2 * one - 200  # softmax and the way of the probabilities are hidden


def test_the_power_cap_costs_attacc_its_column_interval() -> None:
    capped, free = load_device("attacc_bank_group"), load_device("attacc_bank_group").with_timing(tCCDSB=4)
    cycles = [run(attacc.attention_program(d.with_timing(tREFI=0), 2, 2048, 128)).cycles for d in (capped, free)]
    assert cycles[0] / cycles[1] == pytest.approx(1.5, rel=0.01)


def test_duplex_multiplies_eight_vectors_in_the_time_of_one() -> None:
    device = load_device("duplex").with_timing(tREFI=0)
    cycles = {batch: run(attacc.gemv_program(device, 1024, 1024, batch)).cycles for batch in (1, 8, 16)}
    assert cycles[8] < 1.15 * cycles[1]  # more outputs to read
    assert cycles[16] == pytest.approx(2 * cycles[8], rel=0.02)


def test_tiles_of_neupims_take_what_its_simulator_shows() -> None:
    """A K tile takes 257 to 284 clocks, refresh included; a V tile of 512 tokens 193 on average over shorter ones."""
    device = load_device("neupims")
    key, value = (
        run(newton.tile_program(device, [newton.Tile(200, *tile)])).cycles / 200 for tile in ((4, 8), (1, 25))
    )
    assert 257 < key < 284
    assert value == pytest.approx(193, rel=0.1)


def test_layout_of_keys_and_values_of_neupims() -> None:
    device = load_device("neupims")
    assert newton.key_tiles(device, 1280, 300, 128) == [
        newton.Tile(10, 4, 8), newton.Tile(10, 4, 8), newton.Tile(10, 2, 8),
    ]  # fmt: skip
    assert newton.value_tiles(device, 2, 600, 128) == [newton.Tile(4, 1, 32), newton.Tile(4, 1, 6)] * 2


@given(
    st.lists(st.tuples(st.integers(1, 20), st.integers(1, 4), st.integers(1, 8)), min_size=1, max_size=3),
    st.integers(0, 3000),
)
@settings(max_examples=15)
def test_a_second_row_buffer_never_slows_the_units(tiles: list[tuple[int, int, int]], host_reads: int) -> None:
    found = [newton.Tile(*tile) for tile in tiles]
    both = [run(newton.tile_program(load_device(name), found, host_reads)) for name in ("neupims", "newton")]
    alone = run(newton.tile_program(load_device("newton"), found))
    assert both[0].cycles <= 1.03 * both[1].cycles
    assert both[1].cycles <= 1.03 * alone.cycles + 60  # an early read of the host may hold one bank's row


def test_a_second_row_buffer_lets_the_host_read_meanwhile() -> None:
    tiles = [newton.Tile(100, 4, 8)]
    reads = {
        name: run(newton.tile_program(load_device(name), tiles, 10**5)).finished[1] for name in ("neupims", "newton")
    }
    assert reads["newton"] == 0
    assert 10_000 < reads["neupims"] < run(newton.tile_program(load_device("neupims"), tiles)).cycles
