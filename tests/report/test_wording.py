import dataclasses

import pytest

from logclock.analysis import compare
from logclock.report import headline
from logclock.report.wording import default_title, methods


def test_the_headline_states_winner_size_interval_and_compute(study):
    comparison = compare(study)
    row = comparison.row("adana")
    low, high = row.difference.interval

    text = headline(comparison)

    assert text.startswith(
        f"adana beats adamw by {-row.difference.mean:.4f} nats (95 % interval {-high:.4f} to {-low:.4f}, 2 seeds) and "
        f"reaches its final loss after {100 / row.multiplier.mean:.0f} % of the compute; "
    )
    assert "dana-star-mk4 beats adamw" in text
    assert text.endswith("though 1 of its 3 runs did not finish.")
    assert text.count(". ") == 0


def test_one_seed_is_an_observation(one_seed):
    text = headline(compare(one_seed))

    assert "beats" not in text
    assert text.endswith("with one seed the spread over seeds is unknown, so this is an observation, not a result.")


def test_a_loser_is_called_one(study):
    text = headline(compare(study, baseline="adana"))

    assert "adamw loses to adana by 0.05" in text
    assert "% of the compute" not in text


def test_equal_optimizers_show_no_difference(run):
    records = [run("adamw", seed=seed) for seed in (0, 1)]
    twins = [run("adana", seed=seed) for seed in (0, 1)]
    for twin, record in zip(twins, records, strict=True):
        twin.validation.update(record.validation)
        twin.metrics.update(record.metrics)

    text = headline(compare([*records, *twins]))

    # no spread over seeds; 241,118 validation tokens leave 1.96 0.8 / sqrt(241118)
    assert text == (
        "adana shows no difference to adamw (0.0000 nats above, 95 % interval -0.0032 to +0.0032, 2 seeds)."
    )


def test_nothing_to_compare_is_said(run):
    assert headline(compare([run("adamw")])) == "Only adamw was trained, so there is nothing to compare it with."
    lost = run("adamw", diverged_at=1000)
    assert headline(compare([lost, run("adana")])).startswith("The baseline adamw has no finished run")


def test_a_challenger_without_a_finished_run_is_mentioned(run):
    text = headline(compare([run("adamw"), run("adana", diverged_at=1000), run("dana-star-mk4", seed=1)]))

    assert "adana has no finished run" in text
    assert "dana-star-mk4 shares no seed with adamw" in text


def test_the_methods_state_the_minimum_effect_the_convention_and_the_bias(study, one_seed):
    text = " ".join(methods(compare(study, minimum_effect=0.007)))

    assert "at least 0.007 nats" in text
    assert "compute_6d_per_token" in text
    assert "compute_6p_per_token" in text
    assert "towards 1" in text
    assert "adjusted by Holm for the number of optimizers" in text
    assert "Learning rates were chosen on the validation set" in text
    assert "Learning rates were chosen" not in " ".join(methods(compare(one_seed)))


@pytest.mark.parametrize("labels", [["adamw"], ["adamw", "adana"], ["adamw", "adana", "dana-star-mk4"]])
def test_the_title_names_every_label(run, labels):
    title = default_title(compare([run(label) for label in labels]))

    assert all(label in title for label in labels)


def test_many_labels_are_counted_in_the_title_and_left_to_the_table_in_the_headline(run):
    runs = [
        dataclasses.replace(run("adana", lr=lr), label=f"adana-{i}") for i, lr in enumerate((1e-3, 2e-3, 3e-3, 4e-3))
    ]

    comparison = compare([run("adamw"), *runs])

    assert default_title(comparison) == "adamw against 4 others"
    assert "; 1 more in the table; " in headline(comparison)
