"""The lab's hypervisor: what each verb does to a machine, killed or repeated at any time."""

import json
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from guests import BOOT_LIMIT_S, Guest, eventually, runtime, specification

from dcctl.lab import cgroup, machine, operator
from dcctl.lab.operator import new_key
from dcctl.lab.paths import DEBS, MACHINES, NAMESPACES

pytestmark = pytest.mark.lab

Define = Callable[..., Guest]


def test_a_machine_is_what_its_specification_says(guest: Define) -> None:
    private, public = new_key("guest")
    base = specification("guest", "east", 200)["user_data"]
    keys = json.dumps({"ed25519_private": private, "ed25519_public": public})
    more = f"ssh_keys: {keys}\nwrite_files: [{{path: /etc/told, content: told}}]\nruncmd: [touch /etc/ran]\n"
    one = guest("one", "east", 200, user_data=base + more)
    two = guest("two", "west", 200)
    one.boot()
    assert one.run("hostname; cat /etc/machine-id /etc/told").split() == [
        "one",
        one.id.replace("-", ""),
        "told",
    ]
    assert "198.18.1.200/24" in one.run("ip -4 address show eth0")
    assert one.run("sudo cat /etc/ssh/ssh_host_ed25519_key.pub").split()[:2] == public.split()[:2]
    assert eventually(lambda: one.run("ls /etc/ran || true"), limit_s=10)
    two.boot()
    assert two.run("hostname") == "two"
    assert eventually(lambda: two.run("systemctl is-system-running || true") == "running", limit_s=15)
    assert (
        two.run("systemctl is-active zookeeper postgresql patroni haproxy || true").split()
        == ["inactive"] * 4
    )


def test_a_bare_machine_has_none_of_the_roles_packages_and_can_install_them(guest: Define) -> None:
    """The packages that the image was built from are indexed as a mirror, trusted because we made it."""
    bare = guest("bare", image="debian-12-bare")
    bare.boot()
    assert bare.run("dpkg-query -W haproxy 2>/dev/null || echo none") == "none"
    archive = subprocess.run(["tar", "-C", str(DEBS), "-c", "."], capture_output=True, check=True, timeout=60)
    receive = operator.ssh(bare.spec, ("sudo mkdir /srv/mirror && sudo tar -C /srv/mirror -x",))
    subprocess.run(receive, input=archive.stdout, check=True, timeout=60)
    source = "deb [trusted=yes] file:/srv/mirror ./"
    bare.run(f"echo '{source}' | sudo tee /etc/apt/sources.list; sudo apt-get -qq update", limit_s=60)
    bare.run("sudo DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes haproxy", limit_s=120)
    assert bare.run("systemctl is-active haproxy") == "active"


def test_booting_twice_changes_nothing(guest: Define) -> None:
    one = guest()
    one.boot()
    init = machine.init_of(one.id)
    machine.boot(one.id)
    assert machine.init_of(one.id) == init
    assert machine.state(one.id) == "running"


def test_a_suspended_machine_answers_nothing_and_goes_on_where_it_was(guest: Define) -> None:
    one = guest()
    one.boot()
    init = machine.init_of(one.id)
    with one.ticking() as ticks:
        assert ticks.heard(within_s=2)
        machine.suspend(one.id)
        machine.suspend(one.id)
        assert machine.state(one.id) == "suspended"
        assert not ticks.heard(within_s=1)
        machine.resume(one.id)
        assert ticks.heard(within_s=5)
    assert (machine.state(one.id), machine.init_of(one.id)) == ("running", init)


def test_a_power_cut_keeps_the_disk_stops_nothing_cleanly_and_says_goodbye_to_nobody(guest: Define) -> None:
    one = guest()
    one.boot()
    one.run(
        "echo kept | sudo tee /root/kept; sync; "
        + "sudo systemd-run --unit=probe -p ExecStop='touch /root/stopped' sleep 1000 2>&1"
    )
    with one.ticking() as ticks:
        assert ticks.heard(within_s=2)
        machine.halt(one.id)
        assert not ticks.heard(within_s=1)
        assert ticks.process.poll() is None, "the connection was closed: a power cut closes none"
    assert machine.state(one.id) == "off"
    assert not (NAMESPACES / one.spec.namespace).exists()
    one.boot()
    assert one.run("sudo ls /root") == "kept"


