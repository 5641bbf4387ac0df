"""Which figures do the pages show? Every one is drawn from the package itself when the documentation is built.

A page asks for a figure with the directive `drawing` and its name, `optimizer-NAME` or `schedule-KIND`. The figure of
an optimizer shows the scalars of its rule as functions of t, which needs no code here; those in `SPECIAL` show more.
"""

import functools
import io
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import torch
from docutils import nodes
from matplotlib import pyplot
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from logclock import schedules as sch
from logclock.algorithms import DanaSpec, DanaStarMk4Spec, DanaStarSpec, SgdSpec
from logclock.backends import loop
from logclock.config.bounds import bounds_of
from logclock.optim.signatures import field_rows
from logclock.recipes import VARIANTS, get_variant
from logclock.recipes.protocol import study_schedule
from logclock.rules import Spec
from logclock.rules.rule import SHARED_SCALARS
from logclock.rules.slots import Ema
from logclock.schedules import Schedule

matplotlib.use("Agg")

TOTAL_STEPS = 20_000
"""Length T of the run whose schedules the optimizer pages show."""

PEAK_LR = 1e-3

Curve = Callable[[float], float]

LOG, SEMILOG, LINEAR = ("log", "log"), ("log", "linear"), ("linear", "linear")


class Panel(NamedTuple):
    """One pair of axes.

    Args:
        title: What is drawn.
        curves: Functions of t by label; a label that starts with "AdamW" is drawn as background.
        scales: Of the horizontal and the vertical axis.
        total_steps: Where the horizontal axis ends.
    """

    title: str
    curves: dict[str, Curve]
    scales: tuple[str, str] = LOG
    total_steps: int = TOTAL_STEPS


# -- the schedules in use by each optimizer ---------------------------------------------------------------------------


def scalar(spec: Spec, name: str) -> Curve:
    """Return a scalar of the rule as a function of t, under the ADANA paper's learning-rate schedule."""
    multiplier = study_schedule(TOTAL_STEPS)
    return lambda t: float(spec.scalars(t, spec.lr * multiplier(t))[name])


def study(name: str, **settings: Any) -> Spec:
    """Return an optimizer with the settings of the ADANA paper at T = TOTAL_STEPS."""
    return get_variant(name).build(TOTAL_STEPS, lr=PEAK_LR, **settings).hidden


SHOWN: dict[str, Spec] = {
    "sgd": SgdSpec(lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-3),
}
"""Settings for figures of optimizers that are no variant of the recipes; without a line here, their defaults."""

CURVES_PER_PANEL = 4


def derived_panels(name: str) -> list[Panel]:
    """Return the panels of any optimizer: weights of new samples, other factors in the update, rate and decay."""
    spec = study(name) if name in VARIANTS else SHOWN.get(name)
    return panels_of(spec or Spec.family.get(name)())


def panels_of(spec: Spec) -> list[Panel]:
    """Return the panels of a spec's own settings."""
    names = scalars_to_show(spec)
    weights = [name for name in names if is_weight(spec, name)]
    factors = [name for name in names if name not in weights]
    panels = groups(spec, "weight of the newest sample", weights)
    panels += groups(spec, "factors in the update", factors)
    panels.append(multiplier_panel())
    if spec.weight_decay != 0:
        decay = {"decay": scalar(spec, "decay")}
        panels.append(Panel("removed by decay per update", decay))
    return panels


def scalars_to_show(spec: Spec) -> list[str]:
    """Return the scalars of a direction that may depend on t: slots, and numbers that the spec derives."""
    takes_schedule = {
        row.name: "schedule" in row.values for row in field_rows(type(spec))
    }
    derived = spec.derived(2.0)
    names = [name for stage in spec.stages for name in stage.scalar_names]
    return [
        name
        for name in dict.fromkeys(names)
        if name not in SHARED_SCALARS
        and (name in derived or takes_schedule.get(name))
        and not isinstance(derived.get(name), bool)
        and math.isfinite(spec.scalars(2.0)[name])
    ]


