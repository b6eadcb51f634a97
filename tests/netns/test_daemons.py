"""Whole daemons in two network namespaces: paired by mDNS, moved, cut off, and still delivering.

The cable is paced (tc tbf), so that a transfer has a middle.
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import COMMAND, Workstation, environment, introduce, wait_until
from tests.helpers.stations import random_bytes
from tests.netns.test_mdns import Cable
from tests.tools import need_network_namespaces, need_tool

pytestmark = [pytest.mark.netns, pytest.mark.slow]

#: 40 MB take some eight seconds.
RATE = "40mbit"
SIZE = 40_000_000


class Ward(Workstation):
    """A workstation whose daemon lives in a namespace and uses mDNS."""

    namespace: str = ""
    words: tuple[str, ...] = ()

    def launch(self) -> "subprocess.Popen[bytes]":
        inside = ["ip", "netns", "exec", self.namespace]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [*inside, *COMMAND, "daemon", *self.words],
                env=environment(self.home),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


@pytest.fixture
def cable() -> Iterator[Cable]:
    cable = Cable(need_network_namespaces())
    tc = need_tool("tc")
    try:
        cable.up()
        cable.plug_in("a", "10.88.0.1/24")
        cable.plug_in("b", "10.88.0.2/24")
        inside = [cable.ip, "netns", "exec", cable.names["a"], tc]
        shape = ["tbf", "rate", RATE, "burst", "64kb", "latency", "200ms"]
        subprocess.run([*inside, "qdisc", "add", "dev", "eth0", "root", *shape], check=True)
        yield cable
    finally:
        cable.down()


@pytest.fixture
def wards(cable: Cable, tmp_path: Path) -> Iterator[tuple[Ward, Ward]]:
    both = []
    for side in "ab":
        ward = Ward(home=tmp_path / f"ward-{side}", port=0, log=tmp_path / f"ward-{side}.log")
        ward.namespace = cable.names[side]
        ward.cli("init", "--name", ward.name).ok()
        both.append(ward)
    try:
        for ward in both:
            ward.start()
        yield both[0], both[1]
    finally:
        for ward in both:
            if ward.daemon is not None:
                ward.kill()


def test_paired_by_mdns_moved_and_cut_off_it_delivers(
    cable: Cable, wards: tuple[Ward, Ward], tmp_path: Path
) -> None:
    a, b = wards
    with a.open_cli("pair") as shown:
        assert shown.stdout is not None
        code = json.loads(shown.stdout.readline())["code"]
        joined = b.cli("pair", code)
        assert joined.code == 0, (joined, a.log_text(), b.log_text())
        assert shown.wait(30) == 0
    seen = wait_until(lambda: [row for row in a.cli("nearby").document if row["peer"] == "ward-b"])
    assert any(where.startswith("10.88.0.2:") for where in seen[0]["addresses"])

    b.cli("peers", "set", "ward-a", "accept=auto").ok()
    a.cli("peers", "set", "ward-b", "confirm=none").ok()
    source = tmp_path / "scan.bin"
    source.write_bytes(random_bytes(SIZE))  # nothing shrinks: it takes its time
    sent = a.send("ward-b", "--no-patient-data", source)
    wait_until(lambda: b.row("inbox", sent)["bytes_done"] > SIZE // 8 if _known(b, sent) else False)

    # The receiver gets another address in the middle: nobody tells the sender but mDNS.
    cable.on("b", "address", "flush", "dev", "eth0")
    cable.on("b", "address", "add", "10.88.0.77/24", "dev", "eth0")
    wait_until(lambda: b.row("inbox", sent)["bytes_done"] > SIZE // 2, seconds=90)
    # And the cable is out for a while.
    cable.on("b", "link", "set", "eth0", "down")
    assert b.row("inbox", sent)["state"] != "sealed"
    cable.on("b", "link", "set", "eth0", "up")
    a.wait_state("outbox", sent, "sealed", seconds=120)
    b.cli("inbox", "release", sent, "--to", tmp_path / "out").ok()
    assert (tmp_path / "out" / sent[:8] / "scan.bin").read_bytes() == source.read_bytes()


def test_only_where_a_daemon_listens_it_is_announced(
    cable: Cable, wards: tuple[Ward, Ward]
) -> None:
    a, b = wards
    b.stop()
    cable.on("b", "address", "add", "10.88.0.9/24", "dev", "eth0")
    b.words = ("--listen", "10.88.0.2:17820")
    b.start()
    seen = wait_until(lambda: [row for row in a.cli("nearby").document if row["name"] == "ward-b"])
    assert [row["addresses"] for row in seen] == [["10.88.0.2:17820"]]
    b.stop()
    wait_until(lambda: not a.cli("nearby").document)
    b.words = ("--listen", "127.0.0.1:17820")
    b.start()
    wait_until(lambda: "this machine only: `listen` says so" in str(b.cli("doctor").document))
    assert a.cli("nearby").document == []


def test_a_caller_on_a_link_local_address_is_called_back(
    cable: Cable, wards: tuple[Ward, Ward], tmp_path: Path
) -> None:
    """Nothing else tells where it is."""
    a, b = wards
    for side, ward in zip("ab", wards, strict=True):
        ward.stop()
        cable.on(side, "address", "flush", "dev", "eth0", "scope", "global")
        ward.words = ("--no-mdns",)
        ward.start()
    host = link_local(cable, "b")
    refused = a.cli(
        "peers", "add", "x", b.cli("id").document["peer_id"], "--address", f"[{host}]:1"
    )
    assert refused.code == 2
    assert "%" in refused.document["error"]["hint"]
    introduce(a, b, address=f"[{host}%eth0]:17820")
    b.cli("peers", "add", a.name, a.cli("id").ok().document["peer_id"]).ok()
    b.cli("peers", "set", a.name, "accept=auto", "confirm=none").ok()
    source = tmp_path / "x.bin"
    source.write_bytes(b"x")
    there = a.send("ward-b", "--no-patient-data", source)
    a.wait_state("outbox", there, "sealed")
    back = b.send("ward-a", "--no-patient-data", source)
    b.wait_state("outbox", back, "sealed")


def link_local(cable: Cable, side: str) -> str:
    """Return the link-local address of one end of the cable."""
    words = [cable.ip, "-n", cable.names[side], "-json", "address", "show", "dev", "eth0"]
    shown = json.loads(subprocess.run(words, check=True, capture_output=True).stdout)
    return str(next(a["local"] for a in shown[0]["addr_info"] if a["scope"] == "link"))


def test_a_slow_cable_carries_compressed_chunks(
    cable: Cable, wards: tuple[Ward, Ward], tmp_path: Path
) -> None:
    """Nothing is set: the daemons find out. The kernel counts what leaves."""
    a, b = wards
    introduce(a, b, address="10.88.0.2:17820")
    introduce(b, a, address="10.88.0.1:17820", accept="auto")
    source = tmp_path / "scan.raw"
    pixels = bytearray(SIZE)  # of 16 bits, with some noise
    pixels[::2] = random_bytes(SIZE // 2).translate(bytes(x // 16 for x in range(256)))
    source.write_bytes(pixels)
    before = sent_bytes(cable)
    sent = a.send("ward-b", "--no-patient-data", source)
    a.wait_state("outbox", sent, "sealed", seconds=120)
    passed = sent_bytes(cable) - before
    assert passed < 0.8 * SIZE
    told = a.row("outbox", sent)["wire_bytes"]
    assert b.row("inbox", sent)["wire_bytes"] == told
    assert told < passed < 1.1 * told  # TCP, IP, handshakes, mDNS
    b.cli("inbox", "release", sent, "--to", tmp_path / "out").ok()
    assert (tmp_path / "out" / sent[:8] / "scan.raw").read_bytes() == pixels


def sent_bytes(cable: Cable) -> int:
    """What the first ward's end of the cable has sent, as the kernel counts it."""
    words = [cable.ip, "netns", "exec", cable.names["a"], "cat"]
    count = subprocess.run(
        [*words, "/sys/class/net/eth0/statistics/tx_bytes"], check=True, capture_output=True
    )
    return int(count.stdout)


def _known(ward: Ward, transfer: str) -> bool:
    return any(row["id"] == transfer for row in ward.rows("inbox"))
