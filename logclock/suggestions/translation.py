"""What do the settings of torch's AdamW become in a log-time optimizer? As code, with a reason for every number."""

import dataclasses
import math
from collections.abc import Callable

from logclock.config.registry import suggestion
from logclock.schedules import Cosine, Schedule, check, constant_decay, log_time_decay
from logclock.suggestions.adana_fits import ENOKI

__all__ = ["TARGETS", "Note", "Translation", "translate_adamw"]

OMEGA, KAPPA, DELTA, KAPPA_ADEMAMIX = 4.0, 0.85, 8.0, 0.75
"""The ADANA paper's settings; `logclock.recipes.protocol` has the same for its runs, and a test compares them."""

SHORTEST_TRIAL = 2000
"""Updates below which a memory that grows with t has not begun to differ from a short one."""

ALARM = 10.0
"""By which factor omega may differ from the paper's before the note recommends to keep the strength of AdamW's."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Note:
    """What one number of AdamW became.

    Args:
        setting: Its name in torch, or what is new.
        was: What it was; None for what AdamW has not.
        becomes: What it is now.
        why: The reason.
    """

    setting: str
    was: str | None
    becomes: str
    why: str

    def __str__(self) -> str:
        if self.was is None:
            return f"{self.becomes} is new. {self.why}"
        return f"{self.setting}: {self.was} becomes {self.becomes}. {self.why}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Translation:
    """An AdamW setting in another optimizer.

    Args:
        to: Name of the target.
        title: What it is.
        code: Builds `optimizer` for a `model`; to paste.
        notes: What each number became and why.
        unknown: What nobody has measured, or what was not given.
        lr: The peak learning rate in the code; of hidden matrices where they have their own.
        trials: Learning rates of three short runs that find the right one.
        trial_steps: Updates of each, with every schedule made for that many.
    """

    to: str
    title: str
    code: str
    notes: tuple[Note, ...]
    unknown: tuple[str, ...]
    lr: float
    trials: tuple[float, ...]
    trial_steps: int

    @property
    def advice(self) -> str:
        """How to find the learning rate out."""
        low, middle, high = (f"{lr:.3g}" for lr in self.trials)
        return (
            f"Three short runs of {self.trial_steps:,} updates, every schedule made for that many, at lr {low}, "
            f"{middle} and {high}. If {high} is best, AdamW's rate was not tuned: go on upwards by factors of 2 until "
            f"one is worse, and the same for AdamW. If {low} is best, go on downwards. A longer run wants the same "
            "rate or a smaller one."
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """AdamW's numbers, checked."""

    lr: float
    beta1: float
    beta2: float
    weight_decay: float
    eps: float
    total_steps: int
    batch_tokens: float | None
    params: float | None
    is_tuned: bool

    @property
    def omega(self) -> float:
        """What the constant decay is in units of 1 / T."""
        return self.lr * self.weight_decay * self.total_steps

    @property
    def text(self) -> str:
        """T as it is written in code."""
        return f"T = {self.total_steps:_}"


