"""Sealed blobs: they open in their own place, with their own key, and nowhere else."""

import os
import subprocess
import zlib
from pathlib import Path

import pyrage
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medp2p import limits
from medp2p.errors import (
    ConfigError,
    KeyFileError,
    SealBrokenError,
    StoreError,
    VaultLockedError,
)
from medp2p.vault.age_header import identity_from_bytes, recipient_of
from medp2p.vault.sealing import SpoolBox, VaultBox
from tests.tools import need_tool

IDENTITY = identity_from_bytes(bytes(range(1, 33)))
OTHER = identity_from_bytes(bytes(range(2, 34)))
RECIPIENTS = [recipient_of(IDENTITY)]
CANARY = b"CANARY^PATIENT"


def spool() -> SpoolBox:
    return SpoolBox(bytes(range(32)))


def vault() -> VaultBox:
    return VaultBox(RECIPIENTS, IDENTITY)


@pytest.fixture(params=[spool, vault])
def box(request: pytest.FixtureRequest) -> SpoolBox | VaultBox:
    made: SpoolBox | VaultBox = request.param()
    return made


@given(data=st.binary(max_size=2000), context=st.text(max_size=50))
def test_round_trip(data: bytes, context: str) -> None:
    for box in (spool(), vault()):
        assert box.open(box.seal(data, context), context) == data


def test_sizes(box: SpoolBox | VaultBox) -> None:
    for size in (0, 1, 65535, 65536, 65537, 3 << 20):
        data = os.urandom(size)
        assert box.open(box.seal(data, "manifest x"), "manifest x") == data


def test_nothing_shows_and_no_two_are_alike(box: SpoolBox | VaultBox) -> None:
    first, second = (box.seal(CANARY * 10, "label x") for _ in range(2))
    assert first != second
    assert CANARY not in first
    assert b"label" not in first


def test_paths_are_made_smaller(box: SpoolBox | VaultBox) -> None:
    data = b"".join(b"study/series/image%06d.dcm\n" % i for i in range(10_000))
    assert len(box.seal(data, "manifest x")) < len(data) / 4


@given(st.binary(max_size=3000), st.text(max_size=40))
def test_what_moves_to_the_vault_is_what_was_in_the_spool(data: bytes, context: str) -> None:
    blob = spool().seal(data, context)
    moved = vault().seal_packed(spool().open_packed(blob, context), context)
    assert vault().open(moved, context) == data
    with pytest.raises(SealBrokenError):
        spool().open_packed(blob, context + "x")


def test_another_place_does_not_open_it(box: SpoolBox | VaultBox) -> None:
    blob = box.seal(CANARY, "manifest a")
    for context in ("manifest b", "label a", "manifest", "", "manifest a "):
        with pytest.raises(SealBrokenError) as caught:
            box.open(blob, context)
        assert CANARY.decode() not in caught.value.text


def test_another_key_does_not_open_it() -> None:
    with pytest.raises(SealBrokenError, match="sealed label does not open"):
        SpoolBox(bytes(32)).open(spool().seal(b"x", "label a"), "label a")
    with pytest.raises(SealBrokenError, match="sealed label does not open"):
        VaultBox(RECIPIENTS, OTHER).open(vault().seal(b"x", "label a"), "label a")


def test_no_byte_of_it_can_change(box: SpoolBox | VaultBox) -> None:
    blob = box.seal(CANARY, "label a")
    for at in range(len(blob)):
        changed = blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :]
        with pytest.raises(SealBrokenError):
            box.open(changed, "label a")
    for length in range(len(blob)):
        with pytest.raises(SealBrokenError):
            box.open(blob[:length], "label a")
    with pytest.raises(SealBrokenError):
        box.open(blob + b"\0", "label a")


def test_a_locked_vault_seals_but_does_not_open() -> None:
    locked = VaultBox(RECIPIENTS, None)
    assert locked.locked
    blob = locked.seal(CANARY, "label a")
    with pytest.raises(VaultLockedError, match="locked"):
        locked.open(blob, "label a")
    assert not vault().locked
    assert vault().open(blob, "label a") == CANARY


def test_every_recipient_opens_it() -> None:
    both = VaultBox([recipient_of(OTHER), *RECIPIENTS], None)
    blob = both.seal(CANARY, "label a")
    for identity in (IDENTITY, OTHER):
        assert VaultBox(RECIPIENTS, identity).open(blob, "label a") == CANARY


def test_debians_age_opens_it(tmp_path: Path) -> None:
    program = need_tool("age")
    (tmp_path / "key").write_text(IDENTITY + "\n")
    (tmp_path / "blob").write_bytes(vault().seal(CANARY, "label a"))
    command = [program, "-d", "-i", str(tmp_path / "key"), str(tmp_path / "blob")]
    plain = subprocess.run(command, capture_output=True, check=True).stdout
    start = b"medp2p blob 1\n\0\7label a"
    assert plain.startswith(start)
    assert zlib.decompress(plain[len(start) :]) == CANARY


def test_what_inflates_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only who has the key can make such a blob; even so it must not take the memory."""
    monkeypatch.setattr(limits, "MAX_BLOB_BYTES", 1000)
    theirs = pyrage.x25519.Recipient.from_str(RECIPIENTS[0])
    start = b"medp2p blob 1\n\0\1x"
    for packed, text in (
        (zlib.compress(bytes(1001)), "another length"),
        (zlib.compress(b"x") + b"more", "another length"),
        (zlib.compress(b"x" * 50)[:-1], "another length"),
        (b"junk", "inflate"),
    ):
        with pytest.raises(SealBrokenError, match=text):
            vault().open(pyrage.encrypt(start + packed, [theirs]), "x")
    fits = pyrage.encrypt(start + zlib.compress(bytes(1000)), [theirs])
    assert vault().open(fits, "x") == bytes(1000)


def test_what_could_not_be_opened_is_not_sealed(
    box: SpoolBox | VaultBox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_BLOB_BYTES", 1000)
    assert box.open(box.seal(bytes(1000), "x"), "x") == bytes(1000)
    with pytest.raises(StoreError, match="1001 bytes"):
        box.seal(bytes(1001), "x")


def test_malformed_keys_are_told() -> None:
    with pytest.raises(KeyFileError, match="32 bytes"):
        SpoolBox(bytes(31))
    with pytest.raises(KeyFileError, match="not an age identity") as caught:
        VaultBox(RECIPIENTS, IDENTITY[:-1] + "B")
    assert IDENTITY[20:30] not in repr(caught.value)
    with pytest.raises(ConfigError, match="age recipient"):
        VaultBox(["age1nonsense"], None)
    with pytest.raises(ConfigError, match="needs a recipient"):
        VaultBox([], None)
