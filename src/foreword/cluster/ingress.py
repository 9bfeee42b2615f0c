"""From addresses of replicas to a fleet with a server over it. Knows no Ray."""

import asyncio
import logging
from dataclasses import dataclass

from foreword.cluster.config import FleetConfig
from foreword.cluster.fleet import Fleet
from foreword.cluster.link import AGAIN_SECONDS, Addresses, Links, open_link
from foreword.errors import ModelError, Unavailable

logger = logging.getLogger("foreword")
TEXT_SECONDS = 30.0
"""For a replica to send the model's words: they may be tens of MiB."""


@dataclass(frozen=True, slots=True)
class Ingress:
    """A fleet and the connections to its replicas; ``close`` ends both."""

    fleet: Fleet
    links: Links

    async def close(self) -> None:
        """Let go of all replicas."""
        self.fleet.close()
        await self.links.close()


async def open_ingress(addresses: Addresses, secret: str, config: FleetConfig) -> Ingress:
    """Wait for a first replica, learn from it what model the fleet has, and keep connections to all that there are."""
    told = ""
    while True:
        for name, address in (await addresses()).items():
            try:
                welcome, _, writer = await asyncio.wait_for(open_link(address, secret, wants_text=True), TEXT_SECONDS)
            except (Unavailable, TimeoutError) as error:
                if told != str(error):
                    told = str(error)
                    logger.warning("Replica %s could not be reached: %s", name, error)
                continue
            writer.close()
            if welcome.text is None:
                raise ModelError(f"Replica {name} did not send its model's words, though it was asked to.")
            text = welcome.text.model_text().bounded(welcome.info.max_model_len)
            fleet = Fleet(welcome.info, text, config)
            return Ingress(fleet, Links(fleet, addresses, secret))
        await asyncio.sleep(AGAIN_SECONDS)
