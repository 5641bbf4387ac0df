"""Whatever is typed, and whatever lies in the files that it names: no traceback, no hang, a documented exit code."""

import contextlib
import errno
import inspect
import io
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logclock.analysis.study import flatten
from logclock.cli import compare, main
from logclock.cli.commands import COMMANDS
from logclock.cli.compare import resolve
from logclock.config import to_dict
from logclock.records import Ledger
from logclock.sweep import timing, workers
from logclock.train import loop
from logclock.train.record import ended

TINY = [
    "data.dataset=tiny-byte-257",
    "data.batch_size=4",
    "data.sequence_length=32",
    "model.vocab_size=257",
    "model.head_dim=8",
    "evaluation.batches=2",
    "evaluation.batch_size=4",
]

FILES = {
    "file.json": b"x",
    "utf16.json": '{"seed": 1}'.encode("utf-16"),
    "latin.json": b'{"label": "\xe9"}',
    "list.json": b"[1, 2]",
    "cut.json": b'{"model": {"kind"',
    "nan.json": b'{"seed": NaN}',
    "deep.json": b'{"a":' * 5000 + b"1" + b"}" * 5000,
    "empty.json": b"",
    "zeros.json": bytes(1000),
    "part.json": b'{"model": {"kind": "enoki"}, "seed": 1}',
}
VALUES = [
    *FILES,
    "",
    "0",
    "-1",
    "1",
    "2",
    "3.5",
    "nan",
    "-inf",
    "1e400",
    "1e-300",
    str(2**64),
    str(-(2**63)),
    "9" * 400,
]
VALUES += [
    "9" * 5000,
    "null",
    "true",
    "[]",
    "{}",
    "[" * 2000,
    '"a\\u0000b"',
    '"\\ud800"',
    "\udcff",
    "\u4e2d",
    "..",
    "folder",
]
VALUES += [
    "file.json/x",
    "/dev/null",
    "~nobody-of-that-name/x",
    "x" * 3000,
    "adamw",
    "adana",
    "muon",
    "demo",
    "micro",
    "3m",
]
VALUES += [
    '{"kind": "constant"}',
    '{"kind": "constant", "value": "x"}',
    '{"kind": "join"}',
    "optimizer.lr=1",
    "=",
    "a=b=c",
]

NAMES = {"assignments": "set", "as_json": "json"}
LEFT_OUT = {"ray", "data_root"}  # the first would wait for a network; the second is always given


def flags(command):
    """The options of a command as typed."""
    parameters = inspect.signature(command).parameters.values()
    names = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in LEFT_OUT]
    return ["--" + NAMES.get(name, name).replace("_", "-") for name in names]


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny_data_root):
    """A directory of odd files, in which nothing that is typed can start a process or a long computation."""
    directory = tmp_path_factory.mktemp("requests")
    for name, content in FILES.items():
        (directory / name).write_bytes(content)
    (directory / "folder").mkdir()
    whole = to_dict(resolve("demo", "adana", steps=5, overrides=TINY))
    (directory / "whole.json").write_text(json.dumps(whole))

    def no_process(*args, **kwargs):
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        for module in (workers, timing):
            patch.setattr(module, "subprocess", SimpleNamespace(Popen=no_process, DEVNULL=None, PIPE=None, STDOUT=None))
        patch.setattr(compare, "ensure_dataset", no_process)  # which may download a corpus
        patch.setattr(loop, "run_steps", lambda config, record, **rest: ended(record, status="finished", reason=None))
        yield directory


def run(arguments):
    """Return the exit code and what was written to the two streams."""
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        try:
            code = main(arguments)
        except SystemExit as end:  # of the parser
            code = end.code
    return code, out.getvalue(), errors.getvalue()


def assert_answered(arguments):
    code, _, errors = run(arguments)

    assert code in (0, 1, 2, 3), (code, arguments, errors)
    assert "Traceback" not in errors, (arguments, errors)
    assert (code == 0) or errors, arguments
    return code, errors


PATHS = sorted(
    {*flatten(to_dict(resolve("demo", "adana"))), *flatten(to_dict(resolve("demo", "muon"))), "model", "lr_schedule"}
)
ANY = st.sampled_from(VALUES) | st.text(st.characters(exclude_characters="\0", exclude_categories=()), max_size=6)
ASSIGNMENTS = st.lists(st.builds(lambda path, value: f"{path}={value}", st.sampled_from(PATHS), ANY), max_size=3)
PROPERTY = settings(max_examples=60, deadline=None, derandomize=True)


