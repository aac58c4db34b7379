#!/usr/bin/python3
"""Wait for a Patroni cluster to be whole, and bring its shared settings to what is configured."""

import json
import time

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import open_url

DOCUMENTATION = """
module: patroni_cluster
short_description: Wait for a Patroni cluster to be whole, and set its shared settings
description:
  - Waits until every member runs, one leads and, with more than one member, a synchronous standby is
    named. Changes the shared settings through Patroni's API where they differ.
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

RUNNING = ("running", "streaming")


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
    seen = wait(module)
    before, after = settings(module) if seen or not module.check_mode else ({}, {})
    module.exit_json(
        changed=before != after,
        leader=next(iter(named(seen, "leader")), ""),
        standbys=named(seen, "sync_standby"),
        pending_restart=[member["name"] for member in seen if member.get("pending_restart")],
        diff={"before": show(before), "after": show(after)},
    )


def wait(module):
    """The members as the cluster shows them, once it is whole."""
    ends = time.monotonic() + module.params["limit_s"]
    while True:
        try:
            seen = request(module, "GET", "/cluster").get("members", [])
            lacks = lacking(module, seen)
        except (OSError, ValueError) as error:
            seen, lacks = [], [f"{module.params['api']} answers: {error}"]
        if not lacks or module.check_mode:
            return seen
        if time.monotonic() >= ends:
            module.fail_json(msg="; ".join(lacks))
        time.sleep(0.5)


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
    wanted = module.params["settings"]
    if not wanted:
        return {}, {}
    before = request(module, "GET", "/config")
    after = merged(before, wanted)
    if before != after and not module.check_mode:
        try:
            request(module, "PATCH", "/config", wanted)
        except (OSError, ValueError) as error:
            module.fail_json(msg=f"{module.params['api']} did not take the shared settings: {error}")
    return before, after


def merged(before, wanted):
    """``before`` with ``wanted`` written over it, key by key."""
    if not isinstance(before, dict) or not isinstance(wanted, dict):
        return wanted
    return {**before, **{key: merged(before.get(key), value) for key, value in wanted.items()}}


def request(module, method, path, body=None):
    """One exchange with the API. OSError and ValueError when it fails."""
    answer = open_url(
        module.params["api"] + path,
        method=method,
        data=None if body is None else json.dumps(body),
        headers={"Content-Type": "application/json"},
        url_username=module.params["user"],
        url_password=module.params["password"],
        force_basic_auth=True,
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