def translate_adamw(
    *,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    weight_decay: float = 0.01,
    eps: float = 1e-8,
    total_steps: int,
    batch_tokens: float | None = None,
    params: float | None = None,
    is_tuned: bool = True,
    to: str = "adana",
) -> Translation:
    """Return an AdamW setting in another optimizer, as code, with a reason for every number.

    Args:
        lr: Peak learning rate of `torch.optim.AdamW`.
        betas: As torch takes them.
        weight_decay: As torch takes it: lr times this is removed per update.
        eps: As torch takes it.
        total_steps: Planned updates T.
        batch_tokens: Tokens per update, which tell how far the run is from where ADANA was measured.
        params: Non-embedding parameters, from which the ratio of the two learning rates follows; without them it is
            the middle of what was found at 46 M to 2.6 B in all.
        is_tuned: Whether `lr` is AdamW's best: larger and smaller ones were tried. A rate that was never tuned is
            usually too low, and then the same is a good start.
        to: `adana`, `dana-star-mk4`, `muon-adana` or `ademamix`.

    Raises:
        ValueError: A number is none that AdamW takes, the target is unknown, or it cannot follow from these numbers.

    Examples:
        >>> found = translate_adamw(lr=6e-4, betas=(0.9, 0.95), weight_decay=0.1, total_steps=100_000)
        >>> print(found.code)
        from logclock import ADANA, log_time_decay, param_groups
        <BLANKLINE>
        T = 100_000
        optimizer = ADANA(
            param_groups(model, weight_decay=log_time_decay(4.0, total_steps=T)),
            lr=0.00015,
            kappa=0.85,
            delta=8.0,
        )

    References: Ferbach et al. 2026, arXiv:2602.05298.
    """
    check(0 < lr < math.inf, "lr", "be positive and finite", lr)
    check(len(betas) == 2, "betas", "be two numbers", betas)
    for name, beta in zip(("beta1", "beta2"), betas, strict=True):
        check(0 <= beta < 1, name, "lie in [0, 1)", beta)
    check(0 <= weight_decay < math.inf, "weight_decay", "be at least 0 and finite", weight_decay)
    check(
        lr * weight_decay < 1, "lr * weight_decay", "be below 1", lr * weight_decay, advice="It is removed per update."
    )
    check(0 <= eps < math.inf, "eps", "be at least 0 and finite", eps)
    check(total_steps >= 1 and total_steps == int(total_steps), "total_steps", "be a whole number >= 1", total_steps)
    for name, value in (("batch_tokens", batch_tokens), ("params", params)):
        check(value is None or 0 < value < math.inf, name, "be positive and finite", value)
    if to not in TARGETS:
        raise ValueError(
            f"unknown target {to!r}.{suggestion(to, TARGETS)} AdamW is translated to: {', '.join(TARGETS)}."
        )
    setting = Setting(
        lr=float(lr),
        beta1=float(betas[0]),
        beta2=float(betas[1]),
        weight_decay=float(weight_decay),
        eps=float(eps),
        total_steps=int(total_steps),
        batch_tokens=batch_tokens,
        params=params,
        is_tuned=is_tuned,
    )
    return TARGETS[to](setting)


def _to_adana(was: Setting) -> Translation:
    lr, note = _rate(was, "adana", 0.85, typical=4, found="a third (46 M parameters in all) to a fifth (2.6 B)")
    code = _elementwise("ADANA", was, lr, f"kappa={KAPPA},", f"delta={DELTA},")
    notes = (note, _betas_to_log_time(was), _decay(was), *_eps(was), KAPPA_NOTE)
    return _translated("adana", "ADANA", was, code, lr, notes)


def _to_dana_star_mk4(was: Setting) -> Translation:
    lr, note = _rate(was, "dana-star-mk4", 0.85, typical=3, found="half (46 M parameters in all) to a fifth (2.6 B)")
    code = _elementwise("DanaStarMK4", was, lr, f"kappa={KAPPA},", f"delta={DELTA},", "clip_snr=2.0,")
    clip = Note(
        setting="clip",
        was=None,
        becomes="clip_snr=2.0",
        why="It bounds the amplified momentum; the launcher of the released code has 2. One state more than AdamW.",
    )
    notes = (note, _betas_to_log_time(was), _decay(was), *_eps(was), KAPPA_NOTE, clip)
    return _translated("dana-star-mk4", "Dana-Star-MK4", was, code, lr, notes)