@st.composite
def requests(draw, commands, prefix=()):
    name = draw(st.sampled_from(sorted(commands)))
    arguments = [*prefix, name, *draw(st.lists(ANY, max_size=2))]
    for flag in draw(st.lists(st.sampled_from(flags(commands[name]) or ["--bogus"]), max_size=3, unique=True)):
        arguments += [flag, *draw(st.lists(ANY, min_size=1, max_size=2))]
    return arguments


RUNS = {name: COMMANDS[name] for name in ("train", "show", "compare", "ladder", "ablate", "report")}


@PROPERTY
@given(requests(RUNS))
def test_any_options_of_any_command_are_answered(place, arguments):
    root = ["--data-root", "nowhere"] if arguments[0] in ("train", "compare", "ladder", "ablate") else []
    assert_answered([*arguments, *root, "--set", *TINY] if arguments[0] in ("train", "show") else [*arguments, *root])


@PROPERTY
@given(st.sampled_from(["train", "show", "compare"]), ASSIGNMENTS)
def test_any_value_at_any_path_is_answered(place, tiny_data_root, command, assignments):
    places = [] if command == "show" else ["--data-root", str(tiny_data_root), "--out", "out"]
    names = ["adamw", "adana"] if command == "compare" else []
    assert_answered([command, *names, *places, "--set", *TINY, *assignments])


@PROPERTY
@given(st.sampled_from(PATHS), ANY | st.recursive(st.none() | st.floats(), lambda inner: st.lists(inner, max_size=2)))
def test_any_value_in_a_configuration_file_is_answered(place, path, value):
    data = json.loads((place / "whole.json").read_text())
    *parents, last = path.split(".")
    inner = data
    for key in parents:
        inner = inner[key] if isinstance(inner, dict) and isinstance(inner.get(key), dict) else data
    inner[last] = value
    (place / "changed.json").write_text(json.dumps(data))

    assert_answered(["show", "--config", "changed.json"])


@PROPERTY
@given(st.binary(max_size=60) | st.sampled_from(sorted(FILES.values())))
def test_any_bytes_in_a_ledger_are_answered(place, content):
    (place / "study").mkdir(exist_ok=True)
    (place / "study" / "ledger.jsonl").write_bytes(content + b"\n")

    code, errors = assert_answered(["report", "study"])

    assert code == 2
    assert "ledger.jsonl" in errors or "no" in errors


@PROPERTY
@given(
    st.sampled_from(["risk", "exponents", "simulate"]),
    st.sampled_from(["alpha", "beta", "c3", "delta", "fraction", "batch-size", "seed", "label-noise", "num-features"]),
    st.sampled_from(["nan", "inf", "-inf", "-1", "0", "1e400", "x", str(2**64), "-" + "9" * 400, ""]),
)
def test_any_number_of_the_theory_is_answered(place, command, flag, value):
    small = ["--num-features", "10"] if command != "exponents" else ["--num-sizes", "3", "--smallest", "10"]
    small += ["--num-steps", "10"] if command == "simulate" else ["--horizon", "100"] if command == "risk" else []

    assert_answered(["plrf", command, "--algorithms", "dana-decaying", *small, f"--{flag}", value])


@pytest.mark.parametrize("jobs", ["0", "-1", "-99"])
@pytest.mark.parametrize("command", [["compare", "adamw", "adana"], ["ladder"], ["ablate", "weight-decay"]])
def test_no_jobs_at_a_time_is_refused_before_anything_starts(place, command, jobs):
    code, _, errors = run([*command, "--jobs", jobs, "--data-root", "nowhere"])

    assert code == 2
    assert errors == (
        f"logclock: error: jobs must be >= 1, got {jobs}. Leave it out for as many as the machine has cores for.\n"
    )


@pytest.mark.parametrize("command", [["show"], ["train"], ["compare", "adamw"], ["ablate", "weight-decay"]])
def test_more_steps_than_an_optimizer_counts_are_refused_when_planned(place, command):
    code, _, errors = run([*command, "--steps", str(2**24)])

    assert code == 2
    assert "total_steps must be below 2^24 = 16,777,216" in errors
    assert "larger batches" in errors


