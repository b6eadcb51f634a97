"""What the page computes by itself agrees with the command line: hints, times, curves, paths."""

import ast
import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from playwright.sync_api import Page

from medp2p.cli.releases import seconds_of
from medp2p.errors import UsageError
from medp2p.model import AuditEvent
from tests.browser.viewing import ROOT, Viewer
from tests.e2e.harness import Hospital, Workstation

pytestmark = pytest.mark.browser

#: Packages whose hints come to the page as answers of the API.
_HINTING = ("daemon", "vault", "parcel", "dicom")
#: Hints of what no page can meet: there is no daemon then, or it does not start.
_WITHOUT_PAGE = ("medp2p/daemon/home.py", "medp2p/daemon/doctor.py", "medp2p/vault/store.py")


@pytest.fixture(scope="module")
def station(shared_hospital: Hospital) -> Workstation:
    return shared_hospital.make("ct-room")


def texts_of(node: ast.AST) -> Iterator[str]:
    """Yield each text that an expression can be; what is filled in becomes "x"."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield "".join(str(getattr(part, "value", "x")) if isinstance(part, ast.Constant) else "x"
                      for part in node.values)  # fmt: skip
    elif isinstance(node, ast.IfExp):
        yield from texts_of(node.body)
        yield from texts_of(node.orelse)


def is_hint(node: ast.AST) -> bool:
    """Return whether a node gives a hint: an argument or a variable of that name."""
    if isinstance(node, ast.Assign):
        return [ast.unparse(target) for target in node.targets] == ["hint"]
    return isinstance(node, ast.keyword) and node.arg == "hint"


def hints(file: Path) -> Iterator[str]:
    """Yield the hints that a module gives."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.keyword | ast.Assign) and is_hint(node):
            yield from texts_of(node.value)


def all_hints() -> list[str]:
    files = [path for name in _HINTING for path in sorted((ROOT / "medp2p" / name).glob("*.py"))]
    kept = [path for path in files if str(path.relative_to(ROOT)) not in _WITHOUT_PAGE]
    return [hint for path in kept for hint in hints(path)]


def ask(page: Page, module: str, script: str, argument: Any = None) -> Any:
    """Evaluate a function of (module, argument) over one of the page's own modules."""
    body = f"async (argument) => ({script})(await import('/static/{module}.js'), argument)"
    return page.evaluate(body, argument)


def test_no_hint_names_options_of_the_command_line(station: Workstation, viewer: Viewer) -> None:
    found = all_hints()
    assert sum("--" in hint for hint in found) > 10, found
    said = ask(viewer.open(station), "hints", "(it, all) => all.map(it.inPageWords)", found)
    left = [hint for hint in said if re.search(r"--[a-z]|medp2p (in|out)box", hint)]
    assert left == []


def test_errors_name_no_fields_of_json(station: Workstation, viewer: Viewer) -> None:
    texts = [
        "an expectation needs patient_id, or patient_name and birth_date",
        "birth_date of the expectation is a day of the calendar, YYYY-MM-DD",
        "the files are not what is expected: patient_id, birth_date",
        "there is no /data/patient_id/x",
    ]
    script = "(it, all) => all.map(text => new it.ApiError(400, { text }).text)"
    assert ask(viewer.open(station), "api", script, texts) == [
        "an expectation needs the patient ID, or name and birth date",
        "birth date of the expectation is a day of the calendar, YYYY-MM-DD",
        "the files are not what is expected: patient ID, birth date",
        "there is no /data/patient_id/x",
    ]


def test_an_answer_that_breaks_off_is_none(station: Workstation, viewer: Viewer) -> None:
    script = """async (it) => {
      const whole = window.fetch;
      const cut = (it) => (it.enqueue(new TextEncoder().encode('{"na')), it.error(new TypeError()));
      window.fetch = async () => new Response(new ReadableStream({ start: cut }));
      try { return await it.api.get("/v1/status"); }
      catch (error) { return [error.name, error.code, error.hint]; }
      finally { window.fetch = whole; }
    }"""
    said = ask(viewer.open(station), "api", script)
    assert said == ["ApiError", "lost", "it may be restarting; try again"]


