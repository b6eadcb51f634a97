"""age files: any order of writing, any place of reading, every damage refused.

The oracles are Debian's `age` and the library pyrage; sizes are those around age's 64 KiB and
the stream's 1 MiB.
"""

import errno
import io
import os
import random
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyrage
import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given
from hypothesis import strategies as st

from medp2p import bch, limits
from medp2p.errors import (
    ConfigError,
    KeyFileError,
    LocalProtocolError,
    MedP2PError,
    NoSpaceError,
    SealBrokenError,
    StoreError,
    VaultLockedError,
)
from medp2p.vault import age, bech32
from medp2p.vault.age import SealReader, SealWriter
from medp2p.vault.age_header import (
    header_bytes,
    header_for,
    identity_from_bytes,
    open_header,
    parse_header,
    recipient_of,
)
from medp2p.vault.durable import Files
from tests.tools import need_tool
from tests.unit.vault.crashes import Crash, FailAt, every_crash

C, M = limits.AGE_CHUNK_BYTES, limits.MIB
SIZES = (0, 1, C - 1, C, C + 1, 2 * C, M - 1, M, M + 1, 3 * M + 3 * C + 5)
KEY = bytes(range(16))
IDENTITY = identity_from_bytes(bytes(range(1, 33)))
RECIPIENT = recipient_of(IDENTITY)
OTHER = identity_from_bytes(bytes(range(2, 34)))


def plain_of(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def fill(writer: SealWriter, plain: bytes, *, step: int = M, seed: int = 1) -> None:
    """Write everything, whole steps in shuffled order."""
    scratch = bytearray(age.sealed_bytes(step))
    offsets = list(range(0, len(plain), step))
    random.Random(seed).shuffle(offsets)
    for offset in offsets:
        writer.write(offset, memoryview(plain)[offset : offset + step], scratch)


def make(
    path: Path,
    plain: bytes,
    *,
    step: int = M,
    recipients: tuple[str, ...] = (RECIPIENT,),
) -> None:
    writer = SealWriter.create(Files(), path, len(plain), recipients, KEY, os.urandom)
    fill(writer, plain, step=step)
    writer.sync()
    writer.close()


def read_all(path: Path, identity: str | bytes = IDENTITY, step: int = M) -> bytes:
    with SealReader.open(path, identity) as reader:
        out = bytearray(reader.size)
        for offset in range(0, reader.size, step):
            reader.read_into(offset, memoryview(out)[offset : offset + step])
    return bytes(out)


# --- what others can read, and the other way round ------------------------------------------


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("step", [C, M])
def test_any_size_in_any_order_is_an_age_file(tmp_path: Path, size: int, step: int) -> None:
    plain, path = plain_of(size), tmp_path / "f.age"
    make(path, plain, step=step, recipients=(RECIPIENT, recipient_of(OTHER)))
    assert path.stat().st_size == age.sealed_size(size, header_bytes(2))
    for identity in (IDENTITY, OTHER):
        theirs = pyrage.x25519.Identity.from_str(identity)
        assert pyrage.decrypt(path.read_bytes(), [theirs]) == plain
        assert read_all(path, identity) == plain
    assert read_all(path, KEY, step=C + 1000) == plain


@pytest.mark.parametrize("size", SIZES)
def test_debians_age_opens_ours_and_we_open_its(tmp_path: Path, size: int) -> None:
    program = need_tool("age")
    plain, ours, theirs = plain_of(size), tmp_path / "ours.age", tmp_path / "theirs.age"
    key = tmp_path / "vault.key"
    key.write_text(f"# a comment\n{IDENTITY}\n")
    make(ours, plain)
    opened = subprocess.run(
        [program, "-d", "-i", str(key), str(ours)], capture_output=True, check=True
    )
    assert opened.stdout == plain
    command = [program, "-r", RECIPIENT, "-r", recipient_of(OTHER), "-o", str(theirs)]
    subprocess.run(command, input=plain, check=True)
    assert read_all(theirs) == plain


@pytest.mark.parametrize("size", SIZES)
def test_we_open_what_pyrage_makes(tmp_path: Path, size: int) -> None:
    plain, path = plain_of(size), tmp_path / "f.age"
    recipients = [pyrage.x25519.Recipient.from_str(recipient_of(i)) for i in (OTHER, IDENTITY)]
    path.write_bytes(pyrage.encrypt(plain, recipients))  # with a grease stanza now and then
    assert read_all(path) == plain


@pytest.mark.parametrize("size", [3 * M + 3 * C + 5, 2 * C])
def test_any_range_can_be_read(tmp_path: Path, size: int) -> None:
    plain, path = plain_of(size), tmp_path / "f.age"
    make(path, plain)
    rng = random.Random(7)
    borders = [0, 1, C - 1, C, C + 1, size - 1, size, size - size % C]
    ranges = [(a, b) for a in borders for b in borders if a <= b <= size]
    ranges += [tuple(sorted(rng.choices(range(size + 1), k=2))) for _ in range(40)]  # type: ignore[misc]
    with SealReader.open(path, KEY) as reader:
        for start, end in ranges:
            out = bytearray(end - start)
            reader.read_into(start, memoryview(out))
            assert out == plain[start:end], (start, end)
        for start, length in ((-1, 1), (0, size + 1), (size, 1), (size + 1, 0)):
            with pytest.raises(LocalProtocolError, match="cannot read"):
                reader.read_into(start, memoryview(bytearray(length)))
    reader.close()
    with pytest.raises(LocalProtocolError, match="closed"):
        reader.read_into(0, memoryview(bytearray(1)))


def test_threads_write_and_read_at_once(tmp_path: Path) -> None:
    plain, path = plain_of(8 * M + 5), tmp_path / "f.age"
    writer = SealWriter.create(Files(), path, len(plain), [RECIPIENT], KEY, os.urandom)

    def write(offset: int) -> None:
        scratch = bytearray(age.sealed_bytes(M))
        writer.write(offset, memoryview(plain)[offset : offset + M], scratch)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(0, len(plain), M)))
    writer.close()

    with SealReader.open(path, KEY) as reader:

        def read(offset: int) -> bool:
            out = bytearray(min(M, len(plain) - offset))
            reader.read_into(offset, memoryview(out))
            return out == plain[offset : offset + M]

        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(read, range(0, len(plain), M)))