def is_weight(spec: Spec, name: str) -> bool:
    """Return whether a scalar is the weight of the newest sample in an average."""
    ema: Any = Ema
    is_declared = name in {state.weight for state in spec.rule.states.values()}
    return is_declared or bounds_of(type(spec)).get(name) == ema.__metadata__[0]


def groups(spec: Spec, title: str, names: list[str]) -> list[Panel]:
    """Return panels of at most four curves, logarithmic where all values are positive."""
    panels = []
    for start in range(0, len(names), CURVES_PER_PANEL):
        curves = {
            name: scalar(spec, name)
            for name in names[start : start + CURVES_PER_PANEL]
        }
        ends = [c(t) for c in curves.values() for t in (1, TOTAL_STEPS)]
        scales = LOG if min(ends) > 0 else SEMILOG
        panels.append(Panel(title, curves, scales))
    return panels


def multiplier_panel() -> Panel:
    """Return the learning-rate multiplier of the study."""
    return Panel(
        "learning-rate multiplier s(t) of the run",
        {"s(t)": study_schedule(TOTAL_STEPS)},
        scales=SEMILOG,
    )


def decay_panel(spec: Spec) -> Panel:
    """Return the fraction of a weight that decay removes."""
    ours = {"this optimizer, 4 / (T/10 + t)": scalar(spec, "decay")}
    return Panel(
        "removed by decay per update",
        ours | {"AdamW, 4 / T": scalar(study("adamw"), "decay")},
    )


def memory_panel(spec: Spec) -> Panel:
    """Return the weight of the newest gradient in the averages."""
    theirs = study("adamw")
    return Panel(
        "weight of the newest sample",
        {
            "ema1 = ema2": scalar(spec, "ema1"),
            "AdamW ema1": scalar(theirs, "ema1"),
            "AdamW ema2": scalar(theirs, "ema2"),
        },
    )


def dana_panels() -> list[Panel]:
    """Return the panels of DANA: its coefficients, and the step along a gradient that never changes."""
    by_kappa = {kappa: DanaSpec(lr=1.0, kappa=kappa) for kappa in (0.5, 0.75, 1.0)}
    multiplier = study_schedule(TOTAL_STEPS)

    def step(spec: DanaSpec) -> Curve:
        # a constant gradient sums to y = t / (delta + 1) up to terms that fall with t
        def total(t: float) -> float:
            values = spec.scalars(t)
            return float(values["gamma2"] + values["gamma3"] * t / (spec.delta + 1))

        return total

    def of(name: str) -> dict[str, Curve]:
        return {
            f"kappa {kappa:g}": lambda t, s=spec: float(s.scalars(t)[name])
            for kappa, spec in by_kappa.items()
        }

    damping = by_kappa[0.5]
    return [
        Panel(
            "forgotten per update, Delta(t)",
            {"delta 6": lambda t: float(damping.scalars(t)["damping"])},
        ),
        Panel("gamma3(t)", of("gamma3")),
        Panel(
            "step along a constant gradient, SGD = 1",
            {f"kappa {kappa:g}": step(spec) for kappa, spec in by_kappa.items()},
        ),
        Panel(
            "steps under the study's schedule, peak 0.1",
            {
                name: lambda t, name=name: float(
                    by_kappa[0.5].scalars(t, 0.1 * multiplier(t))[name]
                )
                for name in ("gamma2", "gamma3")
            },
        ),
    ]


def adamw_panels() -> list[Panel]:
    """Return the panels of AdamW; decay in the study's two forms."""
    spec, log_time = study("adamw"), study("adamw-log-time-decay")
    corrections = {
        "correction1": scalar(spec, "correction1"),
        "correction2": scalar(spec, "correction2"),
    }
    emas = {
        "ema1 = 1 - beta1": scalar(spec, "ema1"),
        "ema2 = 1 - beta2": scalar(spec, "ema2"),
    }
    decays = {
        "4 / T": scalar(spec, "decay"),
        "4 / (T/10 + t)": scalar(log_time, "decay"),
    }
    return [
        Panel("weight of the newest sample", emas),
        Panel("bias corrections", corrections),
        multiplier_panel(),
        Panel("removed by decay per update", decays),
    ]


