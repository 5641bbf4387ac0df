import json

import pytest
import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, trainers

from logclock.data.lossless import failed_probes, missing_bytes, probe_texts
from logclock.data.tokenize import END_OF_TEXT, BpeTokenizer, load_tokenizer, train_bpe

WORDS = "a lantern over the harbour 1984 & the old captain's caf\u00e9 "


@pytest.fixture(scope="module")
def text():
    """A tokenizer.json that is fine."""
    return train_bpe([WORDS * 30], vocab_size=290).to_json()


@pytest.fixture
def engine(text):
    return tokenizers.Tokenizer.from_str(text)


def edited(text, change):
    data = json.loads(text)
    change(data)
    return json.dumps(data)


def byte_level(**options):
    return pre_tokenizers.ByteLevel(add_prefix_space=False, **options)


def test_the_probe_holds_every_byte_that_utf8_text_can_have():
    held = set("".join(probe_texts([])).encode())

    assert set(range(256)) - held == {0xC0, 0xC1, *range(0xF5, 0x100)}  # RFC 3629: these never occur


def test_a_probe_names_the_place_where_a_text_changes():
    spellings = [bytes([byte]) for byte in range(256)]

    assert failed_probes(["ab"], lambda texts: [list(text.encode()) for text in texts], spellings) == []
    (problem,) = failed_probes(["one two"], lambda texts: [list(b"one  two")], spellings)
    assert problem == "the text ...'one two' comes back as ...'one  two'"
    (problem,) = failed_probes(["a lost end"], lambda texts: [list(b"a lost")], spellings)
    assert "comes back as" in problem


def test_a_probe_notices_ids_that_change():
    answers = iter([[[97]], [[98]]])

    assert "other ids the second time" in failed_probes(["a"], lambda texts: next(answers), [b"x"] * 99)[0]


@pytest.mark.parametrize(
    ("normalizer", "name"),
    [
        (normalizers.NFKC(), "NFKC"),
        (normalizers.NFC(), "NFC"),
        (normalizers.Lowercase(), "Lowercase"),
        (normalizers.Strip(), "Strip"),
        (normalizers.Replace("colour", "color"), "Replace"),  # no probe could guess the word
        (normalizers.Prepend("_"), "Prepend"),
        (normalizers.Sequence([normalizers.StripAccents()]), "StripAccents"),
    ],
)
def test_a_normalizer_is_refused_by_name_with_the_way_out(engine, normalizer, name):
    engine.normalizer = normalizer

    with pytest.raises(ValueError, match=f"normalizer is '{name}'.*Set normalizer to null"):
        BpeTokenizer(engine.to_str())


@pytest.mark.parametrize(
    ("splitter", "message"),
    [
        (pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), byte_level()]), "'Whitespace' may drop"),
        (pre_tokenizers.Sequence([pre_tokenizers.BertPreTokenizer(), byte_level()]), "'BertPreTokenizer' may drop"),
        (pre_tokenizers.Sequence([pre_tokenizers.Metaspace(), byte_level()]), "'Metaspace' may drop"),
        (pre_tokenizers.Sequence([pre_tokenizers.CharDelimiterSplit("q"), byte_level()]), "'CharDelimiterSplit' may"),
        (
            pre_tokenizers.Sequence([pre_tokenizers.Split("q", "removed"), byte_level()]),
            "'Split' has behavior 'Removed",
        ),
        (pre_tokenizers.Sequence([pre_tokenizers.Punctuation("removed"), byte_level()]), "'Punctuation' has behavior"),
        (pre_tokenizers.ByteLevel(add_prefix_space=True), "adds a prefix space. Set its add_prefix_space to false"),
        (pre_tokenizers.Digits(), "exactly one 'ByteLevel'"),
        (pre_tokenizers.Sequence([byte_level(), byte_level()]), "exactly one 'ByteLevel'"),
    ],
)
def test_a_splitter_that_loses_text_is_refused_by_name(engine, splitter, message):
    engine.pre_tokenizer = splitter

    with pytest.raises(ValueError, match=message):
        BpeTokenizer(engine.to_str())


@pytest.mark.parametrize(
    "splitter",
    [
        byte_level(use_regex=False),
        pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level()]),
        pre_tokenizers.Sequence([pre_tokenizers.Split(tokenizers.Regex(r"\p{N}{1,3}"), "isolated"), byte_level()]),
        pre_tokenizers.Sequence([pre_tokenizers.Punctuation("merged_with_next"), byte_level(use_regex=False)]),
    ],
)
def test_a_splitter_that_only_cuts_is_accepted(engine, splitter):
    engine.pre_tokenizer = splitter

    accepted = BpeTokenizer(engine.to_str())

    sample = " 12345  caf\u00e9,\n\n\u2002and... "
    assert accepted.decode(accepted.encode_documents([sample])[0]) == sample


