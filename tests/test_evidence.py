"""Do README and claims say what the records say? Every number, recomputed without our code (tests/evidence.py)."""

import functools
import re

import numpy as np
import pytest
from evidence import (
    ABLATIONS,
    ROOT,
    SIZES,
    Differences,
    Ladder,
    arms,
    horizon_multipliers,
    ledger,
    loss_of,
    lr_of,
    multipliers,
    near_bottom,
    overtraining,
)

ORDER = ("adana", "dana-star-mk4", "ademamix-log-time-decay", "muon", "adamw-log-time-decay")
HORIZONS = (5, 20, 80, 160)


@functools.cache
def over(baseline="adamw"):
    return Ladder(baseline)


@functools.cache
def against(experiment, baseline):
    name = experiment if experiment.startswith("2026") else f"{ABLATIONS}/{experiment}"
    return Differences(name, baseline)


def flat(text):
    return " ".join(text.split())


def strike(text, snippets):
    """Return a text without the snippets, each of which must stand in it."""
    for snippet in snippets:
        assert snippet in text, f"the records say {snippet!r}, and the text does not"
    for snippet in sorted(snippets, key=len, reverse=True):
        text = text.replace(snippet, " ")
    return text


def numbers(text):
    return re.findall(r"(?<![\w.])\d+(?:,\d{3})*(?:\.\d+)?(?:e-?\d+)?", text)


def span(low, high, digits=3):
    low, high = sorted((abs(low), abs(high))) if low * high > 0 else (low, high)
    return f"{low:.{digits}f} to {high:.{digits}f}"


def gain(found, key, digits=3):
    """Return the size of a difference with its interval, as prose has it: 0.048 nats (0.029 to 0.067)."""
    return f"{abs(found.mean[key]):.{digits}f} nats ({span(*found.interval(key), digits)})"


def bare(found, key):
    return f"{abs(found.mean[key]):.3f} ({span(*found.interval(key))})"


def power(p):
    return f"{p:.0e}".replace("e-0", "e-")


def factor(label, size, convention="6d"):
    return f"{over().multiplier(label, size, convention):.2f}"


def factors(label, convention="6d"):
    values = [factor(label, size, convention) for size in SIZES]
    return f"{', '.join(values[:-1])} and {values[-1]}"


def section(path, start, end):
    text = (ROOT / path).read_text()
    return flat(text[text.index(start) : text.index(end)])


README = section("README.md", "## Results measured here", "Speed on two cores")


def demo_row(label, name, state):
    demo = "2026-11-22-demo"
    losses = list(arms(demo)[label][2].values())
    cells = [name, f"{np.mean(losses):.4f} ({np.std(losses, ddof=1):.4f})"]
    if label == "adamw":
        return f"| {' | '.join(cells)} | | | {state} B/parameter |"
    found, values = against(demo, "adamw"), multipliers(demo, label, "adamw")
    low, high = found.interval(label)
    verdict = ("better" if found.mean[label] < 0 else "worse") if found.adjusted[label] <= 0.05 else "no difference"
    cells += [f"{found.mean[label]:+.4f} [{low:+.4f}, {high:+.4f}], {verdict}"]
    cells += [f"{np.mean(values):.2f} ({min(values):.2f} to {max(values):.2f})", f"{state} B/parameter"]
    return f"| {' | '.join(cells)} |"


def ladder_row(size):
    cells = []
    for label in ORDER:
        low, high = over().multiplier_interval(label, size)
        mark = "*" if over().is_extended(label, size) else ""
        cells.append(f"{factor(label, size)}{mark} ({low:.2f} to {high:.2f})")
    return f"| {over().params(size):,} | {' | '.join(cells)} |"


def model(size):
    return next(r for r in ledger("2026-11-24-ladder") if r["tags"]["size"] == size)


def ends(quantity, digits=0):
    return [f"{quantity(model(size)):.{digits}f}" for size in ("2", "6")]


def tokens_per_param(record):
    return record["train"]["tokens"][-1] / record["model"]["non_embedding_params"]


def vocabulary_share(record):
    return 100 * (1 - record["model"]["non_embedding_params"] / record["model"]["total_params"])


