import itertools
from collections import deque
from collections.abc import Iterator

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from medp2p import limits
from medp2p.errors import (
    LinkLostError,
    LocalProtocolError,
    RemoteProtocolError,
    TransferAbortedError,
)
from medp2p.proto.conversation import ACROSS, Conversation
from medp2p.proto.frames import PACKING_FEATURE, ChunkHeader, Packing
from medp2p.proto.messages import (
    Abort,
    Answer,
    Bye,
    Commit,
    Fact,
    Facts,
    FactsAck,
    Hello,
    Message,
    Need,
    Offer,
    Page,
    PairConfirm,
    PairDone,
    PairRefused,
    PairReply,
    PairStart,
    Ping,
    Pong,
    Progress,
    Wait,
)
from medp2p.proto.tables import OPENING, TABLES, Role, Said, event_of

ID = bytes(16)
#: The last chunk is shorter.
CHUNKS = 1001
LENGTH = (CHUNKS - 1) * limits.CHUNK_BYTES + 10240
ROLES: tuple[Role, Role] = ("initiator", "responder")


def hello(kind: str, **changes: object) -> Hello:
    fields: dict[str, object] = {
        "software": "medp2p 1",
        "features": [],
        "run": ID,
        "sign_key": bytes(32),
        "clock_ms": 0,
        "kind": kind,
        "transfer": ID if kind == "transfer" else None,
    }
    return Hello(**{**fields, **changes})  # type: ignore[arg-type]


def offer(**changes: object) -> Offer:
    fields: dict[str, object] = {
        "transfer": ID,
        "offer": bytes(32),
        "layout": 1,
        "salt": bytes(32),
        "length": LENGTH,
        "manifest": bytes(32),
        "entries": 3,
        "files": 2,
        "file_bytes": 1000,
        "priority": "routine",
        "created_ms": 0,
        "label": b"",
        "note": "",
    }
    return Offer(**{**fields, **changes})  # type: ignore[arg-type]


CHUNK = ChunkHeader(0, limits.CHUNK_BYTES, bytes(32))
PACKED = ChunkHeader(0, limits.CHUNK_BYTES, bytes(32), Packing.ZSTD, 5)
BATCH = Facts([], last=True)
FACT = Fact(b"x", bytes(64))

#: One message for each event; "hello" depends on the kind.
SAMPLES: dict[str, Said] = {
    "offer": offer(),
    "answer:undecided": Answer("undecided"),
    "answer:full": Answer("full"),
    "answer:accepted": Answer("accepted"),
    "answer:ended": Answer("ended"),
    "page": Page(0, b"x", last=False),
    "page:last": Page(0, b"x", last=True),
    "wait": Wait("no-space", 2, 1),
    "need": Need([(0, 1)], last=False),
    "need:last": Need([], last=True),
    "progress": Progress(1),
    "chunk": CHUNK,
    "commit": Commit(bytes(32)),
    "pair-start": PairStart(17, bytes(33)),
    "pair-reply": PairReply(bytes(33)),
    "pair-refused": PairRefused("wrong-code"),
    "pair-confirm": PairConfirm(bytes(32)),
    "pair-done": PairDone(bytes(32), "", "", "", 0),
    "ping": Ping(),
    "pong": Pong(),
    "facts": BATCH,
    "facts-ack": FactsAck(0),
    "abort": Abort("cancelled", ""),
    "bye": Bye(),
}


