"""Release: exactly what was agreed to, in a folder of its own, or nothing at all."""

import dataclasses
import errno
import os
import stat
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from medp2p import limits
from medp2p.digest import stream_key
from medp2p.errors import (
    IntegrityError,
    LocalProtocolError,
    MedP2PError,
    NoSpaceError,
    ReleaseError,
    SealBrokenError,
)
from medp2p.layout import Layout
from medp2p.manifest import Entry, Kind
from medp2p.vault import stage
from medp2p.vault.age import SealReader
from medp2p.vault.durable import AnyPath, Files
from medp2p.vault.names import NameRules
from medp2p.vault.release import Released, mount_point, release, sweep_stages, was_released
from medp2p.vault.unsealing import Unsealing
from medp2p.vault.withdrawal import Kept
from tests.tools import need_tool, small_disk
from tests.unit.vault.crashes import Crash, FailAt, every_crash
from tests.unit.vault.parcels import (
    FILE_KEY,
    IDENTITY,
    KEY,
    OFFER,
    WHEN_NS,
    Sealed,
    contents,
    file,
    folder,
    root_of,
    seal,
    stream,
)

C, M = limits.AGE_CHUNK_BYTES, limits.MIB
STUDY = [
    folder(b"study"),
    folder(b"study/empty"),
    file(b"study/empty file", 0),
    folder(b"study/series"),
    *(file(b"study/series/%d.dcm" % n, size) for n, size in enumerate((1, C - 1, C, C + 1))),
    *(file(b"study/series/big%d.dcm" % n, size) for n, size in enumerate((M - 1, M, M + 1))),
    file(b"study/~last.dcm", 5),
]


def let_go(
    sealed: Sealed,
    target: Path | bytes | str,
    *,
    files: Files | None = None,
    key: bytes = KEY,
    offer: bytes = OFFER,
    root: bytes | None = None,
    name: str = "abcdefgh",
    cancelled: Callable[[], bool] = lambda: False,
    rules: NameRules | None = None,
    publishing: Callable[[bytes], None] | None = None,
    listing: list[Kept] | None = None,
    leaving: Callable[[], None] | None = None,
    random_bytes: Callable[[int], bytes] = os.urandom,
) -> Released:
    with SealReader.open(sealed.path, FILE_KEY) as reader:
        return release(
            Unsealing(
                reader=reader,
                layout=sealed.layout,
                key=key,
                offer=offer,
                root=sealed.root if root is None else root,
                cancelled=cancelled,
            ),
            target=target,
            name=name,
            files=files or Files(),
            rules=rules,
            publishing=publishing,
            leaving=leaving,
            random_bytes=random_bytes,
            listing=listing,
        )


def check(sealed: Sealed, *, root: bytes | None = None, layout: Layout | None = None) -> None:
    with SealReader.open(sealed.path, IDENTITY) as reader:
        Unsealing(
            reader=reader,
            layout=layout or sealed.layout,
            key=KEY,
            offer=OFFER,
            root=sealed.root if root is None else root,
            cancelled=lambda: False,
        ).run()


def tree(top: Path | bytes) -> dict[bytes, bytes | None]:
    """Return every path below a folder: the bytes of a file, None for a folder."""
    found: dict[bytes, bytes | None] = {}
    root = os.fsencode(top)
    for where, folders, names in os.walk(root):
        for name in folders:
            found[os.path.relpath(os.path.join(where, name), root)] = None
        for name in names:
            path = os.path.join(where, name)
            assert stat.S_ISREG(os.lstat(path).st_mode)
            with open(path, "rb") as opened:
                found[os.path.relpath(path, root)] = opened.read()
    return found


def expected(sealed: Sealed) -> dict[bytes, bytes | None]:
    found: dict[bytes, bytes | None] = {}
    for entry in sealed.layout.entries:
        found[entry.path] = None if entry.kind is Kind.DIRECTORY else contents(entry)
        above = entry.path.rpartition(b"/")[0]
        while above:
            found[above] = None
            above = above.rpartition(b"/")[0]
    return found


@pytest.fixture
def study(tmp_path: Path) -> Sealed:
    return seal(tmp_path / "ID.tar.age", STUDY)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    where = tmp_path / "target"
    where.mkdir()
    return where