def ademamix_panels() -> list[Panel]:
    """Return the panels of log-time AdEMAMix beside ADANA."""
    spec, adana = study("ademamix"), study("adana")
    emas = {
        "ema_slow": scalar(spec, "ema_slow"),
        "ADANA's ema1": scalar(adana, "ema1"),
        "AdamW ema1": scalar(spec, "ema1"),
        "AdamW ema2": scalar(spec, "ema2"),
    }
    gains = {
        "gain on the slow average": scalar(spec, "gain"),
        "ADANA's gain": scalar(adana, "gain"),
    }
    decays = {
        "ademamix, 4 / T": scalar(spec, "decay"),
        "ademamix-log-time-decay": scalar(
            study("ademamix-log-time-decay"), "decay"
        ),
    }
    return [
        Panel("weight of the newest gradient", emas),
        Panel("gain on the momentum", gains, SEMILOG),
        multiplier_panel(),
        Panel("removed by decay per update", decays),
    ]


def adana_panels() -> list[Panel]:
    """Return the panels of ADANA, with the gain for several kappa."""
    spec = study("adana")
    gains = {
        f"kappa {kappa:g}": scalar(
            study("adana", kappa=kappa),
            "gain",
        )
        for kappa in (0.75, 0.85, 0.9, 1.0)
    }
    return [
        memory_panel(spec),
        Panel("gain on the momentum", gains, SEMILOG),
        multiplier_panel(),
        decay_panel(spec),
    ]


def dana_mk4_panels() -> list[Panel]:
    """Return the panels of Dana-MK4: where the clip begins to bind."""
    spec = study("dana-mk4")
    gain, clip = scalar(spec, "gain"), scalar(spec, "clip_snr")
    bounds = {
        f"clip_snr {c:g}": lambda t, c=c: c / gain(t) for c in (0.25, 1.0)
    } | {f"clip_snr {clip(1):g}": lambda t: clip(t) / gain(t)}
    offset = scalar(spec, "gain_offset")
    gains = {
        "amplified: gain": gain,
        "with gain_offset": lambda t: gain(t) + offset(t),
    }
    return [
        memory_panel(spec),
        Panel("gain on the momentum", gains, SEMILOG),
        Panel("abs(m) / sqrt(v) above which the clip binds", bounds),
        decay_panel(spec),
    ]


STAR_STEPS = 4000
RATES = (1.0, 0.1, 0.01)


@functools.cache
def measured_tau(cls: type[Spec]) -> dict[float, list[float]]:
    """Run the rule on coordinates that are active with given probabilities and return their mean tau at each t."""
    spec: Any = cls(lr=PEAK_LR)  # type: ignore[call-arg]
    generator = torch.Generator().manual_seed(0)
    shape = (len(RATES), 512)
    rates = torch.tensor(RATES)[:, None]
    param = torch.zeros(shape)
    states = [torch.zeros(shape) for _ in spec.rule.state_names]
    history: dict[float, list[float]] = {rate: [] for rate in RATES}
    for t in range(1, STAR_STEPS + 1):
        grad = torch.randn(shape, generator=generator) * (
            torch.rand(shape, generator=generator) < rates
        )
        loop.run(
            spec.rule,
            [param],
            [grad],
            [[state] for state in states],
            spec.scalars(t),
        )
        for rate, value in zip(
            RATES,
            states[spec.rule.state_names.index("tau")].mean(1).tolist(),
            strict=True,
        ):
            history[rate].append(value)
    return history


