"""A browser, and workstations to look at."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from examples.study import make_study
from tests.browser.stations import Pair, ward_and_sender
from tests.browser.viewing import LAUNCH, Viewer
from tests.e2e.harness import SOON_SECONDS, Hospital
from tests.tools import need_tool

#: As the harness waits: long enough for a busy machine.
expect.set_options(timeout=1000 * SOON_SECONDS)


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    """Debian's Chromium, which talks to this machine only."""
    return {
        **browser_type_launch_args,
        "executable_path": need_tool("chromium"),
        "args": list(LAUNCH),
    }


@pytest.fixture
def viewer(browser: Browser) -> Iterator[Viewer]:
    """What opens pages; at the end of the test nothing may have gone wrong in them."""
    made = Viewer(browser)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def hospital(tmp_path: Path) -> Iterator[Hospital]:
    """Where workstations are made; their daemons end with the test."""
    made = Hospital(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared_hospital(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    """Where workstations are made that all tests of a module look at."""
    made = Hospital(tmp_path_factory.mktemp("hospital"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def pair(shared_hospital: Hospital) -> Pair:
    """A ward that asks a person, and a sender."""
    return ward_and_sender(shared_hospital)


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six slices of one series. Not to be changed."""
    folder = tmp_path_factory.mktemp("study") / "CT CHEST"
    make_study(folder, 6, edge=128)
    return folder
