"""A page of somebody else in the browser in which the page of medp2p is open.

It lies on another port of 127.0.0.1: to a browser that is the same site, so neither SameSite nor
the cookie's host keeps it out.
"""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.stations import Pair, offer
from tests.browser.viewing import Viewer, region
from tests.browser.wire import wire_of
from tests.e2e.harness import Hospital, Workstation

pytestmark = pytest.mark.browser


class Evil(BaseHTTPRequestHandler):
    """Serves an empty page, and notes what cookies a browser brings along."""

    cookies: list[str] = []  # noqa: RUF012 - of all requests

    def do_GET(self) -> None:
        self.cookies.append(self.headers.get("Cookie", ""))
        body = b"<!doctype html><title>evil</title><body>evil"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def evil() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Evil) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def ward(pair: Pair, study: Path) -> Workstation:
    """A workstation with an offer that nobody here may decide."""
    offer(pair, study)
    return pair[0]


_ATTEMPTS = """async ({ target, transfer }) => {
  const outcome = {};
  const attempt = async (name, act) => {
    try { outcome[name] = String(await act()); } catch (error) { outcome[name] = 'refused'; }
  };
  const decline = `${target}/v1/transfers/${transfer}/decline`;
  const included = { credentials: 'include' };
  await attempt('read', async () => (await fetch(`${target}/v1/overview`, included)).text());
  await attempt('shell', async () => (await fetch(`${target}/`, included)).text());
  await attempt('opaque', async () => {
    const answer = await fetch(`${target}/v1/overview`, { ...included, mode: 'no-cors' });
    return answer.type + (await answer.text());
  });
  for (const method of ['GET', 'POST']) {
    const body = method === 'POST' ? '{}' : undefined;
    await attempt(`decline by ${method}`, async () => {
      const answer = await fetch(decline, { ...included, mode: 'no-cors', method, body });
      return answer.type + (await answer.text());
    });
  }
  await attempt('decline with a header', async () => {
    const headers = { 'X-Medp2p-Session': 'x' };
    return (await fetch(decline, { ...included, method: 'POST', headers, body: '{}' })).text();
  });
  await attempt('patch', async () => (await fetch(`${target}/v1/peers/ct-room`,
    { ...included, method: 'PATCH', body: '{"settings":{"accept":"auto"}}' })).text());
  await attempt('beacon', () => navigator.sendBeacon(decline, '{}') && 'sent');
  const load = (tag, name, value) => new Promise((resolve, reject) => {
    const element = document.createElement(tag);
    element.onload = () => resolve('loaded');
    element.onerror = () => reject(new Error('refused'));
    element[name] = value;
    if (tag === 'link') element.rel = 'stylesheet';
    document.body.append(element);
  });
  await attempt('script', () => load('script', 'src', `${target}/v1/overview`));
  await attempt('script of ours', () => load('script', 'src', `${target}/static/session.js`));
  await attempt('image', () => load('img', 'src', `${target}/static/icon.svg`));
  await attempt('style', () => load('link', 'href', `${target}/static/base.css`));
  await attempt('module', () => import(`${target}/static/session.js`));
  await attempt('events', () => new Promise((resolve, reject) => {
    const source = new EventSource(`${target}/v1/events`, { withCredentials: true });
    source.onmessage = (event) => resolve(event.data);
    source.onerror = () => { source.close(); reject(new Error('refused')); };
  }));
  await attempt('websocket', () => new Promise((resolve, reject) => {
    const socket = new WebSocket(`${target.replace('http', 'ws')}/v1/events`);
    socket.onopen = () => resolve('open');
    socket.onerror = () => reject(new Error('refused'));
  }));
  const form = document.createElement('form');
  Object.assign(form, { method: 'POST', action: decline, target: 'hole', enctype: 'text/plain' });
  const hole = document.createElement('iframe');
  hole.name = 'hole';
  document.body.append(hole, form);
  await attempt('form', () => new Promise((resolve) => {
    hole.onload = () => {
      try { resolve(hole.contentDocument.body.textContent); } catch { resolve('refused'); }
    };
    form.submit();
  }));
  const frame = document.createElement('iframe');
  await attempt('frame', () => new Promise((resolve) => {
    frame.onload = () => {
      try { resolve(frame.contentDocument ? frame.contentDocument.body.textContent : 'refused'); }
      catch { resolve('refused'); }
    };
    frame.src = `${target}/`;
    document.body.append(frame);
  }));
  return outcome;
}"""


def test_a_page_on_another_port_can_do_nothing(
    ward: Workstation, viewer: Viewer, evil: str
) -> None:
    context = viewer.context()
    page = viewer.tab(context, ward)
    expect(region(page, "waiting")).to_contain_text("ROENTGEN")
    (row,) = ward.rows("inbox")
    before = ward.cli("peers").ok().document

    Evil.cookies.clear()
    foreign = context.new_page()
    foreign.goto(evil)
    target = wire_of(ward).origin
    outcome = foreign.evaluate(_ATTEMPTS, {"target": target, "transfer": row["id"]})
    harmless = {"refused", "opaque", "sent", ""}
    assert {name: said for name, said in outcome.items() if said not in harmless} == {}
    assert outcome["script of ours"] == outcome["image"] == outcome["frame"] == "refused"
    # The danger is real: the cookie of the page goes to every port.
    assert any("medp2p-" in cookie for cookie in Evil.cookies)

    assert ward.rows("inbox")[0]["state"] == "offered"
    after = ward.cli("peers").ok().document
    assert [peer["settings"] for peer in after] == [peer["settings"] for peer in before]
    expect(region(page, "waiting")).to_contain_text("ROENTGEN")  # and the session goes on


def test_a_window_that_somebody_opened_is_cut_off(
    ward: Workstation, viewer: Viewer, evil: str
) -> None:
    """Neither reading nor steering: and a token of theirs opens nothing over an open page."""
    context = viewer.context()
    page = viewer.tab(context, ward)
    foreign = context.new_page()
    foreign.goto(evil)
    target = wire_of(ward).origin
    viewer.faults.expect(403)
    with context.expect_page() as opened:
        foreign.evaluate(
            "target => { window.stolen = window.open(target + '/#' + 'y'.repeat(43)) }", target
        )
    window: Page = opened.value
    expect(window.locator("#closed")).to_be_visible()
    assert foreign.evaluate("() => window.stolen.closed")  # cut off by the opener policy
    assert window.evaluate("() => window.opener === null")
    expect(region(page, "waiting")).to_contain_text("ROENTGEN")


def test_two_workstations_in_one_browser(
    ward: Workstation, hospital: Hospital, viewer: Viewer
) -> None:
    """Their cookies share a host; the pages do not mix."""
    other = hospital.make("ward-b")
    context = viewer.context()
    one, two = viewer.tab(context, ward), viewer.tab(context, other)
    for _ in range(2):
        expect(one.locator("#banner-name")).to_have_text("ward-a")
        expect(two.locator("#banner-name")).to_have_text("ward-b")
        expect(region(one, "waiting")).to_contain_text("ROENTGEN")
        expect(region(two, "waiting")).not_to_contain_text("ROENTGEN")
        one.reload()
        two.reload()
    two.get_by_role("button", name="End session").click()
    expect(two.locator("#closed")).to_be_visible()
    expect(region(one, "waiting")).to_contain_text("ROENTGEN")
