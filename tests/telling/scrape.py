"""What a worker serves at its METRICS_LISTEN, requested as by Prometheus."""

import asyncio
from collections.abc import Callable, Mapping
from typing import NamedTuple

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from tests.harness import TIMEOUT_S


class Sample(NamedTuple):
    """One line of a scrape. labels: sorted."""

    name: str
    labels: tuple[tuple[str, str], ...]


class Scrape(dict[Sample, float]):
    """Values by name and labels."""

    @classmethod
    def of(cls, text: str) -> "Scrape":
        families = text_string_to_metric_families(text)
        return cls(
            (Sample(sample.name, tuple(sorted(sample.labels.items()))), sample.value)
            for family in families
            for sample in family.samples
        )

    def value(self, name: str, **labels: str) -> float | None:
        return self.get(Sample(f"crm_sync_{name}", tuple(sorted(labels.items()))))

    def total(self, name: str, **labels: str) -> float:
        """Over all series with these labels."""
        wanted = set(labels.items())
        return sum(value for sample, value in self.items() if sample.name == f"crm_sync_{name}" and wanted <= set(sample.labels))

    @property
    def names(self) -> set[str]:
        return {sample.name for sample in self}

    def values_of(self, label: str) -> set[str]:
        """The values of a label in any series."""
        return {value for sample in self for name, value in sample.labels if name == label}


async def get(address: str, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, str]:
    """(status, text). address: as in METRICS_LISTEN."""
    connector = aiohttp.UnixConnector(address) if address.startswith("/") else None
    host = "worker" if connector else address
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get(f"http://{host}{path}", headers=headers or {}) as response,
    ):
        return response.status, await response.text()


async def answered(address: str, path: str, status: int = 200) -> str:
    """Returns when the answer is this."""
    said: object = None
    try:
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                try:
                    said = code, text = await get(address, path)
                    if code == status:
                        return text
                except (aiohttp.ClientError, OSError) as error:
                    said = error
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"{path} was never answered with {status}: {said}") from None


async def scraped(address: str, holds: Callable[[Scrape], object] = lambda _: True) -> Scrape:
    """Returns when this holds for a scrape."""
    scrape = Scrape()
    try:
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                scrape = Scrape.of(await answered(address, "/metrics"))
                if holds(scrape):
                    return scrape
                await asyncio.sleep(0.02)
    except TimeoutError:
        told = {sample: value for sample, value in scrape.items() if value and not sample.name.endswith("_bucket")}
        raise AssertionError(f"never came true of a scrape; what is not 0: {told}") from None
