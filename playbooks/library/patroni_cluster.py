#!/usr/bin/python3
"""Wait for a Patroni cluster to be whole, and bring its shared settings to what is configured."""

import json
import re
import time

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import open_url

DOCUMENTATION = """
module: patroni_cluster
short_description: Wait for a Patroni cluster to be whole, and set its shared settings
description:
  - Waits until every member runs, one leads and, with more than one member, a synchronous standby is
    named. Changes the shared settings through Patroni's API where they differ. When PostgreSQL's are among
    them it waits until every member has read them, because they tell whether it must be restarted.
  - In check mode it waits for nothing and only compares.
options:
  api:
    description: Base address of one member's API.
    type: str
    required: true
  members:
    description: The names that must run.
    type: list
    elements: str
    required: true
  synchronous:
    description: Whether a synchronous standby must be named.
    type: bool
    default: true
  settings:
    description: Shared settings that must hold; others are left alone.
    type: dict
    default: {}
  user:
    description: User of the API.
    type: str
  password:
    description: Password of the API.
    type: str
  limit_s:
    description: Seconds until the wait fails.
    type: float
    required: true
author: dcctl
"""

RETURN = """
leader:
  description: The name of the primary, empty when there is none (in check mode).
  type: str
  returned: always
standbys:
  description: The names of the synchronous standbys.
  type: list
  elements: str
  returned: always
pending_restart:
  description: The names of members with a setting that takes effect only after a restart.
  type: list
  elements: str
  returned: always
"""

COMPLAINT = re.compile(r"[\d-]+ [\d:,.]+ (ERROR|CRITICAL|FATAL)|[\w.]*(Error|Exception): |.* FATAL: ")
RUNNING = ("running", "streaming")
ROUNDS = 3
"""The round under way when the settings were changed, and two more."""


def main():
    """Wait, compare, change."""
    module = AnsibleModule(
        argument_spec={
            "api": {"type": "str", "required": True},
            "members": {"type": "list", "elements": "str", "required": True},
            "synchronous": {"type": "bool", "default": True},
            "settings": {"type": "dict", "default": {}},
            "user": {"type": "str"},
            "password": {"type": "str", "no_log": True},
            "limit_s": {"type": "float", "required": True},
        },
        supports_check_mode=True,
    )
    ends = time.monotonic() + module.params["limit_s"]
    seen = wait(module, ends)
    before, after = settings(module) if seen else ({}, {})
    if before.get("postgresql") != after.get("postgresql") and not module.check_mode:
        wait_read(module, seen, ends)
    module.exit_json(
        changed=before != after,
        leader=next(iter(named(seen, "leader")), ""),
        standbys=named(seen, "sync_standby"),
        pending_restart=[member["name"] for member in seen if status(member).get("pending_restart")],
        diff={"before": show(before), "after": show(after)},
    )


def wait(module, ends):
    """The members as the cluster shows them, once it is whole."""
    while True:
        try:
            seen = request(module.params["api"] + "/cluster").get("members", [])
            lacks = lacking(module, seen)
        except (OSError, ValueError) as error:
            seen, lacks = [], [f"{module.params['api']} answers: {error}"]
        if not lacks or module.check_mode:
            return seen
        if time.monotonic() >= ends:
            module.fail_json(msg="; ".join(lacks) + complaint(module))
        time.sleep(0.5)


def complaint(module):
    """What Patroni on this machine last complained of."""
    journal = ["journalctl", "--unit", "patroni", "--no-pager", "--output", "cat", "--lines", "400"]
    _code, out, _err = module.run_command(journal)
    told = [line.strip() for line in out.splitlines() if COMPLAINT.match(line)]
    return f"; Patroni here says: {told[-1]}" if told else ""


def lacking(module, seen):
    """What the cluster still lacks, in words."""
    states = {member["name"]: member.get("state", "unknown") for member in seen}
    lacks = [
        f"{name} is {states.get(name, 'not a member yet')}"
        for name in module.params["members"]
        if states.get(name) not in RUNNING
    ]
    if not named(seen, "leader"):
        lacks.append("there is no primary")
    if module.params["synchronous"] and not named(seen, "sync_standby"):
        lacks.append("no synchronous standby is named (SINGLE-COPY)")
    return lacks


def settings(module):
    """The shared settings before and after; changed in between unless in check mode."""
    wanted, url = module.params["settings"], module.params["api"] + "/config"
    try:
        before = request(url) if wanted else {}
        after = merged(before, wanted)
        if before != after and not module.check_mode:
            request(url, wanted, user=module.params["user"], password=module.params["password"])
    except (OSError, ValueError) as error:
        module.fail_json(msg=f"shared settings at {url}: {error}")
    return before, after


def wait_read(module, seen, ends):
    """Return when each of the members has ended a round that began after the settings were changed.

    A member reads its settings at the end of a round, so it is the second round seen to begin that tells.
    """
    rounds = {member["name"]: set() for member in seen}
    while True:
        for member in seen:
            rounds[member["name"]].add(status(member).get("dcs_last_seen"))
        late = [name for name, begun in rounds.items() if len(begun) < ROUNDS]
        if not late:
            return
        if time.monotonic() >= ends:
            module.fail_json(msg=f"{', '.join(late)} did not read the shared settings")
        time.sleep(0.2)


def status(member):
    """What a member says of itself; nothing when it cannot be asked."""
    try:
        return request(member["api_url"])
    except (OSError, ValueError):
        return {}


def merged(before, wanted):
    """``before`` with ``wanted`` written over it, key by key."""
    if not isinstance(before, dict) or not isinstance(wanted, dict):
        return wanted
    return {**before, **{key: merged(before.get(key), value) for key, value in wanted.items()}}


def request(url, patch=None, user=None, password=None):
    """What is there; changed by ``patch`` when one is given. OSError and ValueError when it fails."""
    answer = open_url(
        url,
        method="GET" if patch is None else "PATCH",
        data=None if patch is None else json.dumps(patch),
        headers={"Content-Type": "application/json"},
        url_username=user,
        url_password=password,
        force_basic_auth=user is not None,
        timeout=5,
        use_proxy=False,
    )
    return json.loads(answer.read())


def named(seen, role):
    """The names of the members of a role."""
    return [member["name"] for member in seen if member.get("role") == role]


def show(value):
    """As text, for a difference."""
    return json.dumps(value, indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    main()
