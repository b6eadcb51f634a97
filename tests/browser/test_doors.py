"""Who may ask the page's listener for what: every route of the router, asked in every wrong way."""

import json as jsonlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.browser.stations import Pair, offer
from tests.browser.wire import (
    Address,
    Headers,
    Reply,
    Session,
    Wire,
    addresses,
    open_session,
    request_bytes,
    token_of,
    wire_of,
)
from tests.e2e.harness import Workstation

pytestmark = pytest.mark.browser

_PATIENT = "ROENTGEN"


@dataclass
class Ward:
    """A workstation with a peer and with an offer that nobody has decided."""

    station: Workstation
    transfer: str
    wire: Wire
    session: Session
    secrets: list[str]

    @property
    def addresses(self) -> list[Address]:
        """Every route, aimed at what is really there."""
        known = {"id": self.transfer, "name": "ct-room", "id:int": "1"}
        return addresses(known)

    def facts(self) -> dict[str, Any]:
        """All that a request could have changed, asked with a session."""
        return {
            path: self._told(path)
            for path in ("transfers", "peers", "targets", "pairing", "alarms", "audit/verify")
        }

    def _told(self, path: str) -> Any:
        headers = [*self.wire.usual, *self.session.headers]
        reply = self.wire.ask("GET", f"/v1/{path}", headers)
        assert reply.status == 200, reply
        if path == "peers":  # who is there at the moment is no doing of ours
            return [
                {key: peer[key] for key in ("name", "peer_id", "settings", "verified")}
                for peer in reply.document
            ]
        return reply.document


@pytest.fixture(scope="module")
def ward(pair: Pair, study: Path, tmp_path_factory: pytest.TempPathFactory) -> Ward:
    station, _ = pair
    transfer = offer(pair, study)
    station.cli("targets", "add", "pacs", f"folder:{tmp_path_factory.mktemp('pacs')}").ok()
    told = station.cli("id").ok().document
    # What nobody may read without a session.
    secrets = [told["peer_id"], told["key_words"], _PATIENT, transfer, "ct-room"]
    return Ward(station, transfer, wire_of(station), open_session(station), secrets)


def ask_all(ward: Ward, headers: Headers, **body: str) -> Iterator[tuple[Address, Reply]]:
    """Ask every route with these headers; the streams only for the beginning of their answer."""
    for address in ward.addresses:
        content = body if address.method in ("POST", "PATCH", "PUT") else b""
        yield (
            address,
            ward.wire.ask(address.method, address.path, headers, content, whole=not address.stream),
        )


def without(headers: Headers, name: str) -> list[tuple[str, str]]:
    return [(key, value) for key, value in headers if key != name]


def test_the_router_is_read(ward: Ward) -> None:
    """The loops below would pass if they asked for nothing."""
    paths = {(address.method, address.route) for address in addresses()}
    assert len(paths) > 60
    for known in (
        ("GET", "/v1/status"),
        ("GET", "/v1/events"),
        ("POST", "/v1/transfers/{id}/accept"),
        ("POST", "/session"),
        ("GET", "/"),
    ):
        assert known in paths


_HOSTS: tuple[list[str], ...] = (
    [],
    [""],
    ["evil.example"],
    ["127.0.0.1.evil.example"],
    ["localhost.evil.example:{port}"],
    ["evil.example:{port}"],
    ["127.0.0.1@evil.example"],
    ["127.0.0.1:{port}@evil.example"],
    ["127.0.0.1:{port}, evil.example"],
    ["127.0.0.1:{port}", "evil.example"],
    ["evil.example", "127.0.0.1:{port}"],
    ["0.0.0.0:{port}"],
    ["127.0.0.2:{port}"],
    ["2130706433:{port}"],
    ["127.1:{port}"],
    ["ward-a:{port}"],
)


def test_another_host_gets_nothing(ward: Ward) -> None:
    """DNS rebinding: a foreign name that leads to 127.0.0.1, with a session even."""
    before = ward.facts()
    for hosts in _HOSTS:
        told = [("Host", host.format(port=ward.wire.port)) for host in hosts]
        for origin in ([], [("Origin", f"http://{value}") for _, value in told[:1]]):
            for address, reply in ask_all(ward, [*told, *origin, *ward.session.headers]):
                assert reply.status in (400, 421), (hosts, address, reply)
                assert_tells_nothing(ward, reply)
    assert ward.facts() == before