def star_panels(name: str, cls: type[Spec]) -> list[Panel]:
    """Return the panels of an optimizer that counts time per coordinate; tau is measured with its own rule."""
    spec = study(name)
    tau = measured_tau(cls)
    one = (
        1.0 if cls is DanaStarSpec else 0.0
    )  # (1 + e)^(1 - kappa) in the study's form, e^(1 - kappa) in the released

    def estimated(rate: float) -> Curve:
        def p(t: float) -> float:
            capped = min(tau[rate][round(t) - 1], 0.5)
            return max(capped / (1 - capped), float(spec.scalars(t)["tau_floor"]))

        return p

    def gain(rate: float) -> Curve:
        def g(t: float) -> float:
            return (max(tau[rate][round(t) - 1] * t, 1.0) + one) ** float(
                spec.scalars(t)["gain_exponent"]
            )

        return g

    labels = {rate: f"active in {rate:.0%} of updates" for rate in RATES}
    return [
        memory_panel(spec),
        Panel(
            "gain, by how often a coordinate is active",
            {labels[r]: gain(r) for r in RATES},
            SEMILOG,
            STAR_STEPS,
        ),
        Panel(
            "rate of activity p, estimated by the rule",
            {f"active in {r:.0%}": estimated(r) for r in RATES},
            total_steps=STAR_STEPS,
        ),
        decay_panel(spec),
    ]


SPECIAL: dict[str, Callable[[], list[Panel]]] = {
    "adamw": adamw_panels,
    "ademamix": ademamix_panels,
    "adana": adana_panels,
    "dana": dana_panels,
    "dana-mk4": dana_mk4_panels,
    "dana-star": lambda: star_panels("dana-star", DanaStarSpec),
    "dana-star-mk4": lambda: star_panels("dana-star-mk4", DanaStarMk4Spec),
}
"""Figures that show more than the scalars of one spec."""

# -- one figure for each kind of schedule -----------------------------------------------------------------------------

SCHEDULES: dict[str, tuple[tuple[str, str], int, list[Schedule]]] = {
    "constant": (SEMILOG, 1000, [sch.Constant(value=0.1)]),
    "inverse_time": (
        LOG,
        100_000,
        [
            sch.InverseTime(scale=8, offset=8),
            sch.InverseTime(scale=4, offset=10_000),
            sch.InverseTime(scale=4, offset=1),
        ],
    ),
    "debiased_ema": (
        LOG,
        100_000,
        [sch.DebiasedEma(ema=ema) for ema in (0.1, 0.001)],
    ),
    "half_life_ramp": (
        LOG,
        100_000,
        [sch.HalfLifeRamp(start=0.1, end=8e-5, steps=100_000)],
    ),
    "memory_cooldown": (
        LOG,
        1000,
        [
            sch.MemoryCooldown(base=base, total_steps=1000, **cooldown)
            for base, cooldown in (
                (sch.log_time_ema(8), {"fraction": 0.2, "final": 0.05}),
                (sch.memory_ema(100), {"fraction": 0.5, "final": 0.1}),
                (
                    sch.memory_ema(100),
                    {"fraction": 0.5, "final": 0.1, "shape": "linear"},
                ),
            )
        ],
    ),
    "power_growth": (
        SEMILOG,
        100_000,
        [sch.PowerGrowth(kappa=kappa) for kappa in (0.75, 0.85, 0.9)],
    ),
    "linear_ramp": (LINEAR, 1000, [sch.LinearRamp(start=0, end=5, steps=800)]),
    "warmup": (
        LINEAR,
        1000,
        [
            sch.Warmup(warmup_steps=400),
            sch.Warmup(warmup_steps=400, warmup_start=0.2, warmup_shape="cosine"),
        ],
    ),
    "cosine": (
        LINEAR,
        1000,
        [
            sch.Cosine(
                total_steps=1000, warmup_steps=20, warmup_start=0.01, final=0.1
            ),
            sch.Cosine(total_steps=1000, warmup_steps=200),
        ],
    ),
    "linear": (
        LINEAR,
        1000,
        [
            sch.Linear(total_steps=1000, warmup_steps=100),
            sch.Linear(total_steps=1000, final=0.3),
        ],
    ),
    "wsd": (
        LINEAR,
        1000,
        [sch.WarmupStableDecay(total_steps=1000, warmup_steps=100)]
        + [
            sch.WarmupStableDecay(
                total_steps=1000, decay_steps=400, decay_shape=shape
            )
            for shape in ("cosine", "sqrt")
        ],
    ),
    "inverse_sqrt": (
        LINEAR,
        1000,
        [sch.InverseSqrt(warmup_steps=50), sch.InverseSqrt(warmup_steps=200)],
    ),
    "power_law": (
        LINEAR,
        1000,
        [
            sch.PowerLaw(time_scale=100, warmup_steps=50),
            sch.PowerLaw(time_scale=100, exponent=1.0),
        ],
    ),
    "eden": (
        LINEAR,
        10_000,
        [sch.Eden(), sch.Eden(steps_per_epoch=500)],
    ),
    "join": (
        LINEAR,
        1000,
        [
            sch.Join(
                schedules=(sch.Cosine(total_steps=1000), sch.Constant(value=0.5)),
                at=(500,),
            )
        ],
    ),
    "product": (
        LINEAR,
        1000,
        [sch.Warmup(warmup_steps=100) * sch.Cosine(total_steps=1000)],
    ),
}