def test_missing_bytes_are_counted_and_the_first_is_named(text):
    def drop(data):
        vocabulary = data["model"]["vocab"]
        gone = {token for token in vocabulary if "\u00c3" in token}  # the letter that stands for the byte 0xc3
        data["model"]["vocab"] = {token: id_ for token, id_ in vocabulary.items() if token not in gone}
        data["model"]["merges"] = [pair for pair in data["model"]["merges"] if not gone & {*pair, "".join(pair)}]

    with pytest.raises(ValueError, match=r"no token for 1 of the bytes of UTF-8 \(the first is 0xc3\).*alphabet\(\)"):
        BpeTokenizer(edited(text, drop))


def test_bytes_that_no_text_holds_need_no_token():
    letters = pre_tokenizers.ByteLevel.alphabet()

    assert missing_bytes(letters) == []
    assert missing_bytes(set(letters) - {"\u00ff"}) == []  # 0xff
    assert missing_bytes(set(letters) - {"A"}) == [0x41]


@pytest.mark.parametrize("field", ["continuing_subword_prefix", "end_of_word_suffix"])
def test_word_marks_of_a_model_are_refused(text, field):
    with pytest.raises(ValueError, match=f"model.{field} is '@@'"):
        BpeTokenizer(edited(text, lambda data: data["model"].update({field: "@@"})))


@pytest.mark.parametrize("side", ["lstrip", "rstrip"])
def test_an_added_token_that_swallows_spaces_is_refused(engine, side):
    engine.add_tokens([AddedToken("ZEBRA", **{side: True})])

    with pytest.raises(ValueError, match=f"added token 'ZEBRA' has {side}: it swallows spaces. Set it to false"):
        BpeTokenizer(engine.to_str())


def test_a_file_with_several_faults_is_one_error_that_names_them_all(engine):
    engine.normalizer = normalizers.Lowercase()
    engine.pre_tokenizer = pre_tokenizers.WhitespaceSplit()

    with pytest.raises(ValueError, match=r"'Lowercase'.*'WhitespaceSplit'"):
        BpeTokenizer(engine.to_str())


def test_ordinary_added_tokens_stand_for_the_bytes_of_their_text(engine):
    engine.add_tokens(["    ", "\u00fcber", AddedToken("HARBOUR", single_word=True)])
    engine.add_special_tokens(["<|pad|>"])

    accepted = BpeTokenizer(engine.to_str())

    counts = accepted.token_bytes()
    assert [counts[accepted.added[token]] for token in ("    ", "\u00fcber", "HARBOUR", "<|pad|>")] == [4, 5, 7, 0]
    sample = "x    y \u00fcber\u00fcber HARBOUR HARBOURS <|pad|>"
    (ids,) = accepted.encode_documents([sample])
    assert {accepted.added["    "], accepted.added["\u00fcber"], accepted.added["HARBOUR"]} <= set(ids.tolist())
    assert accepted.added["<|pad|>"] not in ids
    assert accepted.decode(ids) == sample
    assert counts[ids].sum() == len(sample.encode())


def test_the_bytes_of_a_token_outside_the_alphabet_are_those_of_its_text(text):
    data = edited(text, lambda data: data["model"]["vocab"].update({"\u2581old": 400}))

    assert BpeTokenizer(data).token_bytes()[400] == len("\u2581old".encode())


def test_a_marker_that_is_no_special_token_is_made_one(text):
    accepted = BpeTokenizer(edited(text, lambda data: data["added_tokens"][0].update(special=False)))

    (ids,) = accepted.encode_documents([f"a{END_OF_TEXT}b"])
    assert accepted.end_of_text not in ids
    assert accepted.decode(ids) == f"a{END_OF_TEXT}b"
    assert "special" in accepted.switched_off[0]


def test_a_special_token_that_ordinary_text_is_encoded_to_is_refused(text):
    def flag(data):
        token = next(
            token for token in data["model"]["vocab"] if token.isascii() and token.isalpha() and len(token) > 2
        )
        entry = {**data["added_tokens"][0], "id": data["model"]["vocab"][token], "content": token}
        data["added_tokens"].append(entry)

    with pytest.raises(ValueError, match="comes back as"):
        BpeTokenizer(edited(text, flag))


def test_an_id_that_the_file_gives_to_two_tokens_is_refused(text):
    with pytest.raises(ValueError, match="the id 5 stands for 2 tokens"):
        BpeTokenizer(edited(text, lambda data: data["model"]["vocab"].update({"zzz": 5})))


