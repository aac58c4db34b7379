#!/usr/bin/python3
"""Wait until enough ZooKeeper voters serve as part of a quorum."""

import re
import socket
import time

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: zookeeper_serving
short_description: Wait until enough ZooKeeper voters serve as part of a quorum
description:
  - Asks each voter with the four-letter word C(srvr); one that leads or follows serves. Changes nothing.
options:
  voters:
    description: Client addresses as C(host:port).
    type: list
    elements: str
    required: true
  at_least:
    description: How many of them must serve.
    type: int
    required: true
  limit_s:
    description: Seconds until the wait fails.
    type: float
    required: true
author: dcctl
"""

RETURN = """
modes:
  description: What each voter last answered, C(leader), C(follower) or why it does not serve.
  type: dict
  returned: always
"""


def main():
    """Ask until enough serve or the limit has passed."""
    module = AnsibleModule(
        argument_spec={
            "voters": {"type": "list", "elements": "str", "required": True},
            "at_least": {"type": "int", "required": True},
            "limit_s": {"type": "float", "required": True},
        },
        supports_check_mode=True,
    )
    wanted = module.params["at_least"]
    ends = time.monotonic() + module.params["limit_s"]
    while True:
        modes = {voter: mode(voter) for voter in module.params["voters"]}
        serving = sum(answer in ("leader", "follower") for answer in modes.values())
        if serving >= wanted or module.check_mode:
            module.exit_json(changed=False, modes=modes)
        if time.monotonic() >= ends:
            seen = ", ".join(f"{voter}: {answer}" for voter, answer in modes.items())
            module.fail_json(msg=f"{serving} of the {wanted} voters needed serve ({seen})", modes=modes)
        time.sleep(0.2)


def mode(voter):
    """``leader``, ``follower``, or why this voter does not serve."""
    host, port = voter.rsplit(":", 1)
    try:
        with socket.create_connection((host, int(port)), timeout=2) as connection:
            connection.sendall(b"srvr")
            answer = b"".join(iter(lambda: connection.recv(4096), b"")).decode(errors="replace")
    except OSError as error:
        return error.strerror or str(error)
    found = re.search(r"^Mode: (\w+)$", answer, re.MULTILINE)
    return found.group(1) if found else answer.strip() or "no answer"


if __name__ == "__main__":
    main()
