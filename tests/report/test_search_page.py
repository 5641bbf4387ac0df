import dataclasses
import math
import shutil
from pathlib import Path

import pytest
from ladders import Invented

from logclock.analysis.search import analyse_search, is_search_alone
from logclock.cli import main
from logclock.report.search_page import optimum_table, search_headline, search_text, write_search_report


@pytest.fixture
def search(run):
    """Three rates each of two optimizers; the second has its best at the lower edge."""

    def trials(label, optimum, curvature, rates):
        made = {lr: run(label, lr=lr, phase="sweep") for lr in rates}
        losses = {lr: 4.0 + curvature * math.log(lr / optimum) ** 2 for lr in rates}
        return [
            dataclasses.replace(r, metrics=r.metrics | {"final_validation_loss": losses[lr]}) for lr, r in made.items()
        ]

    return [
        *trials("adamw", 8e-3, 0.1, (3e-3, 6e-3, 1.2e-2)),
        *trials("adana", 2.3e-3, 0.01, (2.2e-3, 4.4e-3, 8.8e-3)),
    ]


def test_a_search_alone_says_where_its_optima_lie(search):
    result = analyse_search(search)

    assert is_search_alone(search)
    assert search_headline(result) == "Optima of the parabolas: adamw 8e-3; adana 2.3e-3, at the edge of its grid."
    table = {row[0]: row for row in optimum_table(result).rows}
    assert table["adamw"][3:5] == ("8e-3", "0.1000")
    assert float(table["adamw"][5]) == pytest.approx(0.1 * math.log(2) ** 2, abs=5e-5)
    assert "note: adana: the best learning rate, 0.0022, is at the edge of those tried" in search_text(result)


def test_the_page_has_every_rate_and_record(search, tmp_path):
    page = write_search_report(analyse_search(search), tmp_path / "report.html").read_text()

    assert page.startswith("<!DOCTYPE html>")
    for record in search:
        assert record.record_hash in page
    assert "so nothing is compared" in page


def test_runs_of_a_comparison_or_a_ladder_are_no_search(search, run):
    assert not is_search_alone([*search, run("adamw", lr=6e-3)])
    assert not is_search_alone(Invented(sizes=("2",)).records())
    with pytest.raises(ValueError, match="no record belongs to a search"):
        analyse_search([run("adamw", lr=6e-3)])


def test_the_folder_that_the_readme_cites_for_the_demos_rates_has_a_report(tmp_path, capsys):
    ledger = Path(__file__).parents[2] / "experiments" / "2026-11-22-demo-lr" / "ledger.jsonl"
    shutil.copy(ledger, tmp_path)

    code = main(["report", str(tmp_path)])

    assert code == 0
    assert "Optima of the parabolas: adana 2.3e-3, at the edge of its grid; adamw 8.1e-3" in capsys.readouterr().out
    assert (tmp_path / "report.html").exists()
