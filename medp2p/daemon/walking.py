"""Walking over what somebody selected, but for what is never sent."""

from collections.abc import Callable

from medp2p.daemon.station import Station
from medp2p.errors import SourceError
from medp2p.parcel.roots import find_roots
from medp2p.parcel.scan import Scan, scan


def walk(
    station: Station,
    paths: list[bytes],
    progress: Callable[[int, int], None],
    cancelled: Callable[[], bool],
) -> Scan:
    """Walk over the selected paths; keys and database stay out, whoever asks for them. Blocks.

    A folder that holds the home is walked without it, and tells so.

    Args:
        station: Ours.
        paths: See parcel.scan.
        progress: See parcel.scan.
        cancelled: See parcel.scan.

    Raises:
        SourceError: The home or something in it was selected; or as parcel.scan says.
        TransferAbortedError: ``cancelled`` said so.
    """
    for root in find_roots(paths):
        if station.home.holds(root):
            raise SourceError(
                "the home of this workstation is nothing to send: its keys lie there",
                hint="what was received is released into a folder first",
            )
    return scan(paths, progress, cancelled, station.home.folders())
