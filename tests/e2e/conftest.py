"""Workstations and studies for the tests with real processes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.study import make_study
from tests.e2e.harness import Hospital


@pytest.fixture
def hospital(tmp_path: Path) -> Iterator[Hospital]:
    """Where workstations are made; their daemons end with the test."""
    made = Hospital(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small study, 40 instances of 39 kB. Not to be changed."""
    folder = tmp_path_factory.mktemp("small") / "CT CHEST"
    make_study(folder, 40, edge=128)
    return folder


@pytest.fixture(scope="session")
def large_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of 160 MB, 300 instances. Not to be changed."""
    folder = tmp_path_factory.mktemp("large") / "CT ABDOMEN"
    make_study(folder, 300)
    return folder
