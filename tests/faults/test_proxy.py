"""A CRM that is reached only through a proxy, with a certificate signed by a private authority: the real process."""

import asyncio
import shutil
import ssl
import subprocess
from contextlib import suppress

import pytest

from crm_sync.sandbox.process import settings
from tests.faults.front import Front
from tests.faults.real_crms import PEOPLE, assert_delivered, complete, sandboxes
from tests.harness import until
from tests.process import ended, environment, process
from tests.tiers import slow

PASSWORD = "a-password-of-a-proxy"


class Tunnels:
    """A proxy that connects every request to one port. asked: the heads of the requests."""

    def __init__(self, port):
        self.asked = []
        self._port = port

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://ada:{PASSWORD}@127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_):
        self._server.close()

    async def _serve(self, reader, writer):
        with suppress(OSError, asyncio.IncompleteReadError):
            self.asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._port)
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await asyncio.gather(_pour(reader, there_writer), _pour(there_reader, writer))


async def _pour(source, target):
    with suppress(OSError):
        while part := await source.read(65536):
            target.write(part)
            await target.drain()
    target.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A folder with ca.pem, which is also the certificate of crm.test, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("certificate")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=crm.test -addext "
    arguments = [*command.split(), "subjectAltName=DNS:crm.test", "-keyout", "key.pem", "-out", "ca.pem"]
    subprocess.run(arguments, check=True, capture_output=True, timeout=30, cwd=folder)
    return folder


@slow
async def test_contacts_are_delivered_through_it_and_check_says_so(app, url, certificate):
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate / "ca.pem", certificate / "key.pem")
    await app.execute(PEOPLE.format(crm="brevo"), 20)
    async with (
        sandboxes("brevo") as there,
        Front(there["brevo"].url, None, tls) as front,
        Tunnels(int(front.url.rpartition(":")[2])) as proxy,
    ):
        env = environment(url) | settings("brevo", "https://crm.test") | {"SSL_CERT_FILE": str(certificate / "ca.pem")}
        async with process(env | {"https_proxy": proxy.url}) as worker:
            await until(app, complete("brevo"))
            worker.terminate()
            _, out, err = await ended(worker)
        await assert_delivered(app, "brevo", there["brevo"])
        assert all(head.startswith("CONNECT crm.test:443 ") for head in proxy.asked)
        assert PASSWORD not in out + err

        async with process(env | {"HTTPS_PROXY": proxy.url}, "check") as check:
            _, out, _ = await ended(check)
        said = " ".join(out.split())
        assert f"key accepted; through the proxy {proxy.url.replace(f'ada:{PASSWORD}@', '')} (HTTPS_PROXY)" in said
        assert PASSWORD not in out


@slow
async def test_a_socks_proxy_holds_the_lane_and_is_named(url):
    env = environment(url) | settings("brevo", "https://crm.test") | {"all_proxy": f"socks5h://ada:{PASSWORD}@127.0.0.1:1080"}
    async with process(env, "check") as check:
        code, out, _ = await ended(check)
    assert code == 1
    assert "ALL_PROXY: crm-sync cannot use a socks5h proxy" in " ".join(out.split())
    assert PASSWORD not in out
