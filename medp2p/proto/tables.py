"""Who may say what, and when: one table for each kind of conversation.

A table maps a state to what may be said in it: (role, event) -> next state. Both sides obey
the same table and both follow what either of them says; what is not in it is an error.

Events are the tags of messages; some are split by what the message says ("page:last"), and
"chunk" stands for a chunk frame. Heartbeats, facts, Abort and Bye lie across all states and
are in conversation.py.

Messages cross on the wire, so a side may hear what was said before the other had heard it.
The tables give the word to one side at a time: what both may say in one state changes it for
neither, or in any order alike. A test explores every order of saying and hearing: whatever
one side may say, the other may hear, and once nothing is on the wire both are in the same
state.

Source: docs/PROTOCOL.md, "States".
"""

from typing import Final, Literal

from medp2p.proto.frames import ChunkHeader
from medp2p.proto.messages import Answer, Message, Need, Page

Role = Literal["initiator", "responder"]
Table = dict[str, dict[tuple[Role, str], str]]
#: What a conversation follows; "chunk" stands for a chunk whose header is not at hand.
Said = Message | ChunkHeader | Literal["chunk"]

I: Final[Role] = "initiator"  # noqa: E741 - in the tables below nothing else is as readable
R: Final[Role] = "responder"

_HELLO: Final[Table] = {
    "hello": {(I, "hello"): "hello-back"},
    "hello-back": {(R, "hello"): "open"},
}

#: The initiator is the sender of the transfer.
TRANSFER: Final[Table] = {
    **_HELLO,
    # Both deliver their facts; when both have been acknowledged, the offer may follow.
    "open": {(I, "offer"): "offered"},
    "offered": {
        (R, "answer:undecided"): "offered",
        (R, "answer:full"): "offered",
        (R, "answer:accepted"): "pages",
        (R, "answer:ended"): "settled",
    },
    "pages": {(I, "page"): "pages", (I, "page:last"): "checking"},
    # The receiver checks the manifest and makes room.
    "checking": {
        (R, "wait"): "checking",
        (R, "progress"): "checking",
        (R, "need"): "needing",
        (R, "need:last"): "streaming",
    },
    # In the middle of a list of what is missing.
    "needing": {(R, "need"): "needing", (R, "need:last"): "streaming"},
    "streaming": {
        (I, "chunk"): "streaming",
        (I, "commit"): "committed",
        (R, "progress"): "streaming",
    },
    # The receiver flushes and compares; its fact "sealed" follows, or more that is missing.
    "committed": {
        (R, "progress"): "committed",
        (R, "wait"): "committed",
        (R, "need"): "needing",
        (R, "need:last"): "streaming",
    },
    "settled": {},
}

FACTS: Final[Table] = {**_HELLO, "open": {}}
PING: Final[Table] = {**_HELLO, "open": {}}

#: The initiator is the joiner: on its side the code is typed.
PAIRING: Final[Table] = {
    "start": {(I, "pair-start"): "reply"},
    "reply": {(R, "pair-reply"): "confirm", (R, "pair-refused"): "refused"},
    "confirm": {(I, "pair-confirm"): "answer"},
    "answer": {(R, "pair-confirm"): "done", (R, "pair-refused"): "refused"},
    # Both tell who they are, in any order.
    "done": {(I, "pair-done"): "done-joiner", (R, "pair-done"): "done-waiter"},
    "done-joiner": {(R, "pair-done"): "paired"},
    "done-waiter": {(I, "pair-done"): "paired"},
    "refused": {},
    "paired": {},
}

TABLES: Final[dict[str, Table]] = {
    "transfer": TRANSFER,
    "facts": FACTS,
    "ping": PING,
    "pairing": PAIRING,
}

#: The states in which nothing but the table is legal: no heartbeat, facts, Abort or Bye.
OPENING: Final = frozenset({"hello", "hello-back", "start"})


def event_of(said: Said) -> str:
    """Return the event that the tables know a message or chunk by."""
    if isinstance(said, str | ChunkHeader):
        return "chunk"
    tag = str(said.__struct_config__.tag)
    if isinstance(said, Answer):
        return f"{tag}:{said.state}"
    if isinstance(said, Page | Need) and said.last:
        return f"{tag}:last"
    return tag
