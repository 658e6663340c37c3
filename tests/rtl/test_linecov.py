from __future__ import annotations

from pathlib import Path

from rtl.linecov import LineCoverage, read_coverage


def point(file: str, lines: str, count: int, page: str = "v_line/pe", hierarchy: str = "tb.dut") -> str:
    keys = {"f": f"/somewhere/{file}", "l": "9", "page": page, "S": lines, "h": hierarchy}
    return "C '" + "".join(f"\x01{name}\x02{value}" for name, value in keys.items()) + f"' {count}\n"


def test_counts_add_over_instances_and_only_lines_count(tmp_path: Path) -> None:
    data = tmp_path / "coverage.dat"
    data.write_text(
        "# SystemC::Coverage-3\n"
        + point("pe.v", "3-5,8", 0, hierarchy="a")
        + point("pe.v", "3-4", 7, hierarchy="b")
        + point("pe.v", "", 0)
        + point("pe.v", "20", 0, page="v_toggle/pe")
        + point("tb.v", "1", 0)
    )
    assert read_coverage(data, ["pe.v"]) == LineCoverage(2, 5, ("pe.v:5", "pe.v:8", "pe.v:9"))
    assert read_coverage(data, ["pe.v"]).percent == 40.0


def test_no_lines_are_all_covered(tmp_path: Path) -> None:
    data = tmp_path / "coverage.dat"
    data.write_text("")
    assert read_coverage(data, ["pe.v"]).percent == 100.0
