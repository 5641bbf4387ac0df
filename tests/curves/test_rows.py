"""What is wrong with a file is one error with its file and row; nothing is guessed and nothing is left behind."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from logclock.curves import Reading, find_sources, import_runs, read_source


def curves(path, **columns):
    ((source, format),) = find_sources([path])
    return read_source(source, format, columns)


def curves_or_error(path):
    try:
        return curves(path), None
    except ValueError as error:
        return [], str(error)


def loss_of(path):
    (curve,) = curves(path)
    return curve.series["loss"].finite


BAD = [
    ("empty.csv", b"", r"empty\.csv is empty\. Export"),
    ("blank.csv", b"\n\n", r"blank\.csv is empty"),
    ("header.csv", b"step,loss\n", r"header\.csv has no rows"),
    ("cut.csv", b"step,loss,lr\n10,3.1,1e-3\n20,3.0\n", r"cut\.csv, line 3: 2 cells, and 3 columns .* cut off here"),
    ("more.csv", b"step,loss\n10,3.1\n20,3.0,9\n", r"more\.csv, line 3: 3 cells, and 2 columns"),
    ("quote.csv", b'step,loss\n10,"3.1\n', r"quote\.csv, line 2: no CSV"),
    ("twice.csv", b"step,loss,loss\n1,2,3\n", r"twice\.csv, line 1: two columns are called 'loss'"),
    (
        "latin.csv",
        "step,loss,note\n10,3.1,\n20,3.0,caf\xe9\n".encode("latin-1"),
        r"latin\.csv, line 3: byte 0xe9 .*Latin",
    ),
    ("utf16.csv", "step,loss\n1,2\n".encode("utf-16"), r"utf16\.csv, line 1: it looks like UTF-16"),
    ("binary.csv", b"step,loss\n\x00\x01\x02,3\n", r"binary\.csv, line 2: a zero byte"),
    ("zip.csv", b"PK\x03\x04rest", r"zip\.csv, line 1: it looks like a zip archive"),
    ("word.csv", b"step,loss\n10,3.1\n20,oops\n", r"word\.csv, line 3: loss is 'oops', not a number"),
    (
        "comma.csv",
        b"step;loss\n10;3,1\n",
        r"comma\.csv, line 2: loss is '3,1', not a number\. Write decimals with a point",
    ),
    ("half.csv", b"step,loss\n10.5,3.1\n", r"half\.csv, line 2: the step \(step\) is 10\.5; it must be a whole number"),
    ("minus.csv", b"step,loss\n-1,3.1\n", r"minus\.csv, line 2: the step \(step\) is -1; it must be a whole number"),
    (
        "huge.csv",
        b"step,loss\n1" + b"0" * 400 + b",3.1\n",
        r"huge\.csv, line 2: the step .* \(401 characters\); it must",
    ),
    ("sign.csv", b"step,loss\n10,-3.1\n", r"sign\.csv, line 2: loss is -3\.1; a loss in nats per token is above 0"),
    ("nostep.csv", b"loss\n3.1\n", r"nostep\.csv has no column of steps; it has: loss\. Name it: --column step=NAME"),
    ("noloss.csv", b"step,acc\n1,0.5\n", r"noloss\.csv has no column that is known as a loss; it has: step, acc"),
    ("gone.csv", b"step,loss\n1,\n", r"gone\.csv, run 'gone': no row has a finite loss in 'loss'"),
    ("nans.csv", b"step,loss\n1,nan\n2,nan\n", r"nans\.csv, run 'nans': no row has a finite loss"),
    ("lost.csv", b"step,loss\n1,3\n,2.5\n", r"lost\.csv, line 3: loss is 2\.5 at no step \(step is empty\)"),
    (
        "down.csv",
        b"step,loss\n30,1\n20,2\n10,3\n",
        r"down\.csv, line 3: the step goes back from 30 to 20, to before the first",
    ),
    (
        "mix.csv",
        b"step,loss\n1,1\n9,2\n4,3\n5,3\n",
        r"mix\.csv, line 4: the step goes back from 9 to 4, and the run never gets",
    ),
    ("two.csv", b"step,loss,Loss\n1,2,3\n", r"two\.csv: both 'Loss' and 'loss' could be the loss\. Say which"),
    (
        "who.csv",
        b"run,step,loss\na,1,2\nb,1,2\n,2,2\n",
        r"who\.csv, line 4: a loss of no run: 'run' leave open which of 2",
    ),
    ("a.jsonl", b'{"step": 1, "loss": 2}\n{"step": 2, "lo', r"a\.jsonl, line 2: not JSON .* cut off here"),
    ("b.jsonl", b'{"step": 1, "loss": 2}\n[1]\n', r"b\.jsonl, line 2: must be a JSON object, got '\[1\]'"),
    ("c.jsonl", b'{"step": 1, "loss": true}\n', r"c\.jsonl, line 1: loss is True, not a number"),
    ("d.jsonl", b'{"step": 1, "loss": ' + b"9" * 5000 + b"}\n", r"d\.jsonl, line 1: not JSON"),
    ("e.jsonl", b"[" * 100_000, r"e\.jsonl"),
    ("f.json", b'[{"step": 1, "loss": 2}, 3]', r"f\.json, entry 2: must be a JSON object"),
    ("trainer_state.json", b'{"epoch": 1}', r"trainer_state\.json has no log_history"),
    ("g.log", b"iter 0: loss 3.0, time 1ms\niter 10: lo", None),
    (
        "h.log",
        b"iter 0: loss 3.0, time 1ms\niter 10: loss ",
        r"h\.log, line 2: 'iter 10: loss' begins like a line of nanogpt",
    ),
    ("i.parquet", b"PAR1nope", r"i\.parquet: no Parquet file, or one that is damaged"),
]


@pytest.mark.parametrize(("name", "content", "message"), BAD, ids=[name for name, _, _ in BAD])
def test_a_bad_file_is_one_error_with_file_and_row_and_nothing_is_written(tmp_path, name, content, message):
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow")
    path = tmp_path / name
    path.write_bytes(content)
    good = tmp_path / "good.csv"
    good.write_text("step,loss\n1,3\n2,2\n")
    out = tmp_path / "out"

    if message is None:  # a line that is cut off before it says what it is says nothing
        assert loss_of(path) == [(0, 3.0)]
        return
    with pytest.raises(ValueError, match=message):
        import_runs([good, path], out, Reading())

    assert not out.exists()


def test_a_loss_that_is_nan_to_the_end_has_diverged_and_one_in_between_has_not(tmp_path, write_csv):
    early = write_csv("early.csv", ["step", "loss"], [10, 3], [20, "NaN"], [30, 2.5], [40, 2.4])
    late = write_csv("late.csv", ["step", "loss"], [10, 3], [20, 2.9], [30, "inf"], [40, "nan"])

    first, second = import_runs([early, late], tmp_path / "out", Reading())

    assert (first.status, first.train["loss"]) == ("finished", [3.0, None, 2.5, 2.4])
    assert second.status == "diverged"
    assert second.reason == f"no finite loss after step 20 in {late}"
    assert "final_validation_loss" not in second.metrics


def test_nan_of_a_table_with_two_losses_is_a_value_that_was_not_logged(write_csv):
    rows = [[10, 3.0, "nan"], [20, "nan", 3.1], [30, 2.5, "nan"], [40, "nan", 2.6]]

    (curve,) = curves(write_csv("a.csv", ["step", "loss", "val_loss"], *rows))

    assert curve.series["loss"].finite == [(10, 3.0), (30, 2.5)]
    assert curve.series["validation_loss"].finite == [(20, 3.1), (40, 2.6)]
    assert curve.lost_after is None


def test_a_loss_that_is_missing_for_longer_than_ever_at_the_end_was_lost(write_csv):
    rows = [[step, 3.0 if step <= 30 else "", 1e-3] for step in range(10, 110, 10)]

    (curve,) = curves(write_csv("a.csv", ["step", "loss", "lr"], *rows))

    assert curve.lost_after == 30
    assert curve.last_step == 100


def test_of_rows_that_a_resumed_run_wrote_twice_the_later_ones_count(write_csv):
    rows = [[10, 5], [20, 4], [30, 9], [40, 9], [20, 3.9], [30, 3], [30, 2.9], [50, 2]]

    (curve,) = curves(write_csv("a.csv", ["step", "loss"], *rows))

    assert curve.series["loss"].finite == [(10, 5), (20, 3.9), (30, 2.9), (50, 2)]
    assert curve.series["loss"].rows == (2, 6, 8, 9)
    assert curve.notes == (
        "loss goes back 1 time (the run was resumed): 3 rows gave way to what came later.",
        "loss has a step twice, 1 time: later rows count.",
    )


def test_numbers_that_python_writes_into_json_are_read(write_lines):
    path = write_lines("a.jsonl", '{"step": 1, "loss": 3}', '{"step": 2, "loss": NaN}', '{"step": 3, "loss": "2.5"}')

    assert loss_of(path) == [(1, 3.0), (3, 2.5)]


def test_a_number_too_large_for_a_float_is_a_loss_that_was_lost(write_lines):
    path = write_lines("a.jsonl", '{"step": 1, "loss": 3}', json.dumps({"step": 2, "loss": 10**400}))

    (curve,) = curves(path)

    assert curve.lost_after == 1


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=80), st.sampled_from(["a.csv", "a.jsonl", "a.json", "a.log", "trainer_state.json"]))
def test_any_bytes_give_curves_or_an_error_that_names_the_file(tmp_path, content, name):
    path = tmp_path / name
    path.write_bytes(content)

    found, error = curves_or_error(path)

    assert name in error if error is not None else all(curve.series for curve in found)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(0, 400),
    st.sampled_from([b"\x00", b"\xe9", b"nan", b",", b"\n", b'"', b"-", b"1e999", b"1_0", b"\xef\xbc\x91"]),
)
def test_a_damaged_place_in_a_good_file_gives_curves_or_an_error_that_names_it(tmp_path, place, damage):
    rows = "".join(f"{10 * i},{5 - i / 10:.4f},{4.5 - i / 10:.4f}\n" for i in range(1, 25))
    whole = f"step,loss,val_loss\n{rows}".encode()
    path = tmp_path / "a.csv"
    path.write_bytes(whole[:place] + damage + whole[place:])

    found, error = curves_or_error(path)

    assert error is None or "a.csv" in error
    for curve in found:
        for points in curve.series.values():
            assert list(points.steps) == sorted(set(points.steps))
