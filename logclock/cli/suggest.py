"""What does `logclock suggest` do? Published rules side by side, or torch's AdamW in another optimizer."""

import dataclasses
import itertools
import json
import textwrap
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from logclock.suggestions import (
    QUANTITIES,
    RULES,
    TARGETS,
    Advice,
    Range,
    Rule,
    Situation,
    Translation,
    advise,
    count_text,
    parse_count,
    translate_adamw,
)

__all__ = ["advice_data", "advice_text", "suggest", "translation_data", "translation_text"]

Count = Annotated[str | None, tyro.conf.arg(metavar="COUNT", help_behavior_hint="")]
Number = Annotated[float | None, tyro.conf.arg(metavar="FLOAT", help_behavior_hint="")]
Name = Annotated[str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="")]
Betas = Annotated[tuple[float, float] | None, tyro.conf.arg(metavar="BETA1 BETA2", help_behavior_hint="")]
From = Annotated[Literal["adamw"] | None, tyro.conf.arg(name="from", metavar="adamw", help_behavior_hint="")]
Folder = Annotated[Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="")]

WIDTH = 80

NUMBER_WIDTH = 20


def suggest(
    *,
    params: Count = None,
    tokens: Count = None,
    batch_tokens: Count = None,
    total_params: Count = None,
    sequence_length: Count = None,
    width: Count = None,
    depth: Count = None,
    noise_tokens: Count = None,
    noise_from: Folder = None,
    optimizer: Name = None,
    lr: Number = None,
    base_lr: Number = None,
    base_weight_decay: Number = None,
    base_beta2: Number = None,
    base_params: Count = None,
    base_tokens: Count = None,
    base_batch_tokens: Count = None,
    base_width: Count = None,
    lora_rank: Count = None,
    base_lora_rank: Count = None,
    base_lora_alpha: Number = None,
    ladder: Folder = None,
    from_: From = None,
    to: Name = None,
    betas: Betas = None,
    weight_decay: Number = None,
    eps: Number = None,
    steps: Count = None,
    untuned: bool = False,
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False,
) -> int:
    """Print what published rules say about hyperparameters, or what torch's AdamW becomes in another optimizer.

    Every rule comes with its formula, source and range, and a warning outside of it. Rules that scale a run that is
    known to be good take its numbers as --base-...; the others are absolute. With `--from adamw --lr 6e-4 --betas 0.9
    0.95 --weight-decay 0.1 --steps 100000` it prints code to paste instead. Counts may be written 124M, 2.6B, 0.5e6.

    Args:
        params: Non-embedding parameters.
        tokens: Training tokens.
        batch_tokens: Tokens per update.
        total_params: All parameters, vocabulary tables included.
        sequence_length: Tokens per sequence.
        width: Width of the model.
        depth: Layers of the model.
        noise_tokens: Gradient noise scale in tokens, near the critical batch size.
        noise_from: Directory of a study whose runs measured it; their mean is taken.
        optimizer: Only rules for this one, at every kappa and batch, and those for any.
        lr: Peak learning rate; with --from, AdamW's.
        base_lr: Best peak learning rate of a run that is known to be good.
        base_weight_decay: Its weight decay, as torch takes it.
        base_beta2: Its beta2.
        base_params: Its non-embedding parameters.
        base_tokens: Its training tokens.
        base_batch_tokens: Its tokens per update.
        base_width: Its width.
        lora_rank: Rank of a low-rank adapter.
        base_lora_rank: Rank of an adapter that is known to be good.
        base_lora_alpha: Its alpha.
        ladder: Directory of a ladder of yours, whose learning rates give rules too.
        from_: Translate the settings of torch.optim.AdamW.
        to: Only into adana, dana-star-mk4, muon-adana or ademamix.
        betas: AdamW's; 0.9 0.999 if not said.
        weight_decay: AdamW's; 0.01 if not said.
        eps: AdamW's; 1e-8 if not said.
        steps: Planned updates.
        untuned: AdamW's learning rate was never tuned.
        as_json: Print JSON.
    """
    counts: dict[str, str | None] = {
        "params": params,
        "tokens": tokens,
        "batch_tokens": batch_tokens,
        "total_params": total_params,
        "sequence_length": sequence_length,
        "width": width,
        "depth": depth,
        "noise_tokens": noise_tokens,
        "base_params": base_params,
        "base_tokens": base_tokens,
        "base_batch_tokens": base_batch_tokens,
        "base_width": base_width,
        "lora_rank": lora_rank,
        "base_lora_rank": base_lora_rank,
    }
    numbers: dict[str, float | None] = {
        "lr": lr,
        "base_lr": base_lr,
        "base_weight_decay": base_weight_decay,
        "base_beta2": base_beta2,
        "base_lora_alpha": base_lora_alpha,
    }
    translating = {"to": to, "betas": betas, "weight_decay": weight_decay, "eps": eps, "steps": steps}
    given = {name: parse_count(text, name=name) for name, text in counts.items() if text is not None}
    given |= {name: number for name, number in numbers.items() if number is not None}
    if noise_from is not None:
        if noise_tokens is not None:
            raise ValueError("--noise-tokens and --noise-from both say the noise scale. Give one of them.")
        given["noise_tokens"] = _noise_of_study(noise_from)
    if from_ is not None:
        _refuse(given, but=("lr", "batch_tokens", "params"), others={"optimizer": optimizer, "ladder": ladder})
        return _translate(given, to, betas, weight_decay, eps, steps, untuned, as_json)
    unused = [name for name, value in translating.items() if value is not None] + (["untuned"] if untuned else [])
    if unused:
        flags = " and ".join(map(_flag, unused))
        raise ValueError(f"{flags} describe torch's AdamW, which is translated. Add --from adamw.")
    if not given:
        raise ValueError(
            "a rule needs numbers of the run. Give --params, --tokens and --batch-tokens, such as --params 124M "
            "--tokens 2.5B --batch-tokens 0.5M; or --from adamw with its settings."
        )
    situation = Situation(**given)
    rules = RULES if ladder is None else (*_rules_of_ladder(ladder), *RULES)
    found = advise(rules, situation, optimizer=optimizer)
    print(json.dumps(advice_data(found, situation), indent=2) if as_json else advice_text(found, situation))
    return 0


