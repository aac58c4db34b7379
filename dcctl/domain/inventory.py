"""The environment as Ansible's dynamic inventory. Pure, and known without asking any cloud.

The form is Ansible's "script inventory" (docs.ansible.com, "Developing dynamic inventory"): groups by
name, each host's variables under ``_meta``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dcctl.domain.machine import LastSeen


@dataclass(frozen=True, slots=True)
class Member:
    """One machine. ``place`` is its site, or ``witness``; ``group`` is empty for the witness."""

    name: str
    place: str
    group: str
    address: str
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Login:
    """How Ansible logs in: the same key, user and trusted host keys as dcctl."""

    user: str
    port: int
    private_key_file: str
    known_hosts_file: str


def decide_inventory(
    environment: str,
    members: Sequence[Member],
    login: Login,
    observed: Mapping[str, LastSeen],
) -> dict[str, Any]:
    """The whole inventory. ``observed`` is what each site last showed: it adds ``dcctl_last_seen``."""
    groups: dict[str, list[str]] = {}
    for member in members:
        for group in _groups(member):
            groups.setdefault(group, []).append(member.name)
    ids = zookeeper_ids(members)
    hostvars = {member.name: _hostvars(member, login, ids, observed.get(member.place)) for member in members}
    roles = sorted(name.removeprefix("role_") for name in groups if name.startswith("role_"))
    return {
        "_meta": {"hostvars": hostvars},
        "all": {
            "children": [*sorted(groups), *roles, "ungrouped"],
            "vars": {"dcctl_environment": environment, **_login(login)},
        },
        **{name: {"hosts": hosts} for name, hosts in sorted(groups.items())},
        # The plain name of a role is how playbooks call it.
        **{role: {"children": [f"role_{role}"]} for role in roles},
    }


def zookeeper_ids(members: Sequence[Member]) -> dict[str, int]:
    """Each voter's number in the ensemble, 1 to 255: its place counts tens, its position there ones.

    A voter that is added at one place, or after the others of its place, renumbers nobody.
    """
    places = list(dict.fromkeys(member.place for member in members))
    ids: dict[str, int] = {}
    for number, place in enumerate(places, start=1):
        voters = [member for member in members if member.place == place and "zookeeper" in member.roles]
        ids.update({voter.name: 10 * number + one for one, voter in enumerate(voters, start=1)})
    return ids


def _groups(member: Member) -> list[str]:
    group = [f"group_{_word(member.group)}"] if member.group else []
    return [f"site_{_word(member.place)}", *group, *(f"role_{role}" for role in member.roles)]


def _word(name: str) -> str:
    """As a group's name: Ansible wants it to be an identifier."""
    return name.replace("-", "_")


def _login(login: Login) -> dict[str, Any]:
    # The file's name is quoted for ssh and the option for Ansible: each splits at blanks.
    trust = f"""-o 'UserKnownHostsFile="{login.known_hosts_file}"' -o GlobalKnownHostsFile=/dev/null"""
    return {
        "ansible_user": login.user,
        "ansible_port": login.port,
        "ansible_ssh_private_key_file": login.private_key_file,
        "ansible_ssh_common_args": f"{trust} -o StrictHostKeyChecking=yes -o IdentitiesOnly=yes",
    }


def _hostvars(member: Member, login: Login, ids: Mapping[str, int], seen: LastSeen | None) -> dict[str, Any]:
    variables: dict[str, Any] = {
        "ansible_host": member.address,
        **_login(login),
        "dcctl_site": member.place,
        "dcctl_place": member.place,
        "dcctl_group": member.group,
        "dcctl_roles": list(member.roles),
    }
    if member.name in ids:
        variables["zookeeper_id"] = ids[member.name]
    if seen is not None:
        power = {server.name: str(server.power) for server in seen.servers}
        variables["dcctl_last_seen"] = {
            "at": seen.at.isoformat(),
            "power": power.get(member.name, "absent"),
        }
    return variables
