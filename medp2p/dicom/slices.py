"""Gaps in a stack of slices, found by where the slices lie, never by how they are numbered.

Images are of one stack if series, orientation, echo, temporal position, acquisition and image
type are equal. A missing first or last slice cannot be seen.

Source: DICOM PS3.3, C.7.6.2 (image plane); (0020,0013) is neither unique nor without gaps there.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise
from statistics import median
from typing import NamedTuple

from medp2p import limits
from medp2p.dicom.facts import FileFacts, Slice
from medp2p.dicom.patients import Item

#: Distances on the normal closer than this are one place; scanners give thousandths of a mm.
_SAME_PLACE_MM = 0.01
_DIRECTION_DIGITS = 4


#: Series UID, orientation, and what else must be equal.
Stack = tuple[str, tuple[float, ...], tuple[str, ...]]


class Gap(NamedTuple):
    """Something odd in one stack.

    Attributes:
        series: Series UID.
        missing: Slices that are likely missing; 0 if places are doubled instead.
        at_mm: Where, on the normal of the stack: the middle of the first gap, or the place.
        files: Numbers of the items on both sides of the gap, or at the doubled places.
    """

    series: str
    missing: int
    at_mm: float
    files: tuple[int, ...]


def find_gaps(items: Sequence[Item]) -> list[Gap]:
    """Return the gaps and the doubled places of all stacks, in the order of the files."""
    stacks: defaultdict[Stack, list[tuple[float, int]]] = defaultdict(list)
    for number, item in enumerate(items):
        place = stack_of(item.facts)
        if place is not None:
            stacks[place[0]].append((place[1], number))
    gaps: list[Gap] = []
    for (series, _, _), members in stacks.items():
        gaps += _gaps_of(series, sorted(members))
    return gaps


def stack_of(facts: FileFacts) -> tuple[Stack, float] | None:
    """Return the stack that an image belongs to, and where on its normal, mm; None without one."""
    if facts.slice is None or facts.series is None or facts.kind != "dicom":
        return None
    direction = tuple(round(cosine, _DIRECTION_DIGITS) for cosine in facts.slice.orientation)
    return (facts.series.uid, direction, facts.slice.stack), _distance(facts.slice)


def _distance(place: Slice) -> float:
    """Return the position projected on the normal of the image."""
    ax, ay, az, bx, by, bz = place.orientation
    x, y, z = place.position
    return x * (ay * bz - az * by) + y * (az * bx - ax * bz) + z * (ax * by - ay * bx)


def _gaps_of(series: str, members: list[tuple[float, int]]) -> list[Gap]:
    places: list[float] = []
    files: list[list[int]] = []
    for distance, number in members:
        if places and distance - places[-1] < _SAME_PLACE_MM:
            files[-1].append(number)
        else:
            places.append(distance)
            files.append([number])
    if len(places) < limits.SLICE_PLACES:
        return []
    gaps = []
    steps = [after - before for before, after in pairwise(places)]
    usual = median(steps)
    for index, step in enumerate(steps):
        if step > limits.SLICE_GAP * usual:
            around = (*files[index], *files[index + 1])
            middle = (places[index] + places[index + 1]) / 2
            gaps.append(Gap(series, max(1, round(step / usual) - 1), middle, around))
    # Several images at each place are a time series; at some places they are doubled.
    often = Counter(map(len, files)).most_common(1)[0][0]
    doubled = [index for index, there in enumerate(files) if len(there) > often]
    if doubled:
        found = tuple(number for index in doubled for number in files[index])
        gaps.append(Gap(series, 0, places[doubled[0]], found))
    return gaps
