"""Neutron's part in a lab without agents: every port is bound, and up, as soon as it is asked for."""

from typing import Any

from neutron_lib import constants
from neutron_lib.api.definitions import portbindings
from neutron_lib.plugins.ml2 import api


class LabMechanismDriver(api.MechanismDriver):
    """The cable itself is laid by the machine runtime, from what the Nova driver tells it."""

    connectivity = portbindings.CONNECTIVITY_L2

    def initialize(self) -> None:
        """Nothing to prepare."""

    def bind_port(self, context: Any) -> None:
        for segment in context.segments_to_bind:
            context.set_binding(
                segment[api.ID],
                portbindings.VIF_TYPE_OVS,
                {portbindings.CAP_PORT_FILTER: True},
                status=constants.PORT_STATUS_ACTIVE,
            )
            return

    def update_port_postcommit(self, context: Any) -> None:
        """After a live migration: Neutron has put the port down until the new host's agent reports it."""
        bound = context.host and context.vif_type == portbindings.VIF_TYPE_OVS
        if bound and context.status == constants.PORT_STATUS_DOWN:
            context._plugin.update_port_status(
                context._plugin_context, context.current["id"], constants.PORT_STATUS_ACTIVE, context.host
            )
