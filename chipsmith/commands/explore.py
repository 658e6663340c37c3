"""``chipsmith explore``: search a space of chips for the best trade-offs."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chipsmith.output import emit, progress, table
from chipsmith.workload_args import add_workload_arguments, trace_of
from workloads.errors import ChipsmithError

if TYPE_CHECKING:
    from dse.quality import QualityTable
    from dse.space import Space
    from dse.study import Progress, Study
    from dse.verify import Verification
    from dse.workload import Workload

NAME = "explore"
ORDER = 30
HELP = "search a design space: area, energy and speed of many chips, their Pareto front"
EXAMPLE = (
    "chipsmith explore npu --model llama-2-7b --batch 16 --context 2048 "
    "--objectives area_mm2,tpot_s --constraint 'area_mm2 <= 600' --budget 20000 --seed 1 "
    "--study out/study.db --figure out/pareto.png"
)
_DEFAULT_BUDGET = 5000
_ROWS = 30
_INTERRUPTED, _MISSED = 130, 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``explore``."""
    add_space_arguments(parser)
    add_work_arguments(parser)
    _add_search(parser)
    _add_files(parser)


def add_space_arguments(parser: argparse.ArgumentParser) -> None:
    """The space, the chip that it varies, and how formats of unequal accuracy are judged."""
    parser.add_argument("space", metavar="SPACE", help="the parameters that vary: npu, edge, memory, formats, "
                        "sparsity, or a YAML file")  # fmt: skip
    parser.add_argument("--chip", help="preset or chip file, instead of the one that the space names")
    parser.add_argument("--quality", metavar="TABLE", help="quality table: a shipped one's name, or FILE.csv (number "
                        "formats or sparsity to perplexity or accuracy, with source)")  # fmt: skip
    parser.add_argument("--iso-quality", default="required",
                        help="none: compare formats and sparsity without judging accuracy")  # fmt: skip


def add_work_arguments(parser: argparse.ArgumentParser) -> None:
    """The workload: one phase or both, and the fidelity."""
    add_workload_arguments(parser)
    group = parser.add_argument_group("more about the workload")
    group.add_argument("--prompt", type=int, metavar="TOKENS", help="also a prefill of this length (gives ttft_s)")
    group.add_argument("--output", type=int, default=1, metavar="TOKENS",
                       help="decode steps; weighs decode in latency_s, power_w and edp_js (default 1)")  # fmt: skip
    group.add_argument("--fidelity", default="tile", help="bound or tile (default)")