class Samples:
    """Messages that fit those said before: pages and ranges go on where the last one ended."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.page = self.range = 0

    def __getitem__(self, event: str) -> Said:
        match event:
            case "hello":
                return hello("ping" if self.kind == "pairing" else self.kind)
            case "page" | "page:last":
                return Page(self.page, b"x", last=event == "page:last")
            case "need":
                return Need([(self.range, self.range + 1)], last=False)
        return SAMPLES[event]

    def said(self, event: str) -> None:
        if event == "page":
            self.page += 1
        elif event in ("need", "need:last"):
            self.range = self.range + 1 if event == "need" else 0


class ConnectionPair:
    """Both sides of a conversation; what one says the other hears, at once."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.samples = Samples(kind)
        self.sides: dict[Role, Conversation] = {role: Conversation(kind, role) for role in ROLES}

    @property
    def state(self) -> str:
        left, right = (self.sides[role].state for role in ROLES)
        assert left == right
        return left

    def say(self, role: Role, *said: Said) -> str:
        other: Role = "responder" if role == "initiator" else "initiator"
        for one in said:
            assert self.sides[role].may_send(one)
            self.sides[role].sent(one)
            self.sides[other].received_untrusted(one)
            self.samples.said(event_of(one))
        return self.state

    def open(self) -> "ConnectionPair":
        self.say("initiator", hello(self.kind))
        self.say("responder", hello(self.kind))
        return self

    def exchange(self) -> "ConnectionPair":
        self.open()
        self.say("initiator", BATCH)
        self.say("responder", FactsAck(0), BATCH)
        self.say("initiator", FactsAck(0))
        return self

    def to(self, state: str) -> "ConnectionPair":
        """Go the shortest way through the table to a state."""
        table, first = TABLES[self.kind], next(iter(TABLES[self.kind]))
        ways: dict[str, list[tuple[Role, str]]] = {first: []}
        waiting = deque([first])
        while waiting:
            at = waiting.popleft()
            for step, following in table[at].items():
                if following not in ways:
                    ways[following] = [*ways[at], step]
                    waiting.append(following)
        for role, event in ways[state]:
            if event == "offer":
                self.say("initiator", BATCH)
                self.say("responder", FactsAck(0), BATCH)
                self.say("initiator", FactsAck(0))
            self.say(role, self.samples[event])
        assert self.state == state
        return self


STATES = [(kind, state) for kind, table in TABLES.items() for state in table]
EVENTS = ["hello", *SAMPLES]


def exchanged(kind: str, state: str) -> bool:
    """Whether the pair has exchanged facts on the way to a state."""
    return kind == "transfer" and state not in ("hello", "hello-back", "open")


def legal(kind: str, state: str, role: Role, event: str) -> bool:
    """Say by the tables alone whether an event is legal; no facts or pings are open."""
    if event in ACROSS:
        if state in OPENING or event in ("pong", "facts-ack"):
            return False
        if event == "facts":
            return kind in ("transfer", "facts")
        return event != "abort" or kind == "transfer"
    if event == "offer" and not exchanged(kind, state):
        return False
    return (role, event) in TABLES[kind][state]


@pytest.mark.parametrize(("kind", "state"), STATES)
def test_every_state_and_message(kind: str, state: str) -> None:
    for role, event in itertools.product(ROLES, EVENTS):
        pair = ConnectionPair(kind).to(state)
        said = pair.samples[event]
        other: Role = "responder" if role == "initiator" else "initiator"
        ok = legal(kind, state, role, event)
        assert pair.sides[role].may_send(said) == ok
        if ok:
            pair.say(role, said)
            continue
        with pytest.raises(LocalProtocolError, match="we may not say"):
            pair.sides[role].sent(said)
        with pytest.raises(RemoteProtocolError):
            pair.sides[other].received_untrusted(said)


def test_the_tables_are_closed() -> None:
    for table in TABLES.values():
        for events in table.values():
            for (role, event), following in events.items():
                assert role in ROLES
                assert event in EVENTS
                assert event not in ACROSS
                assert following in table


def test_a_whole_transfer() -> None:
    pair = ConnectionPair("transfer").exchange()
    assert pair.say("initiator", offer()) == "offered"
    assert pair.say("responder", Answer("undecided"), Answer("accepted")) == "pages"
    assert pair.say("initiator", Page(0, b"x", last=False), Page(1, b"y", last=True)) == "checking"
    assert pair.say("responder", Wait("no-space", 2, 1), Need([(0, 1)], last=False)) == "needing"
    assert pair.say("responder", Need([(1, 2)], last=True)) == "streaming"
    assert pair.say("initiator", CHUNK, "chunk") == "streaming"
    assert pair.say("responder", Progress(1)) == "streaming"
    assert pair.say("initiator", Commit(bytes(32))) == "committed"
    assert pair.say("responder", Need([(0, 1)], last=True)) == "streaming"
    assert pair.say("initiator", CHUNK, Commit(bytes(32))) == "committed"
    pair.say("responder", Facts([FACT], last=True))
    pair.say("initiator", FactsAck(1), Bye())
    assert all(side.ended for side in pair.sides.values())


def test_an_offer_follows_the_facts_of_both() -> None:
    pair = ConnectionPair("transfer").open()
    assert not pair.sides["initiator"].facts_exchanged
    pair.say("initiator", Facts([FACT], last=False), BATCH)
    pair.say("responder", FactsAck(1))
    assert not pair.sides["initiator"].may_send(offer())
    pair.say("responder", BATCH)
    with pytest.raises(RemoteProtocolError, match="offer in state open"):
        pair.sides["responder"].received_untrusted(offer())


