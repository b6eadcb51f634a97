"""Which image stands for its series."""

import random
from typing import Any

import msgspec

from medp2p import limits
from medp2p.dicom.facts import FileFacts, Series, Slice
from medp2p.dicom.middle import Pick, pick_middles
from medp2p.dicom.patients import Item
from tests.helpers.dicoms import image, other

SHOWN: dict[str, Any] = {"rows": 512, "columns": 512}


def stack(count: int, **more: Any) -> list[Item]:
    """Slices whose numbers run against their places."""
    return [
        image(f"{n}", place=float(n), number=str(count - n), **{**SHOWN, **more})
        for n in range(count)
    ]


def one(items: list[Item]) -> Pick:
    (pick,) = pick_middles(items)
    return pick


def test_the_middle_by_place_whatever_the_order_of_the_files() -> None:
    items = stack(101)
    random.Random(1).shuffle(items)
    pick = one(items)
    assert items[pick.file].path == b"50"
    assert (pick.images, pick.shown, pick.frame, pick.why) == (101, 51, 0, "")


def test_the_number_it_is_shown_with_is_that_of_the_series() -> None:
    pick = one(stack(4))
    assert (pick.file, pick.shown) == (2, 2)  # the third place has number 2 of 4


def test_by_number_where_places_are_not_told() -> None:
    items = [image(f"{n}", number=str(n), **SHOWN) for n in (9, 1, 5, 30, 2)]
    assert items[one(items).file].path == b"5"
    nameless = [image(f"{n}", number="", **SHOWN) for n in range(5)]
    assert one(nameless).file == 2


def test_a_localizer_in_another_direction_does_not_count() -> None:
    across = Slice((0.0, 900.0, 0.0), (0.0, 1.0, 0.0, 0.0, 0.0, 1.0))
    scouts = [image(f"scout{n}", number="1", slice=across, **SHOWN) for n in range(3)]
    items = scouts + stack(9)
    assert items[one(items).file].path == b"4"
    assert one(items).images == 12


def test_frames_are_images() -> None:
    pick = one([image("a", number="1", frames=10, **SHOWN), image("b", frames=96, **SHOWN)])
    assert (pick.file, pick.frame, pick.images, pick.shown) == (1, 48, 106, 59)
    assert one([image("a", frames=1, **SHOWN)]).frame == 0


def test_what_is_whole_comes_before_what_is_cut_off() -> None:
    items = stack(3)
    items[1] = items[1]._replace(facts=msgspec.structs.replace(items[1].facts, truncated=True))
    assert one(items).file != 1
    assert one(items[1:2]).file == 0


def test_series_without_an_image() -> None:
    report = image("sr", series="1.7")
    document = image("pdf", series="1.8", encapsulated=True, **SHOWN)
    odd = Item(
        b"odd", FileFacts(kind="unverified", reason="damaged", series=Series(uid="1.9"), rows=5)
    )
    picks = pick_middles([report, document, odd, other("notes.txt")])
    assert [(pick.series.uid, pick.file, pick.shown, pick.why) for pick in picks] == [
        ("1.7", -1, 0, "no-image"),
        ("1.8", -1, 0, "no-image"),
        ("1.9", -1, 0, "unverified"),
    ]


def test_each_series_of_each_study_in_the_order_of_the_files() -> None:
    items = [
        image("a", series="1", study="1", **SHOWN),
        image("b", series="2", study="1", **SHOWN),
        image("c", series="1", study="2", **SHOWN),
        image("d", series="1", study="1", **SHOWN),
    ]
    picks = pick_middles(items)
    assert [(pick.study, pick.series.uid, pick.images) for pick in picks] == [
        ("1", "1", 2),
        ("1", "2", 1),
        ("2", "1", 1),
    ]
    assert picks[0].series.description == "Thorax"


def test_there_are_bounds() -> None:
    many = [image(f"{n}", series=f"1.{n}", frames=2**60, **SHOWN) for n in range(500)]
    picks = pick_middles(many)
    assert len(picks) == limits.PICTURE_PICKS
    assert picks[0].images == 2**31
    assert pick_middles([]) == ()
    assert len(msgspec.msgpack.encode(picks)) < 100 * limits.KIB