# --- what arrives ---------------------------------------------------------------------------


def test_everything_arrives_and_nothing_else(study: Sealed, target: Path) -> None:
    released = let_go(study, target)
    assert released == Released(os.fsencode(target / "abcdefgh"), [])
    assert tree(released.path) == expected(study)
    assert [path.name for path in target.iterdir()] == ["abcdefgh"]
    check(study)


def test_it_is_what_age_and_tar_make_of_it(study: Sealed, target: Path, tmp_path: Path) -> None:
    age, tar = need_tool("age"), need_tool("tar")
    (tmp_path / "vault.key").write_text(IDENTITY + "\n")
    (tmp_path / "by-hand").mkdir()
    opened = subprocess.run(
        [age, "-d", "-i", str(tmp_path / "vault.key"), str(study.path)],
        capture_output=True,
        check=True,
    )
    extract = [tar, "-x", "--no-same-owner", "-C", str(tmp_path / "by-hand")]
    subprocess.run(extract, input=opened.stdout, check=True)
    assert tree(tmp_path / "by-hand") == tree(let_go(study, target).path)


@pytest.mark.parametrize("size", [0, 1, C - 1, C, C + 1, M - 1, M, M + 1, 3 * M + 12345])
def test_a_single_file_of_any_size(tmp_path: Path, target: Path, size: int) -> None:
    sealed = seal(tmp_path / "f", [file(b"image.dcm", size)])
    assert tree(let_go(sealed, target).path) == expected(sealed)


def test_many_threads_put_the_parts_of_a_file_where_they_belong(
    tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "RELEASE_THREADS", 5)
    sizes = (3 * M, 1, 5 * M + 12345, 0, M - 1, 4 * M)
    sealed = seal(tmp_path / "f", [file(b"%d.dcm" % n, size) for n, size in enumerate(sizes)])
    released = let_go(sealed, target)
    assert tree(released.path) == expected(sealed)
    for path in Path(os.fsdecode(released.path)).iterdir():
        assert path.stat().st_mtime_ns == WHEN_NS


def test_names_arrive_byte_for_byte(tmp_path: Path, target: Path) -> None:
    names = [
        *(b"a|b", b"a<b>", b"a:b", b"a?b", b'a"b', b"a*b", b"a\\b", b"a\nb", b"a\rb"),
        *(b"CON", b"nul.txt", b"COM1.dcm", b"name.", b"name ", b"..data", b"...", b".hidden"),
        *(b"-rf", b"--help", b"a&b %41 #1 ?x=1 +.dcm", b"<img src=x onerror=alert(1)>"),
        *(b"\xff\xfe.dcm", b"\xed\xa0\x80", "téte".encode(), "te\u0301te".encode()),
        *("桌面".encode(), b"\x1b[31m", b"\x01", b"x" * 255, b"A", b"a"),
    ]
    entries = [folder(name) for name in names]
    entries += [file(name + b"/" + name, 10) for name in names]
    sealed = seal(tmp_path / "f", entries)
    released = let_go(sealed, target)
    assert tree(released.path) == expected(sealed)
    assert released.mapped == []


def test_any_order_and_folders_that_no_entry_names(tmp_path: Path, target: Path) -> None:
    entries = [
        file(b"z/y/x", 3),
        file(b"a", 0),
        folder(b"z"),
        folder(b"q/r/s"),
        file(b"z/y/w", M),
        file(b"q/r/t", 0),
        folder(b"z/y"),
    ]
    sealed = seal(tmp_path / "f", entries)
    assert tree(let_go(sealed, target).path) == expected(sealed)


def test_more_folders_than_are_kept_open(tmp_path: Path, target: Path) -> None:
    count = limits.MAX_OPEN_FOLDERS * 3
    entries = [
        file(b"d%d/e/%d.dcm" % (n % count, n), n % 3) for n in range(count * 2)
    ]  # every folder is come back to once it was closed
    sealed = seal(tmp_path / "f", entries)
    assert tree(let_go(sealed, target).path) == expected(sealed)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o027, 0o077])
