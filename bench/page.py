"""The page with a long past behind it: how fast it is there, and what it costs to keep it live.

A real Chromium, driven by Playwright, on the page of a daemon with thousands of transfers in its
store; then tabs that watch a transfer which runs at a steady pace.
"""

import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from bench import costs, data
from bench.cases import MIB, Setting, need_room
from bench.many import fill
from bench.race import RaceError
from bench.report import Figure, Outcome
from bench.workstations import Pair, Workstation, pair_of
from examples.forwarder import Forwarder
from examples.study import make_study

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

_TRANSFERS = 10_000
_TABS = 5
#: Slow enough that the transfer itself costs little, and long enough for ticks of 10 ms.
_PACE_BYTES = 24 * MIB
_PACED_SECONDS = 20
_SOON_SECONDS = 120.0
_LAUNCH = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
#: Notes when the first transfer stands in the inbox, milliseconds since the navigation began.
_WATCH = """() => {
  const seen = () => document.querySelector('[data-region="inbox"] [data-transfer]');
  const watch = new MutationObserver(() => {
    if (!seen() || document.getElementById('page').hidden) return;
    watch.disconnect();
    requestAnimationFrame(() => { window.shownAt = performance.now(); });
  });
  watch.observe(document, { subtree: true, childList: true, attributes: true });
}"""
_PAINTED = "() => performance.getEntriesByName('first-contentful-paint')[0].startTime"


def missing() -> list[str]:
    """Return what this case needs and does not find."""
    found = {"playwright (pip)": find_spec("playwright"), "chromium": shutil.which("chromium")}
    return [name for name, where in found.items() if where is None]


def page(setting: Setting) -> list[Outcome]:
    """10,000 transfers in the store: first paint, first data; then tabs during a transfer."""
    if lacking := missing():
        raise RaceError(f"the page needs {' and '.join(lacking)}")
    count = setting.scaled(_TRANSFERS)
    size = setting.scaled(_PACE_BYTES * _PACED_SECONDS)
    need_room(setting.folder, size)
    folder = setting.folder / "page"
    try:
        with pair_of(folder / "homes") as pair, _slow_link(pair) as link, _browser() as browser:
            _age(pair, folder, count)
            return [
                *_opened(setting, browser, pair.receiver, count),
                *_watched(setting, browser, pair, link, folder, size),
            ]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _browser() -> "Iterator[Browser]":
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=_LAUNCH)
        yield browser
        browser.close()


@contextmanager
def _slow_link(pair: Pair) -> Iterator[Forwarder]:
    """Put a link that can be slowed down between the two; no pace yet."""
    with Forwarder((pair.receiver.place.address, pair.receiver.port)) as link:
        pair.sender.ask("peers", "set", pair.receiver.name, f"address={link.address}")
        yield link


def _age(pair: Pair, folder: Path, count: int) -> None:
    """Give the receiver a past."""
    study = folder / "sources" / "study"
    make_study(study, 4, edge=128)
    sent = pair.sender.ask("send", pair.receiver.name, study, "--no-wait", *pair.labelled)
    pair.sender.wait_state("outbox", str(sent["id"]), {"sealed"}, _SOON_SECONDS)
    pair.receiver.stop()
    fill(pair.receiver.home, count)
    pair.receiver.start()


# --- opening it ---------------------------------------------------------------------------


def _opened(
    setting: Setting, browser: "Browser", station: Workstation, count: int
) -> list[Outcome]:
    painted, shown = [], []
    for number in range(setting.rounds.warmups + setting.rounds.counted):
        context = browser.new_context(viewport={"width": 1600, "height": 1000})
        tab = _open(context, station)
        times = tab.evaluate(_PAINTED) / 1000, tab.evaluate("() => window.shownAt") / 1000
        print(f"page: painted {times[0]:.3f} s, data {times[1]:.3f} s", file=sys.stderr, flush=True)
        if number >= setting.rounds.warmups:
            painted.append(times[0])
            shown.append(times[1])
        context.close()
    what = f"{count:,} transfers in the store: from navigation"
    return [
        Figure(
            case="page",
            title=f"{what} to first paint",
            unit="s",
            values=painted,
            goal="under 0.3 s",
        ),
        Figure(case="page", title=f"{what} to data shown", unit="s", values=shown),
    ]


def _open(context: "BrowserContext", station: Workstation) -> "Page":
    """Open the page by a one-time address; return once data stands there."""
    address = station.ask("web", "--no-browser")["address"]
    tab = context.new_page()
    tab.add_init_script(f"({_WATCH})()")
    tab.goto(address)
    tab.wait_for_function("() => window.shownAt")
    return tab


# --- keeping it live ----------------------------------------------------------------------


def _watched(
    setting: Setting, browser: "Browser", pair: Pair, link: Forwarder, folder: Path, size: int
) -> list[Outcome]:
    """What tabs cost the daemon while a transfer runs: with them less without them, in turn."""
    source = data.random_file(folder / "sources" / "slide.bin", size)
    link.pace(_PACE_BYTES)
    ways = {"one browser": 1, f"{_TABS} browsers": _TABS}
    extra: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(setting.rounds.counted):
        alone = _share(pair, link, source)
        for way, browsers in ways.items():
            contexts = [browser.new_context() for _ in range(browsers)]
            for number in range(_TABS):
                _open(contexts[number % browsers], pair.receiver)
            extra[way].append(_share(pair, link, source) - alone)
            for context in contexts:
                context.close()
            print(f"page: {way}: {extra[way][-1]:.2f} %", file=sys.stderr, flush=True)
    return [
        Figure(
            case="page",
            title=f"{_TABS} tabs in {way} during a transfer: CPU of the daemon for them",
            unit="%",
            values=values,
            goal="under 2 %",
        )
        for way, values in extra.items()
    ]


def _share(pair: Pair, link: Forwarder, source: Path) -> float:
    """Send a file; return the part of one processor that the receiving daemon used, per cent."""
    before, gone = costs.cpu_seconds([pair.receiver.pid]), link.forward
    began = time.perf_counter()
    row = pair.sender.ask("send", pair.receiver.name, source, "--no-wait", *pair.confirmed)
    pair.sender.wait_state("outbox", str(row["id"]), {"sealed"}, _SOON_SECONDS)
    seconds = time.perf_counter() - began
    used = costs.cpu_seconds([pair.receiver.pid]) - before
    if link.forward - gone < os.stat(source).st_size:
        raise RaceError("the transfer did not go through the slow link")
    pair.receiver.ask("inbox", "discard", str(row["id"]))
    return 100 * used / seconds
