"""What can be typed after `logclock`?

Each command is a function: its signature is the command line, its docstring the help.

Imports that load torch stand inside the commands, so that `--help` and `report` answer at once.
"""

import functools
import inspect
import json
import math
import shlex
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from logclock.cli.calibrate import calibrate
from logclock.cli.check import check
from logclock.cli.import_runs import import_runs
from logclock.cli.suggest import suggest

__all__ = ["COMMANDS", "DATA_COMMANDS"]

Names = Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="OPTIMIZER ...", help_behavior_hint="")]
Assignments = Annotated[tuple[str, ...], tyro.conf.arg(name="set", metavar="PATH=VALUE ...", help_behavior_hint="")]
AsJson = Annotated[bool, tyro.conf.arg(name="json")]
Int = Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="")]
Float = Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint="")]
Text = Annotated[str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="")]
Location = Annotated[Path | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="")]
Factors = Annotated[tuple[float, ...] | None, tyro.conf.arg(metavar="FLOAT ...", help_behavior_hint="")]
Sizes = Annotated[tuple[int, ...] | None, tyro.conf.arg(metavar="HEADS ...", help_behavior_hint="")]
SomeNames = Annotated[tuple[str, ...] | None, tyro.conf.arg(metavar="OPTIMIZER ...", help_behavior_hint="")]
Axes = Annotated[tuple[str, ...], tyro.conf.arg(metavar="PATH=VALUE,VALUE ...", help_behavior_hint="")]
Duration = Annotated[str | None, tyro.conf.arg(metavar="DURATION", help_behavior_hint="")]
Address = Annotated[str | None, tyro.conf.arg(metavar="ADDRESS", help_behavior_hint="")]
Progress = Literal["auto", "live", "plain", "quiet"]

SIDE = 1024
"""Of the square matrix whose state `list` counts; the default bounds on sides are above it."""

LR_MULTIPLIERS = (0.5, 0.7, 1.0, 1.4, 2.0)
"""Factors on the recipe's learning rates; the study swept about this range."""


def train(
    *,
    recipe: Text = None,
    optimizer: Text = None,
    heads: Int = None,
    steps: Int = None,
    seed: Int = None,
    config: Location = None,
    assignments: Assignments = (),
    out: Path = Path("runs/train"),
    resume: bool = True,
    verify: bool = False,
    accept_version: bool = False,
    data_root: Location = None,
    progress: Progress = "auto",
) -> int:
    """Train one model and write its record.

    The run is a recipe's (demo and adana if not said) or a configuration file's. Started again, it goes on from its
    latest checkpoint; SIGTERM and Ctrl-C write one first. With other steps it is another run, which starts at step 1.
    Exit codes: 0 finished, 1 failed, 2 wrong request, 3 diverged, 130 stopped by a signal; `logclock --help` has all.

    Args:
        recipe: Where the configuration comes from; see `logclock list`.
        optimizer: Which optimizer the recipe sets up.
        heads: The recipe's size.
        steps: Updates, with every schedule made for that many.
        seed: Seed of the initial weights and of the data order.
        config: A JSON file, as `logclock show --json` writes it, instead of a recipe.
        assignments: Changes, such as `optimizer.lr=1e-3 log_interval=50`; `logclock show` lists every path.
        out: Directory of the study: ledger.jsonl, and the run's files under runs/.
        resume: Go on from the latest checkpoint; otherwise start over.
        verify: Read the whole dataset and compare it with its hashes; otherwise a few blocks of it.
        accept_version: Go on from checkpoints that another version of logclock or torch wrote; the records say so.
        data_root: Where datasets lie; $LOGCLOCK_DATA or ~/.cache/logclock if not said.
        progress: How progress shows; auto is live on a terminal and plain elsewhere.
    """
    from logclock.cli.compare import ensure_named_dataset
    from logclock.train import exit_code, open_display
    from logclock.train import train as run_training

    resolved = _resolved(recipe, optimizer, heads, steps, seed, config, _accepting(accept_version, assignments))
    ensure_named_dataset(resolved, root=data_root, message=print)
    with open_display(progress) as display:
        record = run_training(
            resolved, out=out, resume=resume, data_root=data_root, display=display, command=_command(), verify=verify
        )
    loss = record.metrics.get("final_validation_loss")
    told = [record.status, record.reason or (f"validation loss {loss:.4f}" if loss is not None else "")]
    print(f"{record.label}: {', '.join(filter(None, told))} (run {record.run_id}, in {out / 'runs' / record.run_id})")
    return exit_code(record)


