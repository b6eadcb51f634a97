"""Which files are still to be asked about, and with how many bytes of their heads."""

from collections.abc import Iterable

from medp2p import limits
from medp2p.dicom.facts import FileFacts
from medp2p.dicom.worker import UNREAD, Sample


class Wanted:
    """Files that an inspector is to be asked about, by their numbers, in the order they came up.

    A file that wants more bytes comes up again with those; one that met a failing child, once.

    Args:
        numbers: Of files that nobody has asked about yet.
    """

    def __init__(self, numbers: Iterable[int] = ()) -> None:
        self._bytes = dict.fromkeys(numbers, limits.DICOM_HEAD_BYTES)
        self._again: set[int] = set()

    def __bool__(self) -> bool:
        """Return whether any are left."""
        return bool(self._bytes)

    def take(self) -> list[tuple[int, int]]:
        """Take the next files, each with how many bytes of its head at most.

        Returns:
            No more bytes than one large question has, but one file at least.
        """
        taken: list[tuple[int, int]] = []
        room = limits.DICOM_MAX_HEAD_BYTES
        for number, count in self._bytes.items():
            if taken and count > room:
                break
            taken.append((number, count))
            room -= count
        for number, _ in taken:
            del self._bytes[number]
        return taken

    def note(self, number: int, given: Sample, facts: FileFacts) -> None:
        """Note an answer: where it asks for more than was given, the file comes up again."""
        count = len(given.head)
        if facts.wanted_bytes > count:
            self._bytes[number] = facts.wanted_bytes
        elif facts.reason == UNREAD.reason and number not in self._again:
            self._again.add(number)
            self._bytes[number] = max(count, limits.DICOM_HEAD_BYTES)
