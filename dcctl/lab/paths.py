"""Where the lab lives and what its networks are called. One lab per host, so these are constants.

Everything under ``RUN`` belongs to the running lab and goes with it; ``CACHE`` is what took long to make
and survives ``dcctl lab down``. Addresses are of 198.18.0.0/15 (RFC 2544), so that nothing collides with
a real network.
"""

from dataclasses import dataclass
from pathlib import Path

LAB = Path("/var/lib/dcctl-lab")
CACHE = LAB / "cache"
RUN = LAB / "run"
MACHINES = RUN / "machines"
OPERATOR = RUN / "operator"
LOCKS = RUN / "locks"
IMAGES = CACHE / "images"
DEBS = CACHE / "debs"

NAMESPACES = Path("/run/netns")
BACKBONE = "dcctl-backbone"
OPERATOR_NAMESPACE = "dcctl-operator"
MACHINE_NAMESPACE_PREFIX = "dcctl-m-"


@dataclass(frozen=True, slots=True)
class Place:
    """One network of the lab: a bridge in the backbone, with the gateway's address on it."""

    name: str
    number: int

    @property
    def bridge(self) -> str:
        return f"dc-{self.name}"

    @property
    def cidr(self) -> str:
        return f"198.18.{self.number}.0/24"

    @property
    def gateway(self) -> str:
        return f"198.18.{self.number}.1"


PLACES = {
    place.name: place
    for place in (Place("east", 1), Place("west", 2), Place("witness", 3), Place("outside", 9))
}

API_ADDRESSES = {"east": "198.18.1.5", "west": "198.18.2.5"}
OPERATOR_ADDRESS = "198.18.9.2"
WITNESS_ADDRESS = "198.18.3.10"
WITNESS_NAME = "witness-1"


def api_namespace(site: str) -> str:
    """The network namespace that a site's cloud API runs in."""
    return f"dcctl-{site}-api"