def test_modes_follow_the_umask(study: Sealed, target: Path, umask: int) -> None:
    seen: set[int] = set()

    def look() -> bool:
        seen.update(stat.S_IMODE(path.stat().st_mode) for path in target.glob(".medp2p-*"))
        return False

    old = os.umask(umask)
    try:
        released = let_go(study, target, cancelled=look)
    finally:
        os.umask(old)
    assert seen == {0o700}  # until it is whole nobody else sees into it
    top = Path(os.fsdecode(released.path))
    for path in (top, *top.rglob("*")):
        mode = (0o755 if path.is_dir() else 0o644) & ~umask
        assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_shared_folder_keeps_its_group(study: Sealed, target: Path) -> None:
    target.chmod(0o2775)
    top = Path(os.fsdecode(let_go(study, target).path))
    for path in (top, *top.rglob("*")):
        assert path.stat().st_gid == target.stat().st_gid
        if path.is_dir():
            assert path.stat().st_mode & stat.S_ISGID


@pytest.mark.parametrize("when", [0, 1, -1, 1_700_000_000_123_456_789, 4_294_967_296 * 10**9])
def test_times_are_exact(tmp_path: Path, target: Path, when: int) -> None:
    entries = [
        folder(b"d", when),
        file(b"d/empty", 0, when),
        file(b"d/f", 9, when),
        folder(b"d/e", when),
    ]
    top = Path(os.fsdecode(let_go(seal(tmp_path / "f", entries), target).path))
    for entry in entries:
        assert (top / os.fsdecode(entry.path)).stat().st_mtime_ns == entry.mtime_ns


@pytest.mark.parametrize("when", [-(2**63), 2**63 - 1, -11_644_473_600 * 10**8])
def test_times_that_a_file_system_may_not_hold_do_no_harm(
    tmp_path: Path, target: Path, when: int
) -> None:
    sealed = seal(tmp_path / "f", [folder(b"d", when), file(b"d/f", 9, when)])
    assert tree(let_go(sealed, target).path) == expected(sealed)


# --- what must not be touched ---------------------------------------------------------------


def test_nothing_is_replaced_or_merged(study: Sealed, target: Path) -> None:
    (target / "abcdefgh").mkdir()
    (target / "abcdefgh-2").write_bytes(b"mine")
    (target / "abcdefgh-3").symlink_to("nowhere")
    (target / "abcdefgh-4").symlink_to(target)
    before = tree(target / "abcdefgh")
    assert let_go(study, target).path == os.fsencode(target / "abcdefgh-5")
    assert let_go(study, target).path == os.fsencode(target / "abcdefgh-6")
    assert tree(target / "abcdefgh") == before
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "_MOST_NAMES", 6)
        with pytest.raises(ReleaseError, match="are taken"):
            let_go(study, target)
    assert (target / "abcdefgh-2").read_bytes() == b"mine"
    assert not (target / "nowhere").exists()


def test_the_target_is_made_if_missing(study: Sealed, tmp_path: Path) -> None:
    released = let_go(study, tmp_path / "a" / "b")
    assert released.path == os.fsencode(tmp_path / "a" / "b" / "abcdefgh")
    (tmp_path / "link").symlink_to("a")  # a target may be a link: the person named it
    assert let_go(study, os.fsencode(tmp_path / "link")).path.endswith(b"/link/abcdefgh")


def test_a_target_that_somebody_else_makes_meanwhile(study: Sealed, tmp_path: Path) -> None:
    def make(step: str) -> None:
        if step == "release-stage":
            (tmp_path / "t").mkdir(exist_ok=True)

    with pytest.raises(IntegrityError):
        let_go(study, tmp_path / "t", files=Files(make), root=bytes(32))
    assert (tmp_path / "t").exists()  # it is theirs