def _to_muon_adana(was: Setting) -> Translation:
    rest_lr, rest = _rate(was, "adana", 0.85, typical=4, found="a third (46 M parameters in all) to a fifth (2.6 B)")
    has_decay = was.weight_decay > 0
    rest_decay = ', "weight_decay": log_time_decay(4.0, total_steps=T)' if has_decay else ""
    code = "\n".join(
        [
            f"from logclock import ADANA, {'log_time_decay, ' if has_decay else ''}matrix_param_groups",
            "",
            was.text,
            "groups = matrix_param_groups(",
            "    model,",
            "    matrices={",
            '        "algorithm": "muon",',
            f'        "lr": {was.lr:.12g},',
            '        "scale_rule": "match_rms_adamw",',
            f'        "weight_decay": {was.weight_decay:.12g},',
            "    },",
            f'    rest={{"lr": {rest_lr:.12g}{rest_decay}}},',
            ")",
            f"optimizer = ADANA(groups, kappa={KAPPA}, delta={DELTA}{_eps_argument(was)})",
        ]
    )
    matrices = Note(
        setting="lr, hidden matrices",
        was=f"{was.lr:.3g}",
        becomes=f"{was.lr:.3g}, in Muon",
        why="With match_rms_adamw an update has the size of AdamW's; the ADANA paper's fits are 0.8 (46 M) to 1.4 "
        "(2.6 B) times AdamW's. Fused projections want row_blocks={'*qkv*': 3}.",
    )
    kept = Note(
        setting="weight_decay, hidden matrices",
        was=f"{was.weight_decay:g}",
        becomes=f"{was.weight_decay:g}",
        why="Muon's decay is coupled to lr as torch's is, so the number stays.",
    )
    rest = dataclasses.replace(rest, setting="lr, everything else")
    notes = (matrices, kept, rest, _betas_to_log_time(was), _decay(was), *_eps(was), KAPPA_NOTE)
    return _translated("muon-adana", "Muon for hidden matrices, ADANA for the rest", was, code, was.lr, notes)


def _to_ademamix(was: Setting) -> Translation:
    check(
        was.total_steps > DELTA,
        "total_steps",
        f"exceed delta = {DELTA:g} for log-time AdEMAMix",
        was.total_steps,
        advice="Its slow average ends with the weight delta / T.",
    )
    check(
        was.beta1 > 0,
        "beta1",
        "be positive for log-time AdEMAMix",
        was.beta1,
        advice="Its slow average starts with the memory of the fast one, and beta1 = 0 has none. Use to='adana'.",
    )
    lr, note = _rate(was, "ademamix-log-time-decay", 0.75, typical=2, found="about half")
    ema1, ema2 = (float(f"{1 - beta:.12g}") for beta in (was.beta1, was.beta2))
    has_decay = was.weight_decay > 0
    groups = (
        "param_groups(model, weight_decay=log_time_decay(4.0, total_steps=T))" if has_decay else "param_groups(model)"
    )
    code = "\n".join(
        [
            f"from logclock import AdEMAMix, {'log_time_decay, ' if has_decay else ''}param_groups",
            "from logclock.schedules import HalfLifeRamp, LinearRamp",
            "",
            was.text,
            "optimizer = AdEMAMix(",
            f"    {groups},",
            f"    lr={lr:.12g},",
            f"    ema1={ema1:.12g},",
            f"    ema2={ema2:.12g},",
            f"    ema_slow=HalfLifeRamp(start={ema1:.12g}, end={DELTA:g} / T, steps=T),",
            f"    gain=LinearRamp(start=0.0, end=T**{1 - KAPPA_ADEMAMIX:g}, steps=T),",
            *([f"    eps={was.eps:g},"] if was.eps != 1e-8 else []),
            '    decay_coupling="independent",',
            ")",
        ]
    )
    betas = Note(
        setting="betas",
        was=f"({was.beta1:g}, {was.beta2:g})",
        becomes=f"ema1={ema1:g}, ema2={ema2:g}",
        why="The fast average and the second moment are AdamW's and stay; the ADANA paper's runs had (0.9, 0.999).",
    )
    slow = Note(
        setting="slow average",
        was=None,
        becomes=f"ema_slow, gain up to T^{1 - KAPPA_ADEMAMIX:g} = {was.total_steps ** (1 - KAPPA_ADEMAMIX):.3g}",
        why=f"A slow average that ends with a memory of T / {DELTA:g} updates, and its weight. One state more than "
        "AdamW.",
    )
    notes = (note, betas, _decay(was), *_eps(was), slow)
    return _translated("ademamix", "Log-time AdEMAMix", was, code, lr, notes)


TARGETS: dict[str, Callable[[Setting], Translation]] = {
    "adana": _to_adana,
    "dana-star-mk4": _to_dana_star_mk4,
    "muon-adana": _to_muon_adana,
    "ademamix": _to_ademamix,
}
"""What AdamW is translated to, by name."""

