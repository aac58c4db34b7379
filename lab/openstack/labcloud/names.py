"""What the site is called and made of; the same in every lab, so it is baked."""

import uuid

ADDRESS = "198.18.1.5"
REGION = "east"
PORTS = {"identity": 5000, "compute": 8774, "placement": 8778, "image": 9292, "network": 9696}
PATHS = {"identity": "/v3", "compute": "/v2.1"}
PROJECTS = {
    "identity": "keystone",
    "compute": "nova",
    "placement": "placement",
    "image": "glance",
    "network": "neutron",
}

HYPERVISORS = ("east-hv-1", "east-hv-2", "east-hv-3")
VCPUS = 16
MEMORY_MB = 16384
RESERVED_MEMORY_MB = 512
DISK_GB = 200

TENANT = "dcctl"
USERS = ("admin", "service", "dcctl")
NETWORK = "dcctl"
CIDR = "198.18.1.0/24"
GATEWAY = "198.18.1.1"
POOL = ("198.18.1.20", "198.18.1.99")
IMAGE = "debian-12"
FLAVOURS = {
    # name: (vcpus, memory in MiB, disk in GiB)
    "dcctl.small": (1, 768, 4),
    "dcctl.medium": (2, 2048, 10),
}


def endpoint(service: str) -> str:
    """The address that the catalogue gives for a service."""
    return f"https://{ADDRESS}:{PORTS[service]}{PATHS.get(service, '')}"


def node_id(hypervisor: str) -> str:
    """The identity of a hypervisor: the same in every process and after every restart."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{hypervisor}.lab"))
