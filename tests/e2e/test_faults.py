"""What goes wrong around a transfer: sources, disks, strangers, keys, damage. Each has its word."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from examples.forwarder import Forwarder
from examples.study import make_study
from tests.e2e.harness import (
    Answer,
    Hospital,
    Row,
    Workstation,
    introduce,
    tree_digest,
    wait_for,
    wait_until,
)

pytestmark = pytest.mark.e2e


# --- sources ------------------------------------------------------------------------------


def test_changed_sources_fail_by_name_and_the_others_arrive(
    hospital: Hospital, study: Path, tmp_path: Path
) -> None:
    ct, ward = hospital.make("ct-room"), hospital.make("ward-a")
    victims = ("grown", "gone", "replaced", "piped")
    for name in victims:
        make_study(tmp_path / name, 60)  # the last file lies far behind what is read ahead
    last = {name: tmp_path / name / "SER002" / "IM00060.dcm" for name in victims}
    with Forwarder(("127.0.0.1", ward.port)) as forwarder:
        introduce(ct, ward, address=forwarder.address)
        introduce(ward, ct)
        forwarder.hold_at(1_000_000)
        sent = {name: ct.send("ward-a", tmp_path / name) for name in victims}
        whole = ct.send("ward-a", study)
        forwarder.wait_forward(1_000_000)

        with last["grown"].open("ab") as file:
            file.write(b"more")
        last["gone"].unlink()
        (tmp_path / "new").write_bytes(b"another file")
        (tmp_path / "new").rename(last["replaced"])
        last["piped"].unlink()
        os.mkfifo(last["piped"])
        forwarder.go()

        for name, transfer in sent.items():
            row = ct.wait_state("outbox", transfer, "failed")
            assert row["error"]["code"] == "source-changed"
            assert "SER002/IM00060.dcm" in ct.row("outbox", transfer)["error"]["text"], name
            ward.wait_state("inbox", transfer, "failed", "cancelled")
        ward.wait_state("inbox", whole, "sealed")
    # Nothing is kept of what failed.
    wait_until(lambda: [path.name for path in ward.vault.iterdir()] == [f"{whole}.tar.age"])


def test_what_cannot_be_sent_is_listed_and_the_rest_arrives(
    hospital: Hospital, study: Path, tmp_path: Path
) -> None:
    ct, ward = hospital.pair("ct-room", "ward-a")
    source = tmp_path / "mixed"
    shutil.copytree(study, source)
    expected = tree_digest(source)
    (source / "link").symlink_to("SER001")
    (source / "dead").symlink_to("/nowhere")
    (source / "loop").symlink_to(".")
    os.mkfifo(source / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        place = os.open(source, os.O_RDONLY)
        listener.bind(f"/proc/self/fd/{place}/sock")  # a socket's path holds 107 bytes
        os.close(place)
    done = ct.cli("send", "ward-a", "--yes", "--wait", source)
    assert done.code == 10, done
    assert done.document["state"] == "sealed"
    assert done.document["skipped"] == 5
    sent = done.document["id"]
    skipped = ct.cli("outbox", "show", sent, "--files").ok().document["skipped_entries"]
    assert {item["path"]: item["why"] for item in skipped} == {
        "mixed/link": "symlink",
        "mixed/dead": "symlink",
        "mixed/loop": "symlink",
        "mixed/pipe": "fifo",
        "mixed/sock": "socket",
    }
    ward.cli("inbox", "release", sent, "--to", tmp_path / "out").ok()
    assert tree_digest(tmp_path / "out" / sent[:8] / "mixed") == expected


# --- space --------------------------------------------------------------------------------


def paused_for_space(rows: list[Row]) -> Row | None:
    for row in rows:
        if row["state"] == "paused" and row["reason"]["code"] == "no-space":
            return row
    return None


def check_paused_at_both_ends(ct: Workstation, ward: Workstation) -> None:
    for one, box in ((ward, "inbox"), (ct, "outbox")):
        row = wait_for(one.home, box, paused_for_space)
        assert row is not None
        assert sum(character.isdigit() for character in row["reason"]["text"]) >= 2, row


def test_without_space_it_pauses_and_goes_on_by_itself(hospital: Hospital, study: Path) -> None:
    ct, ward = hospital.pair("ct-room", "ward-a")
    config = ward.home / "config.toml"
    before = config.read_text()
    config.write_text(before + '\nreserve = "15 TiB"\n')
    ward.cli("reload").ok()
    sent = ct.send("ward-a", study)
    check_paused_at_both_ends(ct, ward)
    assert list(ward.vault.iterdir()) == []
    config.write_text(before + "\nreserve = 0\n")
    ward.cli("reload").ok()
    ward.wait_state("inbox", sent, "sealed", seconds=90)
    ct.wait_state("outbox", sent, "sealed")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_full_disk_is_a_pause(hospital: Hospital, tmp_path: Path) -> None:
    make_study(tmp_path / "study", 60)  # 32 MB
    ct, ward = hospital.make("ct-room"), hospital.make("ward-a", start=False)
    mount = ["mount", "-t", "tmpfs", "-o", "size=20m,mode=700", "none", str(ward.vault)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        with (ward.home / "config.toml").open("a") as config:
            config.write("\nreserve = 0\n")
        ward.start()
        introduce(ct, ward)
        introduce(ward, ct)
        sent = ct.send("ward-a", tmp_path / "study")
        check_paused_at_both_ends(ct, ward)
        subprocess.run(["mount", "-o", "remount,size=60m", ward.vault], check=True)
        ward.wait_state("inbox", sent, "sealed", seconds=90)
        ward.kill()
    finally:
        subprocess.run(["umount", "--lazy", ward.vault], check=True)


# --- strangers and keys -------------------------------------------------------------------


def test_strangers_change_nothing(hospital: Hospital, study: Path) -> None:
    ct, ward = hospital.pair("ct-room", "ward-a")
    openings = (
        b"",
        b"MEDP2P\r\n",
        b"MEDP2P\r\n\x01\x01\x01" + b"\0\x20" + bytes(32),
        b"MEDP2P\r\n\x01\xff\xff" + b"\xff\xff" + bytes(1000),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        bytes(range(256)) * 100,
    )
    strangers = []
    try:
        for number in range(90):
            stranger = socket.create_connection(("127.0.0.1", ward.port), timeout=10)
            strangers.append(stranger)
            with contextlib.suppress(OSError):  # refused already: just as well
                stranger.sendall(openings[number % len(openings)])
        sent = ct.send("ward-a", study)
        ward.wait_state("inbox", sent, "sealed")
        # None of them is answered with anything but the end of the connection.
        for stranger in strangers:
            stranger.settimeout(30)
            with contextlib.suppress(ConnectionResetError):
                assert stranger.recv(1000) == b""
    finally:
        for stranger in strangers:
            stranger.close()
    assert ward.cli("status").ok().document["bugs"] == 0
    assert len(ward.cli("peers").ok().document) == 1
    assert ward.cli("audit", "verify").ok().document["ok"] is True


def test_another_key_at_the_address_gets_nothing(hospital: Hospital, study: Path) -> None:
    """The address of one workstation under the name and key of another."""
    ct, ward, other = (hospital.make(name) for name in ("ct-room", "ward-a", "other"))
    peer_id = other.cli("id").ok().document["peer_id"]
    ct.cli("peers", "add", "other", peer_id, "--address", ward.address).ok()
    ct.cli("peers", "set", "other", "confirm=none").ok()
    introduce(ward, ct)
    sent = ct.send("other", study)
    row = wait_for(
        ct.home,
        "outbox",
        lambda rows: [row for row in rows if "or does not know" in str(row["reason"])],
    )[0]
    assert (row["id"], row["state"]) == (sent, "waiting")
    assert ward.rows("inbox") == []
    # A name that is taken keeps its key.
    ward_id = ward.cli("id").ok().document["peer_id"]
    assert ct.cli("peers", "add", "other", ward_id).code == 1
    assert ct.cli("peers", "show", "other").ok().document["peer_id"] == peer_id
    # A typing error in a peer ID is found before anything is stored.
    swapped = ward_id[1] + ward_id[0] + ward_id[2:]
    for wrong in (("B" if ward_id[0] == "A" else "A") + ward_id[1:], swapped):
        if wrong != ward_id:
            refused = ct.cli("peers", "add", "ward-b", wrong)
            assert refused.code == 2, refused
            assert refused.err.startswith("medp2p: error: "), refused
    assert len(ct.cli("peers").ok().document) == 1


def test_a_daemon_that_hangs_is_waited_for(hospital: Hospital, study: Path) -> None:
    """Its kernel takes the connection, and nothing answers: that is not another workstation."""
    ct, ward = hospital.pair("ct-room", "ward-a")
    assert ward.daemon is not None
    ward.daemon.send_signal(signal.SIGSTOP)
    try:
        sent = ct.send("ward-a", study)
        row = ct.wait_state("outbox", sent, "waiting")
        assert row["reason"]["code"] == "peer-away"
        assert "takes the connection, but does not answer" in row["reason"]["text"]
    finally:
        ward.daemon.send_signal(signal.SIGCONT)
    ct.wait_state("outbox", sent, "sealed")
    assert ct.cli("audit", "alarms").ok().document == []


def start_fails(one: Workstation) -> Answer:
    """Start a daemon that must end by itself; return what it said."""
    before = one.log_text()
    process = one.launch()
    code = process.wait(30)
    return Answer(code, "", one.log_text()[len(before) :])


@pytest.mark.parametrize("key", ["noise.key", "sign.key", "spool.key", "vault.key"])
def test_damaged_keys_stop_the_daemon(hospital: Hospital, key: str) -> None:
    ct, other = hospital.make("ct-room", start=False), hospital.make("other", start=False)
    path = ct.home / "keys" / key
    good = path.read_bytes()
    foreign = (other.home / "keys" / key).read_bytes()
    place = len(good) - 20
    changed = bytes([good[place] ^ 1])
    for content in (None, b"", good[:place] + changed + good[place + 1 :], foreign):
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
            path.chmod(0o600)
        failed = start_fails(ct)
        assert failed.code == 1, failed
        assert key in failed.err, failed
        assert "medp2p: error: " in failed.err
        # Never made anew silently.
        assert (path.read_bytes() if path.exists() else None) == content
    path.write_bytes(good)
    path.chmod(0o644)
    assert key in start_fails(ct).err
    path.chmod(0o600)
    ct.start()


def test_one_home_and_one_port_belong_to_one_daemon(hospital: Hospital) -> None:
    ct, ward = hospital.make("ct-room"), hospital.make("ward-a", start=False)
    assert ct.daemon is not None
    second = start_fails(ct)
    assert second.code == 1
    assert str(ct.daemon.pid) in second.err
    ct.cli("status").ok()
    ward.port = ct.port
    taken = start_fails(ward)
    assert taken.code == 1
    assert str(ct.port) in taken.err
    assert ct.cli("init", "--name", "again").code == 1
    assert ct.cli("status").ok().document["name"] == "ct-room"
    with (ward.home / "config.toml").open("a") as config:
        config.write('\nno-such-key = "1"\n')
    assert "no-such-key" in start_fails(ward).err


# --- damage and targets -------------------------------------------------------------------


def test_damage_in_the_vault_is_never_released(
    hospital: Hospital, study: Path, tmp_path: Path
) -> None:
    ct, ward = hospital.pair("ct-room", "ward-a")
    sent = ct.send("ward-a", study)
    ward.wait_state("inbox", sent, "sealed")
    sealed = ward.vault / f"{sent}.tar.age"
    good = sealed.read_bytes()
    target = tmp_path / "out"
    target.mkdir()
    for name, bad in {
        "one bit": good[:700_000] + bytes([good[700_000] ^ 1]) + good[700_001:],
        "cut by a byte": good[:-1],
        "nothing after the header": good[:300],
        "more at the end": good + b"x",
        "empty": b"",
    }.items():
        sealed.write_bytes(bad)
        verified = ward.cli("inbox", "verify", sent)
        assert verified.code == 6, (name, verified)
        released = ward.cli("inbox", "release", sent, "--to", target)
        assert released.code == 6, (name, released)
        assert list(target.iterdir()) == [], name
    sealed.write_bytes(good)
    ward.cli("inbox", "verify", sent).ok()
    ward.cli("inbox", "release", sent, "--to", target).ok()
    assert tree_digest(target / sent[:8] / study.name) == tree_digest(study)


def test_a_release_that_cannot_be_written_leaves_nothing(
    hospital: Hospital, study: Path, tmp_path: Path
) -> None:
    ct, ward = hospital.pair("ct-room", "ward-a")
    sent = ct.send("ward-a", study)
    ward.wait_state("inbox", sent, "sealed")
    (tmp_path / "file").write_bytes(b"mine")
    (tmp_path / "link").symlink_to("elsewhere")
    for target in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/nowhere")):
        refused = ward.cli("inbox", "release", sent, "--to", target)
        assert refused.code == 1, refused
        assert refused.document["error"]["text"]
    assert (tmp_path / "file").read_bytes() == b"mine"
    assert ward.row("inbox", sent)["state"] == "sealed"
    # What lies there already stays as it is.
    target = tmp_path / "archive"
    (target / sent[:8]).mkdir(parents=True)
    (target / sent[:8] / "mine").write_bytes(b"mine")
    released = ward.cli("inbox", "release", sent, "--to", target).ok().document["released_to"]
    assert released != str(target / sent[:8])
    assert tree_digest(target / sent[:8]).keys() == {b"mine"}
    assert tree_digest(Path(released) / study.name) == tree_digest(study)