def test_a_batch_of_facts_is_acknowledged_before_the_next() -> None:
    pair = ConnectionPair("facts").open()
    left = pair.sides["initiator"]
    assert not left.may_send(FactsAck(0))
    pair.say("initiator", BATCH)
    assert not left.may_send(BATCH)
    pair.say("responder", FactsAck(0))
    assert left.may_send(BATCH)
    assert not pair.sides["responder"].may_send(FactsAck(0))


def test_each_ping_allows_one_pong() -> None:
    pair = ConnectionPair("ping").open()
    pair.say("initiator", Ping(), Ping())
    pair.say("responder", Pong(), Ping(), Pong())
    assert not pair.sides["responder"].may_send(Pong())
    with pytest.raises(RemoteProtocolError, match="pong in state open"):
        pair.sides["initiator"].received_untrusted(Pong())


def test_pairing_tells_both_names_in_any_order() -> None:
    for order in (ROLES, ROLES[::-1]):
        pair = ConnectionPair("pairing").to("done")
        for role in order:
            pair.say(role, SAMPLES["pair-done"])
        assert pair.state == "paired"
        assert not pair.sides["initiator"].may_send(SAMPLES["pair-done"])


def test_after_an_abort_only_facts_and_goodbyes() -> None:
    pair = ConnectionPair("transfer").to("streaming")
    pair.sides["initiator"].sent(Abort("source-changed", ""))
    # The receiver has not heard it yet.
    pair.sides["responder"].sent(Progress(1))
    pair.sides["responder"].received_untrusted(Abort("source-changed", ""))
    pair.sides["initiator"].received_untrusted(Progress(1))
    assert pair.state == "aborted"
    with pytest.raises(TransferAbortedError):
        pair.sides["responder"].sent(Progress(2))
    pair.say("initiator", Facts([FACT], last=True))
    pair.say("responder", FactsAck(1), Abort("cancelled", ""), Bye())
    with pytest.raises(LocalProtocolError, match="chunk after an abort"):
        ConnectionPair.say(_aborted_by_us(), "initiator", CHUNK)


def _aborted_by_us() -> ConnectionPair:
    pair = ConnectionPair("transfer").to("streaming")
    pair.say("initiator", Abort("source-changed", ""))
    pair.sides["initiator"].may_send = lambda said: True  # type: ignore[method-assign]
    return pair


def test_nothing_comes_after_an_abort_but_what_may() -> None:
    pair = ConnectionPair("transfer").to("streaming")
    pair.say("initiator", Abort("source-changed", ""))
    with pytest.raises(RemoteProtocolError, match="chunk after an abort"):
        pair.sides["responder"].received_untrusted(CHUNK)


def test_after_the_end_nothing() -> None:
    pair = ConnectionPair("facts").exchange()
    pair.say("initiator", Bye())
    for side in pair.sides.values():
        assert side.ended
        assert not side.may_send(Ping())
    with pytest.raises(LinkLostError, match="other side has ended"):
        pair.sides["responder"].sent(Ping())
    pair.sides["responder"].sent(Bye())
    pair.sides["initiator"].received_untrusted(Bye())
    with pytest.raises(RemoteProtocolError, match="ping after the end"):
        pair.sides["responder"].received_untrusted(Ping())
    left = ConnectionPair("facts").exchange().sides["initiator"]
    left.sent(Bye())
    left.received_untrusted(Ping())
    with pytest.raises(LocalProtocolError, match="bye after the end"):
        left.sent(Bye())


def test_errors_stay() -> None:
    side = Conversation("ping", "responder")
    with pytest.raises(RemoteProtocolError) as first:
        side.received_untrusted(Ping())
    assert side.state == "error"
    assert not side.may_send(hello("ping"))
    for call in (side.sent, side.received_untrusted):
        with pytest.raises(RemoteProtocolError) as again:
            call(hello("ping"))
        assert again.value is first.value


