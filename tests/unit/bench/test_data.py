"""The data that the benchmark makes is what it says."""

import zlib
from pathlib import Path

from pydicom import dcmread

from bench import data


def test_a_noisy_study_is_made_again_the_same_and_hardly_compresses(tmp_path: Path) -> None:
    for name in ("one", "two"):
        data.noisy_study(tmp_path / name, 3)
    paths = sorted((tmp_path / "one").rglob("*.dcm"))
    assert len({path.read_bytes() for path in paths}) == 3
    for path in paths:
        content = path.read_bytes()
        assert content == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()
        assert 0.4 < len(zlib.compress(content, 1)) / len(content) < 0.6  # as real slices do
        assert dcmread(path).Rows == 512


def test_files_have_the_sizes_asked_for(tmp_path: Path) -> None:
    assert data.random_file(tmp_path / "a" / "file", 2 * data.MIB + 3).stat().st_size == (
        2 * data.MIB + 3
    )
    sparse = data.sparse_file(tmp_path / "b" / "file", 10**9).stat()
    assert (sparse.st_size, sparse.st_blocks) == (10**9, 0)
    assert data.count_and_bytes(data.many_files(tmp_path / "c", 1001, 7)) == (1001, 7007)
    assert len(list((tmp_path / "c").iterdir())) == 3
