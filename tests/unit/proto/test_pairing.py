from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medp2p.errors import LocalProtocolError, PairingError, RemoteProtocolError
from medp2p.proto.messages import PairConfirm, PairReply, PairStart
from medp2p.proto.pairing import Joiner, Waiter

HASH, ALICE, BOB, MALLORY = (bytes([n]) * 32 for n in (9, 1, 2, 3))
WORDS = "otter-candle"


def joiner(
    words: str = WORDS, number: int = 17, channel: bytes = HASH, peer: bytes = BOB
) -> Joiner:
    return Joiner(words, number, channel, ALICE, peer)


def waiter(
    words: str = WORDS, number: int = 17, channel: bytes = HASH, peer: bytes = ALICE
) -> Waiter:
    return Waiter(words, number, channel, BOB, peer)


def test_the_right_words_pair() -> None:
    left, right = joiner(), waiter()
    left.confirm(right.confirm(left.reply(right.start(left.start()))))
    assert left.burnt
    assert right.burnt


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (lambda: joiner("otter-candy"), waiter),
        (lambda: joiner(channel=bytes(32)), waiter),
        (lambda: joiner(peer=MALLORY), waiter),
        (joiner, lambda: waiter(peer=MALLORY)),
    ],
    ids=["words", "channel", "waiter's key", "joiner's key"],
)
def test_anything_else_is_a_wrong_code(
    left: Callable[[], Joiner], right: Callable[[], Waiter]
) -> None:
    a, b = left(), right()
    confirm = a.reply(b.start(a.start()))
    with pytest.raises(PairingError, match="code was wrong") as wrong:
        b.confirm(confirm)
    assert wrong.value.hint is not None
    assert a.burnt
    assert b.burnt


def test_a_waiter_that_does_not_know_the_words_is_found_out() -> None:
    left, right = joiner(), waiter("otter-candy")
    left.reply(right.start(left.start()))
    with pytest.raises(PairingError, match="code was wrong"):
        left.confirm(PairConfirm(bytes(32)))


def test_someone_in_the_middle_who_relays_everything_is_found_out() -> None:
    # Two Noise channels, so two handshake hashes, and Mallory's key in place of the others'.
    left = Joiner(WORDS, 17, b"L" * 32, ALICE, MALLORY)
    right = Waiter(WORDS, 17, b"R" * 32, BOB, MALLORY)
    confirm = left.reply(right.start(left.start()))
    with pytest.raises(PairingError, match="code was wrong"):
        right.confirm(confirm)


def test_someone_in_the_middle_gains_one_guess_and_burns_the_code() -> None:
    left = Joiner(WORDS, 17, b"L" * 32, ALICE, MALLORY)
    guess = Waiter("wrong-guess", 17, b"L" * 32, MALLORY, ALICE)
    confirm = left.reply(guess.start(left.start()))
    with pytest.raises(PairingError):
        guess.confirm(confirm)
    assert left.burnt
    with pytest.raises(LocalProtocolError, match="out of order"):
        left.reply(guess_again())


def guess_again() -> PairReply:
    return Waiter("other-guess", 17, b"L" * 32, MALLORY, ALICE).start(
        Joiner("other-guess", 17, b"L" * 32, ALICE, MALLORY).start()
    )


@pytest.mark.parametrize("side", [b"A", b"B"])
def test_our_own_message_sent_back_is_refused(side: bytes) -> None:
    left = joiner()
    element = left.start().spake
    with pytest.raises(RemoteProtocolError, match="pairing element"):
        left.reply(PairReply(side + element[1:]))


def test_our_own_confirmation_sent_back_is_refused() -> None:
    left, right = joiner(), waiter()
    confirm = left.reply(right.start(left.start()))
    with pytest.raises(PairingError):
        left.confirm(confirm)


def test_breaking_off_before_the_confirmation_burns_nothing() -> None:
    left, right = joiner(), waiter()
    right.start(left.start())
    assert not left.burnt
    assert not right.burnt


def test_another_number_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="another number"):
        waiter().start(joiner(number=18).start())


#: Zero; a point of order 8; y that gives no point; too short.
@pytest.mark.parametrize(
    "element",
    [
        (1).to_bytes(32, "little"),
        bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
        (2).to_bytes(32, "little"),
        b"",
    ],
)
def test_hostile_elements_are_refused(element: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="pairing element"):
        waiter().start(PairStart(17, b"A" + element))
    left = joiner()
    left.start()
    with pytest.raises(RemoteProtocolError, match="pairing element"):
        left.reply(PairReply(b"B" + element))
    assert not left.burnt


@settings(max_examples=20, deadline=None)
@given(st.binary(min_size=33, max_size=33))
def test_random_elements_raise_nothing_else(element: bytes) -> None:
    right = waiter()
    try:
        right.start(PairStart(17, element))
    except RemoteProtocolError:
        return
    with pytest.raises(PairingError):
        right.confirm(PairConfirm(bytes(32)))


def test_each_step_is_taken_once_and_in_order() -> None:
    left, right = joiner(), waiter()
    with pytest.raises(LocalProtocolError, match="out of order"):
        left.confirm(PairConfirm(bytes(32)))
    with pytest.raises(LocalProtocolError, match="out of order"):
        right.confirm(PairConfirm(bytes(32)))
    start = left.start()
    with pytest.raises(LocalProtocolError, match="out of order"):
        left.start()
    right.start(start)
    with pytest.raises(LocalProtocolError, match="out of order"):
        right.start(start)


def test_after_a_bad_element_nothing_can_be_confirmed() -> None:
    right = waiter()
    with pytest.raises(RemoteProtocolError):
        right.start(PairStart(17, bytes(33)))
    with pytest.raises(LocalProtocolError, match="out of order"):
        right.confirm(PairConfirm(bytes(32)))


@pytest.mark.parametrize("short", range(3))
def test_bindings_have_their_length(short: int) -> None:
    channel, mine, peer = (
        key[:31] if n == short else key for n, key in enumerate((HASH, BOB, ALICE))
    )
    for side in (Joiner, Waiter):
        with pytest.raises(LocalProtocolError, match="handshake hash and two keys"):
            side(WORDS, 17, channel, mine, peer)


def test_randomness_is_an_argument() -> None:
    def zeros(count: int) -> bytes:
        return bytes(count)

    first = Joiner(WORDS, 17, HASH, ALICE, BOB, random_bytes=zeros).start()
    assert Joiner(WORDS, 17, HASH, ALICE, BOB, random_bytes=zeros).start() == first
    assert joiner().start() != joiner().start()