def results_of_readme():
    """Return every phrase of README's results that a record stands behind."""
    records = ledger("2026-11-24-ladder")
    demo = ledger("2026-11-22-demo")[0]
    nats, logs = (over().adjusted_trends(kind) for kind in ("nats", "multiplier"))
    _, dana, ademamix, *_ = ORDER
    slope, slope_ends, _ = over().trend(dana, "nats")
    decades = np.log10(over().compute("6", "6d") / over().compute("2", "6d"))
    level = over("adana")
    shape, parts = against("weight-decay", "adamw constant"), against("components", "adamw")
    kappa = against("stability", "kappa 0.85")
    horizons = {h: against(f"horizon-{h}", "adamw") for h in HORIZONS}
    hours = sum(r["cost"]["wall_seconds"] for r in records) / 3600
    steps = [f"{model(size)['config']['total_steps']:,}" for size in ("2", "6")]

    def line(label):
        words = [f"{abs(horizons[h].mean[label]):.3f}" for h in HORIZONS]
        return [
            w if horizons[h].adjusted[label] <= 0.05 else f"{w} (not significant)"
            for w, h in zip(words, HORIZONS, strict=True)
        ]

    adana, muon = line("adana"), line("muon")
    return [
        *(
            demo_row(*row)
            for row in (("adamw", "AdamW", 8), ("adana", "ADANA", 8), ("dana-star-mk4", "Dana-Star-MK4", 12))
        ),
        *(ladder_row(size) for size in SIZES),
        f"A micro Enoki ({demo['model']['non_embedding_params']:,} non-embedding parameters",
        f"({demo['train']['tokens'][-1] / demo['model']['total_params']:.0f} tokens per parameter)",
        f"{decades:.1f} decades of compute",
        f"({len(records)} runs, {hours:.1f} core hours",
        f"ADANA ends {gain(over(), 'adana')} below AdamW",
        f"Muon {bare(over(), 'muon')}",
        f"Dana-Star-MK4 {bare(over(), 'dana-star-mk4')}",
        f"AdEMAMix {bare(over(), 'ademamix-log-time-decay')}",
        f"log-time decay {bare(over(), 'adamw-log-time-decay')} above",
        f"({level.mean['muon']:.3f} nats, {span(*level.interval('muon'))})",
        f"by {slope:.3f} nats per e-fold of the parameters ({span(*slope_ends)}, Holm's p = {power(nats[dana])}",
        f"its multiplier too (p = {logs['dana-star-mk4']:.3f})",
        f"For ADANA (p = {logs['adana']:.2f}), Muon ({logs['muon']:.2f}) and AdEMAMix ({logs[ademamix]:.2f})",
        f"as a multiplier (p = {logs['adamw-log-time-decay']:.3f})",
        "from {} to {} tokens per non-embedding parameter".format(*ends(tokens_per_param)),
        "from {} to {} % of the parameters in the vocabulary tables".format(*ends(vocabulary_share)),
        "from {} to {} updates".format(*steps),
        f"has {vocabulary_share(demo):.0f} % of its parameters in the tables",
        f"leads by {gain(shape, 'adana constant')}",
        f"loses {bare(shape, 'adamw strong')} to itself",
        f"loses {gain(parts, 'log-time ema1')}",
        f"it gains {bare(parts, '+ gradient')}",
        f"with the growing gain {bare(parts, '+ gain')}",
        f"ADANA leads AdamW by {', '.join(adana[:3])} and {adana[3]} nats",
        f"Muon by {', '.join(muon[:3])} and {muon[3]}",
        f"it ends {kappa.mean['kappa 0']:.2f} nats above ({span(*kappa.interval('kappa 0'), 2)} by itself, "
        f"p = {kappa.adjusted['kappa 0']:.2f} among all arms)",
    ]


SETTINGS_OF_README = {
    # how verdicts are made, and what the hyperparameters are
    "95", "90", "0.05", "5", "0.9", "0.999",
    # settings: model, batch, steps, seeds, grids, sizes of the experiments, names of runs
    "2,048", "64", "16", "2", "5,000", "8", "7", "20", "0", "1", "4.5", "12", "6", "2026", "11", "22", "24",
    "45,056", "163,840", "80", "160", "0.85", "0.7",
}  # fmt: skip


