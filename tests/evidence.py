"""The numbers of README, claims and log once more, from the ledgers, with numpy and nothing of ours.

Everything here is written a second time on purpose: a mistake in `logclock.analysis` must not agree with itself.
"""

import functools
import json
import math
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
EXPERIMENTS = ROOT / "experiments"
ABLATIONS = "2026-11-24-ablations"
SIZES = ("2", "3", "4", "5", "6")
TOKEN_SD = 0.8
Z = {0.95: 1.959964, 0.9: 1.644854}


@functools.cache
def ledger(name):
    """Return the last record of every run."""
    runs = {}
    for line in (EXPERIMENTS / name / "ledger.jsonl").read_text().splitlines():
        record = json.loads(line)
        runs[json.dumps(record["config"], sort_keys=True)] = record
    return list(runs.values())


def loss_of(record):
    return record["metrics"].get("final_validation_loss") if record["status"] == "finished" else None


def lr_of(record):
    return record["config"]["optimizer"]["lr"]


@functools.cache
def ladder():
    """Return (trials {lr: loss} of seed 0, best lr, losses {seed: loss}) by label and size."""
    cells = {}
    for record in ledger("2026-11-24-ladder"):
        by_lr = cells.setdefault((record["label"], record["tags"]["size"]), {})
        if loss_of(record) is not None:
            by_lr.setdefault(lr_of(record), {})[record["seed"]] = loss_of(record)
    found = {}
    for key, by_lr in cells.items():
        trials = {lr: by_seed[0] for lr, by_seed in by_lr.items() if 0 in by_seed}
        best = min(trials, key=trials.get)
        found[key] = trials, best, by_lr[best]
    return found


@functools.cache
def arms(name):
    """Return the same by arm of an experiment; trials are means over the runs of the sweep."""
    main, sweeps = {}, {}
    for record in ledger(name):
        phases = record["tags"].get("phase", "main").split(",")
        if "main" in phases:
            main.setdefault(record["label"], {})[record["seed"]] = record
        if "sweep" in phases and loss_of(record) is not None:
            sweeps.setdefault(record["label"], {}).setdefault(lr_of(record), []).append(loss_of(record))
    found = {}
    for label, records in main.items():
        trials = {lr: float(np.mean(losses)) for lr, losses in sweeps.get(label, {}).items()}
        best = lr_of(next(iter(records.values())))
        found[label] = trials, best, {seed: loss_of(r) for seed, r in records.items() if loss_of(r) is not None}
    return found


def near_bottom(trials):
    """Return ln lr against the best, losses above it and weights, within a factor 4 or of the three nearest rates."""
    best = min(trials, key=trials.get)
    x = {lr: math.log(lr / best) for lr in trials}
    kept = [lr for lr in trials if abs(x[lr]) < math.log(4) + 1e-6]
    if len(kept) < 3:
        kept = sorted(trials, key=lambda lr: abs(x[lr]))[:3]
    above = np.array([trials[lr] - trials[best] for lr in kept])
    return np.array([x[lr] for lr in kept]), above, 1 / (1 + (above / 0.05) ** 2), best


def search_costs(cells):
    """Return what every choice of a rate costs, by key."""
    bottoms = {key: near_bottom(trials) for key, (trials, _, _) in cells.items() if len(trials) > 2}
    curved = {key: np.polyfit(x, y, 2, w=np.sqrt(w))[0] for key, (x, y, w, _) in bottoms.items()}
    usual = float(np.median(list(curved.values()))) if curved else 0.0
    costs = dict.fromkeys(cells, 0.0)
    for key, (x, y, w, best) in bottoms.items():
        k = max(curved[key], 0.2 * usual)
        x = x + math.log(best / cells[key][1])
        slope = np.polyfit(x, y - k * x**2, 1, w=np.sqrt(w))[0]
        sides = [side for side in (-x[x < -1e-3], x[x > 1e-3]) if side.size]
        reach = max(side.min() for side in sides)
        costs[key] = k * min(abs(slope) / (2 * k), reach) ** 2
    return costs


