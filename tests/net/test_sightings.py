"""What others say by mDNS is read within bounds, and floods lose only themselves."""

import ipaddress

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from medp2p import limits
from medp2p.net.discovery import Discovery
from medp2p.net.interfaces import Adapter, adapters, local_addresses, watch_addresses
from medp2p.net.mdns import Found
from medp2p.net.sightings import (
    Gone,
    Lookups,
    Seen,
    merge,
    parse_instance_untrusted,
    read_untrusted,
    worth_telling,
)

A, B = "a" * 26, "b" * 26


def numbered(number: int) -> str:
    """Return a fingerprint that no other number gives."""
    return "".join("abcdefghijklmnopqrstuvwxyz234567"[(number >> 5 * i) % 32] for i in range(26))


def seen(fingerprint: str, *hosts: str, name: str = "x", number: int | None = None) -> Seen:
    return Seen(fingerprint, name, tuple((host, 1) for host in hosts), number, 1)


@pytest.mark.parametrize(
    ("name", "fingerprint"),
    [
        (A, A),
        (A + "-2", A),
        (A + "-99999", None),
        (A[:-1], None),
        (A + "a", None),
        (A.upper(), None),
        ("a1" * 13, None),
        ("", None),
        (A + "\n", None),
        ("../../" + A, None),
    ],
)
def test_instance_names(name: str, fingerprint: str | None) -> None:
    assert parse_instance_untrusted(name) == fingerprint


def test_properties_are_read() -> None:
    found = Found(17820, ("10.0.0.1",), {b"name": "Röntgen".encode(), b"n": b"42", b"v": b"3"})
    assert read_untrusted(A, found) == Seen(A, "Röntgen", (("10.0.0.1", 17820),), 42, 3)


@pytest.mark.parametrize(
    "value", [None, b"", b"0", b"10000", b"-1", b"1e3", "²".encode(), b"9" * 200]
)
def test_odd_numbers_are_no_number(value: bytes | None) -> None:
    assert read_untrusted(A, Found(1, (), {b"n": value})).number is None


@given(
    st.dictionaries(st.sampled_from([b"name", b"n", b"v", b"x"]), st.none() | st.binary()),
    st.lists(st.text() | st.ip_addresses().map(str)),
)
def test_anything_may_be_said(properties: dict[bytes, bytes | None], hosts: list[str]) -> None:
    result = read_untrusted(A, Found(1, tuple(hosts), properties))
    assert len(result.name) <= limits.MAX_TOLD_CHARS
    assert len(result.addresses) <= limits.MAX_ROUTES


def test_useless_addresses_are_left_out_and_the_rest_sorted() -> None:
    hosts = (
        "fe80::1%2",
        "2001:db8::1",
        "fe80::2",  # link-local without its zone leads nowhere
        "0.0.0.0",  # noqa: S104
        "224.0.0.251",
        "127.0.0.1",
        "10.0.0.1",
    )
    found = read_untrusted(A, Found(1, hosts, {}))
    assert [host for host, _ in found.addresses] == ["10.0.0.1", "2001:db8::1", "fe80::1%2"]
    assert read_untrusted(A, Found(1, ("127.0.0.1",), {})).addresses == (("127.0.0.1", 1),)


def test_services_of_one_fingerprint_are_merged() -> None:
    first, second = seen(A, "1.1.1.1", name="old"), seen(A, "2.2.2.2", "1.1.1.1", number=7)
    assert merge([]) is None
    assert merge([first, second]) == seen(A, "2.2.2.2", "1.1.1.1", number=7)


def test_loopback_is_told_only_where_there_is_nothing_else() -> None:
    loopback = Adapter("lo", (ipaddress.ip_address("127.0.0.1"),), ())
    ether = Adapter("eth0", (ipaddress.ip_address("10.0.0.1"),), ())
    assert worth_telling([loopback, ether]) == ether.addresses
    assert worth_telling([loopback]) == loopback.addresses
    assert worth_telling([]) == loopback.addresses


@pytest.mark.parametrize(
    ("listening", "told"),
    [
        (["0.0.0.0", "::"], ["10.0.0.1", "10.0.0.7", "fd00::1", "fe80::1"]),  # noqa: S104
        (["0.0.0.0"], ["10.0.0.1", "10.0.0.7"]),  # noqa: S104 - no IPv6 here
        (["10.0.0.7"], ["10.0.0.7"]),
        (["fe80::1%eth0"], ["fe80::1"]),
        (["127.0.0.1"], ["127.0.0.1"]),
        (["10.0.0.99"], []),
    ],
)
def test_only_what_is_listened_on_is_told(listening: list[str], told: list[str]) -> None:
    found = [
        Adapter("lo", tuple(map(ipaddress.ip_address, ["127.0.0.1", "::1"])), ()),
        Adapter(
            "eth0",
            tuple(map(ipaddress.ip_address, ["10.0.0.1", "10.0.0.7", "fd00::1", "fe80::1"])),
            (),
        ),
    ]
    assert [str(address) for address in worth_telling(found, listening)] == told


