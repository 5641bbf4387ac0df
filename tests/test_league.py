"""Does the page of a league say what its records say? Recomputed from their lines, without our analysis."""

import dataclasses
import inspect
import itertools
import json
import math
import re
from pathlib import Path

import pytest
from leagues import write_league

from logclock.analysis.league import analyse_league
from logclock.cli import commands
from logclock.cli.league import read_league, report_league
from logclock.recipes.league import League
from logclock.records import Ledger

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "league.md"
GAP = "minus adamw's"


def lines(path):
    """Return the last line of every run."""
    runs = {}
    for line in path.read_text().splitlines():
        record = json.loads(line)
        runs[json.dumps(record["config"], sort_keys=True)] = record
    return list(runs.values())


def losses(records):
    """Return the reported losses by label and seed, of finished main runs."""
    found = {}
    for record in records:
        if record["status"] == "finished" and "main" in record["tags"]["phase"].split(","):
            found.setdefault(record["label"], {})[record["seed"]] = record["metrics"]["held_out_loss"]
    return found


def mean(values):
    return math.fsum(values) / len(values)


def table_of(page):
    """Return the rows of the page's one table as {heading: cell}."""
    rows = [line.strip("| \n").split(" | ") for line in page.read_text().splitlines() if line.startswith("|")]
    heading, _, *body = ([cell.strip() for cell in row] for row in rows)
    heading = ["rank", *heading] if len(heading) < len(body[0]) else ["rank", *heading[1:]]
    return [dict(zip(heading, row, strict=True)) for row in body]


def in_baseline_compute(loss, rungs, here):
    """Return by lines in (ln C, ln L) what the baseline needs for a loss, over what a run of the league took."""
    points = sorted(rungs)
    if loss > points[0][1]:
        return f"<{points[0][0] / here:.2f}x"
    low = min(points, key=lambda point: point[1])
    if loss < low[1]:
        return f">{low[0] / here:.2f}x"
    for (c0, l0), (c1, l1) in itertools.pairwise(points):
        if l1 <= loss <= l0:
            share = (math.log(l0) - math.log(loss)) / (math.log(l0) - math.log(l1))
            return f"{math.exp(math.log(c0) + share * math.log(c1 / c0)) / here:.2f}x"
    raise AssertionError(loss)


def check_page(page, out, *, baseline="adamw"):
    """Compare every cell that can be computed by hand with the lines of the ledgers."""
    records = lines(out / "ledger.jsonl")
    found = losses(records)
    costs = {cost["label"]: cost for cost in map(json.loads, (out / "step-costs.jsonl").read_text().splitlines())}
    own = found[baseline]

    def compute(some):
        return next(record["train"]["tokens"][-1] for record in some if record["status"] == "finished")

    here = compute(records)
    rungs = [(here, mean(list(own.values())))]
    for path in out.glob("rungs/*/ledger.jsonl"):
        rungs.append((compute(lines(path)), mean(list(losses(lines(path))[baseline].values()))))
    rows = table_of(page)
    ranked = sorted(found, key=lambda label: (mean(list(found[label].values())), label))

    assert [row["optimizer"] for row in rows[: len(ranked)]] == ranked
    assert {row["optimizer"] for row in rows} == {record["label"] for record in records}
    for rank, row in enumerate(rows[: len(ranked)], start=1):
        label = row["optimizer"]
        by_seed = found[label]
        assert (row["rank"].split()[0], row["loss"]) == (str(rank), f"{mean(list(by_seed.values())):.4f}")
        rates = {
            r["config"]["optimizer"]["lr"]
            for r in records
            if r["label"] == label and "main" in r["tags"]["phase"].split(",")
        }
        tried = [
            r["config"]["optimizer"]["lr"]
            for r in records
            if r["label"] == label and "sweep" in r["tags"]["phase"].split(",")
        ]
        (rate,) = rates
        assert float(row["peak lr"].split()[0]) == pytest.approx(rate, rel=0.06)
        edge = {min(tried): " (lowest)", max(tried): " (highest)"}.get(rate, "")
        assert row["peak lr"].endswith(edge or row["peak lr"].split()[0])
        assert row["step"] == f"{costs[label]['step_ratio']:.2f}x"
        assert row["state"] == f"{costs[label]['state_bytes'] / costs[label]['num_params']:.1f}"
        if label == baseline:
            assert row["compute"] == "1.00x"
            continue
        shared = by_seed.keys() & own.keys()
        difference = mean([by_seed[seed] - own[seed] for seed in shared])
        assert row[f"minus {baseline}'s"].split()[0] == f"{difference:+.3f}"
        level = in_baseline_compute(mean(list(own.values())) + difference, rungs, here)
        assert row["compute"].split()[0] == level
        p = 1e-7 if row["p (Holm)"].startswith("<") else float(row["p (Holm)"])
        expected = (
            ("better" if difference < 0 else "worse") if p <= 0.05 and abs(difference) >= 0.004 else "no difference"
        )
        assert row["verdict"] == expected
    assert all(row["loss"] == "-" for row in rows[len(ranked) :])


def test_every_cell_of_an_invented_league_follows_from_its_records(tmp_path):
    out = write_league(tmp_path / "out", edges={"signum": 3})

    page = report_league(out, message=lambda text: None)

    check_page(page, out)


