"""Whatever people and networks do at random moments: in the end both sides tell the same story."""

import random
from contextlib import suppress
from pathlib import Path

import pytest
import trio

from medp2p import limits
from medp2p.errors import MedP2PError
from medp2p.model import State
from tests.helpers.stations import ANNA, Lab, Workstation, pair_of, random_bytes, tree_of, until

MIB = limits.MIB
#: How a transfer may end: at its sender, and at its receiver. What was sealed at the very moment
#: of a cancel is recalled there.
ENDS = {
    (State.SEALED, State.SEALED),
    (State.CANCELLED, State.CANCELLED),
    (State.CANCELLED, State.RECALLED),
    (State.CANCELLED, State.DECLINED),
    (State.CANCELLED, State.DISCARDED),
    (State.CANCELLED, None),
    (State.DECLINED, State.DECLINED),
    (State.DISCARDED, State.DISCARDED),
}


class Chaos:
    """Random acts, the same for one seed."""

    def __init__(self, it: Lab, a: Workstation, b: Workstation, seed: int) -> None:
        self.it, self.a, self.b = it, a, b
        self.random = random.Random(seed)
        self.sent: list[str] = []

    async def act(self) -> None:
        """Do something."""
        acts = [self.cut, self.cut, self.restart, self.cancel, self.discard, self.decline]
        acts += [self.accept] * 4
        with suppress(MedP2PError):  # not in that state; a person would be told so
            await self.random.choice(acts)()
        with trio.move_on_after(self.random.random() / 10):
            await trio.sleep_forever()

    async def cut(self) -> None:
        await self.a.wire.cut()
        await self.b.wire.cut()

    async def restart(self) -> None:
        await self.it.restart(self.random.choice([self.a, self.b]))

    async def cancel(self) -> None:
        await self.a.desk.cancel(ANNA, self.random.choice(self.sent))

    async def accept(self) -> None:
        await self.b.desk.accept(ANNA, self.random.choice(self.sent))

    async def discard(self) -> None:
        await self.b.desk.discard(ANNA, self.random.choice(self.sent))

    async def decline(self) -> None:
        await self.b.desk.decline(ANNA, self.random.choice(self.sent), "no")

    def ends(self) -> list[tuple[State | None, State | None]]:
        """Return how each transfer stands at both sides."""
        return [(self.a.state(each), self.b.state(each)) for each in self.sent]

    async def settled(self) -> None:
        """Accept what is left, and wait until nothing changes any more."""
        self.it.wake()
        deadline = trio.current_time() + 40
        while not set(self.ends()) <= ENDS or self.a.pending(self.b) or self.b.pending(self.a):
            for each in self.sent:
                if self.b.state(each) is State.OFFERED:
                    with suppress(MedP2PError):  # cancelled in this moment
                        await self.b.desk.accept(ANNA, each)
            assert trio.current_time() < deadline, self.ends()
            await trio.sleep(0.05)


@pytest.mark.parametrize("seed", [1, 2])
async def test_both_sides_end_alike(tmp_path: Path, seed: int) -> None:
    async with pair_of(tmp_path, accept="ask") as (it, a, b):
        chaos = Chaos(it, a, b, seed)
        study = it.source("study", {"x": random_bytes(4 * MIB), "y": b"y"})
        for _ in range(6):
            chaos.sent.append(await a.send("b", study))
            await chaos.act()
        for _ in range(20):
            await chaos.act()
        await chaos.settled()
        sealed = [each for each in chaos.sent if b.state(each) is State.SEALED]
        await until(lambda: b.vault() == sorted(f"{each}.tar.age" for each in sealed))
        for each in sealed:
            folder = await b.released(each, tmp_path / "out")
            assert tree_of(folder / "study") == tree_of(study)
        for each in chaos.sent:
            if b.row(each) is not None and each not in sealed:
                assert b.journalled(each) == {}
                assert "filekey" not in b.blobs(each)
        for side in (a, b):
            assert side.alarms() == []
            assert (await side.desk.audit_verify())["ok"]
