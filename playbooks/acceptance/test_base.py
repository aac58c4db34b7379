"""Every machine."""

import time

from machines import MACHINES, hosts, root, this

testinfra_hosts = hosts("base")
CLOCK_S = 2.0


def test_it_is_who_it_should_be(host):
    name = host.run("hostname").stdout.strip()
    assert name == this(host).name, f"its host name is {name}"


def test_it_knows_every_machine_by_name(host):
    lines = host.run("getent ahostsv4 %s" + " %s" * (len(MACHINES) - 1), *(m.name for m in MACHINES)).stdout
    known = {(line.split()[2], line.split()[0]) for line in lines.splitlines() if len(line.split()) > 2}  # noqa: PLR2004
    unknown = [m.name for m in MACHINES if (m.name, m.address) not in known]
    assert not unknown, f"{', '.join(unknown)} has another address or none in /etc/hosts"


def test_its_clock_is_right(host):
    before = time.time()
    there = float(host.run("date +%s.%N").stdout)
    after = time.time()
    off_s = max(before - there, there - after, 0)
    assert off_s <= CLOCK_S, f"its clock is off by {off_s:.1f} s"


def test_keys_alone_let_in(host):
    settings = root(host, "sshd -T").splitlines()
    asked = ("passwordauthentication", "kbdinteractiveauthentication")
    wrong = [line for line in settings if line.split()[0] in asked and line.split()[1] != "no"]
    assert not wrong, f"sshd says {', '.join(wrong)}"