def _refuse(given: dict[str, float], *, but: tuple[str, ...], others: dict[str, Any]) -> None:
    unused = [name for name in given if name not in but] + [name for name, value in others.items() if value is not None]
    if unused:
        raise ValueError(
            f"{' and '.join(map(_flag, unused))} have no effect with --from adamw, which takes --lr, --betas, "
            "--weight-decay, --eps, --steps, --batch-tokens, --params, --untuned and --to. Leave them out."
        )


def _translate(
    given: dict[str, float],
    to: str | None,
    betas: tuple[float, float] | None,
    weight_decay: float | None,
    eps: float | None,
    steps: str | None,
    untuned: bool,
    as_json: bool,
) -> int:
    missing = [flag for flag, value in (("--lr", given.get("lr")), ("--steps", steps)) if value is None]
    if missing or steps is None:
        raise ValueError(
            f"--from adamw needs {' and '.join(missing)}. For example: logclock suggest --from adamw --lr 6e-4 --betas "
            "0.9 0.95 --weight-decay 0.1 --steps 100000"
        )
    settings: dict[str, Any] = {name: given.get(name) for name in ("lr", "batch_tokens", "params")}
    settings |= {"betas": betas, "weight_decay": weight_decay, "eps": eps}
    settings = {name: value for name, value in settings.items() if value is not None}
    found, refused = [], {}
    for target in TARGETS if to is None else (to,):
        try:
            found.append(
                translate_adamw(
                    **settings, total_steps=_whole(parse_count(steps, name="steps")), is_tuned=not untuned, to=target
                )
            )
        except ValueError as error:
            if to is not None or target in ("adana", "dana-star-mk4"):  # these take whatever AdamW takes
                raise
            refused[target] = str(error)
    if as_json:
        print(json.dumps({"translations": list(map(translation_data, found)), "refused": refused}, indent=2))
    else:
        print(translation_text(found, refused))
    return 0