def test_close_waits_for_a_write_under_way(tmp_path: Path) -> None:
    inside, go_on, order = threading.Event(), threading.Event(), list[str]()

    def step(name: str) -> None:
        if name == "write":
            inside.set()
            assert go_on.wait(10)

    plain, path = plain_of(5), tmp_path / "f.age"
    writer = SealWriter.create(Files(step), path, 5, [RECIPIENT], KEY, os.urandom)

    def close_it() -> None:
        writer.close()
        order.append("closed")

    with ThreadPoolExecutor(2) as pool:
        write = pool.submit(writer.write, 0, memoryview(plain), bytearray(100))
        assert inside.wait(10)
        close = pool.submit(close_it)
        assert not close.done()
        order.append("let go")
        go_on.set()
        write.result()
        close.result()
    assert order == ["let go", "closed"]
    with pytest.raises(LocalProtocolError, match="closed"):
        writer.write(0, memoryview(plain), bytearray(100))
    writer.close()
    assert read_all(path) == plain


# --- damage ---------------------------------------------------------------------------------


def cut_a_byte(data: bytes, base: int) -> bytes:
    return data[:-1]


def cut_at_a_border(data: bytes, base: int) -> bytes:
    return data[: base + C + 16]


def cut_the_tail_to_a_tag(data: bytes, base: int) -> bytes:
    return data[: base + 2 * (C + 16) + 16]


def cut_the_payload(data: bytes, base: int) -> bytes:
    return data[:base]


def cut_in_the_nonce(data: bytes, base: int) -> bytes:
    return data[: base - 1]