_ORIGINS: tuple[list[str], ...] = (
    ["null"],
    [""],
    ["http://evil.example"],
    ["https://127.0.0.1:{port}"],
    ["http://127.0.0.1"],
    ["http://127.0.0.1:1"],
    ["http://127.0.0.1:{port}.evil.example"],
    ["http://localhost:{port}"],
    ["http://127.0.0.1:{port}/"],
    ["file://"],
    ["http://127.0.0.1:{port}", "http://evil.example"],
    ["http://evil.example", "http://127.0.0.1:{port}"],
)


def test_a_page_of_another_origin_gets_nothing(ward: Ward) -> None:
    before = ward.facts()
    for origins in _ORIGINS:
        told = [("Origin", origin.format(port=ward.wire.port)) for origin in origins]
        headers = [("Host", ward.wire.host), *told, *ward.session.headers]
        for address, reply in ask_all(ward, headers):
            assert reply.status == 403, (origins, address, reply)
            assert_tells_nothing(ward, reply)
    assert ward.facts() == before


def test_a_change_needs_an_origin(ward: Ward) -> None:
    before = ward.facts()
    for address, reply in ask_all(ward, [("Host", ward.wire.host), *ward.session.headers]):
        if address.method not in ("GET", "HEAD"):
            assert reply.status == 403, (address, reply)
    assert ward.facts() == before


def test_nothing_is_told_or_changed_without_a_session(ward: Ward) -> None:
    """The cookie goes to every port of the machine, so it is not enough; nor is the secret."""
    wire, session = ward.wire, ward.session
    other = open_session(ward.station)
    name, _, value = session.cookie.partition("=")
    attempts = {
        "nothing": [],
        "cookie only": [("Cookie", session.cookie)],
        "secret only": [("X-Medp2p-Session", session.secret)],
        "another secret": [("Cookie", session.cookie), ("X-Medp2p-Session", "x" * 43)],
        "empty secret": [("Cookie", session.cookie), ("X-Medp2p-Session", "")],
        "secret of another browser": Session(session.cookie, other.secret).headers,
        "cookie as secret": Session(session.cookie, value).headers,
        "another cookie": Session(f"{name}={'x' * len(value)}", session.secret).headers,
        "another name": Session(f"medp2p={value}", session.secret).headers,
        "not ASCII": Session(f"{name}=é", "é").headers,
        "a token": Session(session.cookie, token_of(ward.station)).headers,
    }
    before = ward.facts()
    for what, headers in attempts.items():
        for address, reply in ask_all(ward, [*wire.usual, *headers]):
            assert_tells_nothing(ward, reply)
            if not address.open:
                assert reply.status == 401, (what, address, reply)
                if address.method != "HEAD" and not address.stream:
                    assert reply.code == "no-session", (what, address, reply)
    assert ward.facts() == before


def test_with_a_session_every_route_answers(ward: Ward) -> None:
    """The refusals above are not there because all is refused."""
    headers = [*ward.wire.usual, *ward.session.headers]
    for address in addresses():
        if address.route == "/session" or address.path == "/v1/pairing/join":
            continue
        reply = ward.wire.ask(address.method, address.path, headers, b"", whole=not address.stream)
        allowed = {200, 400, 404, 405, 409} | ({403} if address.path == "/v1/web" else set())
        assert reply.status in allowed, (address, reply)
    ward.wire.ask("DELETE", "/v1/pairing", headers)


def test_a_read_never_changes_anything(ward: Ward) -> None:
    before = ward.facts()
    headers = [*ward.wire.usual, *ward.session.headers]
    disguised = [*headers, ("X-HTTP-Method-Override", "POST"), ("X-Method-Override", "POST")]
    acts = {address.path for address in ward.addresses if address.method not in ("GET", "HEAD")}
    assert f"/v1/transfers/{ward.transfer}/decline" in acts
    readable = {address.path for address in ward.addresses if address.method == "GET"}
    for path in acts:
        for method in ("GET", "HEAD", "OPTIONS"):
            asked = path + "?_method=POST&reason=x"
            stream = path == "/v1/events"
            reply = ward.wire.ask(method, asked, disguised, whole=not stream)
            if path not in readable:
                assert reply.status == 405, (method, path, reply)
    for path in readable:
        ward.wire.ask("GET", path, headers, b'{"reason":"x"}', whole=path != "/v1/events")
    assert ward.facts() == before