def compare(
    optimizers: Names,
    /,
    *,
    recipe: str = "demo",
    seeds: tuple[int, ...] = (0,),
    heads: Int = None,
    steps: Int = None,
    lr_sweep: bool = False,
    lr_multipliers: Factors = None,
    sweep_steps: Int = None,
    protocol: Literal["plain", "fantastic"] = "plain",
    trials: Int = None,
    threshold: Float = None,
    class_rates: bool = False,
    assignments: Assignments = (),
    out: Location = None,
    jobs: Int = None,
    accept_version: bool = False,
    data_root: Location = None,
    progress: Progress = "auto",
) -> int:
    """Train several optimizers on the same tokens in the same order and report who wins.

    The first one is the baseline. Runs that OUT holds already are not made again, and interrupted ones go on, so the
    same command finishes what was stopped. Ends with a table and OUT/report.html.

    Args:
        optimizers: Names such as `adamw adana dana-star-mk4`; see `logclock list`.
        recipe: Sets up every run.
        seeds: Each is one more run per optimizer, with other initial weights and another data order.
        heads: The recipe's size.
        steps: Updates of a run, with every schedule made for that many.
        lr_sweep: First try several learning rates in short runs, the same number for every optimizer, more while one is
            best at the edge, and use the best.
        lr_multipliers: Factors on the recipe's learning rates for the sweep; 0.5 0.7 1 1.4 2 if not said.
        sweep_steps: Updates of a run of the sweep; a fifth of a main run if not said.
        protocol: `fantastic` tunes every hyperparameter of each optimizer's search space by coordinate descent, in
            whole runs, and reports the recipe's own settings beside it, in OUT/defaults.
        trials: Of every optimizer with that protocol; 24 if not said.
        threshold: Nats that a change must gain to be kept; 0.003 if not said.
        class_rates: With that protocol, tune the rate of embedding, head and gains too.
        assignments: Changes for every optimizer, such as `data.batch_size=32`, or for one, such as
            `adana:optimizer.kappa=0.9`.
        out: Directory of the study; runs/RECIPE if not said.
        jobs: Runs at a time; one per core if not said.
        accept_version: Go on from checkpoints that another version of logclock or torch wrote; the records say so.
        data_root: Where datasets lie; $LOGCLOCK_DATA or ~/.cache/logclock if not said.
        progress: How progress shows; auto is live on a terminal and plain elsewhere.
    """
    from logclock.cli.compare import Request
    from logclock.cli.compare import compare as run_comparison
    from logclock.train import open_display

    if not lr_sweep and (lr_multipliers is not None or sweep_steps is not None):
        raise ValueError("--lr-multipliers and --sweep-steps have no effect without --lr-sweep. Add it.")
    is_plain = protocol == "plain"
    if is_plain and (trials is not None or threshold is not None):
        raise ValueError("--trials and --threshold have no effect without --protocol fantastic. Add it.")
    if is_plain and class_rates:
        raise ValueError(
            "--class-rates has no effect without --protocol fantastic. Add it, or set one ratio for all with --set "
            "tables_lr_factor=4."
        )
    if not is_plain and lr_sweep:
        raise ValueError("--protocol fantastic searches the learning rate itself. Leave out --lr-sweep.")
    request = Request(
        optimizers=optimizers,
        recipe=recipe,
        seeds=seeds,
        heads=heads,
        steps=steps,
        overrides=_accepting(accept_version, assignments),
        lr_multipliers=(lr_multipliers or LR_MULTIPLIERS) if lr_sweep else None,
        sweep_steps=sweep_steps,
    )
    if not is_plain:
        from logclock.cli.fantastic import compare_fantastic

        return compare_fantastic(
            request,
            budget=24 if trials is None else trials,
            threshold=3e-3 if threshold is None else threshold,
            class_rates=class_rates,
            out=out or Path("runs") / f"{recipe}-fantastic",
            display=functools.partial(open_display, progress),
            num_jobs=jobs,
            data_root=data_root,
            command=_command(),
        )
    return run_comparison(
        request,
        out=out or Path("runs") / recipe,
        display=functools.partial(open_display, progress),
        num_jobs=jobs,
        data_root=data_root,
        command=_command(),
    )