def test_every_number_of_the_readmes_results_is_that_of_the_records():
    before, league = README.split("**A league.**")
    after = league[league.index("**Experiments**") :]  # between them is what test_league.py holds against the page

    rest = strike(before + after, results_of_readme())

    assert set(numbers(rest)) <= SETTINGS_OF_README


def test_verdicts_without_numbers_in_the_readme_hold():
    assert over("adana").adjusted["muon"] > 0.05
    nats, logs = (over().adjusted_trends(kind) for kind in ("nats", "multiplier"))
    for label in ("adana", "muon", "ademamix-log-time-decay"):
        assert min(nats[label], logs[label]) > 0.05
    assert nats["dana-star-mk4"] < 0.05
    assert nats["adamw-log-time-decay"] > 0.05
    assert over().trend("adamw-log-time-decay", "multiplier")[0] > 0
    parts = against("components", "+ gain")
    assert parts.adjusted["adana constant ema2"] > 0.05
    assert parts.adjusted["adana"] > 0.05  # log-time instead of constant decay
    assert against("components", "adana").adjusted["adana +1"] > 0.05
    assert against("components", "+ gradient").adjusted["+ gain"] > 0.05
    kappa = against("stability", "kappa 0.85")
    assert kappa.adjusted["kappa 0.7"] > 0.05 < kappa.adjusted["kappa 1"]
    muon = {h: against(f"horizon-{h}", "muon") for h in HORIZONS}
    assert muon[20].mean["adana"] > 0 > muon[80].mean["adana"]
    assert max(muon[20].adjusted["adana"], muon[80].adjusted["adana"]) < 0.05
    unclipped = {label: np.mean(list(a[2].values())) for label, a in arms(f"{ABLATIONS}/stability").items()}
    assert min((v, k) for k, v in unclipped.items() if "clip" not in k and "ema2" not in k)[1] == "kappa 0.85"


def test_kappa_zero_diverges_at_adanas_rate_and_trains_with_the_clip():
    runs = [r for r in ledger(f"{ABLATIONS}/stability") if lr_of(r) == 5e-3 and r["seed"] == 0]
    by_label = {r["label"]: r for r in runs}

    assert by_label["kappa 0"]["status"] == "diverged"
    assert all(loss_of(r) is not None for label, r in by_label.items() if "clip" in label)


@pytest.mark.parametrize("name", ["muon", "lion", "normsgd"])
def test_no_adaptive_warm_up_ends_below_the_best_manual_one(name):
    means = {label: np.mean(list(arm[2].values())) for label, arm in arms(f"{ABLATIONS}/warmup-{name}").items()}

    assert min(v for k, v in means.items() if k.startswith("adaptive")) > min(
        v for k, v in means.items() if not k.startswith("adaptive")
    )


def test_the_demos_rates_are_near_the_minimum_but_adanas_at_the_edge():
    trials = {}
    for record in ledger("2026-11-22-demo-lr"):
        trials.setdefault(record["label"], {})[lr_of(record)] = loss_of(record)
    used = {r["label"]: lr_of(r) for r in ledger("2026-11-22-demo")}

    for label, tried in trials.items():
        x, above, _, best = near_bottom(tried)
        c2, c1, _ = np.polyfit(x, above, 2)
        assert best * np.exp(-c1 / (2 * c2)) == pytest.approx(used[label], rel=0.1)
        assert (best == min(tried)) == (label == "adana")


def claims():
    text = (ROOT / "docs/claims.md").read_text()
    table = text[text.index("## The claims") : text.index('"Up to 40 %')]
    rows = [row.split("|") for row in table.splitlines() if re.match(r"\| \d+ \|", row)]
    return {int(row[1]): flat(row[-2]) for row in rows}


CLAIMS = claims()


def ladder_gains(label):
    values = [f"{-over().by_size[label, size]:.3f}" for size in SIZES]
    return f"{', '.join(values[:-1])} and {values[-1]}"


