"""The child that reads headers: fast, bounded, replaced when it ends."""

import io
import logging
import resource
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import pytest

from medp2p import limits
from medp2p.dicom import child, framing
from medp2p.dicom.facts import FileFacts, encode_facts
from medp2p.dicom.inspect import inspect
from medp2p.dicom.worker import UNREAD, Inspector, Sample
from tests.helpers.dicoms import DEFLATED, SMALL, dataset, file_of

SLICE = (SMALL / "CT_small.dcm").read_bytes()
CT = Sample(SLICE[: limits.DICOM_HEAD_BYTES], len(SLICE), SLICE[-100:])
GOOD = inspect(*CT)


def test_two_thousand_slices_in_well_under_four_seconds() -> None:
    started = time.monotonic()
    with Inspector() as inspector:
        facts = inspector.inspect_many([CT] * 2000)
    assert time.monotonic() - started < 4
    assert facts == [GOOD] * 2000
    assert facts[0].patient is facts[1].patient


def test_large_heads_and_an_empty_batch() -> None:
    big = file_of(dataset({0x00091001: ("OB", bytes(4 * limits.MIB))}))
    with Inspector() as inspector:
        assert inspector.inspect_many([]) == []
        found = inspector.inspect_many([Sample(big, len(big)), CT, Sample(b"", 0)])
    assert [facts.kind for facts in found] == ["dicom", "dicom", "other"]


def test_bomb_does_not_end_the_child() -> None:
    bomb = file_of(dataset({0x00091001: ("UT", bytes(300 * limits.MIB))}), DEFLATED)
    with Inspector() as inspector:
        found = inspector.inspect_many([CT, Sample(bomb, len(bomb)), CT])
    assert [facts.reason for facts in found] == ["", "deflated", ""]