def ladder(
    *,
    recipe: str = "ladder",
    sizes: Sizes = None,
    optimizers: SomeNames = None,
    tokens_per_param: float = 20.0,
    lr_multipliers: Factors = None,
    extensions: int = 2,
    axes: Axes = (),
    search: Literal["lr", "full", "classes"] = "lr",
    tracks: tuple[Literal["tuned", "defaults"], ...] = ("tuned",),
    follow: bool = True,
    seeds: tuple[int, ...] = (0, 1),
    budget: Duration = None,
    dry_run: bool = False,
    assignments: Assignments = (),
    out: Location = None,
    jobs: Int = None,
    accept_version: bool = False,
    ray: Address = None,
    data_root: Location = None,
    progress: Progress = "auto",
) -> int:
    """Tune several optimizers alike at several sizes and report how their compute efficiency grows.

    Prints the planned runs and what they will cost by a short timing of this machine, then makes them. Runs that OUT
    holds already are not made again, and interrupted ones go on, so the same command finishes what was stopped. Without
    arguments it is the micro ladder: about two hours on two cores.

    Args:
        recipe: Sets up every run.
        sizes: Numbers of heads, ascending; those of the micro ladder if not said.
        optimizers: Names; the first is the baseline. Those of the micro ladder that there are if not said.
        tokens_per_param: Tokens of a run for each of its total parameters.
        lr_multipliers: The grid of learning rates, factors on its centre; 0.5 1 2 if not said.
        extensions: Further trials while an optimizer is best at the edge of its grid, granted to all.
        axes: More to search, such as `optimizer.weight_decay=x0.5,x2` (factors) or `adana:optimizer.kappa=0.8,0.9`.
        search: What every optimizer searches: its learning rate, its full documented space (full), or that and the rate
            of embedding, head and gains (classes).
        tracks: Tuned, defaults (the recipe as it is), or both.
        follow: Centre the grid of a size on the winner of the size below, otherwise on the recipe's rule.
        seeds: The first searches, all run at the winner.
        budget: Refuse a ladder that may take longer, such as 3h or 90m, and say what fits.
        dry_run: Stop after the plan.
        assignments: Changes for every optimizer, such as `data.batch_size=32`, or for one, such as
            `adana:optimizer.kappa=0.9`.
        out: Directory of the study; runs/RECIPE if not said.
        jobs: Runs at a time; one per core if not said.
        accept_version: Go on from checkpoints that another version of logclock or torch wrote; the records say so.
        ray: Address of a Ray cluster to run on, or auto; this machine if not said.
        data_root: Where datasets lie; $LOGCLOCK_DATA or ~/.cache/logclock if not said.
        progress: How progress shows; auto is live on a terminal and plain elsewhere.
    """
    from logclock.cli.ladder import LadderRequest, parse_duration, run
    from logclock.recipes import VARIANTS
    from logclock.recipes.ladder import OPTIMIZERS, SIZES
    from logclock.train import open_display

    request = LadderRequest(
        recipe=recipe,
        optimizers=optimizers or tuple(name for name in OPTIMIZERS if name in VARIANTS),
        sizes=sizes or SIZES,
        overrides=_accepting(accept_version, assignments),
        axes=axes,
        searches_all=search != "lr",
        searches_class_rates=search == "classes",
        fields={
            "tokens_per_param": tokens_per_param,
            "multipliers": lr_multipliers or (0.5, 1.0, 2.0),
            "extensions": extensions,
            "seeds": seeds,
            "tracks": tracks,
            "follows": follow,
        },
    )
    return run(
        request,
        out=out or Path("runs") / recipe,
        display=functools.partial(open_display, progress),
        budget_seconds=None if budget is None else parse_duration(budget),
        dry_run=dry_run,
        num_jobs=jobs,
        ray_address=ray,
        data_root=data_root,
        command=_command(),
    )


