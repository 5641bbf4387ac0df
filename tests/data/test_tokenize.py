import json
import sys

import numpy as np
import pytest
import tokenizers

from logclock.data.lossless import byte_characters
from logclock.data.tokenize import (
    END_OF_TEXT,
    BpeTokenizer,
    ByteTokenizer,
    load_tokenizer,
    train_bpe,
)

AWKWARD = [
    "plain words",
    "na\u00efve caf\u00e9, \u65e5\u672c\u8a9e, \u0420\u0443\u0441\u0441\u043a\u0438\u0439, \U0001f600",
    "tabs\tand\n\nnewlines\r\n  and   spaces ",
    f"spelled out: {END_OF_TEXT} is not the end",
    "\x00\x01\x7f\u0080\u2028\ufeff",
    "",
]


@pytest.fixture(scope="module")
def bpe():
    words = "the river crosses the old town and the old river remembers the town "
    return train_bpe([words * 20, "caf\u00e9 caf\u00e9 caf\u00e9"], vocab_size=290)


@pytest.fixture(params=["byte", "bpe"])
def tokenizer(request, bpe):
    return ByteTokenizer() if request.param == "byte" else bpe


@pytest.mark.parametrize("text", AWKWARD)
def test_any_text_comes_back_unchanged(tokenizer, text):
    (ids,) = tokenizer.encode_documents([text])

    assert tokenizer.decode(ids) == text


@pytest.mark.parametrize("text", AWKWARD)
def test_the_bytes_of_the_ids_add_up_to_the_bytes_of_the_text(tokenizer, text):
    (ids,) = tokenizer.encode_documents([text])

    assert tokenizer.token_bytes()[ids].sum() == len(text.encode())
    assert tokenizer.end_of_text not in ids


def test_ids_are_small_unsigned_integers_below_the_vocabulary(tokenizer):
    for ids in tokenizer.encode_documents(AWKWARD):
        assert ids.dtype == np.uint16
        assert (ids < tokenizer.vocab_size).all()


def test_end_of_text_stands_for_no_bytes(tokenizer):
    counts = tokenizer.token_bytes()

    assert counts.shape == (tokenizer.vocab_size,)
    assert counts[tokenizer.end_of_text] == 0
    assert np.flatnonzero(counts == 0).tolist() == [tokenizer.end_of_text]
    assert tokenizer.decode([tokenizer.end_of_text]) == ""


def test_the_byte_tokenizer_by_hand():
    byte = ByteTokenizer()

    (ids,) = byte.encode_documents(["a\u00e9\n"])

    assert ids.tolist() == [97, 195, 169, 10]
    assert (byte.vocab_size, byte.end_of_text) == (257, 256)


def test_a_trained_vocabulary_by_hand():
    """Id 0 ends texts; bytes follow in the order of their printable characters; then the most frequent pair."""
    trained = train_bpe(["ab ab ab ab ac"], vocab_size=258)

    spellings = trained.token_spellings()

    assert spellings[0] == b""
    assert spellings[1] == b"!"  # 0x21, the first printable character after the space
    assert sorted(spellings[1:257]) == [bytes([value]) for value in range(256)]
    assert spellings[257] == b"ab"  # four times; " a" comes four times too, but only after three spaces and " ac"
    assert (trained.vocab_size, trained.end_of_text) == (258, 0)


def test_the_same_texts_train_the_same_tokenizer(bpe):
    words = "the river crosses the old town and the old river remembers the town "

    again = train_bpe([words * 20, "caf\u00e9 caf\u00e9 caf\u00e9"], vocab_size=290)

    assert again.sha256 == bpe.sha256


def test_ids_equal_those_of_the_tokenizers_package(bpe):
    engine = tokenizers.Tokenizer.from_str(bpe.to_json())
    texts = [text for text in AWKWARD if END_OF_TEXT not in text]

    ours = [ids.tolist() for ids in bpe.encode_documents(texts)]

    assert ours == [engine.encode(text).ids for text in texts]


def test_a_cut_inside_a_character_decodes_to_a_replacement():
    assert ByteTokenizer().decode([97, 195]) == "a\ufffd"


def test_the_printable_characters_of_bytes_are_those_of_the_tokenizers_package():
    assert sorted(byte_characters()) == sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    pieces = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(" \n\u00e9A")
    characters = byte_characters()
    assert pieces[0][0] == "".join(characters[byte] for byte in " \n\u00e9A".encode())


def test_both_kinds_are_saved_and_loaded(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "tokenizer.json")

    loaded = load_tokenizer(tmp_path / "tokenizer.json")

    assert type(loaded) is type(tokenizer)
    assert loaded.sha256 == tokenizer.sha256
    assert loaded.token_spellings() == tokenizer.token_spellings()


def test_a_vocabulary_above_sixteen_bits_gives_wider_ids(bpe):
    data = json.loads(bpe.to_json())
    data["model"]["vocab"]["rare"] = 70_000
    wide = BpeTokenizer(json.dumps(data))

    assert wide.vocab_size == 70_001
    assert wide.encode_documents(["the"])[0].dtype == np.uint32


@pytest.mark.parametrize(
    ("vocab_size", "message"),
    [(256, "at least 257"), (1000, r"vocabulary of \d+ tokens only, asked for was vocab_size=1000")],
)
def test_a_vocabulary_out_of_reach_is_an_error(vocab_size, message):
    with pytest.raises(ValueError, match=message):
        train_bpe(["ab ab"], vocab_size=vocab_size)


def change(**parts):
    return lambda data: json.dumps(data | parts)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda data: "not json", "is not a tokenizer this package can use"),
        (lambda data: "[1]", "is not a tokenizer this package can use"),
        (change(model={"type": "WordPiece", "vocab": {}}), "byte-level BPE.*'WordPiece'"),
        (change(decoder=None), "byte-level BPE"),
        (change(normalizer={"type": "Lowercase"}), "byte-level BPE"),
        (change(pre_tokenizer={"type": "ByteLevel", "add_prefix_space": True}), "prefix space"),
        (change(added_tokens=[]), "no token '<|endoftext|>'".replace("|", r"\|")),
    ],
)
def test_files_of_other_kinds_are_refused(edit, message, bpe, tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text(edit(json.loads(bpe.to_json())))

    with pytest.raises(ValueError, match=message):
        load_tokenizer(path)


def test_a_missing_file_says_what_may_be_given(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no tokenizer at .*'byte', 'bpe' or the path"):
        load_tokenizer(tmp_path / "tokenizer.json")


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)

    with pytest.raises(ImportError, match=r"logclock\[bench\]"):
        train_bpe(["text"], vocab_size=300)
