"""What does a text look like whose statistics are known exactly: Zipf's law and a memory that decays as a power?

Each word is, with probability 1/2, a copy of the word `lag` places before it in the document, where
P(lag > l) = (l + 1)^(-1/2); otherwise (or when `lag` reaches before the start) it is drawn afresh with
P(rank) proportional to 1 / (rank + 2.7), rank = 0, 1, ... So the share of words that a context of length L can
predict grows as a power of L, without a scale of its own. Words are invented syllables, short for small ranks.
"""

import numpy as np

from logclock.data.extract import Document

__all__ = ["read_synthetic", "synthetic_ranks"]

NUM_WORDS = 10_000
ZIPF_OFFSET = 2.7
COPY_PROBABILITY = 0.5
MEMORY_EXPONENT = 0.5
WORDS_PER_DOCUMENT = 512
WORDS_PER_LINE = 16
SYLLABLES = [consonant + vowel for consonant in "bcdfghjklmnpqrstvwxz" for vowel in "aeiou"]


def read_synthetic(*, limit_bytes: int, seed: int = 0) -> list[Document]:
    """Return as many documents as fit into `limit_bytes`; document n depends on (seed, n) alone."""
    words = [_spell(rank) for rank in range(NUM_WORDS)]
    documents: list[Document] = []
    left = limit_bytes
    while True:
        number = len(documents)
        ranks = synthetic_ranks(WORDS_PER_DOCUMENT, seed=seed, document=number)
        spelled = [words[rank] for rank in ranks]
        lines = tuple(
            " ".join(spelled[start : start + WORDS_PER_LINE]) for start in range(0, len(spelled), WORDS_PER_LINE)
        )
        document = Document(f"synthetic/{number}", "synthetic", "CC0-1.0", lines)
        left -= len(document.text)
        if left < 0:
            return documents
        documents.append(document)


def synthetic_ranks(num_words: int, *, seed: int, document: int) -> np.ndarray:
    """Return the word ranks of one document."""
    # Raw bits and inverse distribution functions: numpy promises the bit stream for ever, not its samplers.
    bits = np.random.PCG64(np.random.SeedSequence([seed, document])).random_raw(3 * num_words)
    uniform = (bits >> np.uint64(11)).astype(np.float64).reshape(3, num_words) * 2.0**-53
    cumulative = np.cumsum(1.0 / (np.arange(NUM_WORDS) + ZIPF_OFFSET))
    fresh = np.searchsorted(cumulative, uniform[0] * cumulative[-1], side="right")

    lag = np.floor((1.0 - uniform[1]) ** (-1.0 / MEMORY_EXPONENT)).clip(max=num_words).astype(np.int64)
    position = np.arange(num_words)
    is_copy = (uniform[2] < COPY_PROBABILITY) & (lag <= position)
    origin = np.where(is_copy, position - lag, position)
    while True:  # follow copies of copies: every round doubles the distance
        further = origin[origin]
        if np.array_equal(further, origin):
            ranks: np.ndarray = fresh[origin]
            return ranks
        origin = further


def _spell(rank: int) -> str:
    word = SYLLABLES[rank % 100]
    return word if rank < 100 else _spell(rank // 100 - 1) + word