def ablate(
    names: Annotated[
        tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="EXPERIMENT ...", help_behavior_hint="")
    ],
    /,
    *,
    seeds: Annotated[tuple[int, ...] | None, tyro.conf.arg(metavar="INT ...", help_behavior_hint="")] = None,
    steps: Int = None,
    out: Path = Path("runs/ablations"),
    jobs: Int = None,
    accept_version: bool = False,
    data_root: Location = None,
    report_only: bool = False,
    progress: Progress = "auto",
) -> int:
    """Run experiments that take optimizers apart: which claims of the studies hold on a model of one CPU core?

    Every arm of an experiment gets the same number of learning rates, then every seed at its best. Runs that OUT holds
    already are not made again. Writes OUT/EXPERIMENT/report.html and arms.svg; several horizons share OUT/horizon.svg.

    Args:
        names: stability, weight-decay, components, horizon-5, -20, -80 and -160, warmup-muon, -lion and -normsgd.
        seeds: The first sweeps the learning rate, all run at the best one; the experiment's own if not said.
        steps: Updates of every run, with every schedule made for that many; the experiment's own if not said.
        out: Directory of all of them.
        jobs: Runs at a time; one per core if not said.
        accept_version: Go on from checkpoints that another version of logclock or torch wrote; the records say so.
        data_root: Where datasets lie; $LOGCLOCK_DATA or ~/.cache/logclock if not said.
        report_only: Only rebuild pages and figures, from the records in OUT.
        progress: How progress shows; auto is live on a terminal and plain elsewhere.
    """
    from logclock.cli.ablate import ablate as run_experiments
    from logclock.cli.ablate import report_ablations

    if not names:
        raise ValueError("name at least one experiment, e.g. `logclock ablate weight-decay`; --help lists them.")
    if report_only:
        report_ablations(names, out=out)
        return 0
    from logclock.train import open_display

    return run_experiments(
        names,
        out=out,
        display=functools.partial(open_display, progress),
        seeds=seeds,
        steps=steps,
        num_jobs=jobs,
        overrides=_accepting(accept_version, ()),
        data_root=data_root,
        command=_command(),
    )