def test_the_first_message_makes_the_responder() -> None:
    side = Conversation.answering_untrusted(hello("transfer"))
    assert (side.kind, side.role, side.state) == ("transfer", "responder", "hello-back")
    firsts: list[Message] = [Ping(), SAMPLES["pair-start"], hello("data", transfer=ID)]  # type: ignore[list-item]
    for first in firsts:
        with pytest.raises(RemoteProtocolError, match="does not know"):
            Conversation.answering_untrusted(first)
    for kind, role in (("data", "responder"), ("transfer", "sender")):
        with pytest.raises(LocalProtocolError, match="conversation"):
            Conversation(kind, role)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("ours", "theirs", "agreed"),
    [
        ([PACKING_FEATURE], ["recall", PACKING_FEATURE], True),
        ([PACKING_FEATURE], [], False),
        ([], [PACKING_FEATURE], False),
    ],
)
def test_a_feature_is_there_once_both_have_named_it(
    ours: list[str], theirs: list[str], agreed: bool
) -> None:
    pair = ConnectionPair("transfer")
    pair.say("initiator", hello("transfer", features=ours))
    assert not any(side.agreed(PACKING_FEATURE) for side in pair.sides.values())
    pair.say("responder", hello("transfer", features=theirs))
    assert {side.agreed(PACKING_FEATURE) for side in pair.sides.values()} == {agreed}
    pair.say("initiator", BATCH)
    pair.say("responder", FactsAck(0), BATCH)
    pair.say("initiator", FactsAck(0), offer())
    pair.say("responder", Answer("accepted"))
    pair.say("initiator", Page(0, b"x", last=True))
    pair.say("responder", Need([(0, 1)], last=True))
    if agreed:
        pair.say("initiator", PACKED)
        pair.say("responder", Progress(1, waited=50))
    else:
        with pytest.raises(RemoteProtocolError, match="without its feature"):
            pair.sides["responder"].received_untrusted(PACKED)


@pytest.mark.parametrize(
    ("state", "role", "said", "text"),
    [
        ("hello", "initiator", hello("ping"), "hello for 'ping'"),
        ("hello", "initiator", hello("transfer", transfer=None), "where none belongs, or without"),
        ("hello-back", "responder", hello("transfer", transfer=b"x" * 16), "does not repeat"),
        ("hello-back", "responder", hello("transfer", index=1), "does not repeat"),
        ("offered", "responder", Facts([], last=False), "facts without any"),
        ("pages", "initiator", Page(1, b"x", last=True), "out of order"),
        ("pages", "initiator", Page(0, b"", last=True), "or empty"),
        ("checking", "responder", Need([], last=False), "without any range"),
        ("checking", "responder", Need([(0, CHUNKS + 1)], last=True), "beyond the stream"),
        ("checking", "responder", Need([(1, 1)], last=True), "out of order"),
        ("checking", "responder", Need([(1, 2), (0, 1)], last=True), "out of order"),
        ("streaming", "responder", Progress(CHUNKS + 1), "progress beyond"),
        ("streaming", "initiator", ChunkHeader(CHUNKS, 10240, bytes(32)), "chunk beyond"),
        ("streaming", "initiator", ChunkHeader(0, 10240, bytes(32)), "another length"),
        ("streaming", "initiator", ChunkHeader(CHUNKS - 1, 10241, bytes(32)), "another length"),
        ("streaming", "initiator", PACKED, "without its feature"),
        ("streaming", "responder", Progress(1, waited=50), "without its feature"),
    ],
)
def test_what_does_not_fit_is_refused(state: str, role: Role, said: Said, text: str) -> None:
    pair = ConnectionPair("transfer").to(state)
    other: Role = "responder" if role == "initiator" else "initiator"
    with pytest.raises(RemoteProtocolError, match=text):
        pair.sides[other].received_untrusted(said)
    with pytest.raises(LocalProtocolError, match=text):
        pair.sides[role].sent(said)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"transfer": b"x" * 16}, "another transfer"),
        ({"note": "\u20ac" * 1366}, "note too long"),
        ({"files": 4}, "numbers do not fit"),
        ({"file_bytes": LENGTH}, "numbers do not fit"),
        ({"length": 0, "file_bytes": 0}, "numbers do not fit"),
    ],
)
def test_offers_that_do_not_fit_are_refused(changes: dict[str, object], text: str) -> None:
    right = ConnectionPair("transfer").exchange().sides["responder"]
    with pytest.raises(RemoteProtocolError, match=text):
        right.received_untrusted(offer(**changes))


def test_pages_go_on_where_the_receiver_has_some() -> None:
    def pages(*numbers: int) -> None:
        pair = ConnectionPair("transfer").exchange()
        pair.say("initiator", offer())
        pair.say("responder", Answer("accepted", pages=3))
        pair.say("initiator", *(Page(number, b"x", last=False) for number in numbers))

    pages(3, 4)
    pages(2, 3)  # the last one comes again, even if it is there
    for numbers in ((4,), (3, 3), (3, 5), (3, 2)):
        with pytest.raises(LocalProtocolError, match="out of order"):
            pages(*numbers)