def test_an_added_token_whose_id_the_package_changes_is_refused(text):
    def add(data):
        data["added_tokens"].append({**data["added_tokens"][0], "id": 9000, "content": "ZEBRA", "special": False})

    with pytest.raises(
        ValueError, match="'ZEBRA' has the id 9000 in the file, but the package tokenizers gives it 290"
    ):
        BpeTokenizer(edited(text, add))


@pytest.mark.parametrize(
    ("change", "setting"),
    [
        (lambda e: e.enable_truncation(max_length=3), "truncation"),
        (lambda e: e.enable_padding(length=64), "padding"),
        (lambda e: setattr(e.model, "dropout", 0.9), "dropout"),
    ],
)
def test_what_training_needs_is_switched_off_and_told(text, engine, change, setting, tmp_path):
    change(engine)
    (tmp_path / "tokenizer.json").write_text(engine.to_str())

    loaded = load_tokenizer(tmp_path / "tokenizer.json")

    plain = BpeTokenizer(text)
    samples = [WORDS * 5, "a", "the old"]
    for _ in range(3):
        assert [ids.tolist() for ids in loaded.encode_documents(samples)] == [
            ids.tolist() for ids in plain.encode_documents(samples)
        ]
    assert [setting in line and "switched off" in line for line in loaded.switched_off] == [True]
    assert BpeTokenizer(loaded.to_json()).switched_off == ()


def test_a_file_that_is_fine_is_kept_byte_for_byte(text):
    assert BpeTokenizer(text).to_json() == text
    assert BpeTokenizer(text).switched_off == ()


def test_the_oldest_files_name_no_model_type(text):
    accepted = BpeTokenizer(edited(text, lambda data: data["model"].pop("type")))

    assert accepted.vocab_size == 290


def make_unigram():
    engine = tokenizers.Tokenizer(models.Unigram([("<unk>", -1.0), ("a", -2.0)], 0))
    engine.decoder = decoders.ByteLevel()
    engine.pre_tokenizer = byte_level()
    return engine.to_str().encode()


def make_wordlevel():
    engine = tokenizers.Tokenizer(models.WordLevel(unk_token="[UNK]"))
    engine.train_from_iterator([WORDS], trainers.WordLevelTrainer(special_tokens=["[UNK]"], show_progress=False))
    return engine.to_str().encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\n\x0e\n\x05<unk>\x15\x00\x00\x00\x00\x18\x02\n\xff", "looks like a SentencePiece model"),
        (b"\x80\x04\x95\xff\xfe", "is a binary file, not JSON"),
        (b"\x1f\x8b\x08\x00\x00\x00", "is a binary file"),
        (b"", "it is not JSON"),
        (b"IQ== 0\nIg== 1\n", "it is not JSON"),  # tiktoken
        (b"#version: 0.2\n\xc4\xa0 t\n", "it is not JSON"),  # merges.txt
        (b'{"hello": 0, "world": 1}', "a vocabulary without merges"),
        (b'{"tokenizer_class": "GPT2Tokenizer", "model_max_length": 1024}', "JSON with tokenizer_class"),
        (b"{}", "JSON with nothing"),
        (b'"text"', "it is JSON, but a str"),
        (b"[" * 100_000, "it is not JSON"),
        (b'{"model": {"type": "BPE", "vocab": 5, "merges": []}}', "decoder is missing"),
        (b'{"model": {"type": "BPE"}, "normalizer": "NFC"}', "cannot read it"),
        (b'{"kind": "ids", "vocab_size": "many"}', "vocab_size must be a whole number"),
        (make_unigram(), "model.type is 'Unigram'"),
        (make_wordlevel(), "model.type is 'WordLevel'"),
    ],
)
def test_files_that_are_no_such_tokenizer_are_one_error_that_names_the_file(content, message, tmp_path):
    path = tmp_path / "tokenizer.model"
    path.write_bytes(content)

    with pytest.raises(ValueError, match=f"tokenizer.model is not a tokenizer this package can use.*{message}"):
        load_tokenizer(path)


def test_a_byte_order_mark_before_a_tokenizer_is_no_part_of_it(text, tmp_path):
    (tmp_path / "tokenizer.json").write_bytes(b"\xef\xbb\xbf" + text.encode())

    assert load_tokenizer(tmp_path / "tokenizer.json").to_json() == text


def test_a_folder_says_which_file_in_it_is_the_tokenizer(text, tmp_path):
    (tmp_path / "tokenizer.json").write_text(text)

    with pytest.raises(FileNotFoundError, match=r"The folder has one: .*tokenizer.json"):
        load_tokenizer(tmp_path)
