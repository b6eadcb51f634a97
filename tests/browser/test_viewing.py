"""The watch over the tabs: a check that cannot fail checks nothing."""

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.viewing import Viewer

pytestmark = pytest.mark.browser

_ORIGIN = "http://127.0.0.1:9"


def blank(browser: Browser) -> tuple[Viewer, Page]:
    viewer = Viewer(browser)
    page = viewer.context().new_page()
    viewer.faults.watch(page, _ORIGIN)
    return viewer, page


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("() => console.error('odd')", "console error: odd"),
        ("() => console.warn('odd')", "console warning: odd"),
        ("() => { setTimeout(() => { throw new Error('odd') }) }", "script failed: odd"),
        (
            "() => fetch('http://127.0.0.1:1/x').catch(() => 0)",
            "another address: http://127.0.0.1:1/x",
        ),
    ],
)
def test_faults_are_noticed(browser: Browser, script: str, text: str) -> None:
    viewer, page = blank(browser)
    page.evaluate(script)
    page.evaluate("() => new Promise(setTimeout)")
    with pytest.raises(AssertionError, match=text):
        viewer.close()


def test_silence_is_no_fault(browser: Browser) -> None:
    viewer, page = blank(browser)
    page.evaluate("() => console.log('fine')")
    viewer.close()
