"""Interrupted anywhere, a transfer goes on where it was: kills, cuts, stops, lost receipts.

The link is held at an exact byte, so that "in the middle" is the same place in every run, and what
is sent in all is counted.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from examples.forwarder import Forwarder
from medp2p.limits import CHUNK_BYTES, JOURNAL_GROUP_BYTES, RECEIVE_CHUNKS
from tests.e2e.harness import Hospital, Workstation, introduce, tree_bytes, tree_digest, wait_until

pytestmark = pytest.mark.e2e

#: Handshakes, manifest, records, facts, heartbeats of a handful of connections.
OVERHEAD_BYTES = 2_000_000
#: What may be on its way beside the chunks in flight: socket buffers on both sides of the link.
BUFFERS_BYTES = 12_000_000
AFTER_A_KILL_SECONDS = 120.0


@dataclass
class Link:
    """Two workstations; what the first sends passes the forwarder."""

    ct: Workstation
    ward: Workstation
    forwarder: Forwarder
    study: Path
    size: int
    sent: str = ""

    def begin(self, *, hold: float) -> None:
        """Send the study; return once that part of it is through and the link stands still."""
        self.forwarder.hold_at(int(self.size * hold))
        self.sent = self.ct.send("ward-a", self.study)
        self.forwarder.wait_forward(int(self.size * hold))

    def finish(self, tmp_path: Path) -> None:
        """Wait until both sides say sealed; check that what arrived is what was sent."""
        out = self.ct.wait_state("outbox", self.sent, "sealed", seconds=AFTER_A_KILL_SECONDS)
        received = self.ward.wait_state("inbox", self.sent, "sealed")
        assert out["root"] == received["root"]
        assert len(self.ward.rows("inbox")) == len(self.ct.rows("outbox")) == 1
        assert [path.name for path in self.ward.vault.iterdir()] == [f"{self.sent}.tar.age"]
        self.ward.cli("inbox", "release", self.sent, "--to", tmp_path / "out").ok()
        released = tmp_path / "out" / self.sent[:8] / self.study.name
        assert tree_digest(released) == tree_digest(self.study)
        for one in (self.ct, self.ward):
            assert one.cli("audit", "verify").ok().document["ok"] is True


@pytest.fixture
def link(hospital: Hospital, large_study: Path) -> Iterator[Link]:
    ct, ward = hospital.make("ct-room"), hospital.make("ward-a")
    with Forwarder(("127.0.0.1", ward.port)) as forwarder:
        introduce(ct, ward, address=forwarder.address)
        introduce(ward, ct)
        yield Link(ct, ward, forwarder, large_study, tree_bytes(large_study))


def kill_ward(link: Link) -> None:
    link.ward.restart()


def kill_ct(link: Link) -> None:
    link.ct.restart()


def kill_both(link: Link) -> None:
    link.ct.kill()
    link.ward.restart()
    link.ct.start()


@pytest.mark.parametrize("kill", [kill_ward, kill_ct, kill_both])
def test_a_kill_in_the_middle_costs_little(
    link: Link, tmp_path: Path, kill: Callable[[Link], None]
) -> None:
    link.begin(hold=0.8)
    kill(link)
    link.forwarder.go()
    link.finish(tmp_path)
    # Starting over would cost 80 % more: 126 MB.
    lost = JOURNAL_GROUP_BYTES + RECEIVE_CHUNKS * CHUNK_BYTES + BUFFERS_BYTES
    assert link.forwarder.forward < link.size + lost + OVERHEAD_BYTES


def test_stopped_in_the_middle_it_is_parked(link: Link, tmp_path: Path) -> None:
    """SIGTERM, as for an upgrade: what has arrived is journalled before the daemon ends."""
    link.begin(hold=0.5)
    assert link.ward.stop() < 5.0
    link.ward.start()
    link.forwarder.go()
    link.forwarder.hold_at(int(link.size * 0.8))
    link.forwarder.wait_forward(int(link.size * 0.8))
    assert link.ct.stop() < 5.0
    parked = [path.name for path in link.ward.vault.iterdir()]
    assert parked == [f"{link.sent}.part"]
    link.ct.start()
    link.forwarder.go()
    link.finish(tmp_path)
    in_flight = 2 * (RECEIVE_CHUNKS * CHUNK_BYTES + BUFFERS_BYTES)
    assert link.forwarder.forward < link.size + in_flight + OVERHEAD_BYTES


def test_cuts_at_random_places(link: Link, tmp_path: Path) -> None:
    places = sorted(random.Random(2026).sample(range(100, 950), 5))
    link.sent = link.ct.send("ward-a", link.study)
    for number, place in enumerate(places, 1):
        link.forwarder.cut_at(link.size * place // 1000)
        link.forwarder.wait_cuts(number)
    link.finish(tmp_path)
    in_flight = len(places) * (RECEIVE_CHUNKS * CHUNK_BYTES + BUFFERS_BYTES)
    assert link.forwarder.forward < link.size + in_flight + OVERHEAD_BYTES


def test_kills_at_random_places(link: Link, tmp_path: Path) -> None:
    rng = random.Random(7)
    link.sent = link.ct.send("ward-a", link.study)
    for place in sorted(rng.sample(range(20, 1000), 4)):
        hold = link.size * place // 1000
        link.forwarder.hold_at(hold)
        link.forwarder.wait_forward(hold)
        rng.choice((kill_ward, kill_ct, kill_both))(link)
        link.forwarder.go()
    link.finish(tmp_path)


@pytest.mark.parametrize("then_kill", [False, True])
def test_a_lost_receipt_is_asked_for_again(link: Link, tmp_path: Path, *, then_kill: bool) -> None:
    link.begin(hold=0.9)
    # From here on the sender hears nothing: the receiver seals, its receipt is lost.
    link.forwarder.hold_back()
    link.forwarder.hold_at(10**12)
    if not then_kill:
        # The receiver must not bring the receipt by a connection of its own either.
        link.ward.cli("peers", "set", "ct-room", "address=127.0.0.1:1").ok()
    link.ward.wait_state("inbox", link.sent, "sealed")
    before = link.forwarder.forward
    if then_kill:
        link.ward.restart()
    link.forwarder.cut()
    link.forwarder.go()
    link.finish(tmp_path)
    assert link.forwarder.forward < before + OVERHEAD_BYTES


def test_several_transfers_resume_together(
    hospital: Hospital, study: Path, large_study: Path, tmp_path: Path
) -> None:
    """More than run at once, both directions, both daemons killed."""
    ct, ward = hospital.make("ct-room"), hospital.make("ward-a")
    with Forwarder(("127.0.0.1", ward.port)) as forwarder:
        introduce(ct, ward, address=forwarder.address)
        introduce(ward, ct)
        forwarder.hold_at(40_000_000)
        sent = [ct.send("ward-a", large_study / "SER001", "--note", str(n)) for n in range(2)]
        sent += [ct.send("ward-a", study) for _ in range(4)]
        back = [ward.send("ct-room", study) for _ in range(2)]
        forwarder.wait_forward(40_000_000)
        ct.kill()
        ward.kill()
        ward.start()
        ct.start()
        forwarder.go()
        for one, box, transfers in ((ct, "outbox", sent), (ward, "outbox", back)):
            for transfer in transfers:
                one.wait_state(box, transfer, "sealed", seconds=AFTER_A_KILL_SECONDS)
    assert sorted(row["id"] for row in ward.rows("inbox")) == sorted(sent)
    assert sorted(row["id"] for row in ct.rows("inbox")) == sorted(back)
    for transfer in (sent[0], sent[-1]):
        ward.cli("inbox", "release", transfer, "--to", tmp_path / "out").ok()
    assert tree_digest(tmp_path / "out" / sent[-1][:8] / study.name) == tree_digest(study)
    wait_until(lambda: not list(ward.vault.glob("*.part")))
