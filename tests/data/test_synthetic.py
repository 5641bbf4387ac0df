import itertools

import numpy as np

from logclock.data.synthetic import _spell, read_synthetic, synthetic_ranks


def test_words_are_spelled_in_syllables_without_collision():
    assert [_spell(rank) for rank in (0, 1, 5, 99, 100, 101)] == ["ba", "be", "ca", "zu", "baba", "babe"]
    assert len({_spell(rank) for rank in range(10_000)}) == 10_000


def test_a_document_depends_on_seed_and_number_alone():
    first = synthetic_ranks(512, seed=3, document=7)

    assert np.array_equal(first, synthetic_ranks(512, seed=3, document=7))
    assert not np.array_equal(first, synthetic_ranks(512, seed=3, document=8))
    assert not np.array_equal(first, synthetic_ranks(512, seed=4, document=7))


def test_more_text_begins_with_less_text():
    short, long = read_synthetic(limit_bytes=20_000), read_synthetic(limit_bytes=40_000)

    assert sum(len(document.text) for document in short) <= 20_000
    assert long[: len(short)] == short
    assert len(long) > len(short)


def test_frequencies_follow_the_stated_law():
    """Copies have the law of what they copy, so every rank keeps P = c / (rank + 2.7)."""
    counts = np.zeros(10_000)
    for document in range(400):
        counts += np.bincount(synthetic_ranks(512, seed=0, document=document), minlength=10_000)
    law = 1 / (np.arange(10_000) + 2.7)
    law /= law.sum()

    # 204,800 dependent draws: 10 % is more than three standard errors of the share of ten words even if each draw
    # came in clusters of fifteen copies.
    assert np.allclose([counts[:10].sum() / counts.sum()], [law[:10].sum()], rtol=0.1)
    assert np.allclose([counts[100:1000].sum() / counts.sum()], [law[100:1000].sum()], rtol=0.1)


def test_memory_fades_as_a_power_without_a_scale():
    ranks = np.stack([synthetic_ranks(512, seed=1, document=document) for document in range(400)])
    law = 1 / (np.arange(10_000) + 2.7)
    by_chance = ((law / law.sum()) ** 2).sum()

    excess = [(ranks[:, lag:] == ranks[:, :-lag]).mean() - by_chance for lag in (1, 4, 16, 64)]

    # A direct copy from exactly one place before has probability (1 - 2 ** -0.5) / 2 = 0.146; indirect ones add.
    assert 0.146 < excess[0] < 0.3
    ratios = [later / earlier for earlier, later in itertools.pairwise(excess)]
    # An exponential memory would lose an ever larger factor at each fourfold lag; a power loses a similar one.
    assert all(0.15 < ratio < 0.7 for ratio in ratios)
    assert excess[3] > 0