@functools.cache
def _t_table(freedom):
    """Return x and the distribution function of Student's t, by summing up its density."""
    x = np.sinh(np.linspace(0, 16, 20_001))
    density = (1 + x**2 / freedom) ** (-(freedom + 1) / 2)
    steps = np.diff(x) * (density[1:] + density[:-1]) / 2
    mass = np.concatenate([[0.0], np.cumsum(steps)])
    return x, 0.5 + 0.5 * mass / mass[-1]


def t_quantile(probability, freedom):
    x, below = _t_table(round(freedom, 9))
    return float(np.interp(probability, below, x))


def z_quantile(probability):
    return t_quantile(probability, 1e7)


@functools.cache
def f_quantile(n, m, chance, draws=200_000):
    """Return the ratio of two variances that chance exceeds that often, by simulation."""
    generator = np.random.default_rng(0)
    return float(np.quantile(generator.chisquare(n, draws) / n / (generator.chisquare(m, draws) / m), 1 - chance))


def f_exceeds(ratio, n, m, chance):
    return ratio > f_quantile(n, m, round(chance, 9))


def half_width(error, confidence):
    seeds, freedom, shared = error
    tail = (1 + confidence) / 2
    return math.sqrt(t_quantile(tail, freedom) ** 2 * seeds + z_quantile(tail) ** 2 * shared)


def p_value(mean, error):
    low, high = 1e-9, 1 - 1e-9
    for _ in range(40):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if abs(mean) > half_width(error, 1 - middle) else (middle, high)
    return high


def holm(p_values):
    adjusted, largest = {}, 0.0
    for rank, key in enumerate(sorted(p_values, key=p_values.get)):
        largest = max(largest, min(1.0, p_values[key] * (len(p_values) - rank)))
        adjusted[key] = largest
    return adjusted


def sampling(name):
    config = ledger(name)[0]["config"]
    count = config["evaluation"]["batches"] * config["evaluation"]["batch_size"] * config["data"]["sequence_length"]
    return TOKEN_SD**2 / count


def pairs(losses, baseline):
    return np.array([losses[seed] - baseline[seed] for seed in sorted(losses.keys() & baseline.keys())])


class Differences:
    """Every arm of an experiment minus one of them: means, intervals, p and verdicts."""

    def __init__(self, name, baseline):
        cells = arms(name)
        costs = search_costs({key: cell for key, cell in cells.items() if cell[0]})
        found = {key: pairs(cell[2], cells[baseline][2]) for key, cell in cells.items() if key != baseline}
        known = {key: (float(p.var(ddof=1)), len(p) - 1) for key, p in found.items()}
        kept = dict(known)
        while len(kept) > 1:
            largest = max(kept, key=lambda key: kept[key][0])
            others = [kept[key] for key in kept if key != largest]
            mean, freedom = _mean_spread(others)
            if mean == 0 or not f_exceeds(kept[largest][0] / mean, kept[largest][1], freedom, 0.05 / len(kept)):
                break
            del kept[largest]
        mean, freedom = _mean_spread(list(kept.values()))
        self.mean, self.error = {}, {}
        for key, p in found.items():
            own, own_freedom = known[key]
            is_odd = own > mean and f_exceeds(own / mean, own_freedom, freedom, 0.1)
            shared = costs.get(key, 0.0) ** 2 + costs.get(baseline, 0.0) ** 2 + sampling(name)
            self.mean[key] = float(p.mean())
            self.error[key] = max(own, mean) / len(p), own_freedom if is_odd else freedom, shared
        self.p = {key: p_value(self.mean[key], self.error[key]) for key in found}
        self.adjusted = holm(self.p)

    def interval(self, key, confidence=0.95):
        width = half_width(self.error[key], confidence)
        return self.mean[key] - width, self.mean[key] + width


def _mean_spread(spreads):
    freedom = sum(own for _, own in spreads)
    return sum(v * own for v, own in spreads) / freedom, freedom / (1 + (len(spreads) - 1) / 4)