def test_targets_that_cannot_be(study: Sealed, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    (tmp_path / "dangling").symlink_to("nowhere")
    for where in ("file", "dangling", "file/below"):
        with pytest.raises(ReleaseError, match="cannot be used"):
            let_go(study, tmp_path / where)
    with pytest.raises(ReleaseError, match="whole path"):
        let_go(study, "relative")
    for name in ("", "..", "a/b", ".hidden", "a b", "x" * 65):
        with pytest.raises(LocalProtocolError, match="plain name"):
            let_go(study, tmp_path, name=name)
    assert (tmp_path / "file").read_bytes() == b"mine"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_links_put_in_the_way_are_not_followed(tmp_path: Path, target: Path, kind: str) -> None:
    """Nobody else can write there; if somebody could, this is what would happen."""
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "f").write_bytes(b"mine")
    entries = [file(b"first", 1), file(b"d/f" if kind == "folder" else b"f", 5)]
    sealed = seal(tmp_path / "s", entries)
    placed: list[Path] = []

    def place(step: str) -> None:
        (top,) = target.glob(".medp2p-*/files") if step == "release-write" else [None]
        ready = kind == "folder" or (top is not None and (top / "first").exists())
        if top is not None and not placed and ready:
            placed.append(top)
            if kind == "folder":
                (top / "d").symlink_to(victim)
            else:
                (top / "f").symlink_to(victim / "f")

    with pytest.raises(ReleaseError, match="entry 2 of 2 cannot be written"):
        let_go(sealed, target, files=Files(place))
    assert placed
    assert tree(victim) == {b"f": b"mine"}
    assert list(target.iterdir()) == []


# --- what is not what was agreed to ---------------------------------------------------------


def refused(sealed: Sealed, target: Path, kind: type[MedP2PError], **changed: bytes) -> None:
    with pytest.raises(kind) as caught:
        let_go(sealed, target / "new" / "er", **changed)  # type: ignore[arg-type]
    assert list(target.iterdir()) == []
    assert "dcm" not in caught.value.text


def test_another_root_offer_or_key(study: Sealed, target: Path) -> None:
    refused(study, target, IntegrityError, root=bytes(32))
    refused(study, target, IntegrityError, offer=bytes(32))
    refused(study, target, IntegrityError, key=stream_key(b"x" * 32))
    with pytest.raises(IntegrityError, match="not the one"):
        check(study, root=bytes(32))


@pytest.mark.parametrize(
    "other",
    [
        [file(b"b", 600), file(b"c", M)],
        [file(b"a", 601), file(b"c", M)],
        [file(b"a", 600), folder(b"c"), file(b"d", M - 1024)],
        [file(b"a", 600, 0), file(b"c", M)],
    ],
)
def test_headers_that_were_not_agreed_to(tmp_path: Path, target: Path, other: list[Entry]) -> None:
    """The sealed stream is authentic, its root is right, but its headers are others."""
    agreed = Layout([file(b"a", 600), file(b"c", M)])
    sealed = dataclasses.replace(seal(tmp_path / "f", other), layout=agreed)
    assert sealed.layout.size == Layout(other).size
    refused(sealed, target, IntegrityError)
    with pytest.raises(IntegrityError, match="header"):
        check(sealed)


def test_padding_that_holds_something(tmp_path: Path, target: Path) -> None:
    entries = [file(b"a", 600)]
    for at in (512 + 600, -1):
        data = bytearray(stream(Layout(entries)))
        data[at] = 1
        sealed = seal(tmp_path / f"f{at}", entries, bytes(data))
        refused(sealed, target, IntegrityError)


def test_a_stream_of_another_length(tmp_path: Path, target: Path) -> None:
    entries = [file(b"a", 600)]
    data = stream(Layout(entries))
    for n, changed in enumerate((data[:-512], data + bytes(512), b"")):
        sealed = seal(tmp_path / f"f{n}", entries, changed)
        refused(sealed, target, IntegrityError)
        with pytest.raises(IntegrityError, match="length"):
            check(sealed)


def test_contents_that_are_not_those_of_the_root(tmp_path: Path, target: Path) -> None:
    entries = [file(b"a", 3 * M)]
    data = bytearray(stream(Layout(entries)))
    good = root_of(bytes(data))
    data[2 * M] ^= 1
    sealed = dataclasses.replace(seal(tmp_path / "f", entries, bytes(data)), root=good)
    refused(sealed, target, IntegrityError)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data[: -(len(data) % (C + 16))],
        lambda data: data + b"\0",
        lambda data: data[:M] + bytes([data[M] ^ 1]) + data[M + 1 :],
        lambda data: data[:M] + bytes(C + 16) + data[M + C + 16 :],
        lambda data: data[:216] + data[216 + C + 16 : 216 + 2 * (C + 16)] + data[216:],
    ],
)
def test_a_damaged_file_leaves_nothing_behind(
    study: Sealed, target: Path, damage: Callable[[bytes], bytes]
) -> None:
    study.path.write_bytes(damage(study.path.read_bytes()))
    refused(study, target, SealBrokenError)
    with pytest.raises(SealBrokenError):
        check(study)


