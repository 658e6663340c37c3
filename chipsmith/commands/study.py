"""``chipsmith study``: read, compare and export studies that were kept, and ask which parameter moves what."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chipsmith.commands.explore import (
    add_space_arguments,
    add_work_arguments,
    check_files,
    front_table,
    names_of,
    quality_of,
    space_of,
    tie_text,
    workload_of,
)
from chipsmith.output import add_format_argument, emit, progress, table
from workloads.errors import ChipsmithError

if TYPE_CHECKING:
    from dse.compare import Comparison
    from dse.results import StudyResults
    from dse.sensitivity import Sensitivity

NAME = "study"
ORDER = 31
HELP = "look into studies that explore kept: their fronts, what sets them apart, which parameter moves what"
EXAMPLE = "chipsmith study show out/study.db --figure out/pareto.png"

_TABLES = (".csv", ".parquet")


@dataclass(frozen=True)
class _Action:
    """One action of the command."""

    help: str
    example: str
    add: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the actions and their options."""
    choices = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, action in _actions().items():
        sub = choices.add_parser(
            name,
            help=action.help,
            description=action.help,
            epilog=f"example:\n  {action.example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        action.add(sub)
        add_format_argument(sub)
    # The actions have --format themselves; this keeps the frame from offering it before the action as well.
    parser.add_argument("--format", choices=("table", "json"), default="table", help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    """Run the chosen action."""
    return _actions()[args.action].run(args)


def _actions() -> Mapping[str, _Action]:
    return {
        "show": _Action(
            "what is in a study: how it was searched, its front, its progress",
            "chipsmith study show out/study.db --figure out/pareto.png --parallel out/parallel.png",
            _add_show,
            _show,
        ),
        "compare": _Action(
            "two or more studies side by side: fronts, hypervolume, coverage, designs that only one found",
            "chipsmith study compare out/nsga2.db out/random.db --figure out/fronts.png",
            _add_compare,
            _compare,
        ),
        "export": _Action(
            "write every design, or one design as a chip file",
            "chipsmith study export out/study.db -o out/designs.parquet",
            _add_export,
            _export,
        ),
        "sensitivity": _Action(
            "Sobol' indices: which parameter of a space moves which measure, alone and together with others",
            "chipsmith study sensitivity npu --model llama-2-7b --batch 16 --context 2048 "
            "--measures area_mm2,tpot_s,energy_per_token_j --figure out/sensitivity.png",
            _add_sensitivity,
            _sensitivity,
        ),
    }


# show


def _add_show(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", metavar="FILE.db", help="a study that explore --study wrote; it may still be running")
    parser.add_argument("--tie-pct", type=float, metavar="PCT",
                        help="error interval for ties (default: what validation gives each objective)")  # fmt: skip
    parser.add_argument("--figure", metavar="FILE.png", help="draw the front and how the hypervolume grew")
    parser.add_argument("--parallel", metavar="FILE.png", help="draw parallel coordinates of front and other designs")


def _show(args: argparse.Namespace) -> int:
    from dse.stored import open_study

    check_files(pictures=(args.figure, args.parallel))
    with open_study(args.study) as study:
        found = shown(study, args.tie_pct)
        _draw(study, args)
        emit(found, lambda: _shown_text(study, found), args)
    return 0


def _draw(study: StudyResults, args: argparse.Namespace) -> None:
    if args.figure:
        from dse.figures import pareto_figure

        pareto_figure(study, args.figure)
    if args.parallel:
        from dse.parallel import parallel_figure

        parallel_figure(study, args.parallel)


def shown(study: StudyResults, tie_pct: float | None = None) -> dict[str, Any]:
    """What ``study show`` prints, as plain data.

    Args:
        study: the study.
        tie_pct: error interval for all objectives, None = what validation gives each.
    """
    intervals: float | Mapping[str, float] = study.evidence_pct() if tie_pct is None else tie_pct
    description, trials = study.description, study.trials
    refused = trials.loc[~trials["feasible"], "reason"].value_counts()
    return {
        "study": study.manifest(),
        "chip": description.chip,
        "space": description.space,
        "workload": description.work,
        "parameters": [{"path": p.path, "values": len(p.values), "from": p.values[0], "to": p.values[-1]}
                       for p in description.parameters],
        "objectives": list(description.objectives),
        "designs": len(study),
        "of": description.size,
        "populations": int(trials["population"].max()) + 1 if len(trials) else 0,
        "feasible": len(study.feasible_numbers),
        "reasons": {str(k): int(v) for k, v in refused.items()},
        "hypervolume": study.hypervolume(),
        "reference": study.reference,
        "interval_pct": intervals,
        "contenders": len(study.contenders(intervals)) if len(study.feasible_numbers) else 0,
        "warning": description.warning,
        "front": study.front(intervals if intervals else None).to_dict("records"),
    }  # fmt: skip


def _shown_text(study: StudyResults, found: Mapping[str, Any]) -> str:
    facts = found["study"]
    lines = [
        f"chip          {found['chip']}",
        f"workload      {found['workload']}",
        f"space         {found['space']}: {len(found['parameters'])} parameters, {found['of']:,} designs",
        f"constraints   {facts['constraints'] or 'none'}",
        f"search        {facts['sampler']}, seed {facts['seed']}; {facts['evaluation']}",
        f"designs       {found['designs']:,} in {found['populations']:,} populations, {found['feasible']:,} feasible",
        *(f"  {count:>9,}  {reason}" for reason, count in list(found["reasons"].items())[:5]),
        *_progress_lines(study, found),
    ]
    if found["warning"]:
        lines.append(f"quality       {found['warning']}")
    if not found["front"]:
        return "\n".join(lines)
    paths = [p["path"] for p in found["parameters"]]
    front = front_table(found["front"], paths, found["objectives"])
    return "\n".join([*lines, f"ties          {tie_text(found)}", "", *front])


def _progress_lines(study: StudyResults, found: Mapping[str, Any]) -> list[str]:
    if not found["reference"]:
        return []
    point = ", ".join(f"{name} {value:.5g}" for name, value in found["reference"].items())
    counts, curve = study.hypervolume_curve()
    late = next(int(n) for n, value in zip(counts, curve, strict=True) if value >= 0.99 * curve[-1])
    return [
        f"hypervolume   {found['hypervolume']:.6g} of the box up to {point}",
        f"progress      99 % of it after {late:,} designs, at half of them {curve[len(curve) // 2]:.6g}",
    ]


# compare


def _add_compare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("studies", nargs="+", metavar="FILE.db", help="two or more studies")
    parser.add_argument("--objectives", help="names with commas (default: the objectives of the first study)")
    parser.add_argument("--figure", metavar="FILE.png", help="draw the fronts over each other")
    parser.add_argument("--budget-figure", metavar="FILE.png", help="draw hypervolume against designs evaluated")


def _compare(args: argparse.Namespace) -> int:
    from dse.compare import compare
    from dse.compare_figures import budget_figure, comparison_figure
    from dse.stored import open_study

    check_files(pictures=(args.figure, args.budget_figure))
    with ExitStack() as stack:
        paths = dict(zip(_labels(args.studies), args.studies, strict=True))
        studies = {label: stack.enter_context(open_study(path)) for label, path in paths.items()}
        found = compare(studies, names_of(args.objectives) if args.objectives else None)
        if args.figure:
            comparison_figure(found, args.figure)
        if args.budget_figure:
            budget_figure(found, args.budget_figure)
    emit(_compared(found), lambda: _compared_text(found), args)
    return 0


def _labels(paths: Sequence[str]) -> list[str]:
    """A short name a study: its file's, its path where two files have the same."""
    if len(set(paths)) != len(paths):
        raise ChipsmithError("studies", list(paths), "each study once")
    stems = [Path(path).stem for path in paths]
    return stems if len(set(stems)) == len(stems) else list(paths)


def _compared(found: Comparison) -> dict[str, Any]:
    names = [side.name for side in found.sides]
    return {
        "objectives": [o.name for o in found.objectives],
        "reference": found.reference,
        "studies": _compared_rows(found),
        "coverage": {a: dict(zip(names, row, strict=True)) for a, row in zip(names, found.coverage, strict=True)},
        "curves": {s.name: {"designs": s.evaluations, "hypervolume": s.curve} for s in found.sides},
        "joint_front": found.joint,
        "notes": found.notes,
    }


def _compared_rows(found: Comparison) -> list[dict[str, Any]]:
    return [
        {
            "study": side.name,
            "sampler": side.sampler,
            "seed": side.seed,
            "designs": side.designs,
            "feasible": side.feasible,
            "front": len(side.front),
            "on common front": int(side.on_joint.sum()),
            "only here": int(side.new.sum()),
            "hypervolume": side.hypervolume,
        }
        for side in found.sides
    ]


def _compared_text(found: Comparison) -> str:
    names = [side.name for side in found.sides]
    covered = [{"C(row, column)": a, **dict(zip(names, row, strict=True))}
               for a, row in zip(names, found.coverage, strict=True)]  # fmt: skip
    objectives = [o.name for o in found.objectives]
    paths = [key for key in found.joint[0] if key not in ("study", "number", "new", *objectives)]
    point = ", ".join(f"{name} {value:.5g}" for name, value in found.reference.items())
    return "\n".join(
        [
            table(_compared_rows(found)),
            "",
            table(covered),
            "",
            *front_table(found.joint, paths, objectives, first=("study", "number"), last=("new",), what="Common front"),
            f"hypervolume   of the box up to {point}",
            "coverage      share of the column's front that the row's front dominates or equals",
            "only here     designs of the front that no other study has evaluated",
            *(f"note          {note}" for note in found.notes),
        ]
    )


# export


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", metavar="FILE.db", help="a study that explore --study wrote")
    parser.add_argument("-o", "--output", required=True, metavar="FILE",
                        help="designs.csv or designs.parquet; chip.yaml with --design")  # fmt: skip
    parser.add_argument("--front", action="store_true", help="only the Pareto front")
    parser.add_argument("--design", type=int, metavar="NUMBER", help="this design as a chip file")


def _export(args: argparse.Namespace) -> int:
    from dse.stored import open_study

    ending = Path(args.output).suffix
    legal = (".yaml", ".yml") if args.design is not None else _TABLES
    if ending not in legal:
        raise ChipsmithError(args.output, ending, f"the ending of the file: {', '.join(legal)}")
    if args.front and args.design is not None:
        raise ChipsmithError("--front", None, "goes with a table of designs, not with --design")
    check_files(files=(args.output,))
    with open_study(args.study) as study:
        count = _write_chip(study, args) if args.design is not None else _write_table(study, args)
    document = {"study": args.study, "output": args.output, "designs": count}
    emit(document, f"{count:,} designs in {args.output}", args)
    return 0


def _write_table(study: StudyResults, args: argparse.Namespace) -> int:
    from workloads.files import whole_file

    frame = study.front() if args.front else study.trials
    with whole_file(args.output) as temporary:
        if Path(args.output).suffix == ".csv":
            frame.to_csv(temporary, index=False)
        else:
            frame.to_parquet(temporary, index=False)
    return len(frame)


def _write_chip(study: StudyResults, args: argparse.Namespace) -> int:
    from workloads.files import write_text

    head = f"# Design {args.design} of a study of {study.description.chip} on {study.description.work}.\n"
    write_text(args.output, head + study.chip(args.design).to_yaml())
    return 1


# sensitivity


def _add_sensitivity(parser: argparse.ArgumentParser) -> None:
    add_space_arguments(parser)
    add_work_arguments(parser)
    group = parser.add_argument_group("analysis")
    group.add_argument("--measures", default="area_mm2,tpot_s,energy_per_token_j",
                       help="objectives with commas (default area_mm2,tpot_s,energy_per_token_j)")  # fmt: skip
    group.add_argument("--base-samples", type=int, default=1024, metavar="N",
                       help="a power of two; each costs parameters + 2 designs (default 1024)")  # fmt: skip
    group.add_argument("--log", action="store_true", help="indices of the measures' logarithms: factors, not sums")
    group.add_argument("--seed", type=int, default=0, help="default 0")
    group.add_argument("--figure", metavar="FILE.png", help="draw bars with confidence intervals")


def _sensitivity(args: argparse.Namespace) -> int:
    from dse.sensitivity import sensitivity

    check_files(pictures=(args.figure,))
    found = sensitivity(
        space_of(args),
        workload_of(args),
        names_of(args.measures),
        base_samples=args.base_samples,
        seed=args.seed,
        logarithm=args.log,
        iso_quality=args.iso_quality,
        quality=quality_of(args),
        fidelity=args.fidelity,
    )
    progress(f"{found.designs:,} designs simulated")
    if args.figure:
        from dse.sensitivity_figure import sensitivity_figure

        sensitivity_figure(found, args.figure)
    emit(found, lambda: _sensitivity_text(found), args)
    return 0


def _sensitivity_text(found: Sensitivity) -> str:
    from dse.sensitivity_figure import ranked

    rank = {path: place for place, path in enumerate(ranked(found))}
    ordered = sorted(found.effects, key=lambda e: (found.measures.index(e.measure), rank[e.path]))
    rows = [
        {"measure": e.measure, "parameter": e.path, "first": round(e.first, 4) + 0.0, "+-": round(e.first_conf, 4),
         "total": round(e.total, 4), "+- ": round(e.total_conf, 4),
         "trend": None if e.trend is None else round(e.trend, 2) + 0.0}
        for e in ordered
    ]  # fmt: skip
    of = "the logarithms of the measures" if found.logarithm else "the measures"
    lines = [
        table(rows),
        "",
        "first   share of the variance that fixing the parameter takes away; total: its interactions included",
        "trend   rank correlation of value and measure; +- half-widths of 95 % bootstrap intervals",
        f"sample  {found.base_samples:,} rows, {found.designs:,} distinct designs, seed {found.seed}, of {of}; "
        "constraints are not applied",
    ]
    if found.dropped:
        lines.append(f"dropped {found.dropped:,} rows with a design that cannot run")
    return "\n".join([*lines, *([f"quality {found.warning}"] if found.warning else [])])
