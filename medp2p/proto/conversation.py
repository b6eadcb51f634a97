"""One conversation: the state that both sides of a connection share.

A Conversation is told everything that this side says (``sent``, before it is written) and
hears (``received_untrusted``, before anything is made of it). It knows which message is legal
when, and that what messages say of chunks and pages fits the offer. It knows nothing of
files, keys or time.

Beside the state of the table there are three things that lie across it:

- heartbeats: Ping at any time, Pong for each;
- facts: each side has a lane of its own. Facts with ``last`` ends a batch, FactsAck answers
  it, and the next batch may follow. The first batch of both, empty or not, precedes an Offer;
- endings: Abort ends the transfer (facts may still follow), Bye ends the conversation.

Source: docs/PROTOCOL.md, "States".
"""

from typing import Self

from medp2p.errors import (
    LinkLostError,
    LocalProtocolError,
    MedP2PError,
    RemoteProtocolError,
    TransferAbortedError,
)
from medp2p.proto.contents import Contents
from medp2p.proto.messages import Facts, Hello, Message
from medp2p.proto.tables import OPENING, TABLES, Role, Said, event_of

_FACTS_KINDS = frozenset({"transfer", "facts"})
#: Events that lie across the states of the tables.
ACROSS = frozenset({"ping", "pong", "facts", "facts-ack", "abort", "bye"})


class _Lane:
    """The facts that one side delivers: "idle" -> "open" -> "unacked" -> "idle"."""

    def __init__(self) -> None:
        self.state = "idle"
        self.exchanged = False

    def delivered(self, last: bool) -> None:
        self.state = "unacked" if last else "open"

    def acknowledged(self) -> None:
        self.state = "idle"
        self.exchanged = True


class Conversation:
    """What was said so far on one connection, and what may be said next.

    Args:
        kind: "transfer", "facts", "ping" or "pairing".
        role: Which side we are; the initiator dialled. In a transfer it is the sender, in
            pairing the joiner.

    Raises:
        LocalProtocolError: There is no such kind or role.

    Errors stay: after one, both calls only raise it again.
    """

    def __init__(self, kind: str, role: Role) -> None:
        if kind not in TABLES or role not in ("initiator", "responder"):
            raise LocalProtocolError(f"conversation {kind!r} as {role!r}")
        self.kind = kind
        self.role: Role = role
        self._other = _other(role)
        self._state = next(iter(TABLES[kind]))
        self._lanes: dict[Role, _Lane] = {"initiator": _Lane(), "responder": _Lane()}
        self._pings: dict[Role, int] = {"initiator": 0, "responder": 0}
        self._aborted: set[Role] = set()
        self._gone: set[Role] = set()
        self._contents = Contents(kind)
        self._error: MedP2PError | None = None

    @classmethod
    def answering_untrusted(cls, first: Message) -> Self:
        """Return the responder's side of the session that a first message asks for.

        Raises:
            RemoteProtocolError: Not a Hello, or for a kind that this version does not have.
        """
        if not isinstance(first, Hello) or first.kind not in TABLES:
            raise RemoteProtocolError("a session that this version does not know")
        conversation = cls(first.kind, "responder")
        conversation.received_untrusted(first)
        return conversation

    @property
    def state(self) -> str:
        """State of the table, "aborted" after an Abort of either side, or "error"."""
        if self._error is not None:
            return "error"
        return "aborted" if self._aborted else self._state

    @property
    def ended(self) -> bool:
        """Whether either side has said Bye: nothing more is said."""
        return bool(self._gone)

    def agreed(self, feature: str) -> bool:
        """Return whether both sides have named a feature in their Hello."""
        return self._contents.agreed(feature)

    @property
    def facts_exchanged(self) -> bool:
        """Whether both sides have delivered a batch of facts and had it acknowledged."""
        return all(lane.exchanged for lane in self._lanes.values())

    def may_send(self, said: Said) -> bool:
        """Whether ``sent`` would take this kind of message now; changes nothing."""
        if self._error is not None or self._gone:
            return False
        event = event_of(said)
        if event in ACROSS:
            return self._across_fits(self.role, event)
        return not self._aborted and self._next(self.role, event) is not None

    def sent(self, said: Said) -> None:
        """Follow what this side is about to say.

        Raises:
            LinkLostError: The other side has said Bye meanwhile: nobody would hear it.
            TransferAbortedError: The other side has sent Abort meanwhile.
            LocalProtocolError: It is not ours to say that now; our bug.
        """
        self._raise_again()
        event = event_of(said)
        if self._other in self._gone and event != "bye":
            raise LinkLostError("the other side has ended the conversation")
        if self._other in self._aborted and event not in ACROSS:
            raise TransferAbortedError("the other side has ended the transfer")
        try:
            self._follow_untrusted(self.role, event, said)
        except RemoteProtocolError as error:
            self._error = LocalProtocolError(f"we may not say {error}")
            raise self._error from error

    def received_untrusted(self, said: Said) -> None:
        """Follow what the other side said.

        Raises:
            RemoteProtocolError: It was not the other side's to say that now, or what it
                says does not fit what was said before.
        """
        self._raise_again()
        try:
            self._follow_untrusted(self._other, event_of(said), said)
        except RemoteProtocolError as error:
            self._error = error
            raise

    def _raise_again(self) -> None:
        if self._error is not None:
            raise self._error

    def _follow_untrusted(self, role: Role, event: str, said: Said) -> None:
        if role in self._gone:
            raise RemoteProtocolError(f"{event} after the end")
        if event in ACROSS:
            if not self._across_fits(role, event):
                raise RemoteProtocolError(f"{event} in state {self.state}")
            self._contents.check_untrusted(said)
            self._follow_across(role, event, said)
            return
        if role in self._aborted:
            raise RemoteProtocolError(f"{event} after an abort")
        following = self._next(role, event)
        if following is None:
            raise RemoteProtocolError(f"{event} in state {self.state}")
        self._contents.check_untrusted(said)
        self._state = following

    def _next(self, role: Role, event: str) -> str | None:
        """Return the state that an event of the table leads to, or None if it is not legal."""
        if event == "offer" and not self.facts_exchanged:
            return None
        return TABLES[self.kind][self._state].get((role, event))

    def _across_fits(self, role: Role, event: str) -> bool:
        if self._state in OPENING:
            return False
        other = _other(role)
        match event:
            case "pong":
                return self._pings[other] > 0
            case "facts":
                return self.kind in _FACTS_KINDS and self._lanes[role].state != "unacked"
            case "facts-ack":
                return self._lanes[other].state == "unacked"
            case "abort":
                return self.kind == "transfer" and role not in self._aborted
        return True

    def _follow_across(self, role: Role, event: str, said: Said) -> None:
        match event:
            case "ping":
                self._pings[role] += 1
            case "pong":
                self._pings[_other(role)] -= 1
            case "facts":
                self._lanes[role].delivered(isinstance(said, Facts) and said.last)
            case "facts-ack":
                self._lanes[_other(role)].acknowledged()
            case "abort":
                self._aborted.add(role)
            case _:
                self._gone.add(role)


def _other(role: Role) -> Role:
    return "responder" if role == "initiator" else "initiator"