def _add_search(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("search")
    group.add_argument("--objectives", default="area_mm2,tpot_s", help="names with commas (default area_mm2,tpot_s)")
    group.add_argument("--constraint", action="append", default=[], metavar="TEXT",
                       help="e.g. 'area_mm2 <= 600' or 'engines.npu.rows <= engines.npu.cols'; repeatable")  # fmt: skip
    group.add_argument("--sampler", default="nsga2", help="nsga2 (default), exhaustive, random, sobol, qmc, tpe or gp")
    group.add_argument("--budget", type=int, metavar="N",
                       help=f"designs in all (default {_DEFAULT_BUDGET}; exhaustive: all)")  # fmt: skip
    group.add_argument("--budget-s", type=float, metavar="S", help="seconds")
    group.add_argument("--population", type=int, default=0, metavar="N", help="designs evaluated together")
    group.add_argument("--seed", type=int, default=0, help="default 0")
    group.add_argument("--tie-pct", type=float, metavar="PCT",
                       help="error interval for ties (default: what validation gives each objective)")  # fmt: skip


def _add_files(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("files")
    group.add_argument("--study", metavar="FILE.db", help="keep every design in this SQLite file")
    group.add_argument("--resume", action="store_true", help="go on with the study in --study")
    group.add_argument("--figure", metavar="FILE.png", help="draw the front")
    group.add_argument("--parallel", metavar="FILE.png", help="draw parallel coordinates")
    group.add_argument("--report", metavar="FILE.html", help="write an interactive report, one file")
    group.add_argument("--trials", metavar="FILE.csv", help="write every design")


def run(args: argparse.Namespace) -> int:
    """Search, verify the front, print it."""
    if args.resume and args.study is None:
        raise ChipsmithError("--resume", None, "name the study with --study FILE.db")
    check_files((args.figure, args.parallel), (args.trials, args.report))
    with _study(args) as study:
        try:
            _search(study, args)
        except KeyboardInterrupt:
            return _interrupted(study, args)
        if args.trials:
            _write_trials(study, args.trials)
        if len(study.front_numbers) == 0:
            return _nothing(study, args)
        verification = study.verify_front()
        _draw(study, verification, args)
        found = summary(study, verification, args.tie_pct)
        emit(found, lambda: as_text(found), args)
    return _verdict(verification)


def _draw(study: Study, verification: Verification, args: argparse.Namespace) -> None:
    if args.figure:
        from dse.figures import pareto_figure

        pareto_figure(study, args.figure)
    if args.parallel:
        from dse.parallel import parallel_figure

        parallel_figure(study, args.parallel)
    if args.report:
        from chipsmith.report import write_study_report

        write_study_report(study, args.report, verification)


def check_files(pictures: Sequence[str | None] = (), files: Sequence[str | None] = ()) -> None:
    """Make the folders of the results; what cannot be written is found out before any work.

    Raises:
        ChipsmithError: a picture of an unknown format, a folder that cannot be made.
    """
    from dse.drawing import check_picture

    for path in filter(None, pictures):
        check_picture(path)
    for path in filter(None, (*pictures, *files)):
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ChipsmithError(path, None, f"cannot be written: {error.strerror}") from None


def names_of(text: str) -> list[str]:
    """Names with commas between them."""
    return [name.strip() for name in text.split(",")]


def space_of(args: argparse.Namespace) -> Space:
    """The space that the arguments name, over their chip."""
    from dse.space import Space
    from models.chip import load_chip

    return Space.from_yaml(args.space, load_chip(args.chip) if args.chip else None)


def quality_of(args: argparse.Namespace) -> QualityTable | None:
    """The quality table that the arguments name."""
    from dse.quality import load_quality

    return load_quality(args.quality) if args.quality else None


def _study(args: argparse.Namespace) -> Study:
    from dse.study import Study

    return Study(
        space_of(args),
        workload_of(args),
        names_of(args.objectives),
        args.constraint,
        args.sampler,
        args.study,
        args.seed,
        iso_quality=args.iso_quality,
        quality=quality_of(args),
        population=args.population,
        fidelity=args.fidelity,
        resume=args.resume,
    )


def workload_of(args: argparse.Namespace) -> Workload:
    """The workload that the arguments describe: prefill, decode, or both."""
    from dse.workload import Workload

    main = trace_of(args)
    if args.prompt is None:
        return Workload(main, None) if args.phase == "prefill" and args.trace is None else _with_steps(main, args)
    if args.trace is not None or args.phase == "prefill":
        raise ChipsmithError("--prompt", args.prompt, "goes with --model and --phase decode")
    prompt = argparse.Namespace(**{**vars(args), "context": args.prompt})
    return Workload(trace_of(prompt, "prefill"), main, args.output)


def _with_steps(trace: Any, args: argparse.Namespace) -> Workload:
    from dse.workload import Workload

    work = Workload.of(trace)
    return work if work.decode is None else Workload(None, work.decode, args.output)


def _search(study: Study, args: argparse.Namespace) -> None:
    """Run with a progress bar."""
    budget = args.budget
    if budget is None and args.budget_s is None and args.sampler != "exhaustive":
        budget = _DEFAULT_BUDGET
    with _bar(study, budget) as advance:
        state = study.run(budget, args.budget_s, advance)
    progress(
        f"{state.new:,} designs in {state.elapsed_s:.1f} s ({state.designs_per_s:,.0f} designs/s), "
        f"{state.designs:,} in the study, {state.feasible:,} feasible"
    )


@contextmanager
def _bar(study: Study, budget: int | None) -> Iterator[Callable[[Progress], None]]:
    """A bar on stderr that is silent where stderr is no terminal."""
    from tqdm import tqdm

    total = min(budget or study.space.size, study.space.size)
    with tqdm(total=total, initial=len(study), unit=" designs", disable=None, dynamic_ncols=True) as bar:

        def advance(state: Progress) -> None:
            bar.update(state.designs - bar.n)
            bar.set_postfix_str(f"front {state.front}, hypervolume {state.hypervolume:.4f}")

        yield advance


def _interrupted(study: Study, args: argparse.Namespace) -> int:
    if args.study:
        progress(f"interrupted; {len(study):,} designs are in {args.study}: repeat the command with --resume to go on")
    else:
        progress(f"interrupted after {len(study):,} designs; none is kept without --study FILE.db")
    return _INTERRUPTED


def _write_trials(study: Study, path: str) -> None:
    from workloads.files import write_text

    write_text(path, study.trials.to_csv(index=False))


def _nothing(study: Study, args: argparse.Namespace) -> int:
    """No design is feasible: say why."""
    reasons = study.trials["reason"].value_counts().head(5)
    found = {"designs": len(study), "feasible": 0, "reasons": {str(k): int(v) for k, v in reasons.items()}, "front": []}
    lines = [f"none of {len(study):,} designs is feasible", *(f"{v:>8,}  {k}" for k, v in reasons.items())]
    emit(found, "\n".join(lines), args)
    return _MISSED


def summary(study: Study, verification: Verification, tie_pct: float | None) -> dict[str, Any]:
    """What the command prints, as plain data.

    Args:
        study: with a front.
        verification: of that front.
        tie_pct: error interval for all objectives, None = what validation gives each.
    """
    intervals: float | Mapping[str, float] = study.evidence_pct() if tie_pct is None else tie_pct
    front = study.front(intervals if intervals else None)
    front["difference"] = verification.differences
    return {
        "study": study.manifest(),
        "objectives": [o.name for o in study.plan.objectives],
        "parameters": list(study.space.paths),
        "designs": len(study),
        "of": study.space.size,
        "feasible": int(study.trials["feasible"].sum()),
        "hypervolume": study.hypervolume(),
        "reference": study.reference,
        "interval_pct": intervals,
        "contenders": len(study.contenders(intervals)),
        "largest_difference": verification.largest_difference,
        "unchecked_quality": study.plan.unchecked_quality,
        "unjudged": study.plan.description.warning,
        "front": front.to_dict("records"),
    }


def as_text(found: Mapping[str, Any]) -> str:
    """The front as a table, then what to know about it."""
    front = front_table(found["front"], found["parameters"], found["objectives"])
    return "\n".join([*front, *_notes(found)])


def front_table(
    front: Sequence[Mapping[str, Any]],
    parameters: Sequence[str],
    objectives: Sequence[str],
    first: Sequence[str] = ("number",),
    last: Sequence[str] = ("tie", "difference"),
    what: str = "Pareto front",
) -> list[str]:
    """Lines of a table of designs, at most ``_ROWS`` of them, and of how many there are.

    Args:
        front: designs, best first.
        parameters, objectives: columns; parameters are shortened where that leaves no doubt.
        first, last: columns before and after these, where the designs have them.
        what: what the designs are.
    """
    shown = _spread(front)
    names = {path: path.rpartition(".")[2] if _unique(path, parameters) else path for path in parameters}
    columns = [*first, *parameters, *objectives, *last]
    rows = [{names.get(c, c): row[c] for c in columns if c in row} for row in shown]
    left_out = f" ({len(shown)} of them above; --format json has all)" if len(shown) < len(front) else ""
    return [table(rows), "", f"{what}: {len(front)} designs{left_out}"]


def _notes(found: Mapping[str, Any]) -> list[str]:
    reference = ", ".join(f"{name} {value:.5g}" for name, value in found["reference"].items())
    lines = [
        f"search        {found['designs']:,} of {found['of']:,} designs, {found['feasible']:,} feasible, "
        f"{found['study']['sampler']}, seed {found['study']['seed']}",
        f"hypervolume   {found['hypervolume']:.6g} of the box up to {reference}",
        f"verification  every design of the front simulated again: largest difference {found['largest_difference']:g}",
        f"ties          {tie_text(found)}",
    ]
    if found["unchecked_quality"]:
        lines.append(f"quality       NOT CHECKED: {found['unjudged']} (--iso-quality none)")
    return lines


def tie_text(found: Mapping[str, Any]) -> str:
    """How far the designs of a front can be told apart, in words."""
    intervals = found["interval_pct"]
    if not intervals:
        return "no error interval is known for these objectives (--tie-pct sets one)"
    known = intervals if isinstance(intervals, Mapping) else dict.fromkeys(found["objectives"], intervals)
    words = ", ".join(f"{name} +-{pct:g} %" for name, pct in known.items())
    exact = "" if len(known) == len(found["objectives"]) else " (objectives without an interval taken as exact)"
    groups = len({row["tie"] for row in found["front"]})
    return f"{groups} groups at {words}; {found['contenders']:,} dominated designs can't be told from the front{exact}"


def _unique(path: str, paths: Sequence[str]) -> bool:
    tail = path.rpartition(".")[2]
    return sum(other.rpartition(".")[2] == tail for other in paths) == 1


def _spread(front: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """At most ``_ROWS`` rows, the ends included."""
    if len(front) <= _ROWS:
        return front
    return [front[round(i * (len(front) - 1) / (_ROWS - 1))] for i in range(_ROWS)]


def _verdict(verification: Verification) -> int:
    if verification.largest_difference == 0:
        return 0
    progress(f"the search and the simulator disagree: {verification.worst}")
    return _MISSED