def test_every_answer_is_safe_to_show(ward: Ward) -> None:
    """Whatever the status: nothing framed, sniffed, shared or kept; no script but ours."""
    another = open_session(ward.station)  # it ends in between
    sessions: dict[str, Headers] = {
        "with a session": [*ward.wire.usual, *another.headers],
        "without": ward.wire.usual,
        "wrong host": [("Host", "evil.example")],
    }
    for what, headers in sessions.items():
        for address in addresses():
            reply = ward.wire.ask(address.method, address.path, headers, whole=not address.stream)
            assert_safe(reply, (what, address))
            if not address.path.startswith("/static/") and address.path != "/":
                assert reply.all("cache-control") == ["no-store"], (what, address, reply)


def assert_safe(reply: Reply, what: object) -> None:
    """Check the headers that keep a browser from doing harm with an answer."""
    (policy,) = reply.all("content-security-policy")
    rules = {part.split()[0]: part.split()[1:] for part in policy.split(";") if part.strip()}
    assert rules["default-src"] == ["'none'"], what
    for rule in ("frame-ancestors", "base-uri", "form-action"):
        assert rules[rule] == ["'none'"], (what, rule)
    for rule, sources in rules.items():
        if rule.endswith("-src"):
            assert set(sources) <= {"'self'", "'none'", "blob:"}, (what, policy)
    assert "blob:" not in rules.get("script-src", []), what
    assert reply.all("x-frame-options") == ["DENY"], what
    assert reply.all("x-content-type-options") == ["nosniff"], what
    assert reply.all("referrer-policy") == ["no-referrer"], what
    assert reply.all("cross-origin-resource-policy") == ["same-origin"], what
    assert reply.all("cross-origin-opener-policy") == ["same-origin"], what
    assert not reply.all("server"), what
    assert not [name for name, _ in reply.headers if name.startswith("access-control-")], what


def assert_tells_nothing(ward: Ward, reply: Reply) -> None:
    """Check that an answer has nothing that a session would be needed for."""
    text = reply.body.decode(errors="replace") + jsonlib.dumps(reply.headers)
    for secret in ward.secrets:
        assert secret not in text, (secret, reply)


@pytest.mark.parametrize(
    "path",
    [
        "/static/../api.py",
        "/static/../../../pyproject.toml",
        "/static/%2e%2e/%2e%2e/api.py",
        "/static/%2e%2e%2f%2e%2e%2fapi.py",
        "/static/..%5c..%5capi.py",
        "/static/....//api.py",
        "/static//etc/passwd",
        "/static/%2fetc%2fpasswd",
        "/static/app.js/../../routes.py",
        "/static/app.js%00.css",
        "/static/%00",
        "/static/\\..\\api.py",
        "/static/../templates/index.html",
        "/static/..;/api.py",
        "/static/",
        "/static",
        "/static/.",
        "/static/routes.py",
        "/static/" + "a" * 4000,
        "/static/" + "../" * 60 + "etc/passwd",
        "//etc/passwd",
        "/../etc/passwd",
        "/run/control.sock",
        "/keys/noise.key",
        "/templates/index.html",
    ],
)
def test_only_the_files_of_the_page_are_served(ward: Ward, path: str) -> None:
    reply = ward.wire.ask("GET", path, [*ward.wire.usual, *ward.session.headers])
    assert reply.status in (400, 404, 405, 414), reply
    for secret in (b"root:", b"import ", b"[project]", b"AGE-SECRET", b"<!doctype html"):
        assert secret not in reply.body.lower() or secret == b"import ", reply
    assert b"from medp2p" not in reply.body


def test_a_websocket_or_http2_is_no_way_in(ward: Ward) -> None:
    upgrade = [
        *ward.wire.usual,
        *ward.session.headers,
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="),
    ]
    with ward.wire.connect() as sock:
        data = request_bytes("GET", "/v1/events", upgrade)
        sock.sendall(data.replace(b"Connection: close", b"Connection: Upgrade"))
        assert b" 101 " not in sock.recv(4096)
    with ward.wire.connect() as sock:
        sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(100))
        assert b"root" not in sock.recv(4096)
