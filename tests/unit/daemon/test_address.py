import pytest

from medp2p.daemon.address import format_address, parse_address, parse_listen
from medp2p.errors import UsageError


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("10.0.0.5:1234", "10.0.0.5", 1234),
        (" 10.0.0.5 ", "10.0.0.5", 17820),
        ("reader.example", "reader.example", 17820),
        ("reader-1:65535", "reader-1", 65535),
        ("[fd00::5]:99", "fd00::5", 99),
        ("[fd00::5]", "fd00::5", 17820),
        ("fd00::5", "fd00::5", 17820),
        ("[fe80::1%eth0]:99", "fe80::1%eth0", 99),
        ("fe80::1%eth0", "fe80::1%eth0", 17820),
        ("[fe80::1%25eth0]:99", "fe80::1%eth0", 99),  # as in a URL
        ("[fe80::1%25]:99", "fe80::1%25", 99),  # by its number
        ("[fe80::1%251]:99", "fe80::1%251", 99),
    ],
)
def test_address(text: str, host: str, port: int) -> None:
    assert parse_address(text) == (host, port)
    assert parse_address(format_address(host, port)) == (host, port)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":17820",
        "10.0.0.5:",
        "10.0.0.5:0",
        "10.0.0.5:65536",
        "10.0.0.5:٣",
        "10.0.0.999",
        "[fd00::5",
        "[fd00::5]99",
        "fd00::zz",
        "[fe80::1%a b]:1",
        "a b:1",
        "-x:1",
        "x" * 64,
        "x\n:1",
        "../x",
    ],
)
def test_no_address(text: str) -> None:
    with pytest.raises(UsageError):
        parse_address(text)


@pytest.mark.parametrize("text", ["[fe80::1]:17820", "fe80::1", "[FE90::1]:1", "[febf::1]:1"])
def test_a_link_local_address_needs_its_interface(text: str) -> None:
    """Each interface has that network: without its name nothing can be reached, ever."""
    for parse in (parse_address, parse_listen):
        with pytest.raises(UsageError, match="without its interface") as why:
            parse(text)
        assert "%" in str(why.value.hint)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        (":17820", None, 17820),
        ("*:0", None, 0),
        ("127.0.0.1:0", "127.0.0.1", 0),
        ("127.0.0.1", "127.0.0.1", 17820),
        ("[::1]:5", "::1", 5),
        ("[fe80::1%25eth0]:5", "fe80::1%eth0", 5),
    ],
)
def test_listen(text: str, host: str | None, port: int) -> None:
    assert parse_listen(text) == (host, port)
    assert parse_listen(format_address(host, port)) == (host, port)


@pytest.mark.parametrize("text", ["", "*", ":x", "::1:", ":70000"])
def test_no_listen(text: str) -> None:
    with pytest.raises(UsageError):
        parse_listen(text)
