import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medp2p.errors import LocalProtocolError, RemoteProtocolError, VersionError
from medp2p.proto.preamble import (
    PREAMBLE_BYTES,
    Preamble,
    Purpose,
    common_version,
    decode_preamble_untrusted,
    decode_versions_untrusted,
    encode_versions,
)


@pytest.mark.parametrize("purpose", Purpose)
def test_round_trip(purpose: Purpose) -> None:
    preamble = Preamble(purpose, 1, 255)
    assert len(preamble.encode()) == PREAMBLE_BYTES
    assert decode_preamble_untrusted(preamble.encode()) == preamble


def test_the_bytes_are_these_for_ever() -> None:
    assert Preamble(Purpose.SESSION, 1, 2).encode() == b"MEDP2P\r\n\x01\x01\x02"
    assert Preamble(Purpose.PAIRING, 1, 1).encode() == b"MEDP2P\r\n\x02\x01\x01"
    assert encode_versions(1, 3) == b"\x01\x03"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "not a medp2p"),
        (b"GET / HTTP/", "not a medp2p"),
        (b"MEDP2P\n\n\1\1\1", "not a medp2p"),
        (b"MEDP2P\r\n\1\1", "not a medp2p"),
        (b"MEDP2P\r\n\1\1\1\1", "not a medp2p"),
        (b"MEDP2P\r\n\0\1\1", "unknown purpose 0"),
        (b"MEDP2P\r\n\3\1\1", "unknown purpose 3"),
        (b"MEDP2P\r\n\1\0\1", "range"),
        (b"MEDP2P\r\n\1\2\1", "range"),
    ],
)
def test_foreign_bytes_are_refused(data: bytes, text: str) -> None:
    with pytest.raises(RemoteProtocolError, match=text):
        decode_preamble_untrusted(data)


@settings(deadline=None)
@given(st.binary(max_size=3))
def test_hostile_bytes(tail: bytes) -> None:
    try:
        got = decode_preamble_untrusted(b"MEDP2P\r\n" + tail)
        assert got.encode().endswith(tail)
    except RemoteProtocolError:
        pass


@pytest.mark.parametrize("data", [b"", b"\1", b"\0\1", b"\2\1", b"\1\1\1"])
def test_bad_ranges_are_refused(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="range"):
        decode_versions_untrusted(data)


@pytest.mark.parametrize("versions", [(0, 1), (2, 1), (1, 256)])
def test_our_own_range_is_checked(versions: tuple[int, int]) -> None:
    with pytest.raises(LocalProtocolError, match="versions"):
        Preamble(Purpose.SESSION, *versions)


@pytest.mark.parametrize(
    ("mine", "theirs", "common"),
    [((1, 1), (1, 1), 1), ((1, 3), (2, 5), 3), ((2, 5), (1, 3), 3), ((1, 9), (4, 4), 4)],
)
def test_the_highest_common_version(
    mine: tuple[int, int], theirs: tuple[int, int], common: int
) -> None:
    assert common_version(mine, theirs) == common


def test_the_side_that_is_too_old_is_named() -> None:
    with pytest.raises(VersionError, match="speaks version 1, the other one versions 2 to 3") as no:
        common_version((1, 1), (2, 3))
    assert no.value.hint == "update medp2p on this workstation"
    with pytest.raises(VersionError) as no:
        common_version((2, 3), (1, 1))
    assert no.value.hint == "update medp2p on the other workstation"
