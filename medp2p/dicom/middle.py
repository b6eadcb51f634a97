"""The one image that stands for its series: its middle, by place where places are told.

Source: DICOM PS3.3, C.7.6.2 (image plane); InstanceNumber (0020,0013) says where nothing else does.
"""

from collections import Counter
from collections.abc import Sequence

import msgspec

from medp2p import limits
from medp2p.dicom.facts import FileFacts, Series
from medp2p.dicom.patients import Item
from medp2p.dicom.slices import stack_of

#: Frames that are believed; whether they are there is found out when one is wanted.
_FRAMES = 2**31


class Pick(msgspec.Struct, frozen=True, array_like=True):
    """A series, and which image of it to show. Only appended to: it is kept.

    Attributes:
        study: Study UID.
        series: Series UID, number, modality and description.
        images: Images in it; each frame is one.
        file: Number of the file among the files of the manifest; -1 for none.
        frame: In that file, from 0.
        shown: Number of that image in the series, by InstanceNumber, from 1; 0 for none.
        why: Why there is none, a key of picture.WHY.
    """

    study: str
    series: Series
    images: int
    file: int = -1
    frame: int = 0
    shown: int = 0
    why: str = ""


def pick_middles(items: Sequence[Item]) -> tuple[Pick, ...]:
    """Return the series of a selection, in the order of the files, with the middle of each.

    Args:
        items: All files, in the order of the manifest.

    Returns:
        limits.PICTURE_PICKS at most.
    """
    series: dict[tuple[str, str], list[int]] = {}
    for number, item in enumerate(items):
        facts = item.facts
        if facts.series is not None and facts.kind in ("dicom", "unverified"):
            study = "" if facts.study is None else facts.study.uid
            series.setdefault((study, facts.series.uid), []).append(number)
    return tuple(
        _pick(items, study, members)
        for (study, _), members in list(series.items())[: limits.PICTURE_PICKS]
    )


def _pick(items: Sequence[Item], study: str, members: Sequence[int]) -> Pick:
    told = items[members[0]].facts.series or Series()
    readable = [number for number in members if items[number].facts.kind == "dicom"]
    images = [number for number in readable if _is_image(items[number].facts)]
    if not images:
        why = "no-image" if readable else "unverified"
        return Pick(study, told, len(members), why=why)
    images.sort(key=lambda number: (_instance_number(items[number].facts), number))
    whole = [number for number in images if items[number].facts.truncated is not True]
    file = _middle(items, whole or images)
    frame = _frames(items[file].facts) // 2
    before = sum(_frames(items[number].facts) for number in images[: images.index(file)])
    total = sum(_frames(items[number].facts) for number in images)
    return Pick(study, told, total, file, frame, before + frame + 1)


def _middle(items: Sequence[Item], images: Sequence[int]) -> int:
    """Return the middle of the largest stack, or by number where few images have a place."""
    places = {number: stack_of(items[number].facts) for number in images}
    stacks = Counter(place[0] for place in places.values() if place is not None)
    if stacks:
        stack, count = stacks.most_common(1)[0]
        if 2 * count >= len(images):
            along = [(at[1], number) for number, at in places.items() if at and at[0] == stack]
            return sorted(along)[count // 2][1]
    return images[len(images) // 2]


def _is_image(facts: FileFacts) -> bool:
    return facts.rows > 0 and facts.columns > 0 and not facts.encapsulated


def _frames(facts: FileFacts) -> int:
    return min(max(1, facts.frames), _FRAMES)


def _instance_number(facts: FileFacts) -> float:
    try:
        return int(facts.number)
    except ValueError:
        return float("inf")
