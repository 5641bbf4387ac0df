"""`logclock import`: from files to a page, without a training run."""

import pytest

from logclock.cli import main
from logclock.records import Ledger


@pytest.fixture
def charts(tmp_path):
    """A chart of three runs as W&B exports it."""
    path = tmp_path / "wandb_export.csv"
    names = ",".join(f'"{label} - val/loss"' for label in ("adamw", "adana", "muon"))
    path.write_text(f'"Step",{names}\n100,4.0,3.9,3.95\n200,3.5,3.4,3.45\n300,3.2,3.1,3.15\n')
    return path


def test_a_chart_of_three_runs_becomes_an_answer(tmp_path, charts, capsys):
    code = main(["import", str(charts), "--out", str(tmp_path / "out"), "--tokens-per-step", "0.5M", "--lr", "3e-4"])

    shown = capsys.readouterr().out
    assert code == 0
    assert "adana ended 0.1000 nats below adamw (3.1000 against 3.2000) and reaches its final loss after 87 %" in shown
    assert "of the tokens" in shown
    assert [record.label for record in Ledger(tmp_path / "out" / "ledger.jsonl").records()] == [
        "adamw",
        "adana",
        "muon",
    ]


def test_the_page_names_sources_and_unknowns_and_has_no_empty_part(tmp_path, charts):
    main(["import", str(charts), "--out", str(tmp_path / "out")])

    page = (tmp_path / "out" / "report.html").read_text()
    assert "wandb_export.csv" in page
    assert "sha256:" in page
    assert "These runs were made by other programs." in page
    for absent in ("<h2>Cost</h2>", "<h2>Schedules</h2>", "bits/byte", "peak lr", "Training loss", "rule hash"):
        assert absent not in page, absent
    assert "Unknown: tokens per step." in page


def test_report_rebuilds_the_page_byte_for_byte(tmp_path, charts):
    main(["import", str(charts), "--out", str(tmp_path / "out")])
    before = (tmp_path / "out" / "report.html").read_bytes()

    assert main(["report", str(tmp_path / "out")]) == 0

    assert (tmp_path / "out" / "report.html").read_bytes() == before


def test_a_label_with_markup_shows_as_text(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("run,step,val_loss\n<script>alert(1)</script>,1,3\n<script>alert(1)</script>,2,2\nb,1,3\nb,2,1\n")

    main(["import", str(path), "--out", str(tmp_path / "out")])

    page = (tmp_path / "out" / "report.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_a_ladder_of_imported_runs_has_a_page_with_laws_and_nothing_empty(tmp_path, capsys):
    for label, better in (("adamw", 1.0), ("adana", 0.98)):
        for size, params in (("10M", 1e7), ("40M", 4e7), ("160M", 1.6e8)):
            for seed in (0, 1):
                loss = 4.0 * (params / 1e7) ** -0.1 * better + 0.001 * seed
                path = tmp_path / "runs" / f"{label}-s{seed}-{size}.csv"
                path.parent.mkdir(exist_ok=True)
                path.write_text("".join(["step,val_loss\n", *(f"{t},{loss + 300 / t - 1}\n" for t in (100, 200, 300))]))

    code = main(
        [
            *("import", str(tmp_path / "runs"), "--label", "runs/{optimizer}-s{seed}-{size}"),
            *("--tokens-per-step", "1000", "--out", str(tmp_path / "out")),
        ]
    )

    page = (tmp_path / "out" / "report.html").read_text()
    assert code == 0
    assert "adana beats adamw by" in capsys.readouterr().out
    for absent in ("<h2>Cost</h2>", "best lr", "<h2>Learning rates</h2>", "vocabulary's share", "tuned track"):
        assert absent not in page, absent
    assert "<h2>Laws</h2>" in page
    assert "Unknown: the learning rates of adamw, adana" in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no source was given. Give exports of runs"),
        (["nowhere.csv"], "no file or folder nowhere.csv"),
        (["{chart}", "--column", "loss"], "--column 'loss' is not MEANING=NAME"),
        (["{chart}", "--column", "loss=a", "loss=b"], "--column 'loss=b' stands twice"),
        (["{chart}", "--params", "many"], "import: params must be a number above 0, such as 491520"),
        (["{chart}", "--label", "{optimiser}"], "unknown field {optimiser}. Did you mean 'optimizer'"),
        (["{chart}", "--label", "x/{optimizer}-s{seed}"], "matches neither of"),
        (["{chart}", "--label", "same"], "two runs are called 'same'"),
        (["{chart}", "--format", "parket"], "unknown format 'parket'. Did you mean 'parquet'"),
        (["{chart}", "--baseline", "adam"], "the baseline 'adam' has no main run. Did you mean 'adamw'"),
        (["{chart}", "--loss", "training"], "run 'adamw' has no training loss, and 0 of 3 runs have one"),
        (["{chart}", "--total-steps", "200"], "the log goes on to step 300, beyond the 200 steps"),
        (["{chart}", "--window", "2"], "must be a share of the training in (0, 0.5], got 2.0"),
    ],
)
def test_a_wrong_request_is_one_line_with_what_to_do(tmp_path, charts, capsys, arguments, message):
    given = [argument.replace("{chart}", str(charts)) for argument in arguments]

    code = main(["import", *given, "--out", str(tmp_path / "out")])

    shown = capsys.readouterr().err
    assert code == 2
    assert message in shown
    assert shown.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_help_names_every_format_and_meaning(capsys):
    from logclock.curves import FORMATS
    from logclock.curves.roles import ROLES

    with pytest.raises(SystemExit):
        main(["import", "--help"])

    shown = capsys.readouterr().out
    assert [name for name in (*FORMATS, *ROLES) if name not in shown] == []
