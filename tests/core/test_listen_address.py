"""METRICS_LISTEN, CONSOLE_LISTEN: an address with a port, or a Unix socket; anything else is refused with what is expected."""

import pytest

from crm_sync.core.listen_address import EXPECTED, LONGEST_PATH, ListenAddress

GOOD = {
    "127.0.0.1:9464": ListenAddress("127.0.0.1", 9464),
    "0.0.0.0:1": ListenAddress("0.0.0.0", 1),  # noqa: S104 (read, not bound)
    "[::1]:65535": ListenAddress("::1", 65535),
    "[::]:9464": ListenAddress("::", 9464),
    "localhost:9464": ListenAddress("127.0.0.1", 9464),
    "/run/crm-sync/metrics.sock": ListenAddress(path="/run/crm-sync/metrics.sock"),
}


@pytest.mark.parametrize("text", GOOD)
def test_an_address_is_understood(text):
    address = ListenAddress.parse(text)
    assert address == GOOD[text]
    assert ListenAddress.parse(str(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        *("9464", ":9464", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:http", "127.0.0.1:-1"),
        *(
            "::1:9464",
            "[127.0.0.1]:9464",
            "[::1]",
            "256.0.0.1:9464",
            "1.2.3:9464",
            "http://127.0.0.1:9464",
            "127.0.0.1:9464/metrics",
        ),
        *(
            "metrics.example.com:9464",
            "run/metrics.sock",
            "unix:/run/metrics.sock",
            "/run/",
            "/",
            "/run/\0",
            "",
            " 127.0.0.1:9464",
        ),
        f"/{'a' * LONGEST_PATH}",
        f"/{'ä' * (LONGEST_PATH // 2)}ab",
    ],
)
def test_what_is_none_is_refused_by_what_is_expected(text):
    with pytest.raises(ValueError, match="expected an address and a port, such as") as refused:
        ListenAddress.parse(text)
    assert str(refused.value).startswith(EXPECTED)


def test_any_free_port_is_taken_where_that_is_meant():
    assert ListenAddress.parse("127.0.0.1:0", free_port=True).port == 0


@pytest.mark.parametrize("text", ["127.0.0.1:1", "[::1]:1", "localhost:1", "127.9.0.1:1", "/run/a.sock"])
def test_what_only_this_machine_reaches_is_known(text):
    assert ListenAddress.parse(text).is_loopback


@pytest.mark.parametrize("text", ["0.0.0.0:1", "[::]:1", "10.0.0.5:1"])
def test_what_others_reach_is_known(text):
    assert not ListenAddress.parse(text).is_loopback
