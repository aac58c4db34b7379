"""What each process of the control plane runs. None of these functions returns."""

import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from labcloud import names
from labcloud.launch import say
from labcloud.serve import listens, serve, tls_context
from labcloud.settings import Settings

LIMIT_S = 120.0
POLL_S = 0.05


def publish(state: Path, service: str, application: Any) -> None:
    """Serve an API on its usual port of the site's API address."""
    settings = Settings.read(state)
    say(f"{service}: serving")
    context = tls_context(settings.certificate, settings.key)
    serve(application, names.ADDRESS, names.PORTS[service], context)


def publish_beside(state: Path, service: str, application: Any) -> None:
    """The same, in a thread of its own."""
    threading.Thread(target=publish, args=(state, service, application), daemon=True).start()


def identity(state: Path) -> None:
    """Keystone, and Placement, which is small."""
    from keystone.common.rbac_enforcer import enforcer
    from keystone.wsgi.api import application as keystone

    # Two first requests at once would load the policy in two threads, and one of them be refused; so it is
    # with every service that loads its policy late.
    enforcer.RBACEnforcer()._enforcer.load_rules()
    publish_beside(state, "identity", keystone)
    from placement.wsgi.api import application as placement

    publish(state, "placement", placement)


def image(state: Path) -> None:
    """Glance."""
    from glance.wsgi.api import application

    publish(state, "image", application)


def network(state: Path) -> None:
    """Neutron, which still imports eventlet, without using it: lift Nova's ban (``launch``)."""
    sys.meta_path[:] = [each for each in sys.meta_path if not type(each).__module__.startswith("nova.")]
    from neutron import policy
    from neutron.wsgi.api import application
    from neutron_lib.policy import _engine as roles
    from sqlalchemy import orm

    policy.init()
    roles.init()

    # Else the first query does it, and a first request for ports fails on a relation that is not there yet.
    orm.configure_mappers()
    publish(state, "network", application)


def load_nova(state: Path) -> None:
    """Import what Nova's services need, in the process that forks them."""
    import nova.conf
    from nova import config

    # The managers take the intervals of their periodic tasks when they are imported: configure first.
    arguments = ["nova", "--config-file", str(state / "etc" / "nova.conf")]
    config.parse_args(arguments, configure_db=False, init_rpc=False)
    import nova.api.openstack.compute.routes
    import nova.api.openstack.wsgi_app
    import nova.compute.manager
    import nova.conductor.manager
    import nova.scheduler.manager
    import nova.service
    import nova.servicegroup.api
    import nova.virt

    import labcloud.nova_driver

    # Nova prefixes the configured driver with "nova.virt.", whatever it is.
    sys.modules["nova.virt.lab"] = nova.virt.lab = labcloud.nova_driver
    nova.servicegroup.api.INITIAL_REPORTING_DELAY = 0
    nova.conf.CONF.clear()  # the child reads its configuration itself
    say("nova loaded")


def compute(state: Path) -> None:
    """All of Nova in one process, over oslo.messaging's in-process bus."""
    for needed in ("identity", "placement"):
        wait_until(f"{needed} listens", partial(listens, names.ADDRESS, names.PORTS[needed]))
    import os_vif
    from nova import objects, policy, service
    from nova.compute import rpcapi as compute_rpc
    from nova.conductor import rpcapi as conductor_rpc
    from nova.scheduler import rpcapi as scheduler_rpc
    from nova.wsgi.osapi_compute import application

    policy.init()
    objects.Service.enable_min_version_cache()
    os_vif.initialize()
    conductor = service.Service.create(binary="nova-conductor", topic=conductor_rpc.RPC_TOPIC)
    scheduler = service.Service.create(binary="nova-scheduler", topic=scheduler_rpc.RPC_TOPIC)
    conductor.start()
    scheduler.start()
    publish_beside(state, "compute", application)
    for hypervisor in names.HYPERVISORS:
        service.Service.create(
            host=hypervisor,
            binary="nova-compute",
            topic=compute_rpc.RPC_TOPIC,
            topic_alt=compute_rpc.RPC_TOPIC_ALT,
        ).start()
        say(f"{hypervisor}: up")
    wait_until("all hypervisors report", hypervisors_report)
    for each, port in names.PORTS.items():
        wait_until(f"{each} listens", partial(listens, names.ADDRESS, port))
    (state / "ready").touch()
    say("ready")
    threading.Event().wait()


def hypervisors_report() -> bool:
    """Whether every hypervisor's heartbeat has arrived; one that an administrator forced down stays so."""
    from nova import context, objects, servicegroup

    administrator = context.get_admin_context()
    is_up = servicegroup.API().service_is_up
    services = objects.ServiceList.get_by_binary(administrator, "nova-compute")
    heard = {each.host for each in services if each.forced_down or is_up(each)}
    return heard >= set(names.HYPERVISORS)


def wait_until(what: str, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not holds():
        if time.monotonic() > deadline:
            raise SystemExit(f"not within {LIMIT_S:g} s: {what}")
        time.sleep(POLL_S)