def test_the_readme_shows_who_ends_below_the_baseline_as_the_page_does():
    better = [row for row in table_of(PAGE) if row["verdict"] == "better"]
    expected = [(row["optimizer"], row[GAP], row["compute"], row["state"]) for row in better]

    league = (ROOT / "README.md").read_text().split("**A league.**")[1].split("\n\n")[1]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in league.splitlines()[2:]]

    pattern = re.compile(r"([\d.]+) \(([\d.]+) to ([\d.]+)\)")
    assert [(name, gap, pattern.sub(r"\1x (\2, \3)", factor), state) for name, gap, factor, state in rows] == expected


def test_the_readmes_words_about_the_league_are_those_of_the_page():
    text = " ".join((ROOT / "README.md").read_text().split("**A league.**")[1].split("**Experiments**")[0].split())
    rows = {row["optimizer"]: row for row in table_of(PAGE)}
    verdicts = [row["verdict"] for row in rows.values()]

    assert text.startswith(f"{len(rows)} optimizers and compositions")
    assert (verdicts.count("better"), verdicts.count("worse")) == (8, 7)
    assert "Eight end below AdamW" in text
    assert "Seven end above it (SGD, Dana, AdaGrad, Adopt, NormSGD, Grams, ADANA on a sphere)" in text
    worse = {name for name, row in rows.items() if row["verdict"] == "worse"}
    assert worse == {"sgd", "dana", "adagrad", "adopt", "normsgd", "grams", "adana-h"}
    level = sum(row["rank"].endswith("=") for row in rows.values())
    assert f"For {verdicts.count('no difference')} no difference is shown" in text
    assert f"nor for {level} to the first" in text
    assert f"ADANA ({rows['adana'][GAP]}) and Muon ({rows['muon'][GAP]})" in text


def test_every_cell_of_the_committed_page_follows_from_the_committed_records():
    (out,) = sorted((ROOT / "experiments").glob("*-league"))[-1:]

    check_page(PAGE, out)


def test_the_committed_records_write_the_committed_page_again(tmp_path, monkeypatch):
    (out,) = sorted((ROOT / "experiments").glob("*-league"))[-1:]
    monkeypatch.chdir(ROOT)

    page = report_league(out.relative_to(ROOT), page=tmp_path / "league.md", message=lambda text: None)

    assert page.read_text().replace(str(page), "docs/league.md") == PAGE.read_text()


def test_who_is_level_with_the_first_and_who_differs_from_the_baseline_is_judged_together(tmp_path):
    result = read_league(write_league(tmp_path))

    rows = {row.label: row for row in result.rows}
    assert result.first == "muon"
    assert rows["muon"].difference.verdict == rows["adana"].difference.verdict == "better"
    assert rows["nadamw"].difference.verdict == "no difference"
    assert rows["sgd"].difference.verdict == "worse"
    assert [row.label for row in result.rows if row.is_level_with_first] == ["muon"]
    assert all(row.difference.adjusted_p >= row.difference.p_value for row in result.rows if row.difference)


def test_a_rate_at_the_edge_of_its_grid_is_said_to_be_there(tmp_path):
    result = read_league(write_league(tmp_path, edges={"signum": 3, "sgd": -4}))

    places = {row.label: row.place for row in result.rows}
    assert places["signum"] == "highest"
    assert places["sgd"] == "lowest"
    assert places["adamw"] == "inside"


def test_an_entry_whose_every_run_diverged_is_a_row_at_the_end(tmp_path):
    result = read_league(write_league(tmp_path))

    last = result.rows[-1]
    assert (last.label, last.rank, last.loss, last.place) == ("dana", None, None, "nowhere")
    assert (last.num_trials, last.num_diverged, last.finished) == (5, 5, "every run diverged")
    assert not last.is_level_with_first


def test_a_multiplier_is_read_off_the_baseline_runs_of_other_lengths(tmp_path):
    result = read_league(write_league(tmp_path))

    muon, sgd = result.row("muon").multiplier, result.row("sgd").multiplier
    # 3.60 lies between 3.70 at 1 and 3.55 at 2, up to the noise of three runs
    between = math.log(3.70 / 3.60) / math.log(3.70 / 3.55)
    assert muon.value == pytest.approx(2**between, rel=0.06)
    assert muon.interval[0] < muon.value < muon.interval[1]
    assert (sgd.value, sgd.bound) == (0.25, "<")
    assert result.row("adamw").multiplier.value == 1.0


def test_without_rungs_there_is_no_multiplier(tmp_path):
    out = write_league(tmp_path)

    result = analyse_league(Ledger(out / "ledger.jsonl").records())

    assert all(row.multiplier is None for row in result.rows)


def test_a_directory_without_a_league_is_told_what_to_give(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Give the --out directory of a league"):
        read_league(tmp_path)


def test_the_commands_defaults_are_those_of_the_benchmark():
    given = inspect.signature(commands.league).parameters
    benchmark = {field.name: field.default for field in dataclasses.fields(League)}

    for name in ("tokens_per_param", "extensions", "seeds"):
        assert given[name].default == benchmark[name]
