"""The page looked at as people with poor eyes, no mouse or a small screen have it: axe-core."""

from typing import Any

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page

from tests.browser.viewing import HEIGHTS, NARROW, WIDE, picture

_RUN = """async (rules) => {
  const found = await axe.run(document, {
    resultTypes: ['violations'],
    ...(rules ? { runOnly: { type: 'rule', values: rules } } : {}),
  });
  return found.violations.map((one) => ({
    rule: one.id, impact: one.impact, help: one.help,
    nodes: one.nodes.slice(0, 5).map((node) => node.html.slice(0, 200)),
    why: one.nodes.slice(0, 2).map((node) => node.failureSummary),
  }));
}"""
_WIDER = """() => {
  const screen = document.scrollingElement;
  if (screen.scrollWidth <= screen.clientWidth) return [];
  return [...document.querySelectorAll('body *')]
    .filter((one) => one.getBoundingClientRect().right > screen.clientWidth + 1)
    .map((one) => one.outerHTML.slice(0, 200));
}"""
#: A painted box without anything in it looks like a notice that has lost its text.
_EMPTY = """() => [...document.querySelectorAll('p, div, ul, ol, dl, li, section, strong')]
  .filter((one) => {
    const seen = getComputedStyle(one);
    const { width, height } = one.getBoundingClientRect();
    const painted = seen.backgroundColor !== 'rgba(0, 0, 0, 0)' || parseFloat(seen.borderLeftWidth);
    const bare = !one.textContent.trim() && !one.querySelector('*');
    return bare && painted && width > 2 && height > 2 && one.checkVisibility();
  })
  .map((one) => one.outerHTML.slice(0, 200));
"""
#: Marks of code in the daemon's texts; here code is an element.
_BACKTICKS = """() => document.body.innerText.split('\\n').filter((one) => one.includes('`'))"""
#: Only colours differ between the schemes.
_COLOURS = ["color-contrast"]


def violations(page: Page, rules: list[str] | None = None) -> list[Any]:
    """Return what axe finds that is serious or critical."""
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    found: list[Any] = page.evaluate(_RUN, rules)
    return [one for one in found if one["impact"] in ("serious", "critical")]


def empty_boxes(page: Page) -> list[str]:
    """Return what is painted on the page and holds nothing."""
    found: list[str] = page.evaluate(_EMPTY)
    return found


def look_at(page: Page, state: str) -> None:
    """Check a state of the page at both widths, in both schemes, and keep pictures of it.

    Fails on serious and critical findings of axe, where the page scrolls sideways, on boxes with
    nothing in them and on backticks.
    """
    found: dict[str, Any] = {}
    for width in (NARROW, WIDE):
        page.set_viewport_size({"width": width, "height": HEIGHTS[width]})
        found[f"{width}: wider than the screen"] = page.evaluate(_WIDER)
        found[f"{width}: backticks"] = page.evaluate(_BACKTICKS)
        found[f"{width}: empty boxes"] = empty_boxes(page)
        found[f"{width}"] = violations(page)
        picture(page, state)
    page.emulate_media(color_scheme="dark")
    found["dark"] = violations(page, _COLOURS)
    page.emulate_media(color_scheme="light")
    assert not (faults := {what: seen for what, seen in found.items() if seen}), (state, faults)
