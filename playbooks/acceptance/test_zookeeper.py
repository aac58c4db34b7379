"""The voters."""

import re

from machines import eventually, hosts, is_kept_running, say, this, with_role

testinfra_hosts = hosts("zookeeper")
PORT = 2181


def test_the_service_is_kept_running(host):
    is_kept_running(host, "zookeeper")


def test_it_serves_as_part_of_a_quorum(host):
    def holds():
        answer = say(host, this(host).address, PORT, b"srvr")
        mode = re.search(r"^Mode: (\w+)$", answer, re.MULTILINE)
        assert mode and mode[1] in ("leader", "follower"), mode[1] if mode else answer.strip() or "no answer"

    eventually(holds)


def test_every_voter_follows_the_leader(host):
    def holds():
        told = dict(
            line.split("\t", 1)
            for line in say(host, this(host).address, PORT, b"mntr").splitlines()
            if "\t" in line
        )
        followers = int(float(told.get("zk_synced_followers", len(with_role("zookeeper")) - 1)))
        assert followers == len(with_role("zookeeper")) - 1, (
            f"the leader has {followers} synced followers of {len(with_role('zookeeper')) - 1}"
        )

    eventually(holds)