def schedule_panel(kind: str) -> Panel:
    """Return the figure of one kind of schedule, its curves labelled with the call that builds them."""
    scales, total_steps, examples = SCHEDULES[kind]
    return Panel(
        "", {label(example): example for example in examples}, scales, total_steps
    )


def label(schedule: Schedule) -> str:
    """Return how a schedule is written, without the fields that stand at their defaults."""
    if isinstance(schedule, sch.Product):
        return " * ".join(label(factor) for factor in schedule.factors)
    given = []
    for name, field in type(schedule).__dataclass_fields__.items():
        value = getattr(schedule, name)
        if value != field.default:
            is_group = (
                isinstance(value, tuple)
                and value
                and isinstance(value[0], Schedule)
            )
            shown = (
                f"({', '.join(label(v) for v in value)})"
                if is_group
                else f"{value!r}"
            )
            given.append(f"{name}={shown}")
    return f"{type(schedule).__name__}({', '.join(given)})"


# -- drawing ----------------------------------------------------------------------------------------------------------

INK, FAINT, GRID = "#30343a", "#9aa1ab", "#e3e6ea"
LINES = ("#2f6db5", "#d2691e", "#2f8f5b", "#8a55b0")

DARK = dict(
    zip(
        (INK, FAINT, GRID, *LINES),
        (
            "#cfd3d8",
            "#79808a",
            "#33383f",
            "#6fa8e8",
            "#f0985a",
            "#6cc796",
            "#bd93dd",
        ),
        strict=True,
    )
)
"""What each color of the light theme becomes in the dark one."""


def points(panel: Panel) -> list[float]:
    """Return the values of t at which a panel is drawn."""
    if panel.scales[0] == "linear":
        return [1 + (panel.total_steps - 1) * i / 400 for i in range(401)]
    exponents = [i / 300 * math.log(panel.total_steps) for i in range(301)]
    return sorted({float(round(math.exp(e))) for e in exponents})


