"""vSphere: keeps ``ports.Machines`` through pyVmomi (docs/reference/adapters-vmware.md)."""

from dcctl.adapters.vmware.machines import VMwareMachines, VMwareSite
from dcctl.adapters.vmware.session import Limits

__all__ = ["Limits", "VMwareMachines", "VMwareSite"]
