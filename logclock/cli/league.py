"""What does `logclock league` do, from the names of entries to one page?"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from logclock.analysis.league import LeagueResult, analyse_league
from logclock.cli.compare import ensure_named_dataset
from logclock.cli.ladder import BUSY, duration, open_executor
from logclock.recipes.league import BASELINE, SCOUTING, League, Stage, cost_run
from logclock.records import Ledger, append_step_cost, read_step_costs
from logclock.report import plain_text
from logclock.report.league_page import league_headline, league_table, write_league_page
from logclock.sweep import Executor, RunCost, SweepOutcome, check_num_jobs, measure_costs, run_sweep
from logclock.sweep.search import best_trial
from logclock.sweep.step_cost import measure_step_costs, rule_hash_of
from logclock.train import Display

__all__ = ["read_league", "report_league", "run"]

STEP_COSTS = "step-costs.jsonl"
RUNGS = "rungs"


def run(
    league: League,
    *,
    out: str | os.PathLike[str],
    page: str | os.PathLike[str] | None = None,
    display: Callable[[], Display],
    budget_seconds: float | None = None,
    dry_run: bool = False,
    num_jobs: int | None = None,
    ray_address: str | None = None,
    data_root: str | Path | None = None,
    command: str | None = None,
    message: Callable[[str], None] = print,
) -> int:
    """Print what a league will cost, make its runs, time its optimizers, and write its page.

    Args:
        league: The entries and their budget.
        out: Directory of the league. Runs that it holds are not made again, interrupted ones go on.
        page: Where the page goes; `out/league.md` if None.
        display: Opens the display of progress, once per stage.
        budget_seconds: How long the runs that are left may take at most; None for any time.
        dry_run: Whether to stop after the plan.
        num_jobs: Runs at a time; None for what fits.
        ray_address: Of the Ray cluster to run on; None for this machine.
        data_root: Where datasets and corpora lie.
        command: What the user typed, for the records.
        message: Told the plan and the result.

    Returns:
        The exit code: 0 if every run came to its end, 130 after a signal.

    Raises:
        ValueError: The league may take longer than the budget.
        RuntimeError: A run failed; one that diverged is a result.
    """
    check_num_jobs(num_jobs)
    out = Path(out)
    configs = {name: league.run(name) for name in league.optimizers}
    ensure_named_dataset(configs[BASELINE], root=data_root, message=message)
    with open_executor(ray_address) as executor:
        num_jobs = executor.default_num_jobs(list(configs.values())) if num_jobs is None else num_jobs
        left = _runs_left(league, out)
        waiting = [name for name in configs if any(name in stage for stage in left.values())]
        costs: dict[str, RunCost] = {}
        if waiting:
            message(f"timing {len(waiting)} optimizers on this machine, a few steps each")
            measured = measure_costs([configs[name] for name in waiting], num_jobs=num_jobs, data_root=data_root)
            costs = dict(zip(waiting, measured, strict=True))
        message(plan_text(league, left, costs, num_jobs=num_jobs))
        most = _core_seconds(left, costs) / num_jobs
        if budget_seconds is not None and most > budget_seconds:
            raise ValueError(
                f"the league takes up to {duration(most)}, the budget is {duration(budget_seconds)}. Give it a larger "
                "--budget, fewer --tokens-per-param, or some entries with --only: runs may be stopped and go on."
            )
        if dry_run:
            return 0
        for sweep in _stages(league, executor, out, display, num_jobs, data_root, command):
            if sweep.was_stopped:
                message("stopped; the same command goes on from where it was")
                return 130
    _time_steps(league, out / STEP_COSTS, message)
    report_league(out, page=page, message=message)
    return 0


def _stages(
    league: League,
    executor: Executor,
    out: Path,
    display: Callable[[], Display],
    num_jobs: int,
    data_root: str | Path | None,
    command: str | None,
) -> list[SweepOutcome]:
    """Make all runs, stage by stage, and return the outcomes; the last one says whether a signal came."""
    outcomes: list[SweepOutcome] = []

    def sweep(stage: Stage, centres: Mapping[str, float], **settings: object) -> SweepOutcome:
        arms = {name: arm for name, arm in league.arms(stage.steps).items() if name in stage.optimizers}
        with display() as shown:
            outcome = run_sweep(
                arms,
                centres={name: centre for name, centre in centres.items() if name in arms},
                tags={"study": "league", "baseline": BASELINE},
                out=out / stage.folder,
                display=shown,
                num_jobs=num_jobs,
                data_root=data_root,
                command=command,
                executor=executor,
                **settings,  # type: ignore[arg-type]
            )
        outcomes.append(outcome)
        return outcome

    scouting, main, *rungs = league.stages()
    scouted = sweep(scouting, {}, multipliers=league.scouting, extensions=0, seeds=league.seeds[:1])
    if scouted.was_stopped:
        return outcomes
    centres = {name: best_trial(losses).multiplier for name, losses in scouted.losses.items()}
    found = sweep(main, centres, multipliers=league.multipliers, extensions=league.extensions, seeds=league.seeds)
    if found.was_stopped or BASELINE not in found.winners:
        return outcomes
    winner = {BASELINE: found.winners[BASELINE].multiplier}
    for rung in rungs:
        one = sweep(
            rung,
            winner,
            multipliers=league.rung_multipliers,
            extensions=league.rung_extensions,
            seeds=league.seeds,
        )
        if one.was_stopped:
            break
    return outcomes


def _time_steps(league: League, path: Path, message: Callable[[str], None]) -> None:
    """Time the optimizers that the file does not have yet, or has with another version of their rule."""
    configs = {name: cost_run(name) for name in league.optimizers}
    known = read_step_costs(path)
    waiting = [
        name for name, config in configs.items() if name not in known or known[name].rule_hash != rule_hash_of(config)
    ]
    if waiting:
        message(f"timing the steps of {len(waiting)} optimizers, each beside {BASELINE} in this process")
        measure_step_costs(
            {name: configs[name] for name in waiting},
            reference=configs[BASELINE],
            baseline=BASELINE,
            done=lambda cost: append_step_cost(path, cost),
        )


def report_league(
    out: str | os.PathLike[str],
    *,
    page: str | os.PathLike[str] | None = None,
    message: Callable[[str], None] = print,
) -> Path:
    """Print the table of a league and write its page and figure, from its records alone.

    Args:
        out: Directory of the league.
        page: Where the page goes; `out/league.md` if None.
        message: Told the table and where the page is.

    Raises:
        FileNotFoundError: There is no ledger.
    """
    out = Path(out)
    result = read_league(out)
    page = Path(page) if page is not None else out / "league.md"
    command = f"logclock league --report-only --out {out} --page {page}"
    written = write_league_page(result, page, command=command)
    message(f"\n{plain_text(league_table(result))}\n\n{league_headline(result)}\n\npage: {written}")
    return written


def read_league(out: str | os.PathLike[str]) -> LeagueResult:
    """Analyse the records of a league's directory.

    Raises:
        FileNotFoundError: There is no ledger.
    """
    out = Path(out)
    if not (out / "ledger.jsonl").exists():
        raise FileNotFoundError(f"no ledger at {out / 'ledger.jsonl'}. Give the --out directory of a league.")
    return analyse_league(
        Ledger(out / "ledger.jsonl").records(),
        rungs=[Ledger(path).records() for path in sorted(out.glob(f"{RUNGS}/*/ledger.jsonl"))],
        scouting=Ledger(out / SCOUTING / "ledger.jsonl").records(),
        costs=read_step_costs(out / STEP_COSTS),
    )


def plan_text(
    league: League, left: Mapping[Stage, Mapping[str, int]], costs: Mapping[str, RunCost], *, num_jobs: int
) -> str:
    """Return the planned runs and their cost."""
    fewest = len(league.multipliers)
    lines = [
        f"league of {len(league.optimizers)} optimizers: {league.total_steps:,} updates a run; each has "
        f"{len(league.scouting)} short runs, {fewest} to {fewest + league.extensions} whole ones at seed "
        f"{league.seeds[0]}, {len(league.seeds) - 1} at other seeds"
    ]
    for stage, runs in left.items():
        seconds = _core_seconds({stage: runs}, costs)
        name = stage.folder or "comparison"
        runs_left = f"{sum(runs.values()):>5} runs of {stage.steps:,} updates left"
        lines.append(f"  {name + ':':<14}{runs_left}, {duration(seconds)} of one core")
    seconds = _core_seconds(left, costs)
    lines.append(f"at most {duration(seconds)} of one core, {duration(seconds / num_jobs)} at {num_jobs} at a time")
    slowest = sorted(costs, key=lambda name: -costs[name].step_seconds)[:3]
    if slowest:
        lines.append("slowest: " + ", ".join(f"{name} {costs[name].seconds:.0f} s a run" for name in slowest))
        load = sorted(cost.load for cost in costs.values())[len(costs) // 2]
        if load > BUSY:
            lines.append(f"note: this machine is busy with something else; at rest about {1 / load:.0%} of that")
    return "\n".join(lines)


def _runs_left(league: League, out: Path) -> dict[Stage, dict[str, int]]:
    """Return how many runs every optimizer may still need, by stage."""
    left = {}
    for stage in league.stages():
        records = Ledger(out / stage.folder / "ledger.jsonl").records()
        done = [r.label for r in records if r.status in ("finished", "diverged")]
        counts = {name: stage.runs_each - done.count(name) for name in stage.optimizers}
        left[stage] = {name: count for name, count in counts.items() if count > 0}
    return left


def _core_seconds(left: Mapping[Stage, Mapping[str, int]], costs: Mapping[str, RunCost]) -> float:
    """Return how long the runs that are left take one after the other."""
    return sum(
        count
        * (
            costs[name].start_seconds
            + stage.steps * costs[name].step_seconds
            + costs[name].num_evaluations * costs[name].evaluation_seconds
        )
        for stage, runs in left.items()
        for name, count in runs.items()
    )
