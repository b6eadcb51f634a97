import contextlib
import os
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medp2p import bch, identity
from medp2p.errors import UsageError

KEY = bytes(range(32))
KEYS = st.binary(min_size=32, max_size=32).filter(lambda key: any(key[1:31]))
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"


def swapped(text: str, at: int) -> str:
    return text[:at] + text[at + 1] + text[at] + text[at + 2 :]


# --- peer ID ------------------------------------------------------------------------------


def test_peer_id_is_frozen() -> None:
    assert identity.encode_peer_id(KEY) == (
        "AEAACA-QDAQCQ-MBYIBE-FAWDAN-BYHRAE-ISCMKB-KFQXDA-MRUGY4-DUPB6A-S3J3UC"
    )
    assert identity.fingerprint_text(KEY) == "udhhplmapte2owcjxbp4tgll2i"
    assert identity.key_words(KEY) == "extra topaz hasty tutor corner burlap"


def test_check_characters_are_those_of_bip_350() -> None:
    """The shortest valid string of its test vectors: "a1lqfn3a", prefix "a", no payload."""
    values = ["qpzry9x8gf2tvdw0s3jn54khce6mua7l".index(char) for char in "lqfn3a"]
    assert bch.is_right("a", values, bch.BECH32M)
    assert not bch.is_right("a", values, bch.BECH32)


def test_peer_id_has_ten_groups_of_six() -> None:
    groups = identity.encode_peer_id(KEY).split("-")
    assert [len(group) for group in groups] == [6] * 10


@given(KEYS)
def test_peer_id_comes_back_in_any_dress(key: bytes) -> None:
    text = identity.encode_peer_id(key)
    assert identity.decode_peer_id(text) == key
    assert identity.decode_peer_id(text.lower()) == key
    assert identity.decode_peer_id(f" {text.replace('-', ' ')}\n") == key


def test_every_wrong_character_is_refused() -> None:
    text = identity.encode_peer_id(KEY).replace("-", "")
    for at, right in enumerate(text):
        for wrong in ALPHABET.replace(right, ""):
            with pytest.raises(UsageError, match="one character is wrong or two are swapped"):
                identity.decode_peer_id(text[:at] + wrong + text[at + 1 :])


@given(KEYS)
def test_every_adjacent_swap_is_refused(key: bytes) -> None:
    text = identity.encode_peer_id(key).replace("-", "")
    for at in range(len(text) - 1):
        if text[at] != text[at + 1]:
            with pytest.raises(UsageError, match="two are swapped"):
                identity.decode_peer_id(swapped(text, at))


@pytest.mark.parametrize("change", [lambda text: text[:-1], lambda text: text + "A", lambda _: ""])
def test_wrong_length_is_named(change: Callable[[str], str]) -> None:
    with pytest.raises(UsageError, match="has 60 characters, this one has"):
        identity.decode_peer_id(change(identity.encode_peer_id(KEY).replace("-", "")))


@pytest.mark.parametrize("wrong", ["0", "1", "8", "!", "\u00e9", "\x1b"])
def test_wrong_character_is_named_harmlessly(wrong: str) -> None:
    with pytest.raises(UsageError, match="digits 2-7") as caught:
        identity.decode_peer_id(wrong + identity.encode_peer_id(KEY)[1:])
    assert caught.value.text.isascii()
    assert caught.value.text.isprintable()


@given(st.text(max_size=80))
def test_any_text_is_a_key_or_a_usage_error(text: str) -> None:
    with contextlib.suppress(UsageError):
        assert len(identity.decode_peer_id(text)) == 32


def test_another_version_or_padding_says_update() -> None:
    def build(payload_bits: int) -> str:
        values = [payload_bits >> 5 * place & 31 for place in reversed(range(54))]
        values += bch.check_values("medp2p", values, bch.BECH32M)
        return "".join(ALPHABET[value] for value in values)

    bits = int.from_bytes(b"\x01" + KEY, "big") << 6
    assert identity.decode_peer_id(build(bits)) == KEY
    for other in (bits | 1, bits + (1 << 262)):
        with pytest.raises(UsageError, match="newer medp2p"):
            identity.decode_peer_id(build(other))


# RFC 7748: the field is 2**255 - 19; points of order 1, 2, 4 and 8 and what equals them.
LOW_ORDER = [
    0,
    1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
    2**255 - 20,
    2**255 - 19,
    2**255 - 18,
]


@pytest.mark.parametrize("point", LOW_ORDER)
def test_keys_without_secret_are_refused(point: int) -> None:
    key = point.to_bytes(32, "little")
    with pytest.raises(UsageError, match="keeps no secret"):
        identity.decode_peer_id(identity.encode_peer_id(key))