def listed(values, digits):
    texts = [f"{value:.{digits}f}" for value in values]
    return f"{', '.join(texts[:-1])} and {texts[-1]}"


@functools.cache
def phrases_of_claims():
    """Return the phrases of claims.md that a ledger stands behind, by claim, and the other numbers of the cell."""
    adana, dana, ademamix, muon, decay = ORDER
    logs, nats = (over().adjusted_trends(kind) for kind in ("multiplier", "nats"))
    low, high = over().multiplier_interval(adana, "6")
    slope, slope_ends, _ = over().trend(adana, "nats")
    growth, growth_ends, _ = over().trend(dana, "nats")
    level = over("adana")
    widths = [(over().interval(adana, s)[1] - over().interval(adana, s)[0]) / 2 for s in SIZES]
    shape = {who: against("weight-decay", f"{who} strong") for who in ("adamw", "adana")}
    same = against("weight-decay", "adana constant")
    apart = [against(f"horizon-{h}", "adana") for h in HORIZONS]
    halves = [(d.interval(ademamix)[1] - d.interval(ademamix)[0]) / 2 for d in apart]
    kappas = [
        np.mean(list(arms(f"{ABLATIONS}/stability")[f"kappa {k}"][2].values()))
        for k in ("0", "0.25", "0.5", "0.7", "0.85", "1")
    ]
    kappa = against("stability", "kappa 0.85")
    ema2 = against("components", "adana")
    tried = [r for r in ledger(f"{ABLATIONS}/stability") if lr_of(r) == 5e-3 and r["seed"] == 0]
    at_5e3 = {r["label"]: loss_of(r) for r in tried if loss_of(r) is not None}
    clipped = [v for k, v in at_5e3.items() if "clip" in k]
    own = [arm[1] for label, arm in arms(f"{ABLATIONS}/stability").items() if "clip" in label]
    demo = multipliers("2026-11-22-demo", dana, "adamw")
    muon_minus = [against(f"horizon-{h}", "muon").mean[adana] for h in HORIZONS]
    manual = {"muon": "linear 30%", "lion": "linear 30%", "normsgd": "linear 3%"}
    worse = []
    for name, best in manual.items():
        found = against(f"warmup-{name}", best)
        adaptive = min((v, k) for k, v in found.mean.items() if k.startswith("adaptive"))
        assert found.adjusted[adaptive[1]] > 0.05
        worse.append(adaptive[0])
    assert (round(min(widths), 2), round(max(widths), 1)) == (0.03, 0.1)
    assert (round(min(halves), 2), round(max(halves), 2)) == (0.02, 0.03)
    return {
        1: (
            [
                f"{gain(over(), adana)} below it",
                f"{factors(adana)} ({low:.2f} to {high:.2f})",
                f"{factors(adana, '6p')} by 6 P",
                f"p = {over().trend(adana, 'multiplier')[2]:.2f} for the multiplier ({logs[adana]:.2f} with",
                "at "
                + ", ".join(f"{over().params(s) / 1e3:.0f} k" for s in SIZES[:-1])
                + f" and {over().params('6') / 1e3:.0f} k",
            ],
            set(),
        ),
        2: ([ladder_gains(adana), "+-0.03 to 0.1", f"slope {slope:.3f} ({span(*slope_ends)})"], set()),
        3: (
            [
                f"{abs(over().mean[decay]):.3f} nats ({span(*over().interval(decay))}; "
                f"multipliers {', '.join(factor(decay, s) for s in SIZES)})",
                f"({same.mean['adana log-time']:.3f}, {span(*same.interval('adana log-time'))})",
                f"{bare(shape['adamw'], 'adamw log-time')} lower for AdamW",
                f"{bare(shape['adana'], 'adana log-time')} for ADANA",
                f"p = {shape['adamw'].adjusted['adamw log-time']:.2f} and "
                f"{shape['adana'].adjusted['adana log-time']:.3f}",
            ],
            {"4", "0.1"},
        ),
        4: (
            [
                "half-widths of 0.02 to 0.03 nats",
                f"({factor(ademamix, '2')} to {factor(ademamix, '6')}, "
                f"{abs(over().mean[ademamix]):.3f} nats, {span(*over().interval(ademamix))})",
                f"{gain(level, ademamix)} behind ADANA",
            ],
            {"5", "20", "80", "160"},
        ),
        5: ([factors(muon), listed(horizon_multipliers(muon), 2)], {"249", "5", "20", "80", "160"}),
        6: (
            [f"({', '.join(f'{v:.2f}' for v in kappas)}; no difference to 0.7 and 1)"],
            {"0.85", "0", "0.25", "0.5", "0.7", "1"},
        ),
        8: (
            [
                f"{gain(over(), dana)} below AdamW",
                f"{growth:.3f} nats ({span(*growth_ends)}) per e-fold of the parameters "
                f"(Holm's p = {power(nats[dana])})",
                factors(dana),
                f"({level.mean[dana]:.3f} nats, {span(*level.interval(dana))})",
                f"{np.mean(demo):.2f} along the run ({min(demo):.2f} to {max(demo):.2f} over seeds)",
            ],
            {"98", "2,048", "2", "7"},
        ),
        9: (
            [f"{kappa.mean['kappa 0']:.2f} nats ({span(*kappa.interval('kappa 0'), 2)}) above ADANA"],
            {"1.3e6", "0", "0.69", "0.7", "256"},
        ),
        10: (
            [
                f"up to {max(clipped) - min(at_5e3.values()):.2f} nats above the best (one seed)",
                "at its own (1.25e-3 to 1e-2 in all)" if (min(own), max(own)) == (2.5e-3, 1e-2) else "",
            ],
            {"0.25", "4", "0.5", "0", "1", "0.04", "2.5e-3"},
        ),
        13: (
            [
                f"{kappa.mean['kappa 0.85 constant ema2']:.3f}, {span(*kappa.interval('kappa 0.85 constant ema2'))}",
                f"{ema2.mean['adana constant ema2']:+.3f}, {span(*ema2.interval('adana constant ema2'))}",
            ],
            {"0.999"},
        ),
        14: ([f"leads by {abs(against('horizon-5', 'adamw').mean[adana]):.3f} nats"], {"440", "512"}),
        15: (
            [", ".join(f"{v:+.3f}" for v in muon_minus[:3]) + f" and {muon_minus[3]:+.3f} nats"],
            {"5", "20", "80", "160"},
        ),
        16: (
            [
                f"between finished runs {listed(horizon_multipliers(adana), 2)}",
                f"about {overtraining(adana):.2f} (AdEMAMix {overtraining(ademamix):.2f})",
                f"Muon's is {overtraining(muon):.2f}",
            ],
            {"5", "20", "80", "160"},
        ),
        19: ([f"ended {listed(worse, 3)} nats above"], {"3,520"}),
    }