class Ladder:
    """Every optimizer of the ladder minus one: means over sizes, single sizes, multipliers, trends."""

    def __init__(self, baseline="adamw"):
        self.cells, self.baseline = ladder(), baseline
        costs = search_costs(self.cells)
        noise = sampling("2026-11-24-ladder")
        self.labels = [label for label in dict.fromkeys(label for label, _ in self.cells) if label != baseline]
        self.by_size, self.size_error, self.own, self.mean, self.error = {}, {}, {}, {}, {}
        for label in self.labels:
            found = {s: pairs(self.cells[label, s][2], self.cells[baseline, s][2]) for s in SIZES}
            search = {s: costs[label, s] ** 2 + costs[baseline, s] ** 2 for s in SIZES}
            variance = {s: float(p.var(ddof=1)) for s, p in found.items()}
            mean = float(np.mean(list(variance.values())))
            for s, p in found.items():
                is_odd = variance[s] > mean and f_exceeds(variance[s] / mean, 2, 10, 0.1)
                self.by_size[label, s] = float(p.mean())
                shared = search[s] + noise
                self.size_error[label, s] = max(variance[s], mean) / 3, 2 if is_odd else 10, shared
                self.own[label, s] = variance[s] / 3, search[s], noise
            self.mean[label] = float(np.mean([p.mean() for p in found.values()]))
            self.error[label] = self._combined(label, dict.fromkeys(SIZES, 0.2))
        self.adjusted = holm({label: p_value(self.mean[label], self.error[label]) for label in self.labels})
        self.size_adjusted = holm({key: p_value(self.by_size[key], self.size_error[key]) for key in self.by_size})

    def _combined(self, label, weights, scale=None):
        """Return the error of a weighted sum over sizes, by Welch and Satterthwaite."""
        factor = {s: w * (scale[s] if scale else 1.0) for s, w in weights.items()}
        seeds = [factor[s] ** 2 * self.own[label, s][0] for s in weights]
        freedom = sum(seeds) ** 2 / sum(part**2 / 2 for part in seeds)
        search = sum(factor[s] ** 2 * self.own[label, s][1] for s in weights)
        common = sum(
            w * (abs(scale[s]) if scale else 1.0) * math.sqrt(self.own[label, s][2]) for s, w in weights.items()
        )
        return sum(seeds), freedom, search + common**2

    def interval(self, label, size=None, confidence=0.95):
        mean, error = (self.mean, self.error) if size is None else (self.by_size, self.size_error)
        key = label if size is None else (label, size)
        width = half_width(error[key], confidence)
        return mean[key] - width, mean[key] + width

    def loss(self, label, size):
        return float(np.mean(list(self.cells[label, size][2].values())))

    def compute(self, size, convention):
        record = next(r for r in ledger("2026-11-24-ladder") if r["tags"]["size"] == size)
        return record["train"]["tokens"][-1] * record["model"][f"compute_{convention}_per_token"]

    def params(self, size):
        return next(r for r in ledger("2026-11-24-ladder") if r["tags"]["size"] == size)["model"][
            "non_embedding_params"
        ]

    def multiplier(self, label, size, convention="6d", shift=0.0):
        x = np.log([self.compute(s, convention) for s in SIZES])
        y = np.log([self.loss(self.baseline, s) for s in SIZES])
        target = math.log(self.loss(label, size) + shift)
        if target > y[0]:
            i = 0
        elif target < y[-1]:
            i = len(y) - 2
        else:
            i = next(i for i in range(len(y) - 1) if y[i + 1] <= target)
        at = x[i] + (target - y[i]) * (x[i + 1] - x[i]) / (y[i + 1] - y[i])
        return math.exp(at - x[SIZES.index(size)])

    def is_extended(self, label, size):
        ends = [self.loss(self.baseline, s) for s in SIZES]
        return not min(ends) <= self.loss(label, size) <= max(ends)

    def multiplier_interval(self, label, size, convention="6d"):
        width = half_width(self.size_error[label, size], 0.9)
        return self.multiplier(label, size, convention, width), self.multiplier(label, size, convention, -width)

    def trend(self, label, kind):
        """Return slope, interval and p of the gain in nats, or of ln multiplier without extended sizes."""
        sizes = [s for s in SIZES if kind == "nats" or not self.is_extended(label, s)]
        x = np.log([self.params(s) for s in sizes])
        weights = dict(zip(sizes, (x - x.mean()) / ((x - x.mean()) ** 2).sum(), strict=True))
        scale = None
        values = {s: -self.by_size[label, s] for s in sizes}
        if kind == "multiplier":
            values, scale = {s: math.log(self.multiplier(label, s)) for s in sizes}, {}
            for s in sizes:
                seeds, search, noise = self.own[label, s]
                width = half_width((seeds, 2, search + noise), 0.9)
                ends = self.multiplier(label, s, shift=-width) / self.multiplier(label, s, shift=width)
                scale[s] = math.log(ends) / (2 * width)
        slope = sum(w * values[s] for s, w in weights.items())
        error = self._combined(label, weights, scale)
        width = half_width(error, 0.95)
        return slope, (slope - width, slope + width), p_value(slope, error)

    def adjusted_trends(self, kind):
        return holm({label: self.trend(label, kind)[2] for label in self.labels})


