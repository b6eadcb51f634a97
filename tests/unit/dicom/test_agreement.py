"""When two ids, names or dates mean the same person: examples and properties."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medp2p.dicom.agreement import (
    Agreement,
    compare_dates,
    compare_ids,
    compare_names,
    date_digits,
)
from medp2p.dicom.facts import Patient

SAME, SIMILAR, UNKNOWN, DIFFERENT = (
    Agreement.SAME,
    Agreement.SIMILAR,
    Agreement.UNKNOWN,
    Agreement.DIFFERENT,
)
NAMES = st.text(st.characters(codec="utf-8"), max_size=20)
LETTERS = st.text("abcäöüßéñzñABCÄÖ", min_size=1, max_size=6)
COMPONENTS = st.lists(LETTERS, min_size=1, max_size=5)
IDS = st.builds(Patient, id=st.text("aB1 ", max_size=4), issuer=st.sampled_from(["", "X", "Y"]))


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("Doe^John", "Doe^John^^^", SAME),
        ("Doe^John", "DOE^JOHN", SAME),
        ("Doe^John", " Doe ^ John ", SAME),
        ("Doe^John=", "Doe^John==", SAME),
        ("Doe^John", "Doe, John", SAME),
        ("Doe^John", "doe john", SAME),
        ("Müller^A", "Mu\u0308ller^A", SAME),
        ("Strauß^A", "STRAUSS^A", SAME),
        ("Jérôme^A", "J\xc3\xa9r\xc3\xb4me^A", SAME),
        ("Yamada^Tarou=山田^太郎", "Yamada^Tarou", SAME),
        ("=山田^太郎", "Yamada^Tarou=山田^太郎", SAME),
        ("==やまだ", "==やまだ", SAME),
        ("ﾔﾏﾀﾞ", "ヤマダ", SAME),
        ("Yamada^Tarou=山田^太郎", "Yamada^Tarou=山田^多郎", SIMILAR),
        ("Doe^John", "John^Doe", SIMILAR),
        ("John Doe", "Doe^John", SIMILAR),
        ("Müller^A", "Muller^A", SIMILAR),
        ("Doe^John^Paul", "Doe^John", SIMILAR),
        ("Van^Dyk An", "Van Dyk^An", SIMILAR),
        ("=山田", "Yamada", UNKNOWN),
        ("", "Doe", UNKNOWN),
        ("^^^", "Doe", UNKNOWN),
        ("Doe^John", "Doe^Jane", DIFFERENT),
        ("Doe", "Doe^John", DIFFERENT),
        ("A=B=C=D", "A=B=C=E", SIMILAR),
        ("王", "李", DIFFERENT),
        ("\u0301", "\u0302", DIFFERENT),
        ("é日", "Ã", DIFFERENT),
        (",", "^a", DIFFERENT),
    ],
)
def test_names(one: str, other: str, expected: Agreement) -> None:
    assert compare_names(one, other) is expected
    assert compare_names(other, one) is expected


@given(NAMES, NAMES)
def test_names_compare_the_same_both_ways(one: str, other: str) -> None:
    assert compare_names(one, other) is compare_names(other, one)


@given(COMPONENTS, st.integers(0, 4))
def test_a_name_is_itself_in_other_case_form_and_padding(parts: list[str], carets: int) -> None:
    name = "^".join(parts)
    for form in ("NFC", "NFD"):
        for shape in (str.upper, str.lower, str.title):
            changed = unicodedata.normalize(form, shape(f"  {name} {'^' * carets}"))
            assert compare_names(name, changed) is SAME


@given(COMPONENTS, COMPONENTS)
def test_names_without_a_common_word_differ(one: list[str], other: list[str]) -> None:
    others = [f"x{part}" for part in other]
    assert compare_names("^".join(one), "^".join(others)) is DIFFERENT


@pytest.mark.parametrize(
    ("one", "other", "inside", "outside"),
    [
        (("1", "A"), ("1", "A"), SAME, SAME),
        (("1", "A"), ("1", "a "), SAME, SAME),
        (("1", ""), ("1", ""), SAME, UNKNOWN),
        (("1", "A"), ("1", ""), SAME, UNKNOWN),
        (("1", "A"), ("1", "B"), DIFFERENT, DIFFERENT),
        (("1", "A"), ("2", "A"), DIFFERENT, DIFFERENT),
        (("ab", ""), ("AB", ""), SIMILAR, UNKNOWN),
        (("a b", "X"), ("ab", "X"), SIMILAR, SIMILAR),
        (("01", ""), ("1", ""), DIFFERENT, UNKNOWN),
        ((" 1 ", "A"), ("1", "A"), SAME, SAME),
        (("", "A"), ("1", "A"), UNKNOWN, UNKNOWN),
    ],
)
def test_ids(
    one: tuple[str, str], other: tuple[str, str], inside: Agreement, outside: Agreement
) -> None:
    left, right = Patient(*one), Patient(*other)
    for a, b in ((left, right), (right, left)):
        assert compare_ids(a, b, one_domain=True) is inside
        assert compare_ids(a, b, one_domain=False) is outside


@given(IDS, IDS)
def test_an_id_is_never_the_same_outside_without_a_common_issuer(
    one: Patient, other: Patient
) -> None:
    inside = compare_ids(one, other, one_domain=True)
    outside = compare_ids(one, other, one_domain=False)
    assert inside is compare_ids(other, one, one_domain=True)
    if outside is SAME:
        assert one.issuer == other.issuer != ""
        assert inside is SAME
    if inside is SAME:
        assert one.id.strip() == other.id.strip() != ""


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("19700203", "1970-02-03", SAME),
        ("1970.02.03", "19700203 ", SAME),
        ("19700203", "19700204", DIFFERENT),
        ("", "19700203", UNKNOWN),
        ("1970", "19700203", UNKNOWN),
    ],
)
def test_dates(one: str, other: str, expected: Agreement) -> None:
    assert compare_dates(one, other) is expected


@given(st.dates())
def test_every_date_is_itself_in_each_form(date: object) -> None:
    assert date_digits(str(date)) == str(date).replace("-", "")
