import csv
import xml.etree.ElementTree as ElementTree

import pytest

from logclock.cli import main

pytest.importorskip("matplotlib")


def read_table(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def texts(path):
    """The words of an SVG file, which must be well-formed and refer to nothing outside."""
    root = ElementTree.fromstring(path.read_text(encoding="utf-8"))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert path.read_text(encoding="utf-8").count("http") == 1
    return {element.text.strip() for element in root.iter() if element.text and element.text.strip()}


@pytest.mark.parametrize("options", [[], ["--seed", "0", "--label-noise", "0.1", "--batch-size", "4"]])
def test_risk_writes_curves_and_a_figure(tmp_path, capsys, options):
    algorithms = ["sgd", "dana-decaying"]
    command = ["plrf", "risk", "--num-features", "100", "--horizon", "1e4", "--algorithms", *algorithms, *options]

    assert main([*command, "--out", str(tmp_path)]) == 0

    rows = read_table(tmp_path / "risk.csv")
    assert {row["algorithm"] for row in rows} == set(algorithms)
    last = {row["algorithm"]: row for row in rows}
    assert float(last["sgd"]["time"]) == pytest.approx(1e4)
    assert f"sgd: P = {float(last['sgd']['risk']):.4g}" in capsys.readouterr().out
    assert {"sgd", "dana-decaying", "risk P"} <= texts(tmp_path / "risk.svg")


def test_label_noise_raises_the_floor(tmp_path):
    floors = []
    command = ["plrf", "risk", "--algorithms", "sgd", "--num-features", "50", "--horizon", "1e6"]
    for noise in ("0.0", "0.5"):
        main([*command, "--label-noise", noise, "--out", str(tmp_path)])
        floors.append(float(read_table(tmp_path / "risk.csv")[-1]["risk"]))

    assert floors[1] - floors[0] > 0.25


def test_the_phase_diagram_names_every_phase(tmp_path):
    assert main(["plrf", "phase-diagram", "--out", str(tmp_path)]) == 0

    phases = {"Ia", "Ib", "Ic", "II", "III", "IVa", "IVb"}
    assert phases <= texts(tmp_path / "phase-diagram.svg")
    rows = read_table(tmp_path / "phase-diagram.csv")
    assert {row["phase"] for row in rows} == phases - {"IVb"}  # its strip lies between two points of the grid
    assert {row["status"] for row in rows} == {"proved", "derived", "measured"}


def test_exponents_stand_next_to_the_predicted_ones(tmp_path, capsys):
    command = ["plrf", "exponents", "--betas", "0.7", "--algorithms", "sgd", "--num-sizes", "9", "--max-compute", "1e9"]

    assert main([*command, "--out", str(tmp_path)]) == 0

    rows = read_table(tmp_path / "exponents.csv")
    assert [(row["from"], row["to"]) for row in rows] == [("100000", "10000000"), ("10000000", "1000000000")]
    assert float(rows[1]["eta"]) == pytest.approx(float(rows[1]["eta_predicted"]), abs=0.02)
    points = read_table(tmp_path / "envelopes.csv")
    assert all(100 < int(point["size"]) < 25_600 for point in points)
    assert "beta = 0.7" in texts(tmp_path / "envelopes.svg")
    assert "exponents: alpha 1, beta 0.7, sgd: 9 sizes" in capsys.readouterr().out