def test_two_inspectors_and_several_threads() -> None:
    with Inspector() as one, Inspector() as two:
        results: list[list[FileFacts]] = []
        threads = [
            threading.Thread(target=lambda i=i: results.append(i.inspect_many([CT] * 50)))
            for i in (one, two, one)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == [[GOOD] * 50] * 3


def test_closed_inspector_says_so() -> None:
    inspector = Inspector()
    inspector.close()
    inspector.close()
    with pytest.raises(RuntimeError, match="closed"):
        inspector.inspect_many([CT])


def test_closing_ends_an_inspection_under_way(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    inspector = failing(f"question(); open({str(begun)!r}, 'w'); time.sleep(60)")
    errors: list[str] = []

    def read() -> None:
        try:
            inspector.inspect_many([CT])
        except RuntimeError as error:
            errors.append(str(error))

    reader = threading.Thread(target=read)
    reader.start()
    while not begun.exists():
        reader.join(0.01)
    inspector.close()
    reader.join(5)
    assert errors == ["the inspector is closed"]


def test_child_is_not_told_about_patients_and_leaves_no_process() -> None:
    with Inspector() as inspector:
        inspector.inspect_many([CT])
        assert inspector._child is not None
        process = inspector._child._process
        assert "medp2p.dicom.child" in process.args  # type: ignore[operator]
        assert len(process.args) == 4  # type: ignore[arg-type]
    assert process.poll() is not None


# --- children that fail -------------------------------------------------------------------

PRELUDE = """
import sys, time
from medp2p.dicom.framing import framed
from medp2p.dicom.facts import FileFacts, encode_facts
answer = framed(encode_facts(FileFacts(kind="other")))
def question():
    return sys.stdin.buffer.read(int.from_bytes(sys.stdin.buffer.read(4), "big"))
def say(data):
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
"""
OTHER = FileFacts(kind="other")


def failing(script: str) -> Inspector:
    return Inspector((sys.executable, "-c", PRELUDE + script))


def killed_at(script: str) -> list[FileFacts]:
    marked = Sample(b"KILL", 4)
    with failing(script) as inspector:
        return inspector.inspect_many([CT, marked, CT, CT])


def test_file_that_ends_the_child_is_unverified_and_the_next_are_read() -> None:
    script = "while q := question():\n  sys.exit() if b'KILL' in q else say(answer)"
    assert killed_at(script) == [OTHER, UNREAD, OTHER, OTHER]


def test_file_that_takes_too_long_is_unverified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DICOM_FILE_SECONDS", 0.3)
    script = "while q := question():\n  time.sleep(60) if b'KILL' in q else say(answer)"
    assert killed_at(script) == [OTHER, UNREAD, OTHER, OTHER]


def test_half_an_answer_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DICOM_FILE_SECONDS", 0.3)
    script = """while q := question():
  if b'KILL' in q:
    say(answer[:3]); time.sleep(0.1); say(answer[3:6]); time.sleep(60)
  say(answer)"""
    assert killed_at(script) == [OTHER, UNREAD, OTHER, OTHER]


@pytest.mark.parametrize("answer", ["b'\\xff' * 4", "framed(b'nonsense')"])
def test_answer_that_is_none_ends_the_child(answer: str) -> None:
    script = f"while q := question():\n  say({answer} if b'KILL' in q else answer)"
    assert killed_at(script) == [OTHER, UNREAD, OTHER, OTHER]


def test_child_that_reads_nothing_and_ends() -> None:
    big = Sample(bytes(limits.MIB), limits.MIB)
    with failing("import os; os.close(0); time.sleep(0.5)") as inspector:
        assert inspector.inspect_many([big, big]) == [UNREAD, UNREAD]


def test_child_that_never_starts_is_given_up() -> None:
    for inspector in (failing("sys.exit()"), Inspector(("/nonexistent",))):
        with inspector:
            assert inspector.inspect_many([CT] * 50) == [UNREAD] * 50


# --- the child itself ---------------------------------------------------------------------


def test_serve_answers_each_question() -> None:
    sink = io.BytesIO()
    limits_before = resource.getrlimit(resource.RLIMIT_CPU)
    try:
        child.serve(io.BytesIO(framing.encode_question(*CT) * 2), sink)
    finally:
        resource.setrlimit(resource.RLIMIT_CPU, limits_before)
    assert sink.getvalue() == framing.framed(encode_facts(GOOD)) * 2


@pytest.mark.parametrize("told", [b"", b"\xff\xff\xff\xff", framing.framed(b"no question")])
def test_serve_ends_at_what_is_no_question(told: bytes) -> None:
    sink = io.BytesIO()
    child.serve(io.BytesIO(told), sink)
    assert sink.getvalue() == b""


def test_the_child_loads_no_decoder() -> None:
    load = "import sys; from medp2p.dicom import child; child.hide_decoders()"
    names = {"numpy", "PIL", "gdcm", "pylibjpeg", "openjpeg", "libjpeg", "rle", "jpeg_ls"}
    found = f"{{name for name in {names} if sys.modules.get(name)}}"
    script = f"{load}; import medp2p.dicom.inspect; print(*{found}, 'pydicom' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert done.stdout.split() == [b"True"]


def test_main_confines_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "serve", lambda source, sink: None)
    monkeypatch.setattr(child, "hide_decoders", lambda: None)  # this process needs them
    monkeypatch.setattr(resource, "setrlimit", _refuse)
    monkeypatch.setattr(logging, "disable", lambda: None)
    before = signal.getsignal(signal.SIGINT)
    try:
        with warnings.catch_warnings():
            child.main()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def _refuse(what: int, most: tuple[int, int]) -> None:
    raise ValueError(f"{what} {most}")


def bounded(script: str) -> int:
    run = f"from medp2p.dicom.bounds import bound_cpu, confine\nconfine()\n{script}"
    command = [sys.executable, "-c", run]
    return subprocess.run(command, check=False, capture_output=True, timeout=60).returncode


def test_bounds_hold(tmp_path: Path) -> None:
    assert bounded("x = 1") == 0
    assert bounded("x = bytearray(600 << 20)") == 1
    assert bounded(f"open({str(tmp_path / 'x')!r}, 'wb', buffering=0).write(b'x')") == 1
    assert bounded("x = [open('/dev/null') for _ in range(20)]") == 1
    endless = "import medp2p.limits as l\nl.DICOM_CPU_SECONDS = 1\nbound_cpu()\nwhile 1: pass"
    assert bounded(endless) == -signal.SIGXCPU
