"""Start the control plane: ``python -m labcloud.launch STATE``.

One parent imports what the services share and forks them, so that each module is loaded, and its memory
paid, once. A service that ends takes the others with it: half a cloud would only puzzle. Progress goes to
standard output; the services' logs are in ``STATE/log``.
"""

import ctypes
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

BEGAN = time.monotonic()
PR_SET_PDEATHSIG = 1
ENVIRONMENT = {
    # where the services look when nobody passes them a command line
    "OS_KEYSTONE_CONFIG_FILES": "keystone.conf",
    "OS_GLANCE_CONFIG_FILES": "glance-api.conf",
    "OS_NEUTRON_CONFIG_FILES": "neutron.conf",
    "OS_NOVA_DISABLE_EVENTLET_PATCHING": "true",
}


def main() -> None:
    state = Path(sys.argv[1])
    sys.argv = ["labcloud"]  # the services parse what is left
    prepare(state)
    from nova import monkey_patch

    monkey_patch.patch(backend="threading")  # native threads for all, and a ban on importing eventlet
    import labcloud.shared  # noqa: F401  # loaded once, for all that are forked from here
    from labcloud import services

    say("shared modules loaded")
    children = {
        fork("identity", services.identity, state): "identity",
        fork("network", services.network, state): "network",
        fork("image", services.image, state): "image",
    }
    services.load_nova(state)
    children[fork("compute", services.compute, state)] = "compute"
    supervise(children)


def prepare(state: Path) -> None:
    """Write the configuration, and make the baked state this lab's own the first time."""
    from labcloud import configuration, own
    from labcloud.settings import Settings

    settings = Settings.read(state)
    configuration.write_all(state, settings)
    own.take_over(state, settings)
    (state / "ready").unlink(missing_ok=True)
    etc = str(state / "etc")
    os.environ.update(ENVIRONMENT)
    os.environ.update(
        {f"OS_{name}_CONFIG_DIR": etc for name in ("KEYSTONE", "PLACEMENT", "GLANCE", "NEUTRON")}
    )
    os.environ["OS_NOVA_CONFIG_FILES"] = f"{configuration.WEB}/nova/api-paste.ini;{etc}/nova.conf"


def fork(name: str, run: Callable[[Path], None], state: Path) -> int:
    """Run a service in a child that does not outlive this process; return its id."""
    pid = os.fork()
    if pid:
        return pid
    try:
        import setproctitle

        setproctitle.setproctitle(f"dcctl-lab openstack {name}")
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        output = os.open(state / "log" / f"{name}.out", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(output, 2)
        run(state)
    except BaseException:  # the last words of a forked process, whatever they are
        traceback.print_exc()
    finally:
        os._exit(1)


def supervise(children: dict[int, str]) -> None:
    """Wait until one ends or this process is told to end; then end the others."""

    def stop(*_: object) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    try:
        pid, status = os.wait()
        say(f"{children.pop(pid)} ended with status {os.waitstatus_to_exitcode(status)}")
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def say(what: str) -> None:
    print(f"{time.monotonic() - BEGAN:6.2f} s  {what}", flush=True)


if __name__ == "__main__":
    main()
