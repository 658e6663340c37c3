"""``chipsmith completion``: what Tab offers, asked of the shells themselves."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from chipsmith import cli
from chipsmith.completion import SHELLS, Node, known_words, script, tree, walk
from dse.quality import list_quality
from dse.space import list_spaces
from models.chip import list_chips
from workloads.configs import list_configs
from workloads.requests import list_request_logs

BASH = shutil.which("bash")
needs_bash = pytest.mark.skipif(BASH is None and os.environ.get("CI") != "true", reason="bash is not installed")


@pytest.fixture(scope="module")
def root() -> Node:
    return tree(cli.build_parser(cli.commands()), known_words())


@pytest.fixture(scope="module")
def loaded(root: Node, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shell") / "completion.bash"
    path.write_text(script("bash", root))
    return path


def offered(loaded: Path, line: str, folder: Path) -> set[str]:
    """What bash offers after a line is typed (a space at its end: a new word begins)."""
    words = [*shlex.split(line), ""] if line.endswith(" ") else shlex.split(line)
    typed = f"COMP_WORDS=({shlex.join(words)}); COMP_CWORD={len(words) - 1}"
    ask = f"{typed}; _chipsmith; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    done = subprocess.run(
        [str(BASH), "--norc", "-uc", f"source {shlex.quote(str(loaded))}; {ask}"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return set(done.stdout.split("\n")) - {""}


@needs_bash
def test_bash_offers_commands_and_actions(loaded: Path, tmp_path: Path) -> None:
    assert offered(loaded, "chipsmith ", tmp_path) == {command.NAME for command in cli.commands()}
    assert offered(loaded, "chipsmith comp", tmp_path) == {"compare", "completion"}
    assert offered(loaded, "chipsmith rtl ", tmp_path) == {"generate", "verify"}
    assert offered(loaded, "chipsmith completion ", tmp_path) == set(SHELLS)


@needs_bash
def test_bash_offers_options_of_the_command_at_hand(loaded: Path, tmp_path: Path) -> None:
    assert offered(loaded, "chipsmith run --sa", tmp_path) == {"--save-mapping"}
    assert offered(loaded, "chipsmith run --chip tpu_v4 --rep", tmp_path) == {"--report"}
    assert offered(loaded, "chipsmith rtl verify --w", tmp_path) == {"--w-bits", "--waves"}
    assert {"--help", "--version"} <= offered(loaded, "chipsmith -", tmp_path)


@needs_bash
def test_bash_offers_values(loaded: Path, tmp_path: Path) -> None:
    assert offered(loaded, "chipsmith run --chip ", tmp_path) == set(list_chips())
    assert offered(loaded, "chipsmith compare tpu_v4 tpu_v", tmp_path) == {n for n in list_chips() if "tpu_v" in n}
    assert offered(loaded, "chipsmith run --model opt-1", tmp_path) == {n for n in list_configs() if "opt-1" in n}
    assert offered(loaded, "chipsmith run --phase ", tmp_path) == {"prefill", "decode"}
    assert offered(loaded, "chipsmith explore npu --sampler ns", tmp_path) == {"nsga2"}
    assert offered(loaded, "chipsmith run --format j", tmp_path) == {"json"}
    assert offered(loaded, "chipsmith explore ", tmp_path) == set(list_spaces())
    assert offered(loaded, "chipsmith explore npu --quality ", tmp_path) == set(list_quality())
    assert offered(loaded, "chipsmith explore npu --iso-quality ", tmp_path) == {"none", "required"}
    assert offered(loaded, "chipsmith run --draft-model gpt2", tmp_path) == {"gpt2"}
    assert offered(loaded, "chipsmith requests ", tmp_path) == set(list_request_logs())
    assert offered(loaded, "chipsmith demo --requests ", tmp_path) == set(list_request_logs())


@needs_bash
def test_bash_offers_files_where_none_of_our_words_fits(loaded: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").touch()
    assert offered(loaded, "chipsmith run --chip mi", tmp_path) == {"mine.yaml"}
    (tmp_path / "my own.yaml").touch()
    assert offered(loaded, "chipsmith run --trace ", tmp_path) == {"mine.yaml", "my own.yaml"}
    assert offered(loaded, "chipsmith run --batch ", tmp_path) == set()
    assert offered(loaded, "chipsmith run --nothing", tmp_path) == set()


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_read_their_script(root: Node, shell: str, tmp_path: Path) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    (tmp_path / "script").write_text(script(shell, root))
    done = subprocess.run([program, "-n", "script"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("shell", SHELLS)
def test_every_command_option_and_preset_stands_in_every_script(root: Node, shell: str) -> None:
    text = script(shell, root)
    for node in walk(root):
        assert node.path[-1] in text
        for name in (name for option in node.options for name in option.names):
            assert (f"-l {name[2:]}" if shell == "fish" and name.startswith("--") else name) in text
    assert all(name in text for name in (*list_chips(), *list_configs()))


def test_quotes_and_hidden_options_do_not_break_a_script() -> None:
    parser = argparse.ArgumentParser(prog="p", add_help=False)
    parser.add_argument("--it", help="it's 5 %% \\ of\nall", metavar="N", type=int)
    parser.add_argument("--hidden", help=argparse.SUPPRESS)
    node = tree(parser, {})
    assert [option.names for option in node.options] == [("--it",)]
    assert "'it`s 5 % / of all'" in script("fish", node)
    assert " -x " in script("fish", node)


def test_fish_tells_an_action_from_a_command_of_the_same_name(root: Node) -> None:
    lines = script("fish", root).splitlines()
    actions = {child.path[-1] for owner in root.children for child in owner.children}
    twice = [node.path[1] for node in root.children if node.path[1] in actions]
    assert twice
    for name in twice:
        owners = [o.path[1] for o in root.children if name in {c.path[-1] for c in o.children}]
        own = [line for line in lines if f"-n '__fish_seen_subcommand_from {name};" in line]
        assert own
        assert all(f"not __fish_seen_subcommand_from {owner}" in line for line in own for owner in owners)


def test_the_command_prints_the_script(root: Node, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", "bash"]) == 0
    assert capsys.readouterr() == (script("bash", root), "")
    assert cli.main(["completion", "fish", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"shell": "fish", "script": script("fish", root)}
