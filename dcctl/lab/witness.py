"""The witness machine: at a third place, on no cloud, made by ``lab up`` itself."""

import json
import time
import uuid

from dcctl.errors import Rejected, TimedOut, Unreachable
from dcctl.lab import machine
from dcctl.lab.operator import PUBLIC_KEY, USER, new_key, ssh
from dcctl.lab.paths import OPERATOR, PLACES, WITNESS_ADDRESS, WITNESS_NAME
from dcctl.lab.process import run

ID = str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{WITNESS_NAME}.dcctl-lab"))
HOST_KEY = OPERATOR / "witness-host-key.pub"
POLL_S = 0.1


def start() -> None:
    """Define and boot it; its host key is made here and recorded before it first answers."""
    private, public = new_key(WITNESS_NAME)
    HOST_KEY.write_text(public + "\n")
    machine.define(
        {
            "id": ID,
            "name": WITNESS_NAME,
            "hostname": WITNESS_NAME,
            "place": "witness",
            "address": f"{WITNESS_ADDRESS}/24",
            "gateway": PLACES["witness"].gateway,
            "vcpus": 1,
            "memory_mb": 768,
            "user_data": _user_data(private, public, PUBLIC_KEY.read_text().strip()),
        }
    )
    machine.boot(ID)


def wait_ready(limit_s: float) -> None:
    """Until a command runs on it over SSH. Raises TimedOut with what SSH said last."""
    until = time.monotonic() + limit_s
    while True:
        try:
            run(ssh(machine.read(ID), ("true",)), limit_s=10)
        except (Rejected, TimedOut, Unreachable) as error:
            if time.monotonic() > until:
                raise TimedOut("wait for the witness machine", on=WITNESS_NAME, saw=error.saw) from error
            time.sleep(POLL_S)
        else:
            return


def _user_data(private: str, public: str, operator_key: str) -> str:
    """cloud-init's own format; JSON is YAML."""
    document = {
        "ssh_keys": {"ed25519_private": private, "ed25519_public": public},
        "users": [
            {
                "name": USER,
                "shell": "/bin/bash",
                "sudo": "ALL=(ALL) NOPASSWD:ALL",
                "ssh_authorized_keys": [operator_key],
            }
        ],
    }
    return "#cloud-config\n" + json.dumps(document)