def along_the_run(record, baseline):
    """Return the multiplier read off two runs of one model: tokens of equal loss, linear in ln tokens."""

    def curve(run):
        points = [(t, v) for t, v in zip(run["validation"]["tokens"], run["validation"]["loss"], strict=True) if t]
        return np.log([t for t, _ in points]), np.array([v for _, v in points])

    def reached(x, y, target):
        at = int(np.argmax(y <= target))
        if at == 0:
            return x[0]
        return x[at - 1] + (y[at - 1] - target) / (y[at - 1] - y[at]) * (x[at] - x[at - 1])

    x, y = curve(record)
    x0, y0 = curve(baseline)
    if (y <= y0[-1]).any():
        return math.exp(x0[-1] - reached(x, y, y0[-1]))
    return math.exp(reached(x0, y0, y[-1]) - x[-1])


def main_runs(name, label):
    return {
        r["seed"]: r
        for r in ledger(name)
        if r["label"] == label and "main" in r["tags"].get("phase", "main").split(",")
    }


def multipliers(name, label, baseline):
    ours, theirs = main_runs(name, label), main_runs(name, baseline)
    return [along_the_run(ours[seed], theirs[seed]) for seed in sorted(ours.keys() & theirs.keys())]


def horizon_multipliers(label):
    """Return the multiplier at 5, 20, 80 and 160 tokens per parameter between the ends of finished runs."""
    names = [f"{ABLATIONS}/horizon-{ratio}" for ratio in (5, 20, 80, 160)]
    tokens = np.log([main_runs(name, "adamw")[0]["train"]["tokens"][-1] for name in names])
    ends = {which: np.log([np.mean(list(arms(n)[which][2].values())) for n in names]) for which in ("adamw", label)}
    found = []
    for at, target in zip(tokens, ends[label], strict=True):
        y = ends["adamw"]
        i = next((i for i in range(3) if y[i + 1] <= target), 2)
        reached = tokens[i] + (target - y[i]) * (tokens[i + 1] - tokens[i]) / (y[i + 1] - y[i])
        found.append(math.exp(reached - at))
    return found


def overtraining(label):
    """Return p of f_adamw = factor f^p, with AdamW's law L = a f^-b + floor through the ends of its four horizons."""
    names = [f"{ABLATIONS}/horizon-{ratio}" for ratio in (5, 20, 80, 160)]
    x = np.log([main_runs(name, "adamw")[0]["train"]["tokens"][-1] for name in names])
    theirs, ours = (np.array([np.mean(list(arms(n)[who][2].values())) for n in names]) for who in ("adamw", label))
    floors = np.linspace(0.0, min(theirs.min(), ours.min()) - 1e-3, 20_001)
    lines = [np.polyfit(x, np.log(theirs - floor), 1) for floor in floors]
    misfits = [
        np.square(np.log(np.exp(np.polyval(line, x)) + floor) - np.log(theirs)).sum()
        for line, floor in zip(lines, floors, strict=True)
    ]
    at = int(np.argmin(misfits))
    slope, intercept = lines[at]
    return float(np.polyfit(x, (np.log(ours - floors[at]) - intercept) / slope, 1)[0])