def test_an_address_that_is_not_there_is_not_told() -> None:
    """Nor loopback in its place, on which nothing listens either."""
    assert worth_telling([], ["10.0.0.7"]) == ()


# --- floods ---------------------------------------------------------------------------------


async def test_flood_of_names_loses_its_oldest_and_paired_ones_come_first(
    autojump_clock: MockClock,
) -> None:
    lookups = Lookups(lambda fingerprint: fingerprint == B)
    lookups.add(B, B)
    for number in range(10_000):
        lookups.add(numbered(number), numbered(number))
    assert len(lookups) == limits.MDNS_WAITING + 1
    assert await lookups.next() == (B, B)
    oldest = numbered(10_000 - limits.MDNS_WAITING)
    assert await lookups.next() == (oldest, oldest)
    lookups.forget(numbered(9_999))
    assert len(lookups) == limits.MDNS_WAITING - 2


async def test_each_change_is_looked_at_twice(autojump_clock: MockClock) -> None:
    lookups = Lookups(lambda fingerprint: False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lookups.run_second_looks)
        lookups.add(A, A)
        assert await lookups.next() == (A, A)
        start = trio.current_time()
        assert await lookups.next() == (A, A)
        assert trio.current_time() - start == pytest.approx(limits.MDNS_SETTLE_SECONDS)
        lookups.add(B, B)
        await lookups.next()
        lookups.forget(B)
        with trio.move_on_after(10) as scope:
            await lookups.next()
        assert scope.cancelled_caught
        nursery.cancel_scope.cancel()


async def test_table_of_the_nearby_is_bounded(autojump_clock: MockClock) -> None:
    """Paired workstations stay; of the others the oldest go."""
    discovery = Discovery(fingerprint=A, port=1, name="a", is_paired=lambda f: f == B)
    send, receive = trio.open_memory_channel[Seen | Gone](100_000)
    await discovery._add(B, seen(B, "10.0.0.1"), send)
    for number in range(2 * limits.MAX_NEARBY):
        name = numbered(number)
        await discovery._add(name, seen(name, "10.0.0.2"), send)
    for number in range(100):
        await discovery._add(f"{B}-{number}", seen(B, f"10.1.0.{number}"), send)
    send.close()
    alive: dict[str, Seen] = {}
    async for change in receive:
        if isinstance(change, Seen):
            alive[change.fingerprint] = change
        else:
            del alive[change.fingerprint]
    assert len(alive) == limits.MAX_NEARBY + 1
    assert len(alive[B].addresses) <= limits.MAX_SERVICES_PER_PEER
    assert len(discovery._seen) == limits.MAX_NEARBY + 1


async def test_only_news_are_told(autojump_clock: MockClock) -> None:
    discovery = Discovery(fingerprint=A, port=1, name="a")
    send, receive = trio.open_memory_channel[Seen | Gone](10)
    for _ in range(3):
        await discovery._add(B, seen(B, "10.0.0.1"), send)
    await discovery._add(B + "-2", seen(B, "10.0.0.2"), send)
    await discovery._remove(B, B, send)
    await discovery._remove(B, B, send)
    await discovery._remove(B, B + "-2", send)
    await discovery._remove("c" * 26, "c" * 26, send)
    send.close()
    assert [change async for change in receive] == [
        seen(B, "10.0.0.1"),
        seen(B, "10.0.0.2", "10.0.0.1"),
        seen(B, "10.0.0.2"),
        Gone(B),
    ]


# --- our own addresses ----------------------------------------------------------------------


def test_interfaces_of_this_machine() -> None:
    found = adapters()
    loopback = [adapter for adapter in found if adapter.loopback]
    assert ipaddress.ip_address("127.0.0.1") in loopback[0].addresses
    assert all(not text.startswith("127.") for text in local_addresses())


async def test_changed_addresses_are_told_once_they_have_settled(
    autojump_clock: MockClock,
) -> None:
    """A flapping network is told once; one that comes back as it was, not at all."""
    states = [["a"], ["a"], ["b"], ["b", "c"], ["c"], ["c"], ["c"], ["d"], ["c"], ["c"], ["e"]]
    looks = 0
    told = trio.Event()

    def look() -> frozenset[str]:
        nonlocal looks
        looks += 1
        return frozenset(states[min(looks - 1, len(states) - 1)])

    changes: list[int] = []

    def changed() -> None:
        changes.append(looks)
        if len(changes) == 2:
            told.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch_addresses, changed, look)
        await told.wait()
        nursery.cancel_scope.cancel()
    assert changes == [6, 12]
