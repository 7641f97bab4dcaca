"""Which Host headers a server of ours accepts."""

import pytest

from crm_sync.core.host_names import is_ours

ALWAYS = (
    "127.0.0.1:9464",
    "127.0.0.1",
    "10.1.2.3:9464",
    "[::1]:9464",
    "[fd00::7]",
    "localhost:9464",
    "LOCALHOST",
    "a.localhost.",
)
IN_A_NETWORK = (
    "worker:9464",
    "worker-1",
    "worker.crm.svc",
    "worker.crm.svc.cluster.local:9464",
    "ip-10-0-0-1.eu.compute.internal",
)
NEVER = (
    "evil.example:9464",
    "127.0.0.1.evil.example",
    "worker.local.evil.example",
    "localhost.evil.example",
    "",
    ":",
    "[",
    "a@b.org",
)


@pytest.mark.parametrize("header", ALWAYS)
@pytest.mark.parametrize("is_loopback", [True, False])
def test_an_address_and_localhost_are_ours(header, is_loopback):
    assert is_ours(header, (), is_loopback=is_loopback)


@pytest.mark.parametrize("header", IN_A_NETWORK)
def test_a_name_that_nobody_on_the_internet_can_have_is_ours_in_a_network(header):
    assert is_ours(header, (), is_loopback=False)
    assert not is_ours(header, (), is_loopback=True)


@pytest.mark.parametrize("header", NEVER)
@pytest.mark.parametrize("is_loopback", [True, False])
def test_any_other_name_is_not(header, is_loopback):
    assert not is_ours(header, ("worker.example.com",), is_loopback=is_loopback)


@pytest.mark.parametrize("is_loopback", [True, False])
def test_a_name_that_is_set_is_ours(is_loopback):
    assert is_ours("Worker.example.com:9464", ("worker.example.com",), is_loopback=is_loopback)