@pytest.mark.parametrize("claim", sorted(phrases_of_claims()))
def test_every_number_tested_here_is_that_of_the_records(claim):
    phrases, settings = phrases_of_claims()[claim]

    rest = strike(CLAIMS[claim], [phrase for phrase in phrases if phrase])

    assert set(numbers(rest)) <= settings


def test_claims_without_a_ledger_of_runs_are_the_others():
    # 7, 12 and 17 are not tested yet; 11 and 18 rest on exact risks, which tests/test_plrf_recipes.py holds
    assert set(CLAIMS) - set(phrases_of_claims()) == {7, 11, 12, 17, 18}


def test_clipped_arms_end_within_four_hundredths_of_the_best_at_their_own_rate():
    means = {label: np.mean(list(arm[2].values())) for label, arm in arms(f"{ABLATIONS}/stability").items()}
    clipped = [value for label, value in means.items() if "clip" in label]

    assert max(clipped) - min(means[k] for k in means if "clip" in k or k == "kappa 0.85") < 0.04


def test_a_text_that_parts_from_the_records_is_noticed():
    with pytest.raises(AssertionError, match=r"the records say '1\.10', and the text does not"):
        strike("the multiplier is 1.11", ["1.10"])
    assert numbers("p = 7e-5 after 1,230 updates: 0.05 (90 %)") == ["7e-5", "1,230", "0.05", "90"]