def test_the_last_chunk_is_shorter_and_lists_start_again() -> None:
    pair = ConnectionPair("transfer").to("checking")
    pair.say("responder", Need([(0, 1)], last=False), Need([(1, 2)], last=True))
    pair.say("initiator", CHUNK, ChunkHeader(CHUNKS - 1, 10240, bytes(32)), Commit(bytes(32)))
    pair.say("responder", Need([(0, 2)], last=True), Progress(2))


def test_every_message_has_an_event() -> None:
    assert {event_of(said) for said in SAMPLES.values()} == set(SAMPLES)
    assert event_of("chunk") == "chunk"


View = tuple[str, str, tuple[str, ...], tuple[str, ...]]


def steps(kind: str, view: View, most: int) -> Iterator[View]:
    """Return all that can happen next: one side says something, or hears the oldest."""
    left, right, to_right, to_left = view
    table = TABLES[kind]
    for (role, event), following in table[left].items():
        if role == "initiator" and len(to_right) < most:
            yield following, right, (*to_right, event), to_left
    for (role, event), following in table[right].items():
        if role == "responder" and len(to_left) < most:
            yield left, following, to_right, (*to_left, event)
    if to_right:
        yield left, table[right]["initiator", to_right[0]], to_right[1:], to_left
    if to_left:
        yield table[left]["responder", to_left[0]], right, to_right, to_left[1:]


@pytest.mark.parametrize(("kind", "most"), [("transfer", 4), ("pairing", 4), ("facts", 4)])
def test_every_order_of_saying_and_hearing(kind: str, most: int) -> None:
    # Up to four messages on the way each way; a KeyError here is one that may not be heard.
    first = next(iter(TABLES[kind]))
    seen: set[View] = set()
    waiting: list[View] = [(first, first, (), ())]
    while waiting:
        view = waiting.pop()
        if view in seen:
            continue
        seen.add(view)
        left, right, to_right, to_left = view
        assert to_right or to_left or left == right
        waiting += steps(kind, view, most)
    assert {left for left, *_ in seen} == set(TABLES[kind])


class Crossing(RuleBasedStateMachine):
    """What one side may say the other may hear, whatever is on its way meanwhile.

    And once nothing is on its way, both are in the same state, and someone may go on.
    """

    kind = "transfer"

    def __init__(self) -> None:
        super().__init__()
        self.samples = Samples(self.kind)
        self.sides: dict[Role, Conversation] = {
            role: Conversation(self.kind, role) for role in ROLES
        }
        self.wire: dict[Role, deque[Said]] = {role: deque() for role in ROLES}

    def choices(self, role: Role) -> list[str]:
        return [event for event in EVENTS if self.sides[role].may_send(self.samples[event])]

    @rule(role=st.sampled_from(ROLES), data=st.data())
    def say(self, role: Role, data: st.DataObject) -> None:
        choices = self.choices(role)
        # Endings are rare, else nothing else is explored.
        if data.draw(st.integers(0, 9)):
            choices = [event for event in choices if event not in ("abort", "bye")]
        if choices:
            event = data.draw(st.sampled_from(choices))
            said = self.samples[event]
            self.sides[role].sent(said)
            self.samples.said(event)
            self.wire[role].append(said)

    @precondition(lambda self: any(self.wire.values()))
    @rule(role=st.sampled_from(ROLES), count=st.integers(1, 5))
    def hear(self, role: Role, count: int) -> None:
        for _ in range(min(count, len(self.wire[role]))):
            other: Role = "responder" if role == "initiator" else "initiator"
            before = set(self.choices(other))
            said = self.wire[role].popleft()
            self.sides[other].received_untrusted(said)
            if event_of(said) not in ("abort", "bye"):
                # Nobody is told that it was a bug to say what was legal a moment ago.
                assert before <= set(self.choices(other))

    @invariant()
    def same_state_when_quiet(self) -> None:
        if not any(self.wire.values()):
            left, right = (self.sides[role] for role in ROLES)
            assert left.state == right.state
            assert left.ended == right.ended
            assert left.ended or self.choices("initiator") or self.choices("responder")


class CrossingFacts(Crossing):
    kind = "facts"


class CrossingPairing(Crossing):
    kind = "pairing"


TestCrossing = Crossing.TestCase
TestCrossingFacts = CrossingFacts.TestCase
TestCrossingPairing = CrossingPairing.TestCase