# --- what it costs --------------------------------------------------------------------------


def test_a_small_file_costs_four_calls_and_no_flush_of_its_own(
    tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, steps = Counter[str](), Counter[str]()
    names = ("open", "close", "pwrite", "utime", "stat", "fstat", "lstat", "fsync", "fdatasync")
    for name in names:
        monkeypatch.setattr(os, name, _counted(calls, name, getattr(os, name)))
    costs = []
    for count in (100, 600):
        entries = [folder(b"series"), *(file(b"series/%d" % n, 6000) for n in range(count))]
        sealed = seal(tmp_path / f"f{count}", entries)
        calls.clear()
        steps.clear()
        let_go(sealed, target, files=Files(lambda name: steps.update([name])))
        assert (steps["release-sync"], steps["sync-folder"]) == (1, 1)
        costs.append(calls.copy())
    costs[1].subtract(costs[0])
    more = costs[1]
    assert more["open"] == more["utime"] == more["close"] == 500
    assert more["pwrite"] <= 500 + sealed.layout.chunk_count - 1
    assert sum(more.values()) - more["pwrite"] <= 3 * 500 + 1  # one more name was taken


def test_what_a_release_has_read_does_not_stay_in_the_cache(
    study: Sealed, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranges: list[tuple[int, int]] = []

    def note(descriptor: int, offset: int, length: int, advice: int) -> None:
        assert advice == os.POSIX_FADV_DONTNEED
        ranges.append((offset, offset + length))

    monkeypatch.setattr(os, "posix_fadvise", note)
    check(study)
    assert not ranges  # whoever verifies may release next
    let_go(study, target)
    ranges.sort()
    assert len(ranges) == study.layout.chunk_count
    assert all(end == start for (_, end), (start, _) in pairwise(ranges))
    assert ranges[-1][1] == study.path.stat().st_size


def _counted(calls: "Counter[str]", name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def counted(*args: Any, **options: Any) -> Any:
        calls[name] += 1
        return function(*args, **options)

    return counted


# --- when something fails -------------------------------------------------------------------


def test_a_crash_leaves_nothing_under_the_final_name_or_everything(
    tmp_path: Path, target: Path
) -> None:
    sealed = seal(tmp_path / "f", [folder(b"d"), file(b"d/f", M), file(b"d/e", 0)])
    told: list[bytes] = []

    def act(step: Callable[[str], None]) -> None:
        told.clear()
        try:
            let_go(sealed, target, files=Files(step), publishing=told.append)
        except Crash:
            final = target / "abcdefgh"
            done = bool(told) and was_released(target, "abcdefgh", told[-1])
            assert done == final.exists()
            if final.exists():
                assert tree(final) == expected(sealed)
                assert told == [os.fsencode(final)]
            assert {path.name[:8] for path in target.iterdir()} <= {".medp2p-", "abcdefgh"}
            sweep_stages(target, "abcdefgh", Files())
            assert [path.name for path in target.iterdir()] in ([], ["abcdefgh"])
        else:
            assert tree(target / "abcdefgh") == expected(sealed)
        if (target / "abcdefgh").exists():
            (target / "abcdefgh").rename(tmp_path / f"done{len(list(tmp_path.iterdir()))}")

    assert every_crash(act) > 20


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
@pytest.mark.parametrize(
    ("step", "times"),
    [
        *(("release-stage", times) for times in (1, 2, 3, 4, 5, 12)),
        *(("release-write", times) for times in (1, 2, 3, 12)),
        ("release-sync", 1),
        ("release-rename", 1),
        *(("sync-folder", times) for times in (1, 2, 3)),
    ],
)
def test_a_failing_target_is_left_as_it_was(
    study: Sealed, tmp_path: Path, step: str, times: int, number: int
) -> None:
    kind = NoSpaceError if number in (errno.ENOSPC, errno.EDQUOT) else ReleaseError
    files = Files(FailAt(step, number, times=times))
    with pytest.raises(kind) as caught:
        let_go(study, tmp_path / "t" / "u", files=files)
    assert "PATIENT" not in caught.value.text
    assert [path.name for path in tmp_path.iterdir()] == ["ID.tar.age"]


def test_a_target_without_room_is_refused_with_numbers(tmp_path: Path, target: Path) -> None:
    sealed = seal(tmp_path / "f", [file(b"a", M), file(b"b", M)])
    with small_disk(target, "1m"):
        with pytest.raises(NoSpaceError, match=r"2\.1 MB are needed, 1\.0 MB are free"):
            let_go(sealed, target)
        assert list(target.iterdir()) == []


def test_a_target_that_fills_up(tmp_path: Path, target: Path) -> None:
    sealed = seal(tmp_path / "f", [file(b"a", M // 2), file(b"b", 6 * M)])
    with small_disk(target, "8m"):

        def fill() -> bool:  # some chunks ahead are written already
            with suppress(OSError):
                (target / "other").write_bytes(bytes(8 * M))
            return False

        with pytest.raises(NoSpaceError, match="free"):
            let_go(sealed, target, cancelled=fill)
        assert [path.name for path in target.iterdir()] == ["other"]


def test_a_target_that_tells_no_size_is_believed(
    study: Sealed, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = os.statvfs(target)
    zeros = os.statvfs_result((told.f_bsize, told.f_frsize, *[0] * 7, told.f_namemax))
    monkeypatch.setattr(os, "fstatvfs", lambda descriptor: zeros)
    assert tree(let_go(study, target).path) == expected(study)


def test_cancelled_at_any_chunk(study: Sealed, target: Path) -> None:
    for count in range(study.layout.chunk_count):
        answers = iter([False] * count + [True])
        with pytest.raises(ReleaseError, match="stopped"):
            let_go(study, target, cancelled=lambda answers=answers: next(answers))  # type: ignore[misc]
        assert list(target.iterdir()) == []


def test_a_folder_as_deep_as_a_path_can_be(tmp_path: Path, target: Path) -> None:
    deep = b"/".join([b"d"] * (limits.MAX_PATH_BYTES // 2))
    sealed = seal(tmp_path / "f", [file(b"a", 1), file(deep, 5)])
    top = os.fsdecode(let_go(sealed, target).path)
    found = subprocess.run(["du", "-a", top], capture_output=True, check=True).stdout
    assert found.count(b"\n") == limits.MAX_PATH_BYTES // 2 + 2
    with pytest.raises(IntegrityError):
        let_go(sealed, tmp_path / "other", root=bytes(32))
    assert not (tmp_path / "other").exists()
    subprocess.run(["rm", "-rf", top], check=True)


def test_a_folder_of_somebody_else_is_not_taken_for_the_release(
    tmp_path: Path, target: Path
) -> None:
    sealed, told = seal(tmp_path / "f", [file(b"a", 5)]), list[bytes]()
    (target / "abcdefgh").mkdir()

    def stop(step: str) -> None:
        if told or step == "release-rename":
            (target / "abcdefgh-2").mkdir(exist_ok=True)  # just in that moment
            raise Crash(step)

    with pytest.raises(Crash):
        let_go(sealed, target, files=Files(stop), publishing=told.append)
    assert told == [os.fsencode(target / "abcdefgh-2")]  # not the one that was taken
    assert not was_released(target, "abcdefgh", told[0])
    for away in (tmp_path / "f", tmp_path / "gone"):  # a drive that is not mounted is no answer
        with pytest.raises(ReleaseError, match="cannot be read"):
            was_released(away, "abcdefgh", told[0])


RANDOM = bytes(range(8))


@pytest.mark.parametrize("step", ["release-rename", "release-sweep"])
def test_a_stage_that_is_gone_tells_that_its_folder_had_its_name(
    tmp_path: Path, target: Path, step: str
) -> None:
    """Somebody may have moved the folder away before anyone asks."""
    sealed, told = seal(tmp_path / "f", [file(b"a", 5)]), list[bytes]()

    def stop(name: str) -> None:
        if name == step:
            raise Crash(name)

    with suppress(Crash):
        let_go(
            sealed,
            target,
            files=Files(stop),
            publishing=told.append,
            leaving=lambda: None,
            random_bytes=lambda count: RANDOM[:count],
        )
    done = step == "release-sweep"
    assert was_released(target, "abcdefgh", told[0], random=RANDOM) == done
    if done:
        (target / "abcdefgh").rename(tmp_path / "moved")
        assert was_released(target, "abcdefgh", told[0], random=RANDOM)
    other = target / f".medp2p-abcdefgh-{bytes(8).hex()}"
    (other / "files").mkdir(parents=True)
    assert was_released(target, "abcdefgh", told[0], random=RANDOM) == done
    assert sweep_stages(target, "abcdefgh", Files(), random=RANDOM) == 1
    assert list(target.iterdir()) == [other], "that may be one that is under way"


def test_a_stage_that_cannot_be_removed_is_told(study: Sealed, target: Path) -> None:
    def fail(name: str) -> None:
        if name in ("release-sync", "release-sweep"):
            raise OSError(errno.EIO, "gone")

    left: list[int] = []
    with pytest.raises(ReleaseError, match="cannot be written"):
        let_go(study, target, files=Files(fail), leaving=lambda: left.append(1))
    assert left == [1]
    assert len(list(target.iterdir())) == 1


@pytest.mark.parametrize("step", ["release-rename", "sync-folder"])
def test_a_stage_stays_until_what_was_told_is_taken_back(
    study: Sealed, target: Path, step: str
) -> None:
    left: list[int] = []
    with pytest.raises(ReleaseError, match="cannot be written"):
        let_go(
            study,
            target,
            files=Files(FailAt(step, errno.EIO)),
            publishing=lambda _: None,
            leaving=lambda: left.append(1),
            random_bytes=lambda count: RANDOM[:count],
        )
    assert left == [1]
    assert not (target / "abcdefgh").exists()
    assert not was_released(target, "abcdefgh", b"", random=RANDOM)
    assert sweep_stages(target, "abcdefgh", Files(), random=RANDOM) == 1
    assert list(target.iterdir()) == []


def test_a_mount_point_without_its_drive_is_no_answer(tmp_path: Path) -> None:
    drive = tmp_path / "drive"
    drive.mkdir()
    with small_disk(drive, "1m"):
        mount = mount_point(drive / "not" / "there")
        assert mount == os.fsencode(drive)
        assert was_released(drive, "abcdefgh", b"", random=RANDOM, mount=mount)
    with pytest.raises(ReleaseError):
        was_released(drive, "abcdefgh", b"", random=RANDOM, mount=mount)
    with pytest.raises(ReleaseError):
        sweep_stages(drive, "abcdefgh", Files(), random=RANDOM, mount=mount)
    assert mount_point(b"/") == b"/"


def test_sweeping_touches_only_its_own(tmp_path: Path, target: Path) -> None:
    ours = [".medp2p-abcdefgh-0123456789abcdef", ".medp2p-abcdefgh-ffffffffffffffff"]
    others = [
        ".medp2p-abcdefg2-0123456789abcdef",
        ".medp2p-abcdefgh-0123456789abcde",
        ".medp2p-abcdefgh-0123456789abcdef0",
        ".medp2p-abcdefgh",
        "abcdefgh",
    ]
    for name in (*ours, *others):
        (target / name / "files" / "deep" / "er").mkdir(parents=True)
        (target / name / "files" / "deep" / "f").write_bytes(b"x")
        (target / name / "files" / "link").symlink_to(tmp_path)
    (target / ".medp2p-abcdefgh-0000000000000000").symlink_to(target / "abcdefgh")
    (target / ".medp2p-abcdefgh-1111111111111111").write_bytes(b"x")
    assert sweep_stages(target, "abcdefgh", Files()) == 2
    assert sweep_stages(target, "abcdefgh", Files()) == 0
    left = {path.name for path in target.iterdir()}
    assert left == {
        *others,
        ".medp2p-abcdefgh-0000000000000000",
        ".medp2p-abcdefgh-1111111111111111",
    }
    assert (target / "abcdefgh" / "files" / "deep" / "f").read_bytes() == b"x"
    for away in (tmp_path / "gone", target / "abcdefgh" / "files" / "deep" / "f"):
        with pytest.raises(ReleaseError, match="cannot be removed"):
            sweep_stages(away, "abcdefgh", Files())


# --- names that the target cannot hold ------------------------------------------------------


class Picky(Files):
    """A file system that refuses some names, as a Windows share does."""

    def __init__(self, refuses: Callable[[bytes], bool]) -> None:
        super().__init__()
        self._refuses = refuses

    def create(self, path: AnyPath, *args: object, **options: object) -> int:
        if self._refuses(os.fsencode(path)):
            raise OSError(errno.EINVAL, "Invalid argument")
        return super().create(path, *args, **options)  # type: ignore[arg-type]


def test_a_target_like_windows_gets_other_names(tmp_path: Path, target: Path) -> None:
    entries = [folder(b"a:b"), file(b"a:b/c?", 4), file(b"con.dcm", 3), file(b"ok", M)]
    sealed = seal(tmp_path / "f", entries)
    released = let_go(sealed, target, files=Picky(lambda name: b":" in name or b"?" in name))
    assert tree(released.path) == {
        b"a_b": None,
        b"a_b/c_": contents(entries[1]),
        b"_con.dcm": contents(entries[2]),
        b"ok": contents(entries[3]),
    }
    assert released.mapped == [
        (b"a:b", b"a_b"),
        (b"a:b/c?", b"a_b/c_"),
        (b"con.dcm", b"_con.dcm"),
    ]


def test_a_target_without_undecodable_names(tmp_path: Path, target: Path) -> None:
    sealed = seal(tmp_path / "f", [file(b"\xff.dcm", 4), file("ä:".encode(), 3)])
    released = let_go(sealed, target, files=Picky(lambda name: b"\xff" in name))
    assert released.mapped == [(b"\xff.dcm", b"_.dcm")]
    assert set(tree(released.path)) == {b"_.dcm", "ä:".encode()}


def test_names_that_fall_together_are_kept_apart(tmp_path: Path, target: Path) -> None:
    entries = [folder(b"D"), folder(b"d"), file(b"D/x", 1), file(b"d/x", 2), file(b"d/X", 3)]
    sealed = seal(tmp_path / "f", entries)
    released = let_go(sealed, target, rules=NameRules(folds_case=True))
    assert tree(released.path) == {
        b"D": None,
        b"d-2": None,
        b"D/x": contents(entries[2]),
        b"d-2/x": contents(entries[3]),
        b"d-2/X-2": contents(entries[4]),
    }
    assert released.mapped == [(b"d", b"d-2"), (b"d/X", b"d-2/X-2")]


def test_a_name_that_is_too_long_for_any_target(tmp_path: Path, target: Path) -> None:
    entries = [file(b"x" * 300 + b".dcm", 4), file(b"y" * 255, 3)]
    released = let_go(seal(tmp_path / "f", entries), target)
    ((path, mapped),) = released.mapped
    assert path == entries[0].path
    assert (len(mapped), mapped[-4:]) == (255, b".dcm")
    assert tree(released.path) == {mapped: contents(entries[0]), b"y" * 255: contents(entries[1])}


def test_a_probe_on_a_dying_disk_is_no_rule(study: Sealed, target: Path) -> None:
    class Dying(Picky):
        def create(self, path: AnyPath, *args: object, **options: object) -> int:
            if path == b"a:b":
                raise OSError(errno.EIO, "Input/output error")
            return super().create(path, *args, **options)

    with pytest.raises(ReleaseError, match="Input/output error"):
        let_go(study, target, files=Dying(lambda name: False))
    assert list(target.iterdir()) == []


@pytest.fixture(autouse=True)
def no_descriptor_is_lost() -> Iterator[None]:
    before = len(os.listdir("/proc/self/fd"))
    yield
    assert len(os.listdir("/proc/self/fd")) == before
