"""OpenStack: keeps ``ports.Machines`` through openstacksdk (docs/reference/adapters-openstack.md)."""

from dcctl.adapters.openstack.machines import OpenStackMachines, OpenStackSite
from dcctl.adapters.openstack.session import Limits

__all__ = ["Limits", "OpenStackMachines", "OpenStackSite"]
