import fcntl
import json
import math
import os
import resource
import signal
import subprocess
import sys
import threading

import pytest

from logclock.records import Ledger


def line_of(record):
    return json.dumps(record.to_dict()).encode()


def seeds(ledger):
    return [record.seed for record in ledger.history()]


def test_what_is_appended_is_read_in_order(ledger, record):
    for seed in (3, 1, 2):
        ledger.append(record(seed))

    assert list(ledger.history()) == [record(3), record(1), record(2)]
    assert ledger.records() == [record(3), record(1), record(2)]


def test_hashes_survive_the_file(ledger, record):
    ledger.append(record())

    (read,) = ledger.history()

    assert (read.run_id, read.record_hash) == (record().run_id, record().record_hash)


def test_a_ledger_that_does_not_exist_is_empty_and_is_not_created_by_reading(ledger):
    assert ledger.records() == []
    assert not ledger.path.parent.exists()


def test_the_file_has_one_json_object_a_line(ledger, record):
    ledger.append(record(0))
    ledger.append(record(1))

    text = ledger.path.read_bytes()

    assert text.endswith(b"}\n")
    assert [json.loads(line)["seed"] for line in text.splitlines()] == [0, 1]


def test_the_latest_record_of_one_run_is_found_among_others(ledger, record):
    for other in (record(0, status="running"), record(0), record(1, status="running")):
        ledger.append(other)

    assert ledger.record(record(0).config) == record(0)
    assert ledger.record(record(1).config) == record(1, status="running")
    assert ledger.record(record(2).config) is None


def test_a_later_record_of_a_run_supersedes_an_earlier_one_in_its_place(ledger, record):
    ledger.append(record(0, status="running"))
    ledger.append(record(1))
    ledger.append(record(0))

    assert [(r.seed, r.status) for r in ledger.records()] == [(0, "finished"), (1, "finished")]
    assert [r.status for r in ledger.history()] == ["running", "finished", "finished"]


def test_a_number_that_json_does_not_have_leaves_the_file_alone(ledger, record):
    ledger.append(record(0))
    before = ledger.path.read_bytes()

    with pytest.raises(ValueError, match=r"metrics\.loss is nan, and a ledger takes finite numbers"):
        ledger.append(record(1, metrics={"loss": math.nan}))

    assert ledger.path.read_bytes() == before


# ----- crashes


def test_a_line_cut_off_anywhere_is_skipped(ledger, record):
    ledger.append(record(0))
    first, second = ledger.path.read_bytes(), line_of(record(1))
    for length in range(len(second)):
        ledger.path.write_bytes(first + second[:length])

        assert seeds(ledger) == [0], second[:length]


def test_a_line_that_lacks_its_line_break_alone_counts(ledger, record):
    ledger.append(record(0))
    ledger.path.write_bytes(ledger.path.read_bytes() + line_of(record(1)))

    assert seeds(ledger) == [0, 1]

    ledger.append(record(2))
    assert seeds(ledger) == [0, 1, 2]


def test_lines_that_were_cut_off_can_be_named(ledger, record):
    assert ledger.cut_off_lines() == []
    ledger.append(record(0))
    ledger.path.write_bytes(ledger.path.read_bytes() + line_of(record(1))[:30])
    assert ledger.cut_off_lines() == [2]

    ledger.append(record(2))
    ledger.path.write_bytes(ledger.path.read_bytes() + line_of(record(3)))
    assert ledger.cut_off_lines() == [2]  # marked by the writer; the last one lacks its line break alone


def test_a_line_in_the_making_is_not_taken_for_one_that_was_cut_off(ledger, record):
    ledger.append(record(0))
    found = []
    with open(ledger.path, "ab") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        writer.write(line_of(record(1))[:50])
        writer.flush()
        reader = threading.Thread(target=lambda: found.append(ledger.cut_off_lines()))
        reader.start()
        reader.join(timeout=0.2)
        assert reader.is_alive()
        writer.write(line_of(record(1))[50:] + b"\n")
    reader.join(timeout=30)

    assert found == [[]]