def _whole(steps: float) -> int:
    if steps != int(steps):
        raise ValueError(f"steps must be a whole number, got {steps:g}.")
    return int(steps)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def advice_text(found: list[Advice], situation: Situation) -> str:
    """Return what the rules say in at most 80 columns: values with formulas, then range, source, warnings and notes.

    Rules of one source and range stand together, and so do those that say nothing for the same reason.
    """
    lines = [_heading(situation)]
    shown: set[str] = set()
    for quantity, title in QUANTITIES.items():
        own = [advice for advice in found if advice.rule.sets == quantity]
        if own:
            lines += ["", title]
        said = [advice for advice in own if advice.value is not None]
        for _, alike in itertools.groupby(said, key=_background):
            lines += _said(list(alike), shown)
        silent: dict[str, list[str]] = {}
        for advice in own:
            if advice.value is None:
                silent.setdefault(_reason(advice), []).append(advice.rule.name)
        lines += [
            line for why, names in silent.items() for line in _filled(f"{why}: {', '.join(names)}", indent=2, hanging=4)
        ]
    lines += [
        "",
        "! is outside of where a rule was measured. A rule says where to start a sweep,",
        "not where to end it.",
    ]
    return "\n".join(lines)


def _background(advice: Advice) -> tuple[Any, ...]:
    return advice.rule.ranges, advice.rule.source, advice.rule.notes


def _reason(advice: Advice) -> str:
    if advice.missing:
        return f"With {', '.join(map(_flag, advice.missing))} there is more"
    return f"Nothing beyond what was measured ({'; '.join(advice.warnings)})"


def _heading(situation: Situation) -> str:
    parts = [
        f"{field.name.replace('_', ' ')} {_number(getattr(situation, field.name))}"
        for field in dataclasses.fields(situation)
        if getattr(situation, field.name) is not None
    ]
    if situation.total_steps is not None:
        parts.append(f"T = {situation.total_steps:,.0f} updates")
    if situation.overtraining is not None:
        parts.append(f"{situation.overtraining:.3g} times 20 tokens per parameter")
    return textwrap.fill(", ".join(parts), WIDTH)


def _said(alike: list[Advice], shown: set[str]) -> list[str]:
    """Return what rules of one background say, and the background once."""
    lines: list[str] = []
    for advice in alike:
        rule, value = advice.rule, value_text(advice.value)
        what = ", ".join(filter(None, [" or ".join(rule.optimizers) or "any", rule.gives]))
        is_long = len(value) > NUMBER_WIDTH - 3  # a schedule in words
        text = f"{what}: {value if is_long else rule.formula}"
        first, *rest = textwrap.wrap(text, WIDTH - NUMBER_WIDTH, break_on_hyphens=False)
        lines.append(f"  {'' if is_long else value:<{NUMBER_WIDTH - 3}} {first}")
        lines += [" " * NUMBER_WIDTH + line for line in rest]
    rule = alike[0].rule
    lines += _filled(f"{range_text(rule)}; {rule.source}", indent=6)
    lines += [line for warning in alike[0].warnings for line in _filled(f"! {warning}", indent=6, hanging=2)]
    for note in rule.notes:
        if note not in shown:
            lines += _filled(f"note: {note}", indent=6, hanging=2)
            shown.add(note)
    return lines


def _filled(text: str, *, indent: int, hanging: int = 0) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent + hanging),
        break_long_words=False,
        break_on_hyphens=False,
    )


def range_text(rule: Rule) -> str:
    """Return where a rule was measured."""
    return ", ".join(map(str, rule.ranges)) or "range not found"


def value_text(value: Any) -> str:
    """Return a value of a rule with three digits, a weight near 1 with as many as it takes."""
    if isinstance(value, str):
        return value
    if isinstance(value, tuple):
        return " to ".join(map(_number, value))
    return _number(value)


def _number(value: float) -> str:
    if value >= 1000:
        return count_text(value)
    if 0.9 < value < 1:
        return f"{value:.5g}"
    if 0 < value < 0.01:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{value:.3g}"