@pytest.mark.parametrize("size", [0, 31, 33])
def test_encoding_takes_whole_keys_only(size: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        identity.encode_peer_id(bytes(size))


# --- words --------------------------------------------------------------------------------


def near(one: str, other: str) -> bool:
    """Whether one typing error leads from one word to the other."""
    if one > other:
        one, other = other, one
    if len(one) == len(other):
        at = [i for i in range(len(one)) if one[i] != other[i]]
        return len(at) == 1 or (len(at) == 2 and swapped(one, at[0]) == other)
    short, long = sorted((one, other), key=len)
    return any(long[:i] + long[i + 1 :] == short for i in range(len(long)))


def test_word_list_keeps_its_rules() -> None:
    words = identity.words()
    assert len(words) == identity.WORD_COUNT == 1024
    assert all(re.fullmatch("[a-z]{4,7}", word) for word in words)
    assert len({word[:4] for word in words}) == len(words)
    assert list(words) == sorted(words)


def test_no_word_is_one_typing_error_from_another() -> None:
    words = identity.words()
    for at, word in enumerate(words):
        for other in words[at + 1 :]:
            if abs(len(word) - len(other)) <= 1:
                assert not near(word, other), (word, other)


UNFIT = """
blood cancer coffin cough death fever grave hearse kidney kill morgue nausea needle nurse organ
patient pulse scalpel tumor ulcer virus wound vomit stool urine breast naked nude devil damn idiot
moron stupid sexy
"""


def test_nothing_rude_or_clinical() -> None:
    assert not set(UNFIT.split()) & set(identity.words())


def test_key_words_differ_with_the_key() -> None:
    seen = {identity.key_words(bytes([number]) * 32) for number in range(200)}
    assert len(seen) == 200
    assert all(len(text.split()) == 6 for text in seen)


# --- codes --------------------------------------------------------------------------------


def test_new_codes_parse() -> None:
    for _ in range(200):
        code = identity.new_code(os.urandom)
        number, words = identity.parse_code(code)
        assert code == f"{number}-{words}"
        assert 1 <= number <= 9999


@pytest.mark.parametrize("fill", [b"\0", b"\xff"])
def test_new_code_reaches_the_ends(fill: bytes) -> None:
    first, last = identity.words()[0], identity.words()[-1]
    word = first if fill == b"\0" else last
    assert identity.new_code(lambda count: fill * count).endswith(f"-{word}-{word}")


@pytest.mark.parametrize(
    "typed",
    [
        "42-amber-cabin",
        " 42 amber cabin ",
        "42-Amber-CABIN",
        "0042 - amber_cabin",
        "42--amber cabin\n",
    ],
)
def test_codes_are_typed_in_many_ways(typed: str) -> None:
    assert identity.parse_code(typed) == (42, "amber-cabin")


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "42",
        "amber-cabin",
        "0-amber-cabin",
        "10000-amber-cabin",
        "42-amber",
        "-1-amber-cabin",
        "42-amber-cabin-cabin",
        "4\u0662-amber-cabin",
        "42-amber-cabin!",
    ],
)
def test_what_is_no_code_is_refused(typed: str) -> None:
    with pytest.raises(UsageError, match="looks like 42-amber-cabin"):
        identity.parse_code(typed)


def test_unknown_word_is_named_before_a_guess_is_spent() -> None:
    with pytest.raises(UsageError, match="'cabim'"):
        identity.parse_code("42-amber-cabim")


# --- names --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a", "ward-a", "ct.3_north", "a" * 63])
def test_peer_names(name: str) -> None:
    assert identity.check_peer_name(name) == name


@pytest.mark.parametrize("name", ["", "A", "1a", "-a", "a b", "a" * 64, "a\n", "\u00e4", "a/b"])
def test_what_is_no_peer_name(name: str) -> None:
    with pytest.raises(UsageError, match="starts with a letter"):
        identity.check_peer_name(name)


@pytest.mark.parametrize(
    ("told", "taken", "name"),
    [
        ("ward-a", [], "ward-a"),
        ("Ward A (2nd floor)", [], "ward-a-2nd-floor"),
        ("K\u00f6ln \u2013 Radiologie", [], "koln-radiologie"),
        ("3T MRI", [], "t-mri"),
        ("", [], "peer"),
        ("\u6771\u4eac", ["peer"], "peer-2"),
        ("\x1b[31m", [], "31m"[2:]),
        ("ward-a", ["ward-a", "ward-a-2"], "ward-a-3"),
        ("x" * 80, ["x" * 63], "x" * 61 + "-2"),
    ],
)
def test_name_from_what_is_told(told: str, taken: list[str], name: str) -> None:
    assert identity.derive_peer_name(told, taken) == name


@given(st.text(max_size=100), st.integers(0, 12))
def test_derived_names_are_names_and_free(told: str, clashes: int) -> None:
    taken: list[str] = []
    for _ in range(clashes + 1):
        name = identity.derive_peer_name(told, taken)
        assert identity.check_peer_name(name) not in taken
        taken.append(name)