def league(
    *,
    only: SomeNames = None,
    leave_out: SomeNames = None,
    tokens_per_param: float = 8.0,
    steps: Int = None,
    extensions: int = 1,
    seeds: tuple[int, ...] = (0, 1, 2),
    budget: Duration = None,
    dry_run: bool = False,
    report_only: bool = False,
    assignments: Assignments = (),
    out: Path = Path("runs/league"),
    page: Location = None,
    jobs: Int = None,
    accept_version: bool = False,
    ray: Address = None,
    data_root: Location = None,
    progress: Progress = "auto",
) -> int:
    """Rank every optimizer on one small benchmark, each tuned with the same number of runs, on one page.

    Prints the planned runs and what they will cost by a short timing of this machine, then makes them: short runs at
    learning rates far apart, whole ones around the best, other seeds at the winner, and AdamW at other lengths, which
    say what a loss costs. Runs that OUT holds already are not made again: the same command finishes what was stopped.

    Args:
        only: Entries to rank, beside AdamW; every optimizer of recipes but those that take ADANA apart if not said.
        leave_out: Entries to leave out.
        tokens_per_param: Tokens of a run for each of the model's 45,056 parameters.
        steps: Updates of a run instead.
        extensions: Further trials while an optimizer is best at the edge of its grid, granted to all.
        seeds: The first searches, all run at the winner.
        budget: Refuse a league that may take longer, such as 3h or 90m.
        dry_run: Stop after the plan.
        report_only: Only write the page, from the records in OUT.
        assignments: Changes for every run, such as `data.dataset=stdlib-bpe-512`.
        out: Directory of the league.
        page: Where the page goes, its figure beside it as figures/league.svg; OUT/league.md if not said.
        jobs: Runs at a time; one per core if not said.
        accept_version: Go on from checkpoints that another version of logclock or torch wrote; the records say so.
        ray: Address of a Ray cluster to run on, or auto; this machine if not said.
        data_root: Where datasets lie; $LOGCLOCK_DATA or ~/.cache/logclock if not said.
        progress: How progress shows; auto is live on a terminal and plain elsewhere.
    """
    from logclock.cli.ladder import parse_duration
    from logclock.cli.league import report_league, run

    if report_only:
        report_league(out, page=page)
        return 0
    from logclock.recipes.league import League, entries
    from logclock.train import open_display

    return run(
        League(
            optimizers=tuple(entries(only or (), without=leave_out or ())),
            tokens_per_param=tokens_per_param,
            steps=steps,
            extensions=extensions,
            seeds=seeds,
            overrides=_accepting(accept_version, assignments),
        ),
        out=out,
        page=page,
        display=functools.partial(open_display, progress),
        budget_seconds=None if budget is None else parse_duration(budget),
        dry_run=dry_run,
        num_jobs=jobs,
        ray_address=ray,
        data_root=data_root,
        command=_command(),
    )


def report(
    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")], /, *, baseline: Text = None
) -> int:
    """Write OUT/report.html again from OUT/ledger.jsonl alone, byte for byte the same.

    Args:
        out: Directory of a comparison or a ladder.
        baseline: The optimizer to compare with; that of the study if not said.
    """
    from logclock.cli.reporting import rebuild_report

    rebuild_report(out, baseline=baseline)
    return 0


def diagnose(
    runs: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="RUN ...", help_behavior_hint="")],
    /,
    *,
    out: Path = Path("diagnosis.html"),
    matrices: Annotated[str, tyro.conf.arg(metavar="PATTERN")] = "*",
    tokens: int = 2**16,
    data_root: Location = None,
) -> int:
    """Look into trained models, side by side: spectra, outliers, rounding, optimizer state, size of updates; one page.

    Args:
        runs: Folders OUT/runs/RUN_ID, entries of a ledger as OUT:LABEL or OUT:RUN_ID, or safetensors files of any
            model, of which only the weights can be looked at.
        out: The page to write.
        matrices: Names to look at, such as `*mlp*`; large matrices take long.
        tokens: About how many validation tokens hidden states are taken on.
        data_root: Where datasets lie; $LOGCLOCK_DATA or ~/.cache/logclock if not said.
    """
    from logclock.diagnostics import diagnose as look
    from logclock.report.diagnosis_page import diagnosis_headline, loss_table, write_diagnosis
    from logclock.report.tables import plain_text

    found = look(runs, pattern=matrices, max_tokens=tokens, data_root=data_root, message=print)
    page = write_diagnosis(found, out)
    print(f"\n{plain_text(loss_table(found))}\n\n{diagnosis_headline(found)}\n\nreport: {page}")
    return 0