def advice_data(found: list[Advice], situation: Situation) -> dict[str, Any]:
    """Return what the rules say as plain data; values that are not there are null."""
    known = {name: value for name, value in dataclasses.asdict(situation).items() if value is not None}
    return {
        "situation": known | {"total_steps": situation.total_steps, "overtraining": situation.overtraining},
        "suggestions": [
            {
                "name": advice.rule.name,
                "sets": advice.rule.sets,
                "gives": advice.rule.gives,
                "optimizers": list(advice.rule.optimizers),
                "value": list(advice.value) if isinstance(advice.value, tuple) else advice.value,
                "formula": advice.rule.formula,
                "range": [dataclasses.asdict(known) for known in advice.rule.ranges],
                "source": advice.rule.source,
                "warnings": list(advice.warnings),
                "missing": list(advice.missing),
                "notes": list(advice.rule.notes),
            }
            for advice in found
        ],
    }


def translation_text(found: list[Translation], refused: dict[str, str]) -> str:
    """Return translations as code with what each number became; what is true of all is said once, at the end."""
    ""
    common = [note for note in found[0].notes if all(note in other.notes for other in found)] if len(found) > 1 else []
    lines: list[str] = []
    for translation in found:
        lines += [f"# {translation.title} (--to {translation.to})", "", translation.code, ""]
        for note in translation.notes:
            if note not in common:
                lines += _filled(str(note), indent=2, hanging=2)
        lines.append("")
    for target, reason in refused.items():
        lines += [*_filled(f"{target}: not possible here. {reason}", indent=0, hanging=2), ""]
    if common:
        lines += [
            "# For all of them",
            "",
            *(line for note in common for line in _filled(str(note), indent=2, hanging=2)),
        ]
        lines.append("")
    lines += ["# How to find the learning rate", "", *_filled(found[0].advice, indent=2)]
    lines += ["", "# What is unknown", ""]
    lines += [line for text in found[0].unknown for line in _filled(text, indent=2, hanging=2)]
    return "\n".join(lines)


def translation_data(translation: Translation) -> dict[str, Any]:
    """Return a translation as plain data."""
    return {**dataclasses.asdict(translation), "advice": translation.advice}


def _noise_of_study(folder: Path) -> float:
    """Return the mean noise scale of a study's finished runs over the second half of each, in tokens."""
    from logclock.records import Ledger

    ledger = Ledger(folder / "ledger.jsonl")
    if not ledger.path.exists():
        raise FileNotFoundError(f"no ledger at {ledger.path}. Give the --out directory of a study.")
    finished = [record for record in ledger.records() if record.status == "finished"]
    found = [scale for record in finished if (scale := record.metrics.get("noise_tokens")) is not None]
    if not found:
        raise ValueError(
            f"none of the {len(finished)} finished runs in {folder} has a noise scale. Make one with --set "
            "measures_noise=true; where the mean product of half gradients is not positive, there is none to be seen."
        )
    return sum(found) / len(found)


def _rules_of_ladder(folder: Path) -> tuple[Rule, ...]:
    """Return the learning-rate rules of a ladder of the user's, each with the sizes it rests on as its range."""
    from logclock.analysis.ladder import ladder_lr_rules
    from logclock.records import Ledger

    ledger = Ledger(folder / "ledger.jsonl")
    if not ledger.path.exists():
        raise FileNotFoundError(f"no ledger at {ledger.path}. Give the --out directory of a ladder.")
    fits, sizes = ladder_lr_rules(ledger.records())
    if not fits:
        raise ValueError(f"the ladder in {folder} has no learning-rate rule: that needs finished runs of two sizes.")
    params = [size.non_embedding_params for size in sizes]
    return tuple(
        Rule(
            name=f"ladder-{label}",
            sets="lr",
            optimizers=(label,),
            gives=f"your ladder in {folder}",
            formula=f"{fit.rule.a:.4g} ({fit.rule.b:.3g} + P)^{fit.rule.d:.3f}",
            inputs=("params",),
            compute=lambda run, fit=fit: fit.rule(run.params),  # type: ignore[misc]
            ranges=(Range(what="params", low=min(params), high=max(params)),),
            source=f"{fit.num_sizes} sizes, rms {fit.rms:.2f} in ln lr",
        )
        for label, fit in fits.items()
    )