def test_the_next_append_survives_a_line_cut_off_anywhere(ledger, record):
    ledger.append(record(0))
    first, second = ledger.path.read_bytes(), line_of(record(1))
    after_braces = [i + 1 for i, byte in enumerate(second[:-1]) if byte in b"}]"]
    assert len(after_braces) > 10
    for length in [*range(1, 20), *after_braces, len(second) - 1]:
        ledger.path.write_bytes(first + second[:length])

        ledger.append(record(2))
        ledger.append(record(3))

        assert seeds(ledger) == [0, 2, 3], second[:length]


def test_what_a_crash_left_is_kept_and_marked(ledger, record):
    ledger.append(record(0))
    first = ledger.path.read_bytes()
    ledger.path.write_bytes(first + b'{"config": {"seed": 1}')

    ledger.append(record(2))

    lines = ledger.path.read_bytes().splitlines()
    assert lines[1] == b'{"config": {"seed": 1} # cut off by a crash'
    assert len(lines) == 3


def test_a_crash_while_marking_a_crash_is_survived(ledger, record):
    ledger.append(record(0))
    first = ledger.path.read_bytes()
    mark = b" # cut off by a crash"
    for length in range(len(mark) + 1):
        ledger.path.write_bytes(first + b'{"seed"' + mark[:length])

        ledger.append(record(1))

        assert seeds(ledger) == [0, 1]


def test_a_crash_in_the_first_record_is_survived(ledger, record):
    ledger.path.parent.mkdir()
    ledger.path.write_bytes(b'{"config": {"x"')

    ledger.append(record(0))

    assert seeds(ledger) == [0]


def test_a_long_line_cut_off_is_recognised(ledger, record):
    long = record(1, train={"step": list(range(20_000))})
    ledger.append(record(0))
    ledger.path.write_bytes(ledger.path.read_bytes() + line_of(long)[:-1])
    ledger.append(record(2))
    ledger.path.write_bytes(ledger.path.read_bytes() + line_of(long))
    ledger.append(record(3))

    assert len(line_of(long)) > 65536  # of which the tail is read at once
    assert seeds(ledger) == [0, 2, 1, 3]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"config": }', "Expecting value"),
        (b'{"config": {"seed": 1}', "Expecting ',' delimiter"),
        (b"hello", "Expecting value"),
        (b"<<<<<<< ours", "Expecting value"),
        (b"\xff\xfe{}", "looks like UTF-16"),
        (b'{"label": "Z\xfcrich"}', "byte 12 is 0xfc, not UTF-8: invalid start byte"),
        (b'{"seed": 1, "seed": 2}', "the key 'seed' stands twice in one object"),
        (b'{"metrics": {"final_train_loss": -Infinity}}', "final_train_loss is -inf, and JSON has finite numbers only"),
        (b'{"model": {"depth": 2e400}}', r"model\.depth is inf, and JSON has finite numbers only"),
        (b'{"config": ' + b"[" * 70 + b"]" * 70 + b"}", "nested more than 64 deep"),
        (b'{"config": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested more than 64 deep"),
        (b"\x00" * 8, "Expecting value"),
        (b"[1, 2]", r"expected a JSON object, got \[1, 2\]"),
        (b"3", "expected a JSON object, got 3"),
    ],
)
def test_a_broken_complete_line_is_an_error_that_names_it(ledger, record, line, reason):
    ledger.append(record(0))
    ledger.path.write_bytes(ledger.path.read_bytes() + line + b"\n")
    ledger.append(record(1))

    with pytest.raises(
        ValueError, match=rf"ledger\.jsonl, line 2: not a JSON record \(.*{reason}.*\)\. Remove the line"
    ):
        list(ledger.history())