def junk_behind(data: bytes, base: int) -> bytes:
    return data + b"\0"


def empty_chunk_behind(data: bytes, base: int) -> bytes:
    return data + bytes(16)


def swapped_chunks(data: bytes, base: int) -> bytes:
    a, b = data[base : base + C + 16], data[base + C + 16 : base + 2 * (C + 16)]
    return data[:base] + b + a + data[base + 2 * (C + 16) :]


def a_flipped_bit(data: bytes, base: int) -> bytes:
    at = base + C + 16 + 100
    return data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]


def a_flipped_bit_at_the_end(data: bytes, base: int) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def a_flipped_bit_in_the_nonce(data: bytes, base: int) -> bytes:
    return data[: base - 1] + bytes([data[base - 1] ^ 1]) + data[base:]


def a_hole(data: bytes, base: int) -> bytes:
    return data[: base + C + 16] + bytes(C + 16) + data[base + 2 * (C + 16) :]


def nothing_at_all(data: bytes, base: int) -> bytes:
    return b""


DAMAGES = [
    cut_a_byte,
    cut_at_a_border,
    cut_the_tail_to_a_tag,
    cut_the_payload,
    cut_in_the_nonce,
    junk_behind,
    empty_chunk_behind,
    swapped_chunks,
    a_flipped_bit,
    a_flipped_bit_at_the_end,
    a_flipped_bit_in_the_nonce,
    a_hole,
    nothing_at_all,
]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("size", [3 * C, 3 * C - 7])
def test_every_damage_is_refused(
    tmp_path: Path, damage: Callable[[bytes, int], bytes], size: int
) -> None:
    path = tmp_path / "f.age"
    make(path, plain_of(size))
    good = path.read_bytes()
    path.write_bytes(damage(good, len(good) - age.sealed_bytes(size)))
    assert path.read_bytes() != good
    with pytest.raises(SealBrokenError):
        read_all(path)
    theirs = pyrage.x25519.Identity.from_str(IDENTITY)
    with pytest.raises((pyrage.DecryptError, OSError)):
        pyrage.decrypt_io(io.BytesIO(path.read_bytes()), io.BytesIO(), [theirs])


def test_a_full_last_chunk_and_an_empty_one_behind_it_are_refused(tmp_path: Path) -> None:
    """What a sloppy writer makes of a multiple of 64 KiB."""
    path = tmp_path / "f.age"
    header = header_for(KEY, [RECIPIENT], os.urandom) + bytes(16)
    cipher = ChaCha20Poly1305(age.payload_key(KEY, bytes(16)))
    chunks = cipher.encrypt(bytes(12), bytes(C), None)
    chunks += cipher.encrypt((1).to_bytes(11, "big") + b"\1", b"", None)
    path.write_bytes(header + chunks)
    with pytest.raises(SealBrokenError, match="cut off"):
        SealReader.open(path, KEY)


