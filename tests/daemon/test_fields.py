"""The fields of answers: docs/CLI.md sends readers to the methods of control/desk.py for them."""

import re
from pathlib import Path
from typing import Any

from medp2p.control.desk import Desk
from tests.helpers.stations import ANNA, pair_of, random_bytes

Json = dict[str, Any]


def unsaid(method: str, answer: Json) -> list[str]:
    """Return the fields of an answer that the text of its method does not name."""
    said = re.findall(r"\w+", getattr(Desk, method).__doc__)
    return sorted({*answer} - {*said})


async def test_every_field_is_named_where_the_method_is(tmp_path: Path) -> None:
    async with pair_of(tmp_path) as (floor, a, b):
        await b.desk.add_target(ANNA, "pacs", f"folder:{tmp_path}")
        transfer = await a.send("b", floor.source("study", {"image": random_bytes(2000)}))
        await b.until_checked(transfer)
        await b.released(transfer, tmp_path / "here")
        recalled = await a.desk.recall(ANNA, transfer, "by mistake")
        answers: dict[str, list[Json]] = {
            "status": [await b.desk.status()],
            "identity": [await b.desk.identity()],
            "config": await b.desk.config(),
            "overview": [await b.desk.overview(5)],
            "search": [await b.desk.search({})],
            "folders": [await b.desk.folders(None)],
            "peer": await a.desk.peers(),
            "scan_state": [(await a.desk.scan(ANNA, "b", [b"/nowhere"]))],
            "transfer": [recalled, await b.desk.transfer("in", transfer, entries=True)],
            "released": await b.desk.released(),
            "targets": await b.desk.targets(),
            "audit": await b.desk.audit(5, -1),
            "audit_verify": [await b.desk.audit_verify()],
            "alarms": await b.desk.alarms(),
            "pairing_state": [await b.desk.pairing_open(ANNA)],
        }
    found = {method: [unsaid(method, one) for one in some] for method, some in answers.items()}
    wrong = {name: lists for name, lists in found.items() if any(lists)}
    assert not wrong, wrong
