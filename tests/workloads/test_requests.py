"""Request logs: known layouts, refusals, what they share, the command, the shipped synthetic log."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chipsmith.cli import main
from chipsmith.request_figure import draw_requests, figure_data
from workloads.errors import ChipsmithError
from workloads.request_stats import LengthStats, PrefixReuse, prefix_reuse, request_stats, window_counts
from workloads.requests import (
    Request,
    length_percentiles,
    list_request_logs,
    nearest_rank,
    read_requests,
    with_rate,
    write_requests,
)

AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 23:59:59.5000000,374,44
2023-11-17 00:00:01.7509951,396,109
"""
LAYOUTS = [
    ("azure.csv", AZURE, [Request(0.0, 374, 44), Request(2.250995, 396, 109)]),
    ("vidur.csv", "arrived_at,num_prefill_tokens,num_decode_tokens\n0.5,10,20\n", [Request(0.5, 10, 20)]),
    (
        "burst.csv",
        "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n5,ChatGPT,472,18,490,Conversation log\n"
        "45,ChatGPT,1087,0,1087,Conversation log\n",
        [Request(5.0, 472, 18)],
    ),
    (
        "plain.csv",
        "# a note\narrival_s,input_tokens,output_tokens\n2,3,4\n\n1,5,6\n",
        [Request(1, 5, 6), Request(2, 3, 4)],
    ),
    ("short.csv", "arrival_s,input_toks,output_toks\r\n0.25,7,8\r\n", [Request(0.25, 7, 8)]),
    (
        "mooncake.jsonl",
        '{"timestamp":1500,"input_length":6758,"output_length":500,"hash_ids":[0,1]}\n',
        [Request(1.5, 6758, 500, (0, 1), 512)],
    ),
    (
        "azure2024.csv",
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-11 23:59:59.980000+00:00,2162,5\n"
        "2024-05-12 00:00:00+00:00,16,7\n2024-05-12T00:00:01Z,17,8\n",
        [Request(0.0, 2162, 5), Request(0.02, 16, 7), Request(1.02, 17, 8)],
    ),
    (
        "burst3.csv",
        "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
        "5.0,ab-1,43,GPT-4,906,446,1352,Conversation log\n6.0,,2,ChatGPT,36,29,65,API log\n"
        "7.0,ab-1,3,GPT-4,999,0,999,Conversation log\n8.0,ab-1,3,GPT-4,1400,10,1410,Conversation log\n",
        [Request(5.0, 906, 446, session="ab-1", turn=1), Request(6.0, 36, 29),
         Request(8.0, 1400, 10, session="ab-1", turn=2)],
    ),
    (
        "bailian.jsonl",
        '{"chat_id":55,"parent_chat_id":-1,"timestamp":1.5,"input_length":33,"output_length":4,"type":"text","turn":1,'
        '"hash_ids":[7,8,9]}\n'
        '{"chat_id":159,"parent_chat_id":55,"timestamp":61.114,"input_length":48,"output_length":5,"type":"text",'
        '"turn":2,"hash_ids":[7,8,10]}\n'
        '{"chat_id":160,"parent_chat_id":159,"timestamp":70,"input_length":1,"output_length":5,"type":"text","turn":3}\n'
        '{"chat_id":161,"parent_chat_id":12,"timestamp":71,"input_length":1,"output_length":5,"type":"file","turn":9}\n',
        [Request(1.5, 33, 4, (7, 8, 9), 16, "55", 1), Request(61.114, 48, 5, (7, 8, 10), 16, "55", 2),
         Request(70.0, 1, 5, session="55", turn=3), Request(71.0, 1, 5, session="12", turn=9)],
    ),
    (
        "token_ids.jsonl",
        json.dumps({"input_toks": 40, "output_toks": 6, "arrival_time_ns": 0, "input_tok_ids": [*range(40)]}) + "\n"
        + json.dumps({"input_toks": 33, "output_toks": 6, "arrival_time_ns": 1, "input_tok_ids": [*range(32), 1]})
        + "\n" + json.dumps({"input_toks": 32, "output_toks": 6, "arrival_time_ns": 2, "input_tok_ids":
                             [*range(1, 17), *range(16, 32)]}) + "\n",
        [Request(0.0, 40, 6, (0, 1), 16), Request(1e-9, 33, 6, (0, 1), 16), Request(2e-9, 32, 6, (2, 3), 16)],
    ),
    (
        "plain_blocks.csv",
        "arrival_s,input_tokens,output_tokens,session,turn,block_tokens,block_ids\n0,65,4,me,2,32,5 6 7\n1,3,4,,,,\n",
        [Request(0.0, 65, 4, (5, 6, 7), 32, "me", 2), Request(1.0, 3, 4)],
    ),
    (
        "serving.jsonl",
        '{"input_toks":5,"output_toks":6,"arrival_time_ns":2000000000,"input_tok_ids":[1]}\n',
        [Request(2.0, 5, 6)],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "expected"), LAYOUTS, ids=[name for name, _, _ in LAYOUTS])
