"""A CRM with an untrusted certificate, or with a name that does not resolve: nothing is sent, and it counts as an outage."""

import asyncio
import shutil
import socket
import ssl
import subprocess
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from crm_sync import events
from crm_sync.core.waits import Waits
from crm_sync.sandbox.process import CRMS, settings
from tests.faults.front import Front, answer
from tests.faults.promise import said
from tests.faults.real_crms import PEOPLE, assert_delivered, assert_unharmed, complete, delivering, sandboxes
from tests.harness import until
from tests.process import environment, process
from tests.process import said as process_said
from tests.tiers import slow

# How a certificate signed by our authority differs from a good one.
CERTIFICATES = {
    "expired": (["-startdate", "20200101000000Z", "-enddate", "20200201000000Z"], "127.0.0.1"),
    "not yet valid": (["-startdate", "20480101000000Z", "-enddate", "20480201000000Z"], "127.0.0.1"),
    "of another host": ([], "127.0.0.2"),
    "good": ([], "127.0.0.1"),
}


def openssl(folder: Path, *arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=30, cwd=folder)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """A folder with the certificate of an authority, ca.pem, and keys and certificates signed by it; also a self-signed one."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("authority")
    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl(folder, "req", "-x509", *new_key, "-days", 2, "-subj", "/CN=A test", "-keyout", "ca.key", "-out", "ca.pem")
    (folder / "index.txt").touch()
    for number, (name, (dates, address)) in enumerate(CERTIFICATES.items()):
        (folder / "serial").write_text(f"0{number}\n")
        (folder / "ca.cnf").write_text(
            "[ca]\ndefault_ca = own\n[own]\ndatabase = index.txt\nserial = serial\nnew_certs_dir = .\ndefault_md = sha256\n"
            "default_days = 2\npolicy = any\nunique_subject = no\n"
            f"[any]\ncommonName = supplied\n[san]\nsubjectAltName = IP:{address}\n"
        )
        openssl(folder, "req", *new_key, "-subj", "/CN=crm", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        openssl(
            folder, "ca", "-batch", "-config", "ca.cnf", "-extensions", "san", "-cert", "ca.pem", "-keyfile", "ca.key", *dates,
            "-in", f"{name}.csr", "-out", f"{name}.pem",
        )  # fmt: skip
    own = ("-subj", "/CN=crm", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "self-signed.key", "-out", "self-signed.pem")
    openssl(folder, "req", "-x509", *new_key, "-days", 2, *own)
    return folder


@slow
@pytest.mark.parametrize("certificate", ["self-signed", "expired", "not yet valid", "of another host"])
async def test_a_certificate_that_is_not_to_be_trusted_is_sent_nothing(app, url, authority, certificate):
    """The real process trusts our authority. With a good certificate, everything is delivered."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(authority / f"{certificate}.pem", authority / f"{certificate}.key")
    await app.execute(PEOPLE.format(crm="brevo"), 20)
    async with sandboxes("brevo") as there, Front(there["brevo"].url, answer(201, b'{"id": 7}'), tls) as front:
        env = environment(url) | settings("brevo", front.url) | {"SSL_CERT_FILE": str(authority / "ca.pem")}
        async with process(env) as worker:
            told = await process_said(worker, events.BREAKER_OPENED)
            assert told["code"] == "UNREACHABLE"
            assert "certificate" in str(told["reason"]).lower()
            await assert_unharmed(app, "brevo")
            assert front.heard == [], "neither the key nor a person"
            front.says = None
            tls.load_cert_chain(authority / "good.pem", authority / "good.key")
            await until(app, complete("brevo"))
        await assert_delivered(app, "brevo", there["brevo"])


@pytest.mark.parametrize("crm", CRMS)
async def test_a_name_that_leads_nowhere_is_an_outage_until_it_is_found(app, url, monkeypatch, crm):
    lookups, found, resolve = [], asyncio.Event(), socket.getaddrinfo

    def look_up(host, *arguments, **options):
        if host == "localhost":
            lookups.append(host)
            if not found.is_set():
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            host = "127.0.0.1"
        return resolve(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    await app.execute(PEOPLE.format(crm=crm), 20)
    async with sandboxes(crm) as there:
        named = there[crm].url.replace("127.0.0.1", "localhost")
        with capture_logs() as log:
            async with delivering(
                url, monkeypatch, {crm: named}, waits=Waits(first_probe_s=0.02, longest_probe_s=0.02)
            ) as clients:
                await said(log, events.BREAKER_OPENED, "Name or service not known")
                await clients[crm].called(len(clients[crm].requests) + 5)
                await assert_unharmed(app, crm)
                assert there[crm].requests == []
                found.set()
                await until(app, complete(crm))
        assert len(lookups) > 5
        await assert_delivered(app, crm, there[crm])


async def test_a_name_that_no_resolver_knows_is_an_outage(app, url, monkeypatch):
    """The real resolver, and a name that is guaranteed not to exist."""
    await app.execute(PEOPLE.format(crm="brevo"), 5)
    with capture_logs() as log:
        async with delivering(url, monkeypatch, {"brevo": "https://crm.invalid"}):
            await said(log, events.BREAKER_OPENED, "UNREACHABLE")
            await assert_unharmed(app, "brevo")
