"""ZooKeeper, and the only place that imports kazoo: its servers one by one, and what is kept there."""

from dcctl.adapters.zookeeper.automation import ZooKeeperAutomation, read_automation
from dcctl.adapters.zookeeper.leases import ZooKeeperLeases, read_epochs
from dcctl.adapters.zookeeper.pause import ZooKeeperPauses
from dcctl.adapters.zookeeper.release import ZooKeeperLeaderKey
from dcctl.adapters.zookeeper.runs import SharedJournal, ZooKeeperRuns
from dcctl.adapters.zookeeper.session import ZooKeeperSession
from dcctl.adapters.zookeeper.sites import ZooKeeperSites, read_states
from dcctl.adapters.zookeeper.vantages import ZooKeeperVantages, read_vantages
from dcctl.adapters.zookeeper.voters import PORT, ZooKeeperVoters, parse_srvr
from dcctl.adapters.zookeeper.work import ZooKeeperWork

__all__ = [
    "PORT",
    "SharedJournal",
    "ZooKeeperAutomation",
    "ZooKeeperLeaderKey",
    "ZooKeeperLeases",
    "ZooKeeperPauses",
    "ZooKeeperRuns",
    "ZooKeeperSession",
    "ZooKeeperSites",
    "ZooKeeperVantages",
    "ZooKeeperVoters",
    "ZooKeeperWork",
    "parse_srvr",
    "read_automation",
    "read_epochs",
    "read_states",
    "read_vantages",
]