def test_states_are_told_to_whoever_reads_them(station: Workstation, viewer: Viewer) -> None:
    """At the receiver "the receiver" is nobody else."""
    page = viewer.open(station)
    script = """(it, direction) => Object.keys(it.STATES).map(
      (state) => it.stateText({ direction, state }))"""
    here, there = ask(page, "format", script, "in"), ask(page, "format", script, "out")
    assert not [text for text in here if "receiver" in text]
    assert "waits for a decision here" in here
    assert "waits for a decision of the receiver" in there
    assert all(here)


def test_the_page_has_words_for_all_that_the_log_can_say(
    station: Workstation, viewer: Viewer
) -> None:
    said = ask(viewer.open(station), "audit", "(it) => Object.keys(it.EVENTS)")
    assert sorted(said) == sorted(get_args(AuditEvent))


def test_details_of_the_log_are_in_words(station: Workstation, viewer: Viewer) -> None:
    details: list[tuple[Any, str]] = [
        (
            {"files": 2, "bytes": 1500, "allowed": [], "purpose": None, "undo_seconds": 0},
            "files: 2; 1.5 kB",
        ),
        ({"undo_seconds": 10, "findings": ["a", "b"]}, "undo: 10 s; findings: a, b"),
        ({"accept": {"from": None, "to": "auto"}}, "accept: auto (before: default)"),
        ({"at_ms": 10**17, "again": True, "mapped": 0}, f"at ms: {10**17}; again: yes"),
        (None, ""),
    ]
    page = viewer.open(station)
    script = "(it, all) => all.map(it.detailText)"
    said = ask(page, "audit", script, [one for one, _ in details])
    assert said == [text for _, text in details]
    (moment,) = ask(page, "audit", script, [{"at_ms": 1_795_600_000_000}])
    assert re.fullmatch(r"at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d\d:\d\d", moment)


def test_times_are_read_as_the_command_line_reads_them(
    station: Workstation, viewer: Viewer
) -> None:
    def expected(text: str) -> int | None:
        try:
            return seconds_of(text)
        except UsageError:
            return None

    texts = ["8h", " 30 min ", "2 Days", "1w", "90s", "1 sec", "8", "h", "-1h", "1.5h", "1y", "1hh"]
    script = """(it, all) => all.map((text) => {
      try { return it.secondsOf(text); } catch { return null; }
    })"""
    assert ask(viewer.open(station), "release", script, texts) == [*map(expected, texts)]


def test_paths_go_out_byte_for_byte(station: Workstation, viewer: Viewer) -> None:
    texts = ["/a", "/téte 桌面", "/" + "x" * 100_000, "/\U0001f600"]
    sent = ask(viewer.open(station), "browse", "(it, all) => all.map(it.toBase64)", texts)
    assert [base64.b64decode(one).decode() for one in sent] == texts


def test_the_curve_shows_the_throughput_of_the_last_minute(
    station: Workstation, viewer: Viewer
) -> None:
    """A steady 1 MB/s, a stop, and a start from nothing after a reconnect."""
    script = """(it, steps) => {
      const flow = new it.Throughput();
      const said = [];
      for (const [done, now] of steps) { flow.note(done, now); said.push(flow.summary); }
      return [said, flow.path(steps.at(-1)[1])];
    }"""
    steady = [[500_000 * step, 500 * step] for step in range(21)]
    stopped = [[10_000_000, 10_000 + 500 * step] for step in range(1, 11)]
    page = viewer.open(station)
    said, path = ask(page, "sparkline", script, steady + stopped)
    assert said[0] is None
    assert said[20] == {"highest": 1_000_000, "newest": 1_000_000}
    assert said[-1] == {"highest": 1_000_000, "newest": 0}
    points = [tuple(map(float, one.split())) for one in path.removeprefix("M").split("L")]
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    assert all(0 <= x <= 120 and 1 <= y <= 23 for x, y in points)
    assert (points[0][1], points[-1][1]) == (1, 23)
    # A minute later nothing of it is left, and fewer bytes than before are a new beginning.
    said, _ = ask(page, "sparkline", script, [*steady, [0, 90_000], [1_000_000, 91_000]])
    assert said[-1] == {"highest": 1_000_000, "newest": 1_000_000}
