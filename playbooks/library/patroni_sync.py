#!/usr/bin/python3
"""Rewrite Patroni's /sync key once, so that its version is never 0."""

import time

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

DOCUMENTATION = """
module: patroni_sync
short_description: Rewrite Patroni's sync key once, so that its version is never 0
description:
  - Patroni 3.0 writes the key with C(version or -1), so at version 0 it writes without a condition and two
    writers could both succeed. The content is written back unchanged, on condition that it is still that.
options:
  voters:
    description: ZooKeeper's addresses, the nearest first.
    type: list
    elements: str
    required: true
  path:
    description: The key.
    type: str
    required: true
  limit_s:
    description: Seconds until it fails.
    type: float
    required: true
author: dcctl
"""

RETURN = """
version:
  description: The key's version afterwards; null when there is no such key (in check mode).
  type: int
  returned: always
"""

try:
    from kazoo.client import KazooClient
    from kazoo.exceptions import BadVersionError, KazooException, NoNodeError
    from kazoo.handlers.threading import KazooTimeoutError
except ImportError:
    KazooClient = None


def main():
    """Read the version and rewrite the key when it is 0."""
    module = AnsibleModule(
        argument_spec={
            "voters": {"type": "list", "elements": "str", "required": True},
            "path": {"type": "str", "required": True},
            "limit_s": {"type": "float", "required": True},
        },
        supports_check_mode=True,
    )
    if KazooClient is None:
        if module.check_mode:
            module.exit_json(changed=False, version=None)
        module.fail_json(msg=missing_required_lib("kazoo"))
    limit_s = 3.0 if module.check_mode else module.params["limit_s"]
    client = KazooClient(
        hosts=",".join(module.params["voters"]), timeout=min(limit_s, 10.0), randomize_hosts=False
    )
    try:
        client.start(timeout=limit_s)
        changed, version = rewrite(module, client, time.monotonic() + limit_s)
        module.exit_json(changed=changed, version=version)
    except (KazooTimeoutError, KazooException) as error:
        if module.check_mode:
            module.exit_json(changed=False, version=None)
        module.fail_json(msg=f"ZooKeeper at {client.hosts}: {type(error).__name__} {error}")
    finally:
        client.stop()
        client.close()


def rewrite(module, client, ends):
    """Whether it was, or in check mode would be, rewritten, and the version afterwards."""
    path = module.params["path"]
    while True:
        try:
            content, stat = client.get(path)
        except NoNodeError:
            if module.check_mode:
                return False, None
            module.fail_json(msg=f"there is no {path}: Patroni has not named a synchronous standby yet")
        if stat.version != 0 or module.check_mode:
            return stat.version == 0, stat.version
        try:
            return True, client.set(path, content, version=0).version
        except BadVersionError:
            if time.monotonic() >= ends:
                raise


if __name__ == "__main__":
    main()