KAPPA_NOTE = Note(
    setting="gain",
    was=None,
    becomes=f"kappa={KAPPA}, delta={DELTA}",
    why="Kappa damps the gain (1 + t)^(1 - kappa) of the momentum; 0.75 to 0.9 worked, and a smaller one wants a "
    "smaller lr. Delta had little effect.",
)


def _rate(was: Setting, name: str, kappa: float, *, typical: float, found: str) -> tuple[float, Note]:
    """Return the peak learning rate with three digits, and what it rests on."""
    if not was.is_tuned:
        ratio, why = 1.0, "It was not tuned, and such rates are usually too low for AdamW: the same is a good start."
    elif was.params is None:
        ratio = 1 / typical
        why = (
            f"In the ADANA paper the best rate is {found} of AdamW's best; without the number of parameters this is "
            f"1/{typical:g}. If yours was not tuned, start with the same."
        )
    else:
        ratio = ENOKI[name][kappa](was.params) / ENOKI["adamw"][None](was.params)
        why = f"{ratio:.2f} times AdamW's is what the ADANA paper's fits say at this size, if AdamW's was tuned."
        if not 7_077_888 <= was.params <= 509_607_936:
            why += " They were fitted from 7.1 M to 510 M non-embedding parameters: this is an extrapolation."
    lr = float(f"{was.lr * ratio:.3g}")
    return lr, Note(setting="lr", was=f"{was.lr:.3g}", becomes=f"{lr:.3g}", why=why)


def _betas_to_log_time(was: Setting) -> Note:
    memories = " and ".join(f"{1 / (1 - beta):.0f}" for beta in (was.beta1, was.beta2))
    return Note(
        setting="betas",
        was=f"({was.beta1:g}, {was.beta2:g})",
        becomes="delta / (delta + t) for both",
        why=f"They remembered {memories} updates all along. The averages now remember t / {DELTA:g}: "
        f"{was.total_steps / DELTA:,.0f} at the end. Nothing of the betas is left.",
    )


def _decay(was: Setting) -> Note:
    schedule = _study_schedule(was.total_steps)
    theirs = was.omega * _mean(schedule, constant_decay(1.0, total_steps=was.total_steps), was.total_steps)
    per_omega = _mean(schedule, log_time_decay(1.0, total_steps=was.total_steps), was.total_steps)
    if was.weight_decay == 0:
        return Note(
            setting="weight_decay",
            was="0",
            becomes="0",
            why=f"You had none. The ADANA paper's runs had log_time_decay({OMEGA}, total_steps=T), which removes "
            f"{OMEGA * per_omega:.1f} nepers over the run: try it.",
        )
    equal = theirs / per_omega
    why = (
        f"Torch's AdamW removes lr {was.weight_decay:g} per update: omega = lr wd T = {was.omega:.3g} in the ADANA "
        f"paper's unit, {theirs:.3g} nepers in all under a cosine to 10 %. That paper had omega 4 for every "
        f"optimizer, for ADANA falling in time: {OMEGA * per_omega:.1f} nepers. log_time_decay({equal:.3g}, "
        f"total_steps=T) removes as much as yours. Do not keep weight_decay={was.weight_decay:g}: decay here is not "
        f"multiplied by lr, so that would remove {theirs / was.lr:,.0f} nepers."
    )
    if not OMEGA / ALARM <= was.omega <= OMEGA * ALARM:
        why += f" Yours is far from 4: unless you want to change it, take {equal:.3g}."
    return Note(
        setting="weight_decay",
        was=f"{was.weight_decay:g}",
        becomes=f"log_time_decay({OMEGA}, total_steps=T)",
        why=why,
    )


