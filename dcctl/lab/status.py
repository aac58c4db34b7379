"""What the lab is and does right now, for ``dcctl lab status``."""

import time
from dataclasses import asdict
from typing import Any

from dcctl.errors import DcctlError
from dcctl.lab import clouds, down, image, machine, network, up
from dcctl.lab.paths import BACKBONE, NAMESPACES, PLACES


def observe() -> dict[str, Any]:
    """Everything in one document of JSON values. A part that is broken says so in its own place."""
    state = observe_state()
    document: dict[str, Any] = {"state": state, "image": image.key(), "image_cached": image.is_built()}
    if state == "up":
        document |= up.description()
    if state != "absent":
        has_networks = (NAMESPACES / BACKBONE).exists()
        document |= {
            "networks": [
                {"place": place.name, "cidr": place.cidr, "gateway": place.gateway}
                for place in PLACES.values()
            ],
            "apis": {site: _observe_cloud(site) for site in document.get("clouds", [])},
            "machines": [machine.show(id) for id in machine.ids()],
            "cuts": [asdict(cut) for cut in network.observe_cuts()] if has_networks else [],
        }
    return document


def observe_state() -> str:
    """``up``; ``absent``; ``partial``: it never came up whole, or is coming up now, or was killed."""
    if up.is_up():
        return "up"
    return "partial" if down.leftovers() else "absent"


def _observe_cloud(site: str) -> dict[str, Any]:
    began = time.monotonic()
    try:
        text = clouds.cloud(site).observe()
    except DcctlError as error:
        text = error.sentence()
    return {"observed": text, "took_s": round(time.monotonic() - began, 3)}