def show(
    *,
    recipe: Text = None,
    optimizer: Text = None,
    heads: Int = None,
    steps: Int = None,
    seed: Int = None,
    config: Location = None,
    assignments: Assignments = (),
    as_json: AsJson = False,
) -> int:
    """Print a run's complete configuration, one PATH=VALUE a line, as --set takes them.

    Args:
        recipe: Where the configuration comes from; demo if not said.
        optimizer: Which optimizer the recipe sets up; adana if not said.
        heads: The recipe's size.
        steps: Updates, with every schedule made for that many.
        seed: Seed of the initial weights and of the data order.
        config: A JSON file instead of a recipe.
        assignments: Changes, such as `optimizer.lr=1e-3`.
        as_json: Print JSON, as --config takes it.
    """
    from logclock.analysis.study import flatten
    from logclock.config import to_dict
    from logclock.train import run_id

    resolved = _resolved(recipe, optimizer, heads, steps, seed, config, assignments)
    data = to_dict(resolved)
    if as_json:
        print(json.dumps(data, indent=2))
        return 0
    size = resolved.model.size()
    print(f"# run {run_id(resolved)}: P = {size.non_embedding_params:,}, D = {size.total_params:,}")
    for path, value in flatten(data).items():
        print(f"{path}={value}")
    return 0


def list_names() -> int:
    """Print the optimizers, what may stand around them, schedules, models, recipes and corpora, a line each."""
    from logclock.data import corpora
    from logclock.models import ModelConfig
    from logclock.recipes import RECIPES, VARIANTS
    from logclock.rules import Spec
    from logclock.rules.apply import Apply
    from logclock.rules.wrappers import Wrapper
    from logclock.schedules import Schedule

    algorithms = {name: Spec.family.get(name) for name in Spec.family}
    wrappers, applies = Wrapper.family.members, Apply.family.members
    sections: dict[str, Iterable[tuple[str, str]]] = {
        "optimizers (algorithms; fields are set with --set optimizer.FIELD=VALUE)": [
            (
                name,
                f"{text} [{'; '.join(filter(None, (algorithms[name].paper, _state_of_algorithm(algorithms[name]))))}]",
            )
            for name, text in _described(algorithms)
        ],
        "wrappers (around any optimizer: --set optimizer.wrappers='[\"NAME\"]')": [
            (name, f"{text} [{_state_of_option(wrappers[name])}]") for name, text in _described(wrappers)
        ],
        "apply stages (how an update meets the weights: --set optimizer.apply=NAME)": [
            (name, f"{text} [{_state_of_option(applies[name])}]") for name, text in _described(applies)
        ],
        "optimizers of recipes (what train and compare take)": [(v.name, v.question) for v in VARIANTS.values()],
        "schedules": _described(Schedule.family.members),
        "models": _described(ModelConfig.family.members),
        "recipes": _described(RECIPES),
        "corpora": [(corpus.name, corpus.description) for corpus in corpora()],
    }
    for title, entries in sections.items():
        print(f"{title}:")
        for name, description in entries:
            print(f"  {name:<25}{description}")
    return 0


def data_get(
    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="CORPUS")],
    /,
    *,
    data_root: Location = None,
    limit_bytes: Int = None,
    force: bool = False,
) -> int:
    """Build a corpus from its sources, downloading what it needs.

    Args:
        name: essentials, stdlib or synthetic.
        data_root: Where corpora lie; $LOGCLOCK_DATA or ~/.cache/logclock if not said.
        limit_bytes: Build no more than this much text (stdlib and synthetic).
        force: Build it again even if it is there.
    """
    from logclock.data import get_corpus

    get_corpus(name, root=data_root, limit_bytes=limit_bytes, force=force)
    return 0


