"""Names at the target: unchanged where possible, never two in one, always listed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medp2p.manifest import Entry, Kind
from medp2p.vault.names import NameRules, TargetNames

WINDOWS = NameRules(windows=True, text_only=True, folds_case=True)


def files(*paths: bytes) -> list[Entry]:
    return [Entry(path, Kind.FILE, 0, 0) for path in paths]


@pytest.mark.parametrize(
    ("name", "fitted"),
    [
        (b"IM000001", b"IM000001"),
        (b'a<b>c:d"e|f?g*h\\i', b"a_b_c_d_e_f_g_h_i"),
        (b"a\nb\x7f", b"a_b_"),
        (b"name.", b"name_"),
        (b"name. .", b"name___"),
        (b"Pictures ", b"Pictures_"),
        (b"...", b"___"),
        (b".hidden", b".hidden"),
        (b"CON", b"_CON"),
        (b"nul.txt", b"_nul.txt"),
        (b"nul .txt", b"_nul .txt"),
        (b"Com1.dcm", b"_Com1.dcm"),
        ("lpt¹".encode(), "_lpt¹".encode()),
        (b"com10", b"com10"),
        (b"console", b"console"),
        (b"\xff\xfe.dcm", b"__.dcm"),
        ("téte".encode(), "téte".encode()),
        (b"\xed\xa0\x80", b"___"),
    ],
)
def test_what_windows_cannot_hold(name: bytes, fitted: bytes) -> None:
    assert WINDOWS.fit(name) == fitted
    assert WINDOWS.fit(fitted) == fitted
    assert NameRules().fit(name) == name


def test_long_names_keep_their_suffix_and_stay_apart() -> None:
    rules = NameRules(longest=40)
    first, second = (rules.fit(b"x" * 60 + end + b".dcm") for end in (b"1", b"2"))
    assert len(first) == len(second) == 40
    assert first != second
    assert first.endswith(b".dcm")
    assert len(rules.fit(b"x" * 41)) == 40
    assert len(rules.fit(b"x." + b"y" * 60)) == 40  # too long for a suffix
    assert rules.fit(b"x" * 40) == b"x" * 40
    for length in range(41, 60):
        rules.fit("ä".encode() * length).decode()  # no letter is cut in two


def test_who_can_keep_its_name_does() -> None:
    names = TargetNames(files(b"a:b", b"a_b", b"A_B", b"a?b"), WINDOWS)
    assert names.mapped == [(b"a:b", b"a_b-2"), (b"A_B", b"A_B-3"), (b"a?b", b"a_b-4")]
    assert names.target(b"a_b") == b"a_b"


def test_numbers_go_before_the_suffix() -> None:
    names = TargetNames(files(b"x.dcm", b"X.DCM", b"x.Dcm"), WINDOWS)
    assert [there for _, there in names.mapped] == [b"X-2.DCM", b"x-3.Dcm"]


def test_thousands_that_become_one_do_not_try_each_others_numbers() -> None:
    paths = [bytes([1 + n % 30, 1 + n // 30 % 30, 1 + n // 900]) for n in range(5_000)]
    names = TargetNames(files(*paths), NameRules(windows=True))
    assert len({there for _, there in names.mapped}) == len(paths)


def test_composed_and_decomposed() -> None:
    paths = files("é".encode(), "e\u0301".encode())
    assert TargetNames(paths, WINDOWS).mapped == []
    both = TargetNames(paths, NameRules(folds_form=True))
    assert both.mapped == [("e\u0301".encode(), "e\u0301-2".encode())]


def test_contents_follow_their_folder() -> None:
    names = TargetNames(files(b"a:/b:/c", b"a:/b:/d:", b"a:/e"), WINDOWS)
    assert names.target(b"a:/b:/c") == b"a_/b_/c"
    assert names.target(b"a:/e") == b"a_/e"
    assert names.mapped == [
        (b"a:", b"a_"),
        (b"a:/b:", b"a_/b_"),
        (b"a:/b:/d:", b"a_/b_/d_"),
    ]


def test_an_ordinary_target_costs_nothing() -> None:
    names = TargetNames(files(b"CON:", b"con:", b"\xff", b"d/" + b"x" * 255), NameRules())
    assert names.mapped == []
    assert not names._names


NAME = st.binary(min_size=1, max_size=12).map(
    lambda name: name.replace(b"/", b"s").replace(b"\0", b"n")
)
SHORT = st.sampled_from([b"a", b"A", b"a:", b"a_", b"A_", b"a-2", b"\xff", b"_", b"con", b"_con"])
RULES = st.builds(
    NameRules,
    windows=st.booleans(),
    text_only=st.booleans(),
    folds_case=st.booleans(),
    folds_form=st.booleans(),
    longest=st.sampled_from([30, 255]),
)


@given(
    paths=st.sets(
        st.lists(NAME | SHORT, min_size=1, max_size=3).map(b"/".join), min_size=1, max_size=12
    ),
    rules=RULES,
)
def test_no_two_become_one_and_all_fit(paths: set[bytes], rules: NameRules) -> None:
    bad = (b".", b"..", b"")
    listed = [p for p in sorted(paths) if not any(part in bad for part in p.split(b"/"))]
    names = TargetNames(files(*listed), rules)
    everything = {
        b"/".join(p.split(b"/")[: i + 1]) for p in listed for i in range(p.count(b"/") + 1)
    }
    there = {path: names.target(path) for path in everything}
    folded = set()
    for path, mapped in there.items():
        folder, _, name = mapped.rpartition(b"/")
        assert rules.fit(name) == name
        assert folder == there.get(path.rpartition(b"/")[0], b"")
        folded.add((folder, rules.fold(name)))
    assert len(folded) == len(everything)
    assert {path for path, _ in names.mapped} == {
        path for path in everything if path.rpartition(b"/")[2] != there[path].rpartition(b"/")[2]
    }
