"""Does a tokenizer file give every text back, with the same ids every time?

Two kinds of evidence. The settings are judged by name, because a probe cannot find a splitter that drops one rare
character. Then texts that break tokenizers are encoded and spelled out again, because a list of names cannot find what
the engine makes of them. A file is accepted when neither finds anything.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

__all__ = ["byte_characters", "failed_probes", "lossy_settings", "missing_bytes", "probe_texts"]

PRE_TOKENIZERS = ("ByteLevel", "Split", "Digits", "Punctuation", "UnicodeScripts", "FixedLength")
"""Those that only cut, unless their behavior is Removed."""

AWKWARD_TEXTS = (
    " leading and trailing ",
    "  two   three    four     spaces, \t\ttabs\t \t mixed,\n\n\nnewlines \r\n and \r\r\n\r returns\v\f",
    " \n \n",
    "\u00a0no-break\u2003em\u3000wide\u2028line\u2029paragraph\u0085next\u200bzero\u00adsoft",
    "Case ABC abc \u0130\u0131 \u00df\u1e9e \u03a3\u03c3\u03c2 I\u0307",
    "decomposed e\u0301 a\u030a o\u0308\u0323, composed \u00e9 \u00e5 \u1ed9, singletons \u212b \u2126 \u1e9b\u0323",
    "compatibility \ufb01 \u2167 \u00b2 \u33a5 \uff21\uff42 \u2460 \u00bd \uff76\uff9e",
    "\u1100\u1161\u11a8 \uac01 \u0915\u094d\u0937\u093f \u0e01\u0e33",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea \U0001f44d\U0001f3fd \u2764\ufe0f",
    "\u202b\u05e9\u05dc\u05d5\u05dd\u202c \u0645\u0631\u062d\u0628\u0627 \u202eback\u202c \u200f",
    "nothing \x00 \x00\x00 bell \x07 escape \x1b[0m delete \x7f",
    "\ufeffmark \ufffd replaced \ufffc \ue000 private \U000f0000 \u0378 unassigned \uffff \U0010fffe",
    "it's we'LL they'd 1234567890 3.14 1,000 !?#$%&'()*+,-./:;<=>@[\\]^_`{|}~ \u201cquoted\u201d \u2014 \u2026",
    "\u2581piece \u0120word \u010aline ##ing </w> <unk> [UNK] <0x41> <s> [CLS]",
    "the quick brown fox 42 times. The Quick",
    "a",
    " ",
    "\n",
    "\u4e2d\u6587 \u65e5\u672c\u8a9e \u0420\u0443\u0441\u0441\u043a\u0438\u0439 Z\u00fcrich na\u00efve",
)


def lossy_settings(data: dict[str, Any]) -> list[str]:
    """Name every setting of a `tokenizer.json` that loses text, each with what to do."""
    model = data.get("model") or {}
    found = []
    if model.get("type", "BPE") != "BPE":  # the oldest files, GPT-2's among them, leave the type out
        found.append(f"model.type is {model['type']!r}: only 'BPE' is read. Use the file of another model")
    for name in ("continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(name):
            found.append(f"model.{name} is {model[name]!r}: it adds text. Train one without it")
    for part in _flat(data.get("normalizer"), "normalizers"):
        found.append(f"normalizer is {part.get('type')!r}: a changed text cannot be given back. Set normalizer to null")
    found += _lossy_splitters(_flat(data.get("pre_tokenizer"), "pretokenizers"))
    decoders = [part.get("type") for part in _flat(data.get("decoder"), "decoders")]
    if set(decoders) - {"Fuse"} != {"ByteLevel"}:
        found.append(f"decoder is {_listed(decoders)}: it must be 'ByteLevel'")
    for token in data.get("added_tokens") or ():
        stripping = [side for side in ("lstrip", "rstrip") if token.get(side) and not token.get("special")]
        if stripping:
            found.append(f"added token {token['content']!r} has {stripping[0]}: it swallows spaces. Set it to false")
    return found


def _lossy_splitters(parts: Sequence[dict[str, Any]]) -> list[str]:
    names = [part.get("type") for part in parts]
    found = []
    for part in parts:
        if part.get("type") not in PRE_TOKENIZERS:
            found.append(
                f"pre_tokenizer {part.get('type')!r} may drop or change text, such as spaces. Train one without it"
            )
        elif part.get("behavior") == "Removed":
            found.append(f"pre_tokenizer {part['type']!r} has behavior 'Removed': it drops text. Set it to 'Isolated'")
        elif part.get("type") == "ByteLevel" and part.get("add_prefix_space"):
            found.append("pre_tokenizer ByteLevel adds a prefix space. Set its add_prefix_space to false")
    if names.count("ByteLevel") != 1:
        found.append(f"pre_tokenizer is {_listed(names)}: exactly one 'ByteLevel' must turn text into bytes")
    return found


def _flat(part: dict[str, Any] | None, key: str) -> list[dict[str, Any]]:
    """Return the members of a component, however deep its sequences are."""
    if not part:
        return []
    if part.get("type") != "Sequence":
        return [part]
    return [inner for member in part.get(key) or () for inner in _flat(member, key)]


def _listed(names: Sequence[Any]) -> str:
    return ", ".join(map(repr, names)) or "missing"


def missing_bytes(vocabulary: Iterable[str]) -> list[int]:
    """Return the bytes that occur in UTF-8 text and have no token of their own."""
    characters, known = byte_characters(), set(vocabulary)
    in_text = (*range(0xC0), *range(0xC2, 0xF5))
    return [byte for byte in in_text if characters[byte] not in known]


@functools.cache
def byte_characters() -> tuple[str, ...]:
    """Return the printable character that stands for each byte in byte-level BPE files.

    Printable Latin-1 bytes stand for themselves; the others, in order, are the characters from U+0100 on.
    """
    itself = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    shifted = (byte for byte in range(256) if byte not in itself)
    characters = {byte: chr(byte) for byte in itself}
    characters |= {byte: chr(0x100 + number) for number, byte in enumerate(shifted)}
    return tuple(characters[byte] for byte in range(256))


def probe_texts(added_tokens: Iterable[str]) -> list[str]:
    """Return texts that hold every byte of UTF-8, what tokenizers stumble over, and the added tokens inside text."""
    every_byte = [
        "".join(map(chr, range(0x80))),
        "".join(map(chr, range(0x80, 0x800))),  # every first byte of two, every byte that continues
        "".join(map(chr, range(0x800, 0xD800, 0x800))) + "\ue000\uf000",
        "".join(map(chr, range(0x10000, 0x110000, 0x10000))),
    ]
    inside = [f"{token}before {token} and{token}\n  {token}  {token}{token}" for token in added_tokens]
    return [*AWKWARD_TEXTS, *every_byte, *inside]


def failed_probes(
    texts: Sequence[str], encode: Callable[[Sequence[str]], Sequence[Sequence[int]]], spellings: Sequence[bytes]
) -> list[str]:
    """Encode texts twice and spell out their ids; return what is wrong with the first text that does not hold."""
    for text, ids, again in zip(texts, encode(texts), encode(texts), strict=True):
        if list(ids) != list(again):
            return [f"the text {text[:40]!r} gets other ids the second time"]
        back = b"".join(spellings[id_] for id_ in ids)
        if back != text.encode():
            place = next((i for i, (a, b) in enumerate(zip(back, text.encode(), strict=False)) if a != b), 0)
            begin = max(place - 10, 0)
            given, got = (raw[begin : begin + 30].decode(errors="replace") for raw in (text.encode(), back))
            return [f"the text ...{given!r} comes back as ...{got!r}"]
    return []
