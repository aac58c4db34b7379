"""ZooKeeper, and the only place that imports kazoo: its servers one by one, and the leases of roles."""

from dcctl.adapters.zookeeper.leases import ZooKeeperLeases
from dcctl.adapters.zookeeper.voters import PORT, ZooKeeperVoters, parse_srvr

__all__ = ["PORT", "ZooKeeperLeases", "ZooKeeperVoters", "parse_srvr"]