def _study_schedule(total_steps: int) -> Schedule:
    return Cosine(total_steps=total_steps, warmup_steps=total_steps // 50, warmup_start=0.01, final=0.1)


def _mean(schedule: Schedule, decay: Schedule, total_steps: int, points: int = 2000) -> float:
    """Return the sum of s(t) lambda(t) over the run, from at most `points` of its updates."""
    if total_steps <= points:
        return math.fsum(schedule(t) * decay(t) for t in range(1, total_steps + 1))
    width = total_steps / points
    centers = [(i + 0.5) * width + 0.5 for i in range(points)]
    return width * math.fsum(schedule(t) * decay(t) for t in centers)


def _eps(was: Setting) -> tuple[Note, ...]:
    if was.eps == 1e-8:
        return ()
    why = "It is added to the root, as in torch."
    return (Note(setting="eps", was=f"{was.eps:g}", becomes=f"{was.eps:g}", why=why),)


def _eps_argument(was: Setting) -> str:
    return f", eps={was.eps:g}" if was.eps != 1e-8 else ""


def _elementwise(class_name: str, was: Setting, lr: float, *arguments: str) -> str:
    """Return the code of an optimizer of all parameters."""
    has_decay = was.weight_decay > 0
    groups = (
        "param_groups(model, weight_decay=log_time_decay(4.0, total_steps=T))" if has_decay else "param_groups(model)"
    )
    names = ", ".join([class_name, *(["log_time_decay"] if has_decay else []), "param_groups"])
    own = [*arguments, *([f"eps={was.eps:g},"] if was.eps != 1e-8 else [])]
    lines = [
        f"optimizer = {class_name}(",
        f"    {groups},",
        f"    lr={lr:.12g},",
        *(f"    {line}" for line in own),
        ")",
    ]
    return "\n".join([f"from logclock import {names}", "", was.text, *lines])


def _translated(to: str, title: str, was: Setting, code: str, lr: float, notes: tuple[Note, ...]) -> Translation:
    schedule = Note(
        setting="lr schedule, clipping",
        was="yours",
        becomes="the same",
        why="Build the optimizer with the peak rate, before a scheduler lowers it, or say peak_lr: the decay follows "
        "lr over the peak. The ADANA paper had 2 % warm-up, a cosine to 10 % and clipping at 0.5.",
    )
    groups = Note(
        setting="parameters",
        was="one list",
        becomes="two groups, by param_groups" if to != "muon-adana" else "three groups, by matrix_param_groups",
        why="Weights of linear layers are decayed; embeddings, gains and biases are not. Where AdamW decayed "
        "everything, that is a change of its own.",
    )
    return Translation(
        to=to,
        title=title,
        code=code,
        notes=(*notes, schedule, groups),
        unknown=_unknown(was),
        lr=lr,
        trials=tuple(float(f"{was.lr / factor:.3g}") for factor in (4, 2, 1)),
        trial_steps=min(max(was.total_steps // 10, SHORTEST_TRIAL), was.total_steps),
    )


def _unknown(was: Setting) -> tuple[str, ...]:
    found = []
    if was.batch_tokens is None:
        found.append(
            "The batch was not given. The ADANA paper has 65,536 tokens per update; at 1,048,576 its authors' group "
            "found ADANA behind AdamW up to 1,342 updates and level from about 2,700 on."
        )
    elif was.batch_tokens >= 2**19 and was.total_steps < 2688:
        found.append(
            f"{was.total_steps:,} updates of {was.batch_tokens:,.0f} tokens is where ADANA loses: at 1,048,576 tokens "
            "its authors' group found it 0.10, 0.21 and 0.08 nats behind AdamW at 385, 871 and 1,342 updates."
        )
    elif not 65_536 / 2 <= was.batch_tokens <= 65_536 * 2:
        found.append(
            f"The ratio of the learning rates was found at 65,536 tokens per update; at {was.batch_tokens:,.0f} it "
            "was not measured. The gain of ADANA does not know the batch."
        )
    if was.total_steps < 2000:
        found.append(
            f"{was.total_steps:,} updates are few for a memory that grows with t; the ADANA paper's shortest run has "
            "13,950."
        )
    if not was.is_tuned:
        found.append("How far AdamW's rate is from its best, and so the ratio to it.")
    found += [
        "Whether better betas for AdamW would close the gap: the ADANA paper tuned its learning rate alone.",
        "What a switch in the middle of a run does: nobody has published it.",
    ]
    return tuple(found)