def data_prepare(
    source: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="SOURCE")],
    out: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="[OUT]", help_behavior_hint="")] = None,
    /,
    *,
    tokenizer: str = "bpe",
    vocab_size: Int = None,
    column: Text = None,
    subset: Text = None,
    split: Text = None,
    limit_bytes: Int = None,
    validation_fraction: Float = None,
    dtype: Annotated[Literal["uint16", "uint32"] | None, tyro.conf.arg(metavar="TYPE", help_behavior_hint="")] = None,
    end_of_text: Int = None,
    data_root: Location = None,
    force: bool = False,
) -> int:
    """Turn text, or token ids of other programs, into a dataset of token shards.

    Text files, JSON, CSV, Parquet and Arrow are told apart by name and content; .gz and .zst are read through. Token
    files are those of llm.c and nanoGPT (.bin) and numpy arrays (.npy): give a folder to keep its train and val apart,
    and the tokenizer that made them.

    Args:
        source: A corpus, a text or token file, a folder of them, a JSON, CSV, Parquet or Arrow file, or a Hugging Face
            dataset.
        out: Directory to write; a bare name lies among the datasets of the data root, where data.dataset finds it. If
            not said, a name is made of source and tokenizer, such as notes-byte-257.
        tokenizer: bpe trains one on the text, byte takes bytes, anything else is a tokenizer.json. For token files
            without one, gpt2-like stands for the 50257 ids of GPT-2 and ids for --vocab-size of them; bits per byte are
            then not reported.
        vocab_size: For bpe, end-of-text included, 2048 if not said; for ids, their number.
        column: Where the text stands in tables and Hugging Face rows; text if not said.
        subset: Configuration of a Hugging Face dataset, such as sample-10BT.
        split: Split of a Hugging Face dataset; train if not said.
        limit_bytes: Stop before the training text exceeds this.
        validation_fraction: Share of the documents to hold out.
        dtype: How token files without a header, such as those of nanoGPT, store an id, uint16 or uint32.
        end_of_text: For ids, the id that ends a document.
        data_root: Where corpora and datasets lie; $LOGCLOCK_DATA or ~/.cache/logclock if not said.
        force: Replace what is there.
    """
    from logclock.data import data_root as default_root
    from logclock.data import prepare
    from logclock.data.prepare import dataset_name

    out = out or dataset_name(source, tokenizer, vocab_size)
    prepare(
        source,
        default_root(data_root) / "datasets" / out if Path(out).name == out else Path(out),
        tokenizer=tokenizer,
        vocab_size=vocab_size,
        column=column,
        subset=subset,
        split=split,
        limit_bytes=limit_bytes,
        validation_fraction=validation_fraction,
        dtype=dtype,
        end_of_text=end_of_text,
        root=data_root,
        force=force,
    )
    return 0


def data_verify(
    dataset: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="DATASET")], /, *, data_root: Location = None
) -> int:
    """Read a whole dataset and compare it with the hashes of when it was prepared.

    Runs do this with sizes, times of change and a few blocks; `train --verify` as a whole.

    Args:
        dataset: Name under the data root, or a path, as in data.dataset.
        data_root: Where datasets lie; $LOGCLOCK_DATA or ~/.cache/logclock if not said.
    """
    from logclock.data import Dataset
    from logclock.data import data_root as default_root

    opened = Dataset.open(
        Path(dataset) if "/" in dataset else default_root(data_root) / "datasets" / dataset, verify=True
    )
    print(
        f"{opened.directory} is as it was written: {len(opened.train)} training and {len(opened.validation)} "
        f"validation tokens, fingerprint {opened.fingerprint}"
    )
    return 0


def data_list(*, data_root: Location = None) -> int:
    """Print the corpora there are and which of them are built.

    Args:
        data_root: Where corpora lie; $LOGCLOCK_DATA or ~/.cache/logclock if not said.
    """
    from logclock.data import list_corpora

    print(list_corpora(root=data_root))
    return 0


def data() -> int:
    """Get corpora and prepare datasets: data get, data prepare, data list, data verify."""
    raise AssertionError("entry.main hands `data ...` to DATA_COMMANDS")