def draw(panels: list[Panel]) -> str:
    """Return the panels, two a row, as one SVG in the colors of the light theme."""
    num_rows, num_columns = -(-len(panels) // 2), min(len(panels), 2)
    style = {
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": FAINT,
        "xtick.color": INK,
        "ytick.color": INK,
        "grid.color": GRID,
        "font.size": 9,
        "axes.titlesize": 9.5,
        "legend.fontsize": 8,
        "legend.frameon": False,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "svg.hashsalt": "logclock",
    }
    height = (
        2.35 * num_rows if num_columns == 2 else 1.9 + 0.16 * len(panels[0].curves)
    )
    with pyplot.rc_context(style):
        figure, axes = pyplot.subplots(
            num_rows,
            num_columns,
            figsize=(7.6, height),
            squeeze=False,
            layout="constrained",
        )
        for panel, ax in zip(panels, axes.flat, strict=False):
            _draw_panel(ax, panel)
        for spare in axes.flat[len(panels) :]:
            spare.set_axis_off()
        text = io.StringIO()
        figure.savefig(
            text, format="svg", transparent=True, metadata={"Date": None}
        )
        pyplot.close(figure)
    return text.getvalue()


def _draw_panel(ax: Any, panel: Panel) -> None:
    ts = points(panel)
    has_positive = any(curve(t) > 0 for curve in panel.curves.values() for t in ts)
    vertical = panel.scales[1] if has_positive else "linear"
    lines = iter(LINES)
    background = iter(("--", ":"))
    for name, curve in panel.curves.items():
        is_background = name.startswith("AdamW")
        color, dash = (
            (FAINT, next(background)) if is_background else (next(lines), "-")
        )
        ax.plot(
            ts,
            [curve(t) for t in ts],
            color=color,
            linestyle=dash,
            linewidth=1.7,
            label=name,
        )
    ax.set_xscale(panel.scales[0])
    ax.set_yscale(vertical)
    if vertical == "linear":
        ax.margins(y=0.08)
        ax.set_ylim(bottom=0)
    ax.grid(True, linewidth=0.7)
    ax.set_axisbelow(True)
    ax.minorticks_off()
    ax.set_xlabel("update t", labelpad=1)
    if panel.title:
        ax.set_title(panel.title, loc="left")
        ax.legend(loc="best", handlelength=1.6)
    else:  # the labels are code and need the width
        font = {"family": "monospace", "size": 8}
        ax.legend(
            loc="lower left",
            bbox_to_anchor=(0, 1.0),
            borderaxespad=0.2,
            prop=font,
            handlelength=1.6,
        )


def figures() -> dict[str, Callable[[], list[Panel]]]:
    """Return what there is to draw, by name."""
    optimizers = {
        f"optimizer-{name}": SPECIAL.get(
            name, functools.partial(derived_panels, name)
        )
        for name, spec in sorted(Spec.family.members.items())
        if spec.__module__.startswith("logclock.")
    }
    return optimizers | {
        f"schedule-{kind}": functools.partial(_one, kind) for kind in SCHEDULES
    }


def _one(kind: str) -> list[Panel]:
    return [schedule_panel(kind)]


def draw_all(app: Sphinx) -> None:
    """Draw every figure for both themes into `_generated`, which is not committed."""
    folder = Path(app.srcdir) / "_generated"
    folder.mkdir(exist_ok=True)
    for name, panels in figures().items():
        light = draw(panels())
        dark = re.sub("|".join(DARK), lambda match: DARK[match[0]], light)
        for theme, text in {"light": light, "dark": dark}.items():
            (folder / f"{name}-{theme}.svg").write_text(text)


class Drawing(SphinxDirective):
    """`drawing NAME`, with the caption as content: the figure of that name in the reader's theme."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return both versions of the figure, of which the theme shows one, and the caption."""
        name = self.arguments[0]
        if name not in figures():
            raise self.error(f"no drawing {name!r}. Known: {', '.join(figures())}.")
        caption = " ".join(self.content)
        result: list[nodes.Node] = [
            nodes.image(
                uri=f"/_generated/{name}-{theme}.svg",
                alt=caption,
                classes=["drawing", f"only-{theme}"],
            )
            for theme in ("light", "dark")
        ]
        if caption:
            children, messages = self.parse_inline(caption)
            result += [
                nodes.paragraph("", "", *children, classes=["caption"]),
                *messages,
            ]
        return result


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive and draw before the pages are read."""
    app.add_directive("drawing", Drawing)
    app.connect("builder-inited", draw_all)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