def test_an_object_that_is_no_record_is_an_error(ledger, record):
    ledger.append(record(0))
    ledger.path.write_bytes(ledger.path.read_bytes() + b'{"schema_version": 1, "seed": 3}\n')

    with pytest.raises(
        TypeError, match=r"ledger\.jsonl, line 2: RunRecord lacks 'config'.*Correct the line, or remove"
    ):
        ledger.records()


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"lable": "x"}, TypeError, r"unknown key 'lable'\. Did you mean 'label'"),
        ({"schema_version": 7}, ValueError, r"record has schema_version 7, .* named in its provenance, 9\.1\.0\.$"),
        ({"schema_version": None}, ValueError, "record has schema_version None"),
        ({"seed": "3"}, TypeError, r"seed must be a whole number, got '3'\. Correct the line"),
        ({"seed": 2**70}, ValueError, "seed must be a whole number of 64 bits"),
        ({"status": "lost"}, ValueError, "status must be one of 'running', .* Correct the line"),
        ({"train": {"loss": [1.0, True]}}, TypeError, r"train\.loss\[1\] must be a number, got True"),
        ({"provenance": None}, TypeError, "provenance must be a mapping, got None"),
    ],
)
def test_an_error_in_a_record_names_file_line_and_what_to_do(ledger, record, changes, kind, message):
    ledger.append(record(0))
    broken = record(1, provenance={"logclock": "9.1.0"}).to_dict() | changes
    ledger.path.write_bytes(ledger.path.read_bytes() + b"\n" + json.dumps(broken).encode() + b"\n")
    ledger.append(record(2))

    with pytest.raises(kind, match=rf"ledger\.jsonl, line 3: {message}"):
        ledger.records()


@pytest.mark.parametrize("room", [0, 1, 100])
def test_a_line_that_does_not_fit_on_the_disk_leaves_nothing(ledger, record, room):
    """A limit of the size of files stands for the end of the disk: a write takes what fits, the next one fails."""
    ledger.append(record(0))
    before = ledger.path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + room, limits[1]))
    try:
        with pytest.raises(OSError, match=r"ledger\.jsonl"):
            ledger.append(record(1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)

    assert ledger.path.read_bytes() == before
    ledger.append(record(2))
    assert seeds(ledger) == [0, 2]


def test_blank_lines_are_allowed(ledger, record):
    ledger.append(record(0))
    ledger.path.write_bytes(b"\n" + ledger.path.read_bytes() + b"\n  \n")
    ledger.append(record(1))

    assert seeds(ledger) == [0, 1]


# ----- several writers

WRITER = """
import json, sys
from logclock.records import Ledger, RunRecord

path, writer, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
template = json.loads(sys.stdin.readline())
ledger = Ledger(path)
for number in range(count):
    seed = 1000 * writer + number
    ledger.append(RunRecord.from_dict(template | {"seed": seed, "config": {"seed": seed}}))
"""


def test_several_processes_lose_and_tear_nothing(ledger, record):
    # Lines of 12 KB do not fit one buffered write, which is 8 KB.
    template = record(train={"step": list(range(2_000))}).to_dict()
    num_writers, num_records = 3, 12
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(ledger.path), str(writer), str(num_records)],
            stdin=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": ":".join(sys.path)},
        )
        for writer in range(num_writers)
    ]
    for process in writers:
        process.stdin.write(json.dumps(template).encode() + b"\n")
        process.stdin.flush()  # all start to write at about the same time
    for process in writers:
        process.stdin.close()
        assert process.wait(timeout=60) == 0

    written = seeds(ledger)

    assert sorted(written) == [1000 * w + n for w in range(num_writers) for n in range(num_records)]
    for writer in range(num_writers):
        own = [seed for seed in written if seed // 1000 == writer]
        assert own == sorted(own)


def test_an_append_waits_for_another_writer(ledger, record):
    ledger.append(record(0))
    with open(ledger.path, "ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        writer = threading.Thread(target=Ledger(ledger.path).append, args=(record(2),))
        writer.start()
        other.write(line_of(record(1))[:50])  # half a line, which an unlocked writer would now tear
        other.flush()
        writer.join(timeout=0.2)
        assert writer.is_alive()
        other.write(line_of(record(1))[50:] + b"\n")
        other.flush()
        fcntl.flock(other, fcntl.LOCK_UN)
    writer.join(timeout=30)

    assert seeds(ledger) == [0, 1, 2]
