"""What may break an environment on purpose, by its configuration's word for it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dcctl.config.schema import Configuration
    from dcctl.ports import Fault


def find_fault(configuration: "Configuration") -> "Fault | None":
    """The lab's own means in the lab, nothing elsewhere. Here and not in the wiring: the lab is above it."""
    if configuration.faults != "lab":
        return None
    from dcctl.lab.fault import LabFault

    return LabFault()