def test_layouts_are_recognised(name: str, text: str, expected: list[Request], tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_text(text, "utf-8")
    assert list(read_requests(file)) == expected


def test_extra_columns_and_a_byte_order_mark_do_no_harm(tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_text('\ufeffuser,arrival_s,input_tokens,output_tokens\n"a, b",0,3,4\n', "utf-8")
    assert read_requests(file) == (Request(0.0, 3, 4),)


PLAIN = "arrival_s,input_tokens,output_tokens\n"


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.csv", "", "FILE; empty request log"),
        ("b.csv", "# only a note\n", "FILE; empty request log"),
        ("c.csv", PLAIN, "FILE; holds no request"),
        ("d.csv", PLAIN + "0,3,4\n0,x,4\n", "FILE:3: input_tokens: got 'x'; legal: a whole number, at least 1"),
        ("e.csv", PLAIN + "0,3,0\n", "FILE:2: output_tokens: got '0'; legal: a whole number, at least 1"),
        ("f.csv", PLAIN + "# note\nsoon,3,4\n", "FILE:3: arrival_s: got 'soon'; legal: a time"),
        ("g.csv", PLAIN + "nan,3,4\n", "FILE:2: arrival_s: got 'nan'; legal: a time"),
        ("h.csv", PLAIN + "0,3\n", "FILE:2: got '0,3'; legal: 3 columns, found 2"),
        ("i.csv", AZURE + "yesterday,3,4\n", "FILE:4: TIMESTAMP: got 'yesterday'; legal: a time"),
        ("j.jsonl", '{"timestamp":0,"input_length":1,"output_length":1}\n{"timestamp":0', "FILE:2; no JSON: "),
        (
            "k.jsonl",
            '{"timestamp":0,"input_length":1,"output_length":1}\n{"timestamp":0,"input_length":1}\n',
            "FILE:2: output_length: got 'nothing'; legal: a whole number, at least 1",
        ),
        (
            "l.jsonl",
            '{"timestamp":0,"input_length":1,"output_length":1}\n[1]\n',
            "FILE:2: got '[1]'; legal: a JSON object",
        ),
    ],
)  # fmt: skip
def test_damaged_logs_name_the_line(name: str, text: str, expected: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_text(text, "utf-8")
    with pytest.raises(ChipsmithError) as caught:
        read_requests(file)
    assert str(caught.value).replace(str(file), "FILE").startswith(expected)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('"hash_ids":[0,1,2]', "hash_ids: got '3 ids'; legal: at most 2, one for each 512 of 1000 tokens"),
        ('"hash_ids":[0,"x"]', "hash_ids: got [0, 'x']; legal: a list of whole numbers"),
        ('"hash_ids":5', "hash_ids: got 5; legal: a list of whole numbers"),
        ('"turn":-1,"chat_id":1,"parent_chat_id":-1', "turn: got -1; legal: a whole number, at least 0"),
    ],
)
def test_damaged_blocks_and_turns(line: str, expected: str, tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    file.write_text('{"timestamp":0,"input_length":1000,"output_length":1,' + line + "}\n", "utf-8")
    with pytest.raises(ChipsmithError) as caught:
        read_requests(file)
    assert str(caught.value) == f"{file}:1: {expected}"


@pytest.mark.parametrize("stamp", ["2024-05-12 00:00:10+02:00", "2024-05-12 24:00:00", "2024-13-12 00:00:00", ""])
def test_refused_clock_times(stamp: str, tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_text(f"TIMESTAMP,ContextTokens,GeneratedTokens\n{stamp},3,4\n", "utf-8")
    with pytest.raises(ChipsmithError) as caught:
        read_requests(file)
    assert str(caught.value) == f"{file}:2: TIMESTAMP: got {stamp!r}; legal: a time"


def test_rows_without_output_and_a_limit(tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_text(PLAIN + "3,3,4\n2,3,0\n1,5,6\n0,7,8\n", "utf-8")
    assert read_requests(file, skip_empty=True) == (Request(0, 7, 8), Request(1, 5, 6), Request(3, 3, 4))
    assert read_requests(file, skip_empty=True, limit=2) == (Request(1, 5, 6), Request(3, 3, 4))
    assert read_requests(file, limit=1) == (Request(3, 3, 4),)  # what is damaged after the limit is never read
    with pytest.raises(ChipsmithError, match=r"^limit: got 0; legal: 1 or more$"):
        read_requests(file, limit=0)


def test_bytes_that_are_no_text_or_no_csv(tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_bytes(PLAIN.encode() + b"0,3,\xff\n")
    with pytest.raises(ChipsmithError) as caught:
        read_requests(file)
    assert str(caught.value) == f"{file}; no UTF-8 text"
    file.write_text(PLAIN + '0,3,"' + 200_000 * "9" + '"\n', "utf-8")
    with pytest.raises(ChipsmithError, match=r"x\.csv:2; no CSV: field larger than field limit \(131072\)$"):
        read_requests(file)
    with pytest.raises(ChipsmithError, match=r"no such file; shipped logs: conversation_sample$"):
        read_requests(tmp_path)


def test_missing_columns_are_named_with_the_known_layouts(tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_text("TIMESTAMP,ContextTokens,Tokens\n", "utf-8")
    with pytest.raises(ChipsmithError) as caught:
        read_requests(file)
    assert str(caught.value).replace(str(file), "FILE") == (
        "FILE:1: got 'TIMESTAMP, ContextTokens, Tokens'; for Azure 2023 and 2024 it lacks GeneratedTokens; known: "
        "Azure 2023 and 2024 (TIMESTAMP, ContextTokens, GeneratedTokens); "
        "Vidur (arrived_at, num_prefill_tokens, num_decode_tokens); "
        "BurstGPT (Timestamp, Request tokens, Response tokens); plain (arrival_s, input_tokens, output_tokens); "
        "plain, short (arrival_s, input_toks, output_toks)"
    )
    file.write_text(json.dumps({"a": 1}), "utf-8")
    with pytest.raises(ChipsmithError, match=r"x\.csv:1: got 'a'; no known layout; known: Qwen-Bailian \(timestamp, "):
        read_requests(file)


def test_unknown_file_lists_the_shipped_logs() -> None:
    with pytest.raises(ChipsmithError) as caught:
        read_requests("conversation")
    assert str(caught.value) == "conversation; no such file; shipped logs: conversation_sample"


def test_shipped_log_has_the_percentiles_of_the_public_trace() -> None:
    requests = read_requests("conversation_sample")
    assert len(requests) == 256
    found = length_percentiles(requests)
    assert (found["input_tokens"][50], found["output_tokens"][50]) == (1020, 129)
    target = {"input_tokens": {90: 2735, 95: 4083, 99: 4142}, "output_tokens": {90: 424, 95: 451, 99: 601}}
    for column, percentiles in target.items():
        for percent, length in percentiles.items():
            assert found[column][percent] == pytest.approx(length, rel=0.02)
    assert 0.8 < 255 / requests[-1].arrival_s < 1.25  # one request a second


def test_shipped_log_is_what_its_script_makes(root: Path) -> None:
    made = runpy.run_path(str(root / "scripts" / "make_request_log"))
    assert (root / "workloads" / "data" / "requests" / "conversation_sample.csv").read_text("utf-8") == made[
        "log_text"
    ]()
    assert made["log_text"](seed=1) != made["log_text"](seed=2)
    assert list_request_logs() == ("conversation_sample",)


def test_nearest_rank() -> None:
    assert [nearest_rank([4, 1, 3, 2], percent) for percent in (1, 25, 26, 50, 99, 100)] == [1, 1, 2, 2, 4, 4]
    with pytest.raises(ChipsmithError, match=r"^requests; legal: at least one request$"):
        length_percentiles([])


REQUESTS = st.builds(
    lambda arrival, tokens, out, size, ids, session, turn: Request(
        arrival, tokens, out, tuple(ids[: -(-tokens // size)]), size if ids else 0, session, turn
    ),
    st.floats(0, 1e6),
    st.integers(1, 10_000),
    st.integers(1, 10_000),
    st.integers(1, 600),
    st.lists(st.integers(0, 2**40), max_size=8),
    st.text('ab-1," ', max_size=4).map(str.strip),
    st.integers(0, 9),
)


@given(st.lists(REQUESTS, min_size=1, max_size=6), st.sampled_from([".csv", ".jsonl"]))
def test_written_logs_give_back_equal_requests(requests: list[Request], suffix: str) -> None:
    ordered = sorted(requests, key=lambda r: r.arrival_s)
    with TemporaryDirectory() as folder:
        file = Path(folder, f"log{suffix}")
        write_requests(ordered, file, "two\nlines")
        assert list(read_requests(file)) == ordered


def test_plain_files_hold_only_what_is_there(tmp_path: Path) -> None:
    write_requests([Request(0.5, 3, 4)], tmp_path / "a.csv", "made up")
    assert (tmp_path / "a.csv").read_text() == "# made up\narrival_s,input_tokens,output_tokens\n0.5,3,4\n"
    write_requests([Request(0.5, 3, 4, (1,), 16)], tmp_path / "a.jsonl")
    assert json.loads((tmp_path / "a.jsonl").read_text()) == {
        "arrival_s": 0.5, "input_tokens": 3, "output_tokens": 4, "block_tokens": 16, "block_ids": [1]
    }  # fmt: skip
    with pytest.raises(ChipsmithError, match=r"x\.txt: got '\.txt'; legal endings: \.csv, \.jsonl$"):
        write_requests([Request(0.5, 3, 4)], tmp_path / "x.txt")
    with pytest.raises(ChipsmithError, match=r"^requests; legal: at least one request$"):
        write_requests([], tmp_path / "x.csv")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.csv", "a.jsonl"]


def test_a_log_stretched_to_a_rate() -> None:
    log = (Request(10.0, 1, 1, session="s"), Request(11.0, 2, 2), Request(14.0, 3, 3))
    assert with_rate(log, 1.5) == (Request(0.0, 1, 1, session="s"), Request(0.5, 2, 2), Request(2.0, 3, 3))
    assert request_stats(with_rate(log, 7.0)).rate_hz == pytest.approx(7.0)
    with pytest.raises(ChipsmithError, match=r"^rate_hz: got 0; legal: above 0$"):
        with_rate(log, 0)
    with pytest.raises(ChipsmithError, match=r"^rate_hz: got 2; no rate fits 1 requests that arrive at one time$"):
        with_rate(log[:1], 2)


# ---------------------------------------------------------------- statistics


def blocks(*ids: int, tokens: int | None = None) -> Request:
    return Request(0.0, 10 * len(ids) if tokens is None else tokens, 1, ids, 10)


def test_prefix_reuse_counts_the_head_that_was_seen_before() -> None:
    log = [
        blocks(1, 2, 3),
        blocks(1, 2, 4, tokens=25),
        Request(0.0, 99, 1),
        blocks(5, 2, 3),
        blocks(1, 2, 4, tokens=25),
    ]
    found = prefix_reuse(log)
    assert found == PrefixReuse(blocks=12, reused_blocks=2 + 0 + 3, input_tokens=110, reused_tokens=20 + 25,
                                requests=4, hits=2)  # fmt: skip
    assert (found.block_share, found.token_share) == (5 / 12, 45 / 110)
    assert prefix_reuse([Request(0.0, 99, 1)]) is None


def test_blocks_of_other_sizes_are_other_blocks() -> None:
    log = [blocks(1, 2), Request(0.0, 20, 1, (1, 2), 16)]
    assert prefix_reuse(log) == PrefixReuse(4, 0, 40, 0, 2, 0)


@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=5), min_size=1, max_size=8))
def test_a_prompt_that_comes_again_is_held_whole(prompts: list[list[int]]) -> None:
    log = [blocks(*ids) for ids in prompts]
    once, twice = prefix_reuse(log), prefix_reuse(log + log)
    assert once is not None and twice is not None
    assert 0 <= once.reused_tokens <= once.input_tokens
    assert twice.reused_tokens == once.reused_tokens + once.input_tokens


def test_stats_by_hand() -> None:
    log = [Request(t, 10 * (i + 1), i + 1, session="ab"[i % 2]) for i, t in enumerate([1.0, 1.0, 2.0, 5.0, 9.0])]
    stats = request_stats(log, 2.0)
    assert (stats.count, stats.duration_s, stats.rate_hz) == (5, 8.0, 0.625)
    assert stats.inputs == LengthStats(150, 30.0, 30, 50, 50, 50, 50)
    assert stats.gap_cv == pytest.approx((2.5**0.5) / 2)  # gaps 0, 1, 3, 4
    assert window_counts([r.arrival_s for r in log], 2.0) == [3, 0, 1, 0]  # the last request begins a fifth window
    assert (stats.dispersion, stats.peak_rate_hz) == (1.5, 1.5)
    assert (stats.sessions, stats.turns_mean, stats.prefix) == (2, 2.5, None)


def test_stats_of_a_single_request() -> None:
    stats = request_stats([blocks(1)])
    assert (stats.rate_hz, stats.gap_cv, stats.dispersion, stats.peak_rate_hz, stats.turns_mean) == (None,) * 5
    assert stats.to_dict()["prefix"] == {
        "blocks": 1, "reused_blocks": 0, "input_tokens": 10, "reused_tokens": 0, "requests": 1, "hits": 0,
        "token_share": 0.0, "block_share": 0.0,
    }  # fmt: skip
    with pytest.raises(ChipsmithError, match=r"^requests; legal: at least one request$"):
        request_stats([])
    with pytest.raises(ChipsmithError, match=r"^window_s: got 0; legal: above 0$"):
        request_stats([blocks(1)], 0)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("azure2023_code", "AzureLLMInferenceTrace_code.csv"),
        ("azure2023_conv", "AzureLLMInferenceTrace_conv.csv"),
    ],
)
def test_stats_of_public_traces(name: str, file: str, reference_dir: Path) -> None:
    folder = reference_dir / "serving" / "traces"
    (known,) = [t for t in json.loads((folder / "stats.json").read_text("utf-8"))["traces"] if t["name"] == name]
    stats = request_stats(read_requests(folder / file))
    assert (stats.count, round(stats.duration_s, 1), round(stats.rate_hz or 0, 4)) == (
        known["n"], known["span_s"], known["rate_per_s"]
    )  # fmt: skip
    assert round(stats.gap_cv or 0, 3) == known["gap_cv"]
    assert round(stats.inputs.mean, 1) == known["inp"]["mean"]
    assert round(stats.outputs.mean, 1) == known["out"]["mean"]
    assert (stats.inputs.p99, stats.inputs.largest) == (known["inp"]["p99"], known["inp"]["max"])


def test_public_mooncake_trace(reference_dir: Path) -> None:
    """A third of the tokens of its first 4,000 prompts stood in earlier ones; every prompt begins with one block."""
    folder = reference_dir / "serving" / "traces"
    requests = read_requests(folder / "mooncake_conversation_trace.first4000.jsonl")
    assert all(len(r.blocks) == -(-r.input_tokens // 512) for r in requests)
    assert prefix_reuse(requests) == PrefixReuse(105_904, 34_480, 53_249_359, 17_647_225, 4000, 3999)


# ---------------------------------------------------------------- the command


def test_command_describes_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["requests", "conversation_sample"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split() == ["input", "tokens", "1,193.5", "1,020", "2,735", "4,083", "4,142", "4,400", "305,537"]
    assert lines[5:] == [
        "log          conversation_sample",
        "requests     256 in 261.6 s",
        "rate         0.9786 requests/s, at most 1.9 in 10 s",
        "burstiness   gaps vary by 0.9648 of their mean, variance / mean of requests in 10 s 1.286 (Poisson: 1)",
        "prefixes     not in this log",
    ]


def test_command_writes_draws_and_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log, out, png = tmp_path / "log.jsonl", tmp_path / "out.csv", tmp_path / "log.png"
    write_requests([Request(float(i), 40, 5, (0, i % 3, i), 16, "s", i + 1) for i in range(20)], log)
    arguments = ["--rate", "10", "--first", "10", "-o", str(out), "--figure", str(png), "--format", "json"]
    assert main(["requests", str(log), *arguments]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["count"], facts["rate_hz"], facts["sessions"], facts["prefix"]["reused_blocks"]) == (10, 10.0, 1, 16)
    assert read_requests(out)[9] == Request(1.0, 40, 5, (0, 0, 9), 16, "s", 10)
    assert png.read_bytes().startswith(b"\x89PNG")


def test_figure_data() -> None:
    log = [Request(float(i), 40 + i, 5, (0, i % 3, i), 16) for i in range(1000)]
    data = figure_data(log)
    assert data.marks[50] == (539, 5)
    assert (data.window_s, data.load[0], len(data.load)) == (10.0, (0.0, 1.0), 99)
    assert data.inputs[-1] == (1039.0, 1.0) and len(data.inputs) < 660
    assert data.mean_gap_s == 1.0 and data.gaps[-1] == (1.0, 0.0)
    shares = [share for _, share in data.reuse]
    assert shares[0] == 0 and max(shares) <= 1 and data.reuse[-1][0] == 1000
    alone = figure_data(log[:1])
    assert (alone.gaps, alone.load, alone.mean_gap_s) == ((), (), None)


def test_a_log_of_one_request_can_be_drawn(tmp_path: Path) -> None:
    draw_requests([Request(0.0, 5, 6)], tmp_path / "one.png", "one")
    assert (tmp_path / "one.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("", "LOG, --synthetic; give exactly one of them"),
        ("conversation_sample --synthetic poisson", "LOG, --synthetic; give exactly one of them"),
        ("conversation_sample --on-s 3", "--on-s; only with --synthetic"),
        ("conversation_sample --window 0", "window_s: got 0.0; legal: above 0"),
        (
            "--synthetic poisson",
            "--input-percentiles; needed with --synthetic: tokens, or PERCENTILE=TOKENS pairs: 50=1020,90=2735",
        ),
        (
            "--synthetic poisson --input-percentiles 5 --output-percentiles 50=x",
            "--output-percentiles: got '50=x'; legal: tokens, or PERCENTILE=TOKENS pairs: 50=1020,90=2735",
        ),
    ],
)
def test_command_refuses(arguments: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["requests", *arguments.split()]) == 2
    assert capsys.readouterr().err == f"chipsmith: error: {text}\n"


def test_public_conversation_trace(reference_dir: Path) -> None:
    requests = read_requests(reference_dir / "serving" / "traces" / "AzureLLMInferenceTrace_conv.csv")
    assert (len(requests), requests[0]) == (19_366, Request(0.0, 374, 44))
    assert length_percentiles(requests) == {
        "input_tokens": {50: 1020, 90: 2735, 95: 4083, 99: 4142},
        "output_tokens": {50: 129, 90: 424, 95: 451, 99: 601},
    }


def test_numbers_of_thousands_of_digits_and_endless_times_are_refused(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    for row, name in (
        (f"0,{'9' * 5000},5", "input_tokens"),
        (f"0,5,{'0' * 5000}", "output_tokens"),
        ("1e15,5,5", "arrival_s"),
    ):
        log.write_text(f"arrival_s,input_tokens,output_tokens\n{row}\n")
        with pytest.raises(ChipsmithError) as error:
            read_requests(log)
        assert str(error.value).startswith(f"{log}:2: {name}: got '")


def test_a_log_that_is_mostly_pause_needs_no_memory_for_it() -> None:
    log = [Request(0.0, 5, 5), Request(0.0, 5, 5), Request(9e14, 5, 5)]
    stats = request_stats(log)
    windows = 9 * 10**13  # the last request begins another one
    assert stats.dispersion == pytest.approx(2 - 2 / windows)
    assert stats.peak_rate_hz == 0.2
    with pytest.raises(ChipsmithError) as error:
        request_stats(log, 1e-3)
    assert str(error.value) == "window_s: got 0.001; legal: above 0.0999 for 9e+14 s"