def plrf() -> int:
    """Compute risks, phases and exponents on power-law random features: plrf risk, plrf exponents, ..."""
    raise AssertionError("entry.main hands `plrf ...` to PLRF_COMMANDS")


COMMANDS: dict[str, Callable[..., int]] = {
    "compare": compare,
    "ladder": ladder,
    "ablate": ablate,
    "league": league,
    "calibrate": calibrate,
    "train": train,
    "import": import_runs,
    "report": report,
    "diagnose": diagnose,
    "check": check,
    "show": show,
    "list": list_names,
    "suggest": suggest,
    "data": data,
    "plrf": plrf,
}

DATA_COMMANDS: dict[str, Callable[..., int]] = {
    "get": data_get,
    "prepare": data_prepare,
    "list": data_list,
    "verify": data_verify,
}


def _resolved(
    recipe: str | None,
    optimizer: str | None,
    heads: int | None,
    steps: int | None,
    seed: int | None,
    path: Path | None,
    assignments: tuple[str, ...],
) -> Any:
    """Return the run of a recipe or of a file."""
    from logclock.cli.compare import resolve
    from logclock.config import from_dict, override
    from logclock.config.files import read_json
    from logclock.train import RunConfig

    if path is None:
        return resolve(
            recipe or "demo", optimizer or "adana", seed=seed or 0, heads=heads, steps=steps, overrides=assignments
        )
    dials = {"recipe": recipe, "optimizer": optimizer, "heads": heads, "steps": steps, "seed": seed}
    given = [f"--{name}" for name, value in dials.items() if value is not None]
    if given:
        raise ValueError(f"--config gives a whole configuration, {' and '.join(given)} a recipe's. Use --set with it.")
    advice = "`logclock show --json` writes one."
    if not path.exists():
        raise FileNotFoundError(f"no file {path}. {advice}")
    data = read_json(path, advice=advice)
    try:
        config = from_dict(RunConfig, data)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{path}: {error}") from error
    return override(config, assignments)


def _accepting(accept_version: bool, assignments: tuple[str, ...]) -> tuple[str, ...]:
    """Return the assignments, with the one that `--accept-version` stands for."""
    return (*assignments, "execution.accept_version=true") if accept_version else assignments


def _described(members: dict[str, Any]) -> list[tuple[str, str]]:
    """Return names with the first sentence of their docstrings."""
    return [(name, (inspect.getdoc(member) or "").partition("\n")[0]) for name, member in sorted(members.items())]


def _state_of_algorithm(spec: Any) -> str:
    """Return the memory of an algorithm's state, with its default values, as text."""
    made = spec(lr=1e-3)
    return _memory(made.rule.states, functools.partial(made.state_shape, shape=(SIDE, SIDE)))


def _state_of_option(option: Any) -> str:
    """Return the memory of a wrapper's or an apply stage's state as text."""
    steps = option().steps()
    states = {name: state for step in steps for name, state in zip(step.state_names, step.states, strict=True)}
    return _memory(states, lambda name: states[name].shape_for((SIDE, SIDE)))


def _memory(states: dict[str, Any], shape_of: Callable[[str], tuple[int, ...]]) -> str:
    """Return the bytes of float32 states per parameter; a state along one side of a matrix counts as nothing."""
    num_values = sum(math.prod(shape_of(name)) for name, state in states.items() if not state.is_number)
    depends_on_shape = any(len(state.shape) == 2 for state in states.values() if not isinstance(state.shape, str))
    of_what = " of a square matrix" if depends_on_shape else ""
    if any(state.has_rank for state in states.values()):
        of_what += f" with a side of {SIDE}"
    return f"state {round(4 * num_values / SIDE**2)} bytes per parameter{of_what}"


def _command() -> str:
    """Return what the user typed, as a shell would take it."""
    return shlex.join(["logclock", *sys.argv[1:]])