@given(flip=st.integers(0, header_bytes(1) * 8 - 1))
def test_no_bit_of_the_header_can_change(flip: int) -> None:
    data = bytearray(header_for(KEY, [RECIPIENT], random.Random(1).randbytes))
    data[flip // 8] ^= 1 << flip % 8
    with pytest.raises((SealBrokenError, VaultLockedError)):
        open_header(parse_header(bytes(data) + bytes(100)), IDENTITY)


@given(st.binary(max_size=300))
def test_any_bytes_as_header_are_refused_kindly(data: bytes) -> None:
    for start in (b"", b"age-encryption.org/v1\n", b"age-encryption.org/v1\n-> X25519 "):
        with pytest.raises((SealBrokenError, VaultLockedError)):
            open_header(parse_header(start + data), IDENTITY)


def test_odd_headers() -> None:
    good = header_for(KEY, [RECIPIENT], os.urandom)
    lines = good.split(b"\n")
    for number, line, text in (
        (1, b"-> X25519", "damaged X25519"),
        (1, b"-> X25519 AAAA extra", "damaged X25519"),
        (1, lines[1] + b"=", "damaged"),
        (2, b"AAAA", "damaged X25519"),
        (3, b"--- AAAA", "damaged age header"),
        (1, b"-> X25519 " + b"A" * 43, "damaged X25519"),  # a share of low order
    ):
        changed = [*lines[:number], line, *lines[number + 1 :]]
        with pytest.raises(SealBrokenError, match=text):
            open_header(parse_header(b"\n".join(changed)), IDENTITY)
    grease = b"-> x-grease a b\n" + b"A" * 64 + b"\n\n"
    parsed = parse_header(lines[0] + b"\n" + grease + b"\n".join(lines[1:]))
    assert [stanza.arguments[0] for stanza in parsed.stanzas] == [b"x-grease", b"X25519"]
    with pytest.raises(SealBrokenError, match="does not authenticate"):
        open_header(parsed, IDENTITY)


def test_a_header_without_end_is_refused() -> None:
    endless = b"age-encryption.org/v1\n" + (b"-> a\n\n" * 100_000)
    with pytest.raises(SealBrokenError, match="damaged age header"):
        parse_header(endless)


def test_the_wrong_keys(tmp_path: Path) -> None:
    path = tmp_path / "f.age"
    make(path, b"data")
    with pytest.raises(VaultLockedError, match="another vault key"):
        SealReader.open(path, OTHER)
    with pytest.raises(SealBrokenError, match="does not authenticate"):
        SealReader.open(path, bytes(16))
    with pytest.raises(SealBrokenError, match="does not authenticate"):
        SealReader.open(path, b"short")
    with pytest.raises(KeyFileError, match="age identity"):
        SealReader.open(path, "AGE-SECRET-KEY-1QQQ")


# --- the writer -----------------------------------------------------------------------------


def test_nothing_is_written_over_a_file(tmp_path: Path) -> None:
    path = tmp_path / "f.age"
    path.write_bytes(b"mine")
    with pytest.raises(StoreError, match="File exists"):
        make(path, b"data")
    assert path.read_bytes() == b"mine"


def test_writes_that_do_not_fit_are_our_bug(tmp_path: Path) -> None:
    size = 3 * C + 5
    writer = SealWriter.create(Files(), tmp_path / "f.age", size, [RECIPIENT], KEY, os.urandom)
    room = bytearray(age.sealed_bytes(size))
    before = (tmp_path / "f.age").read_bytes()
    for offset, length in (
        (1, C),
        (-C, C),
        (0, C - 1),
        (0, C + 1),
        (0, 0),
        (2 * C, 2 * C),
        (3 * C, 4),
        (3 * C, 6),
        (4 * C, 5),
    ):
        with pytest.raises(LocalProtocolError, match="cannot seal"):
            writer.write(offset, memoryview(bytes(length)), room)
    with pytest.raises(LocalProtocolError, match="scratch"):
        writer.write(0, memoryview(bytes(C)), bytearray(C + 15))
    assert (tmp_path / "f.age").read_bytes() == before
    writer.close()


def test_going_on_after_a_restart(tmp_path: Path) -> None:
    plain, path = plain_of(4 * C + 9), tmp_path / "ID.part"
    scratch = memoryview(bytearray(age.sealed_bytes(4 * C)))
    first = SealWriter.create(Files(), path, len(plain), [RECIPIENT], KEY, os.urandom)
    first.write(2 * C, memoryview(plain)[2 * C :], scratch)
    first.sync()
    first.close()
    again = SealWriter.reopen(Files(), path, len(plain), KEY, first.header)
    again.write(0, memoryview(plain)[: 2 * C], scratch)
    again.finish(tmp_path / "ID.tar.age")
    again.close()
    assert read_all(tmp_path / "ID.tar.age") == plain
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ID.tar.age"]


def test_a_record_that_leads_its_file_is_told(tmp_path: Path) -> None:
    path, size = tmp_path / "ID.part", 2 * C
    with pytest.raises(SealBrokenError, match="missing"):
        SealWriter.reopen(Files(), path, size, KEY)
    with pytest.raises(SealBrokenError, match="missing"):
        SealReader.open(path, KEY)
    make(path, plain_of(size))
    header = path.read_bytes()[: header_bytes(1) + 16]
    with pytest.raises(SealBrokenError, match="another size"):
        SealWriter.reopen(Files(), path, size + 1, KEY)
    with pytest.raises(SealBrokenError, match="does not authenticate"):
        SealWriter.reopen(Files(), path, size, bytes(16))
    data = bytearray(path.read_bytes())
    data[len(header) - 1] ^= 1  # the nonce: its change alone would show only at the release
    path.write_bytes(data)
    with pytest.raises(SealBrokenError, match="has changed"):
        SealWriter.reopen(Files(), path, size, KEY, header)
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(SealBrokenError, match="something else"):
        SealWriter.reopen(Files(), tmp_path / "link", size, KEY)
    path.write_bytes(b"")
    with pytest.raises(SealBrokenError, match="not an age file"):
        SealWriter.reopen(Files(), path, size, KEY)


def test_an_error_of_the_disk_is_not_a_broken_seal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "f.age"
    make(path, plain_of(2 * C))

    def fail(*_: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    reader = SealReader.open(path, KEY)
    monkeypatch.setattr(os, "preadv", fail)
    with pytest.raises(StoreError, match="vault read: Input/output error"):
        reader.read_into(0, memoryview(bytearray(5)))
    reader.close()
    with pytest.raises(StoreError, match="cannot be read"):
        SealReader.open(path, KEY)
    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(StoreError, match="cannot be opened"):
        SealReader.open(path, KEY)


@pytest.mark.parametrize("step", ["create", "reserve", "header", "fdatasync", "sync-folder"])
@pytest.mark.parametrize(
    ("number", "kind"), [(errno.ENOSPC, NoSpaceError), (errno.EIO, StoreError)]
)
def test_creating_on_a_bad_disk_leaves_nothing(
    tmp_path: Path, step: str, number: int, kind: type[MedP2PError]
) -> None:
    files = Files(FailAt(step, number))
    with pytest.raises(kind) as caught:
        SealWriter.create(files, tmp_path / "f", 5, [RECIPIENT], KEY, os.urandom)
    assert "PATIENT" not in caught.value.text
    assert list(tmp_path.iterdir()) == []


def test_after_a_failed_sync_it_syncs_no_more(tmp_path: Path) -> None:
    files = Files(FailAt("fdatasync", errno.EIO, times=2))
    writer = SealWriter.create(files, tmp_path / "f", 5, [RECIPIENT], KEY, os.urandom)
    writer.write(0, memoryview(b"12345"), bytearray(100))
    with pytest.raises(StoreError, match="Input/output error"):
        writer.sync()
    for act in (writer.sync, lambda: writer.finish(tmp_path / "g")):
        with pytest.raises(StoreError, match="not made durable"):
            act()
    writer.close()
    assert not (tmp_path / "g").exists()


def test_a_full_disk_in_the_middle_can_be_tried_again(tmp_path: Path) -> None:
    files = Files(FailAt("write", errno.ENOSPC))
    writer = SealWriter.create(files, tmp_path / "f", 5, [RECIPIENT], KEY, os.urandom)
    with pytest.raises(NoSpaceError):
        writer.write(0, memoryview(b"12345"), bytearray(100))
    writer.write(0, memoryview(b"12345"), bytearray(100))
    writer.close()
    assert read_all(tmp_path / "f") == b"12345"


def test_finish_replaces_nothing(tmp_path: Path) -> None:
    writer = SealWriter.create(Files(), tmp_path / "f", 0, [RECIPIENT], KEY, os.urandom)
    (tmp_path / "g").write_bytes(b"mine")
    with pytest.raises(StoreError, match="File exists"):
        writer.finish(tmp_path / "g")
    writer.close()
    assert (tmp_path / "g").read_bytes() == b"mine"


def test_the_final_name_appears_only_over_a_whole_file(tmp_path: Path) -> None:
    plain, tries = plain_of(C + 1), iter(range(1000))

    def act(step: Callable[[str], None]) -> None:
        folder = tmp_path / str(next(tries))
        folder.mkdir()
        try:
            writer = SealWriter.create(
                Files(step), folder / "ID.part", len(plain), [RECIPIENT], KEY, os.urandom
            )
            fill(writer, plain)
            writer.finish(folder / "ID.tar.age")
            writer.close()
        except Crash:
            if (folder / "ID.tar.age").exists():
                assert read_all(folder / "ID.tar.age") == plain
        else:
            assert read_all(folder / "ID.tar.age") == plain

    assert every_crash(act) == 9


def test_a_file_that_shrinks_under_its_reader(tmp_path: Path) -> None:
    path = tmp_path / "f.age"
    make(path, plain_of(3 * C))
    with SealReader.open(path, KEY) as reader:
        os.truncate(path, C)
        with pytest.raises(SealBrokenError, match="cut off"):
            reader.read_into(0, memoryview(bytearray(3 * C)))


# --- keys -----------------------------------------------------------------------------------


def test_keys_are_those_of_age() -> None:
    assert age.new_file_key(random.Random(1).randbytes) == random.Random(1).randbytes(16)
    theirs = pyrage.x25519.Identity.generate()
    assert recipient_of(str(theirs)) == str(theirs.to_public())
    ours = pyrage.x25519.Identity.from_str(IDENTITY)
    assert (str(ours), str(ours.to_public())) == (IDENTITY, RECIPIENT)
    assert str(pyrage.x25519.Recipient.from_str(RECIPIENT)) == RECIPIENT


@given(st.binary(max_size=80), st.sampled_from(["age", "age-secret-key-", "1"]))
def test_bech32_round_trip(data: bytes, prefix: str) -> None:
    text = bech32.encode(prefix, data)
    assert bech32.decode(prefix, text) == bech32.decode(prefix, text.upper()) == data


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", "begin with"),
        ("age", "begin with"),
        ("bge1" + RECIPIENT[4:], "begin with"),
        (RECIPIENT.replace("1", "1b", 1), "character"),
        (RECIPIENT[:-1] + ("q" if RECIPIENT[-1] != "q" else "p"), "check"),
        (RECIPIENT[:-1], "check"),
        ("age1qqq", "check"),
        ("A" + RECIPIENT[1:], "mixed"),
        (bech32.encode("age", bytes(31)), "length"),
        (bech32.encode("age", bytes(33)), "length"),
    ],
)
def test_wrong_recipients_say_what_is_wrong(text: str, wrong: str) -> None:
    with pytest.raises(ConfigError, match=wrong):
        age.check_recipient(text)


def test_padding_bits_must_be_zero() -> None:
    values = [0] * 51 + [1]  # 32 bytes and 4 bits that are not zero
    values += bch.check_values("age", values, bch.BECH32)
    with pytest.raises(ConfigError, match="padding"):
        age.check_recipient("age1" + "".join(bech32._ALPHABET[value] for value in values))


def test_recipients_that_no_file_can_have() -> None:
    with pytest.raises(ConfigError, match="needs a recipient"):
        header_for(KEY, [], os.urandom)
    with pytest.raises(ConfigError, match="weak key"):
        header_for(KEY, [bech32.encode("age", bytes(32))], os.urandom)
    with pytest.raises(ConfigError, match="too many"):
        header_for(KEY, [RECIPIENT] * 200, os.urandom)


def test_secret_keys_are_not_repeated_in_errors() -> None:
    for text in (IDENTITY[:-1] + "B", IDENTITY[:-1] + "b", IDENTITY[:40], "x" + IDENTITY):
        with pytest.raises(KeyFileError) as caught:
            recipient_of(text)
        assert IDENTITY[20:30] not in caught.value.text
    with pytest.raises(KeyFileError, match="length"):
        recipient_of(identity_from_bytes(bytes(31)))