def test_a_ladder_of_more_steps_than_an_optimizer_counts_is_refused_when_planned(place, tiny_data_root):
    code, _, errors = run(["ladder", "--tokens-per-param", "1e7", "--data-root", str(tiny_data_root)])

    assert (code, "2^24" in errors) == (2, True)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("file.json", "file.json is not JSON (Expecting value"),
        ("utf16.json", "utf16.json is not JSON (it looks like UTF-16, not UTF-8)"),
        ("latin.json", "latin.json is not JSON (byte 11 is 0xe9, not UTF-8"),
        ("list.json", "list.json must hold a JSON object, got a list"),
        ("nan.json", "nan.json is not JSON (seed is nan"),
        ("deep.json", "deep.json is not JSON (nested more than 64 deep"),
        ("zeros.json", "zeros.json is not JSON (Expecting value"),
        ("part.json", "part.json: RunConfig lacks 'data', 'optimizer'"),
        ("folder", "folder: Is a directory. A file is needed here"),
        ("file.json/x", "file.json/x"),
    ],
)
def test_a_file_that_is_no_configuration_is_named_with_the_reason(place, name, message):
    code, _, errors = run(["show", "--config", name])

    assert code == 2
    assert message in errors


@pytest.mark.parametrize("out", ["file.json", "file.json/deeper", "/dev/null", "/dev/null/x", "/proc/nowhere"])
@pytest.mark.parametrize("command", [["train"], ["compare", "adamw", "adana"], ["plrf", "phase-diagram"]])
def test_a_place_that_cannot_be_written_to_is_named(place, tiny_data_root, command, out):
    options = ["--data-root", str(tiny_data_root), "--heads", "2", "--steps", "5", "--set", *TINY]
    code, _, errors = run([*command, "--out", out, *([] if command[0] == "plrf" else options)])

    assert code == 2
    assert errors.startswith(f"logclock: error: {out}")
    assert errors.count("\n") == 1


def test_a_version_that_is_accepted_is_part_of_every_run_of_a_study(place, tiny_data_root, monkeypatch):
    seen = []

    def note(config, record, **rest):
        seen.append(config.execution.accept_version)
        return ended(record, status="finished", reason=None)

    monkeypatch.setattr(loop, "run_steps", note)
    places = ["--data-root", str(tiny_data_root), "--heads", "2", "--steps", "5"]
    run(["train", *places, "--out", "accepting", "--accept-version", "--set", *TINY])
    run(["train", *places, "--out", "strict", "--set", *TINY])

    assert seen == [True, False]
    first, second = (Ledger(place / out / "ledger.jsonl").records()[-1] for out in ("accepting", "strict"))
    assert first.run_id == second.run_id


def environment(**more):
    return os.environ | {"PYTHONPATH": ":".join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"} | more


def closed_pipe():
    reader, writer = os.pipe()
    os.close(reader)
    return writer


@pytest.mark.parametrize(
    ("arguments", "buffering"),
    [(["show"], ""), (["--help"], "1"), (["report", "study"], "1")],
)
def test_a_pipe_that_is_closed_ends_a_command_quietly(tmp_path, record_of_a_run, arguments, buffering):
    Ledger(tmp_path / "study" / "ledger.jsonl").append(record_of_a_run)
    writer = closed_pipe()

    done = subprocess.run(
        [sys.executable, "-m", "logclock", *arguments],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=environment(PYTHONUNBUFFERED=buffering),
        check=False,
    )
    os.close(writer)

    assert (done.returncode, done.stderr) == (141, "")


def test_an_output_that_is_full_is_an_error_and_one_that_is_closed_is_none(tmp_path, record_of_a_run):
    Ledger(tmp_path / "study" / "ledger.jsonl").append(record_of_a_run)
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "logclock", "report", str(tmp_path / "study")],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(PYTHONUNBUFFERED=""),
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.startswith("logclock: error: standard output: No space left on device.")
    assert done.stderr.count("\n") == 1

    closed = f"'{sys.executable}' -m logclock --help >&-"
    done = subprocess.run(["sh", "-c", closed], stderr=subprocess.PIPE, text=True, env=environment(), check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture(scope="module")
def record_of_a_run(tiny_run, tiny_data_root):
    from logclock.train import open_dataset
    from logclock.train.record import new_record

    config = tiny_run()
    return new_record(config, open_dataset(config, root=tiny_data_root), tags={"phase": "main", "baseline": "adana"})
