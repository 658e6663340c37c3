"""Request logs: known layouts, refusals, the shipped synthetic log."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

from workloads.errors import ChipsmithError
from workloads.requests import Request, length_percentiles, list_request_logs, nearest_rank, read_requests

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
        [Request(1.5, 6758, 500)],
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


def test_missing_columns_are_named_with_the_known_layouts(tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_text("TIMESTAMP,ContextTokens,Tokens\n", "utf-8")
    with pytest.raises(ChipsmithError) as caught:
        read_requests(file)
    assert str(caught.value).replace(str(file), "FILE") == (
        "FILE:1: got 'TIMESTAMP, ContextTokens, Tokens'; for Azure 2023 it lacks GeneratedTokens; known: "
        "Azure 2023 (TIMESTAMP, ContextTokens, GeneratedTokens); "
        "Vidur (arrived_at, num_prefill_tokens, num_decode_tokens); "
        "BurstGPT (Timestamp, Request tokens, Response tokens); plain (arrival_s, input_tokens, output_tokens); "
        "plain, short (arrival_s, input_toks, output_toks)"
    )
    file.write_text(json.dumps({"a": 1}), "utf-8")
    with pytest.raises(ChipsmithError, match=r"x\.csv:1: got 'a'; no known layout; known: Mooncake \(timestamp, "):
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


def test_public_conversation_trace(reference_dir: Path) -> None:
    requests = read_requests(reference_dir / "serving" / "traces" / "AzureLLMInferenceTrace_conv.csv")
    assert (len(requests), requests[0]) == (19_366, Request(0.0, 374, 44))
    assert length_percentiles(requests) == {
        "input_tokens": {50: 1020, 90: 2735, 95: 4083, 99: 4142},
        "output_tokens": {50: 129, 90: 424, 95: 451, 99: 601},
    }