def test_a_shutdown_stops_services_first(guest: Define) -> None:
    one = guest()
    one.boot()
    one.run("sudo systemd-run --unit=probe -p ExecStop='touch /root/stopped' sleep 1000 2>&1")
    machine.shutdown(one.id)
    assert machine.state(one.id) == "off"
    assert (one.spec.folder / "upper/root/stopped").exists()


def test_a_suspended_machine_can_be_halted_and_shut_down(guest: Define) -> None:
    one = guest()
    one.boot()
    machine.suspend(one.id)
    machine.halt(one.id)
    assert machine.state(one.id) == "off"
    one.boot()
    machine.suspend(one.id)
    machine.shutdown(one.id)
    assert machine.state(one.id) == "off"


def test_powering_off_inside_is_off_and_it_boots_again(guest: Define) -> None:
    one = guest()
    one.boot()
    one.run("sudo systemctl --no-block poweroff")
    assert eventually(lambda: machine.state(one.id) == "off", limit_s=20)
    one.boot()


def test_rebooting_inside_comes_back(guest: Define) -> None:
    one = guest()
    one.boot()
    init = machine.init_of(one.id)
    one.run("sudo systemctl --no-block reboot")
    assert eventually(lambda: machine.init_of(one.id) not in (init, None), limit_s=BOOT_LIMIT_S)
    assert eventually(one.is_answering, limit_s=BOOT_LIMIT_S)


def test_a_deleted_machine_leaves_nothing(guest: Define) -> None:
    one = guest()
    one.boot()
    machine.delete(one.id)
    machine.delete(one.id)
    assert not (MACHINES / one.id).exists()
    assert not (NAMESPACES / one.spec.namespace).exists()
    assert one.id not in cgroup.names()


def test_a_machine_outlives_the_process_that_booted_it(guest: Define) -> None:
    one = guest()
    assert runtime("boot", one.id).returncode == 0
    assert json.loads(runtime("show", one.id).stdout)["state"] == "running"
    assert one.id in {each["id"] for each in json.loads(runtime("list").stdout)}


@pytest.mark.parametrize("verb", ["boot", "halt", "delete"])
def test_a_verb_that_was_killed_is_finished_by_its_repetition(guest: Define, verb: str) -> None:
    for delay_s in (0.03, 0.06, 0.09, 0.12, 0.15):
        one = guest()
        if verb != "boot":
            machine.boot(one.id)
        argv = [sys.executable, "-m", "dcctl.lab.machine", verb, one.id]
        with subprocess.Popen(argv) as process:
            time.sleep(delay_s)
            process.send_signal(signal.SIGKILL)
        assert runtime(verb, one.id).returncode == 0
        states = {"boot": "running", "halt": "off", "delete": "off"}
        assert machine.state(one.id) == states[verb]
        machine.delete(one.id)
        assert one.id not in cgroup.names()


def test_calls_at_the_same_time_take_turns(guest: Define) -> None:
    one = guest()
    with ThreadPoolExecutor(6) as pool:
        done = list(
            pool.map(lambda verb: runtime(verb, one.id), ["boot", "boot", "halt", "boot", "halt", "boot"])
        )
    assert [each.returncode for each in done] == [0] * 6
    one.boot()


def test_a_definition_may_change_while_the_disk_stays(guest: Define) -> None:
    one = guest()
    one.boot()
    one.run("echo kept | sudo tee /root/kept")
    machine.shutdown(one.id)
    document = {**specification("renamed", "west", 201), "id": one.id}
    machine.define(document)
    shown = machine.show(one.id)
    assert (shown["name"], shown["place"], shown["address"]) == ("renamed", "west", "198.18.2.201/24")
    again = Guest(machine.read(one.id))
    again.boot()
    assert again.run("sudo cat /root/kept") == "kept"


def test_wrong_calls_get_a_sentence_and_a_code(substrate: object) -> None:
    nobody = str(uuid.uuid4())
    absent = runtime("boot", nobody)
    assert (absent.returncode, absent.stderr.strip()) == (4, f"find the machine on {nobody}: no such machine")
    unknown = runtime("define", stdin=json.dumps({**specification("x", "east", 202), "colour": "red"}))
    assert (unknown.returncode, unknown.stderr.strip()) == (2, "define a machine: unknown fields colour")
    nowhere = runtime("define", stdin=json.dumps({**specification("x", "east", 202), "place": "mars"}))
    assert nowhere.returncode == 2
    image = runtime("define", stdin=json.dumps({**specification("x", "east", 202), "image": "plan9"}))
    assert (image.returncode, "not built" in image.stderr) == (4, True)
