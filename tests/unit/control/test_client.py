"""The client against a served desk: answers, errors as their own classes, events, lost daemons."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from medp2p import errors, limits
from medp2p.control.client import Client, error_from_json, to_b64
from medp2p.control.unix import listen_unix
from medp2p.errors import (
    ConflictError,
    ControlError,
    MedP2PError,
    NoDaemonError,
    NotFoundError,
    UnknownPeerError,
    UsageError,
)
from tests.helpers.desk import (
    FakeHome,
    MemoryDesk,
    Served,
    peer_json,
    serve_in_thread,
    transfer_json,
)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serve_in_thread(tmp_path, MemoryDesk()) as one:
        yield one


@pytest.fixture
def client(tmp_path: Path, served: Served) -> Client:
    return Client(FakeHome(tmp_path).socket, "/the/home")


def test_a_query_and_its_errors(client: Client, served: Served) -> None:
    assert client.get("status")["name"] == "a"
    with pytest.raises(UnknownPeerError, match="no peer is called b") as caught:
        client.get("peers", "b")
    assert caught.value.exit_code == 8
    assert caught.value.hint == UnknownPeerError.default_hint
    served.desk.peers_by_name["b"] = peer_json("b")
    assert client.get("peers", "b")["key_words"]


WORDS = [
    "",
    " ",
    "/",
    ".",
    "..",
    "?",
    "a/b",
    "/cancel",
    "a?b=c",
    "ä \x1b",
    "%2e",
    "%2F",
    "a#b",
    "a b",
]


@pytest.mark.parametrize("name", WORDS)
def test_a_word_of_an_address_arrives_as_it_is(client: Client, served: Served, name: str) -> None:
    for method, more in (("GET", ()), ("DELETE", ()), ("PATCH", ()), ("POST", ("verify",))):
        with pytest.raises(UnknownPeerError) as caught:
            client.ask(method, ("peers", name, *more), body={"settings": {}})
        assert caught.value.text == f"no peer is called {name}"
    for more in ((), ("proof",)):
        with pytest.raises(NotFoundError, match="no transfer has an id that begins so"):
            client.get("transfers", name, *more)
    for act in ("cancel", "recall", "accept", "decline", "release", "verify", "discard"):
        with pytest.raises(NotFoundError, match="no transfer has an id that begins so"):
            client.act("transfers", name, act, body={"to_b64": ""} if act == "release" else {})
    with pytest.raises(NotFoundError, match="no target has that name"):
        client.ask("DELETE", ("targets", name))
    with pytest.raises(NotFoundError, match="no such scan"):
        client.get("scans", name)


def test_a_word_that_is_no_text_is_a_name_of_nobody(client: Client) -> None:
    with pytest.raises(UnknownPeerError, match="no peer is called \ufffd"):
        client.get("peers", "\udcff")


def test_a_peer_may_bear_any_name(client: Client, served: Served) -> None:
    for name in WORDS:
        served.desk.peers_by_name[name] = peer_json(name)
        assert client.get("peers", name)["name"] == name


def test_an_act_of_each_kind(client: Client, served: Served, tmp_path: Path) -> None:
    client.post("peers", body={"name": "b", "peer_id": "X", "addresses": ["h:1"]})
    client.ask("PATCH", ("peers", "b"), body={"settings": {"accept": "auto"}})
    client.post("peers", "b", "verify")
    (tmp_path / "file").write_bytes(b"12345")
    paths = [to_b64(bytes(tmp_path / "file"))]
    scan = client.post("scans", body={"peer": "b", "paths_b64": paths})
    state = client.get("scans", scan["scan"], wait="1")
    assert (state["state"], state["files"], state["bytes"]) == ("done", 1, 5)
    sent = client.post("transfers", body={"scan": scan["scan"], "peer": "b", "note": "ä"})
    assert sent["note"] == "ä"
    assert client.post("transfers", sent["id"][:4], "cancel")["state"] == "cancelled"
    assert [what for what, _ in served.desk.acts] == [
        "add-peer",
        "set-peer",
        "verify-peer",
        "send",
        "cancelled",
    ]
    assert [row["id"] for row in client.get("transfers")] == [sent["id"]]
    assert client.get("transfers", direction="in") == []
    assert client.ask("DELETE", ("peers", "b"))["name"] == "b"


def test_acts_on_the_inbox(client: Client, served: Served, tmp_path: Path) -> None:
    for transfer in ("a" * 26, "b" * 26):
        served.desk.transfers_by_id[transfer] = transfer_json(transfer, "in", "b", "offered")
    row = client.post("transfers", "bb", "decline", body={"reason": "not ours"})
    assert row["reason"]["text"] == "not ours"
    assert client.post("transfers", "aa", "accept")["state"] == "accepted"
    with pytest.raises(ConflictError, match="accepted cannot become accepted"):
        client.post("transfers", "aa", "accept")
    served.desk.transfers_by_id["a" * 26]["state"] = "sealed"
    assert client.act("transfers", "aa", "verify")["state"] == "sealed"
    row = client.act("transfers", "aa", "release", body={"to_b64": to_b64(bytes(tmp_path))})
    assert row["released_to"] == str(tmp_path / "aaaaaaaa")
    assert client.act("transfers", "aa", "discard")["state"] == "discarded"


def test_audit_alarms_pairing_and_the_rest(client: Client, served: Served) -> None:
    served.desk.audit_rows = [{"seq": number} for number in range(5)]
    served.desk.alarm_rows = [{"id": 3, "text": "key changed"}]
    assert [row["seq"] for row in client.get("audit", limit="2", after="1")] == [2, 3]
    assert [row["seq"] for row in client.get("audit", limit="2")] == [3, 4]
    assert client.get("audit", "verify")["ok"] is True
    assert client.post("alarms", "3", "acknowledge")["acknowledged"] is True
    assert client.get("alarms")[0]["id"] == 3
    assert client.get("pairing")["state"] == "closed"
    assert client.post("pairing")["state"] == "open"
    assert client.post("pairing", "join", body={"code": "7-amber-bison"})["name"] == "b"
    assert client.ask("DELETE", ("pairing",))["state"] == "closed"
    for word in ("identity", "config", "nearby", "doctor"):
        client.get(word)
    assert client.post("reload")


@pytest.mark.parametrize(
    ("parts", "body", "text"),
    [
        (("transfers",), {"scan": "s"}, "missing required field `peer`"),
        (("transfers",), {"scan": "s", "peer": "b", "x": 1}, "unknown field `x`"),
        (("transfers",), {"scan": "s", "peer": "b", "priority": "high"}, "Invalid enum value"),
        (("scans",), {"peer": "b", "paths_b64": ["!"]}, "Invalid base64"),
        (("peers",), {"name": 1, "peer_id": "X"}, "Expected `str`, got `int`"),
        (("pairing", "join"), {"code": "c", "at": 5}, r"\$\.at"),
    ],
)
def test_bodies_that_do_not_fit(
    client: Client, parts: tuple[str, ...], body: dict[str, object], text: str
) -> None:
    with pytest.raises(UsageError, match=text):
        client.post(*parts, body=body)


@pytest.mark.parametrize("value", ["x", "", "1.5", "9" * 16, "--1", "²"])
def test_numbers_of_a_query(client: Client, value: str) -> None:
    with pytest.raises(UsageError, match="limit is a whole number"):
        client.get("audit", limit=value)


def test_addresses_that_do_not_exist(client: Client) -> None:
    with pytest.raises(NotFoundError, match="no such address"):
        client.get("secrets")
    with pytest.raises(UsageError, match="no such method"):
        client.ask("DELETE", ("status",))
    with pytest.raises(UsageError, match="direction is in or out"):
        client.get("transfers", direction="up")
    for number in ("x", "-1", "²", str(2**63), "9" * 5000):
        with pytest.raises(NotFoundError, match="no alarm has that number"):
            client.post("alarms", number, "acknowledge")


def test_a_request_that_is_too_large_is_not_sent(client: Client) -> None:
    with pytest.raises(UsageError, match="too much for one request"):
        client.post("scans", body={"peer": "x" * limits.MAX_API_BODY_BYTES})


def test_events_arrive_as_they_happen(client: Client, served: Served) -> None:
    served.desk.transfers_by_id["a" * 26] = transfer_json("a" * 26, "in", "b", "offered")
    events = (event for event in client.events() if event is not None)
    assert next(events)["event"] == "status"
    served.call(served.desk.change, "a" * 26, state="accepted")
    assert next(events)["transfer"]["state"] == "accepted"
    served.call(served.desk.change, "a" * 26, note="\udcff\x1b ä")
    assert next(events)["transfer"]["note"] == "\udcff\x1b ä"
    events.close()
    assert served.wait(lambda: not served.desk.readers)


def test_ticks_come_without_events(
    client: Client, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "API_TICK_SECONDS", 0.25)  # four of them are its patience
    events = client.events()
    seen = [next(events) for _ in range(4)]
    assert seen.count(None) >= 3


def test_the_end_of_the_daemon_ends_the_events(tmp_path: Path) -> None:
    with serve_in_thread(tmp_path, MemoryDesk()):
        events = Client(FakeHome(tmp_path).socket, "/the/home").events()
        next(events)
    with pytest.raises(NoDaemonError, match="ended before it answered"):
        list(events)


def test_nobody_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "none", tmp_path / "no" / "folder", tmp_path / "file" / "s"):
        client = Client(path, "/the/home")
        with pytest.raises(NoDaemonError, match="no daemon answers for /the/home") as caught:
            client.get("status")
        assert caught.value.exit_code == 3
        with pytest.raises(NoDaemonError):
            next(client.events())


def test_a_socket_left_behind_is_no_daemon(tmp_path: Path) -> None:
    listen_unix(tmp_path / "s", 1).close()
    with pytest.raises(NoDaemonError):
        Client(tmp_path / "s", "/the/home").get("status")


@pytest.mark.parametrize(
    ("answer", "kind", "text"),
    [
        (b"", NoDaemonError, "ended before it answered"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{}", NoDaemonError, "ended before"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", ControlError, "answered 200: abc"),
        (b"HTTP/1.1 500 X\r\nContent-Length: 2\r\n\r\n{}", ControlError, "gave no reason"),
        (b"HTTP/1.1 500 X\r\nContent-Length: 2\r\n\r\n[]", ControlError, "gave no reason"),
        (b"SSH-2.0-x\r\n\r\n", NoDaemonError, "ended before it answered"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", NoDaemonError, "ended before it answered"),
        (
            b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 500 X\r\nContent-Length: 2\r\n\r\n{}",
            ControlError,
            "gave no reason",
        ),
    ],
)
def test_answers_that_are_none(
    tmp_path: Path, answer: bytes, kind: type[MedP2PError], text: str
) -> None:
    with listen_unix(tmp_path / "s", 1) as server:

        def serve() -> None:
            accepted, _ = server.accept()
            with accepted:
                accepted.recv(65536)
                accepted.sendall(answer)
                accepted.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(kind, match=text):
            Client(tmp_path / "s", "/the/home").get("status")
        thread.join()


def test_an_event_that_comes_in_pieces(tmp_path: Path) -> None:
    event = b'data: {"event":"status"}\n\n'
    with listen_unix(tmp_path / "s", 1) as server:

        def serve() -> None:
            accepted, _ = server.accept()
            with accepted:
                accepted.recv(65536)
                accepted.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                for byte in event:
                    accepted.sendall(b"1\r\n%c\r\n" % byte)
                accepted.sendall(b"0\r\n\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        events = Client(tmp_path / "s", "/the/home").events()
        assert next(events) == {"event": "status"}
        with pytest.raises(NoDaemonError):
            next(events)
        thread.join()


def test_a_daemon_that_does_not_answer(tmp_path: Path) -> None:
    with listen_unix(tmp_path / "s", 1):
        client = Client(tmp_path / "s", "/the/home")
        with pytest.raises(ControlError, match="does not answer in time") as caught:
            client.ask("GET", ("status",), timeout=0.05)
    assert "doctor" in (caught.value.hint or "")


def all_classes(kind: type[MedP2PError]) -> Iterator[type[MedP2PError]]:
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield child
            yield from all_classes(child)


@pytest.mark.parametrize("kind", list(all_classes(MedP2PError)))
def test_errors_come_back_as_their_own_class(kind: type[MedP2PError]) -> None:
    back = error_from_json(kind("a text", hint="a hint").to_json())
    assert type(back) is kind
    assert (back.text, back.hint) == ("a text", "a hint")


def test_an_error_of_a_newer_daemon() -> None:
    back = error_from_json({"code": "news", "text": "a text", "hint": None})
    assert type(back) is ControlError
    assert (back.text, back.hint) == ("a text", None)
