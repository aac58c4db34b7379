#!/usr/bin/python3
"""The documents' account: its TempURL key, its containers and their keys."""

import json
import ssl
import time
import urllib.error
import urllib.request

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: swift_account
short_description: An account's TempURL key, its containers and their keys
options:
  auth_url:
    description: Of tempauth (C(/auth/v1.0)), or of Keystone (C(/v3)).
    type: str
    required: true
  user:
    description: The account's owner, as C(account:user); C(project:user) with Keystone.
    type: str
    required: true
  key:
    description: The owner's key.
    type: str
    required: true
  domain:
    description: The name of the owner's and the project's domain, with Keystone.
    type: str
    default: ""
  ca_file:
    description: The authority that signed Keystone's certificate; empty for the system's.
    type: str
    default: ""
  proxy:
    description: A proxy's address, without a path.
    type: str
    required: true
  account:
    description: The account, such as C(AUTH_documents); empty for the project's, with Keystone.
    type: str
    default: ""
  temp_url_key:
    description: What signs TempURLs.
    type: str
    required: true
  containers:
    description: What shall be there.
    type: list
    elements: str
    default: []
  container_key:
    description: What lets signed requests in.
    type: str
    default: ""
  limit_s:
    description: How long to wait until the cluster answers.
    type: int
    default: 60
author: dcctl
"""

RETURN = """
done:
  description: What was changed.
  type: list
  elements: str
  returned: always
"""


class Answer:
    """Status, headers and body of an answer."""

    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body


class WrongAccountError(Exception):
    """The owner owns another account than the one that is configured."""


def ask(method, url, headers=None, body=None, ca_file=None):
    """One request; only a server that does not answer is an error."""
    trust = ssl.create_default_context(cafile=ca_file) if ca_file else None
    request = urllib.request.Request(  # noqa: S310
        url, method=method, headers=headers or {}, data=json.dumps(body).encode() if body else None
    )
    try:
        with urllib.request.urlopen(request, timeout=10, context=trust) as answer:  # noqa: S310
            return Answer(answer.status, answer.headers, answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.headers, error.read())


def keystone_scope(params):
    """The body that asks Keystone for a token of C(project:user)."""
    project, _colon, name = params["user"].partition(":")
    domain, key = {"name": params["domain"]}, params["key"]
    return {
        "auth": {
            "identity": {
                "methods": ["password"],
                "password": {"user": {"name": name, "domain": domain, "password": key}},
            },
            "scope": {"project": {"name": project, "domain": domain}},
        }
    }


def authorize(params):
    """A token of the account's owner, and the account. Raises OSError, WrongAccountError."""
    account = params["account"]
    if params["auth_url"].endswith("/v3"):
        url = params["auth_url"] + "/auth/tokens"
        headers = {"Content-Type": "application/json"}
        answer = ask("POST", url, headers, keystone_scope(params), params["ca_file"])
        found = answer.headers.get("X-Subject-Token")
        if found:
            owned = "AUTH_" + json.loads(answer.body)["token"]["project"]["id"]
            account = account or owned
            if account != owned:
                raise WrongAccountError(f"{params['user']} owns {owned}; configured is {account}")
    else:
        answer = ask("GET", params["auth_url"], {"X-Auth-User": params["user"], "X-Auth-Key": params["key"]})
        found = answer.headers.get("X-Auth-Token")
    if not found:
        raise OSError(f"no token for {params['user']}: status {answer.status}")
    return found, account


def expect(answer, what):
    """Raises OSError for an answer that is no success."""
    if answer.status // 100 != 2:  # noqa: PLR2004
        raise OSError(f"{what}: status {answer.status}")


def ensure(params, changes):
    """What was, or would be, changed. Raises OSError."""
    done = []
    token, owned = authorize(params)
    headers = {"X-Auth-Token": token}
    url = f"{params['proxy']}/v1/{owned}"
    account = ask("HEAD", url, headers)
    expect(account, "look at the account")
    if account.headers.get("X-Account-Meta-Temp-Url-Key") != params["temp_url_key"]:
        done.append("TempURL key")
        if changes:
            key = {"X-Account-Meta-Temp-URL-Key": params["temp_url_key"]}
            expect(ask("POST", url, {**headers, **key}), "set the TempURL key")
    for name in params["containers"]:
        found = ask("HEAD", f"{url}/{name}", headers)
        has = found.headers.get("X-Container-Sync-Key") or ""
        if found.status // 100 == 2 and has == params["container_key"]:  # noqa: PLR2004
            continue
        done.append(f"container {name}")
        if changes:
            key = {"X-Container-Sync-Key": params["container_key"]}
            expect(ask("PUT", f"{url}/{name}", {**headers, **key}), f"make container {name}")
    return done


def main():
    """Ensure, once the cluster answers."""
    module = AnsibleModule(
        argument_spec={
            "auth_url": {"type": "str", "required": True},
            "user": {"type": "str", "required": True},
            "key": {"type": "str", "required": True, "no_log": True},
            "domain": {"type": "str", "default": ""},
            "ca_file": {"type": "str", "default": ""},
            "proxy": {"type": "str", "required": True},
            "account": {"type": "str", "default": ""},
            "temp_url_key": {"type": "str", "required": True, "no_log": True},
            "containers": {"type": "list", "elements": "str", "default": []},
            "container_key": {"type": "str", "default": "", "no_log": True},
            "limit_s": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    ends = time.monotonic() + (0 if module.check_mode else module.params["limit_s"])
    done = []
    while True:
        try:
            found = ensure(module.params, not module.check_mode)
            done += [each for each in found if each not in done]
            # What was set is read back: a proxy may have answered before its servers did.
            if module.check_mode or not found:
                break
            saw = f"{', '.join(found)} is not so yet"
        except WrongAccountError as error:
            module.fail_json(msg=str(error))
        except OSError as error:
            saw = str(error)
        if time.monotonic() >= ends:
            if module.check_mode:
                break
            module.fail_json(msg=f"{module.params['proxy']}: {saw}")
        time.sleep(0.3)
    module.exit_json(changed=bool(done), done=done)


if __name__ == "__main__":
    main()
