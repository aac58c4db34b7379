"""Make the state that every start unpacks: ``python -m labcloud.bake STATE OUT.tar``.

Creates databases, users and the catalogue, starts the control plane once so that its hypervisors register,
and makes the project's network, image and flavours through the APIs. ``STATE/settings.json`` is there
already; nothing secret of it, and no path, gets into the result.
"""

import concurrent.futures
import os
import signal
import sqlite3
import subprocess
import sys
import sysconfig
import tarfile
import time
from contextlib import closing
from pathlib import Path

from labcloud import configuration, identity, names, own
from labcloud.launch import prepare, say
from labcloud.settings import Settings

LIMIT_S = 180.0
KEPT = ("db", "images")


def main() -> None:
    state, out = map(Path, sys.argv[1:])
    sys.argv = ["labcloud"]  # the services parse what is left
    settings = Settings.read(state)
    configuration.write_all(state, settings)
    own.make_keys(state)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        made = [pool.submit(make, state) for make in (make_keystone, make_neutron, make_nova, make_others)]
        for each in made:
            each.result()
    say("databases made")
    seed_identity(state, settings)
    say("users and catalogue made")
    launcher = subprocess.Popen([sys.executable, "-m", "labcloud.launch", str(state)])
    try:
        wait_ready(state, launcher)
        run(*nova_manage(state), "cell_v2", "discover_hosts")
        seed_site(settings)
    finally:
        launcher.send_signal(signal.SIGTERM)
        launcher.wait(timeout=30)
    pack(state, out)
    say("packed")


def run(*arguments: str) -> None:
    program, *rest = arguments
    subprocess.run([Path(sysconfig.get_path("scripts")) / program, *rest], check=True)


def make_keystone(state: Path) -> None:
    file = ("--config-file", str(state / "etc" / "keystone.conf"))
    run("keystone-manage", *file, "db_sync")
    os.environ["OS_BOOTSTRAP_PASSWORD"] = Settings.read(state).passwords["admin"]
    run(
        "keystone-manage",
        *file,
        "bootstrap",
        "--bootstrap-region-id",
        names.REGION,
        *[
            word
            for interface in ("public", "internal", "admin")
            for word in (f"--bootstrap-{interface}-url", names.endpoint("identity"))
        ],
    )


def make_others(state: Path) -> None:
    run("placement-manage", "--config-file", str(state / "etc" / "placement.conf"), "db", "sync")
    run("glance-manage", "--config-file", str(state / "etc" / "glance-api.conf"), "db_sync")


def nova_manage(state: Path) -> tuple[str, ...]:
    return ("nova-manage", "--config-file", str(state / "etc" / "nova.conf"))


def make_nova(state: Path) -> None:
    """The addresses of the cells are templates that each process fills from its own configuration."""
    manage = nova_manage(state)
    database = "{scheme}:////{path}"
    run(*manage, "api_db", "sync")
    run(*manage, "cell_v2", "map_cell0", "--database_connection", database + "_cell0?{query}")
    run(
        *manage, "cell_v2", "create_cell", "--name", "cell1",
        "--database_connection", database + "?{query}", "--transport-url", "fake:///",
    )  # fmt: skip
    run(*manage, "db", "sync")


def make_neutron(state: Path) -> None:
    """Neutron's migrations alter columns, which SQLite cannot: make the newest tables, and say so."""
    file = str(state / "etc" / "neutron.conf")
    subprocess.run([sys.executable, "-m", "labcloud.neutron_tables", file], check=True)
    run("neutron-db-manage", "--config-file", file, "stamp", "heads")


def seed_identity(state: Path, settings: Settings) -> None:
    prepare(state)
    from keystone.wsgi.api import application

    identity.Seeder(application, settings.passwords["admin"]).seed(settings)


def wait_ready(state: Path, launcher: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not (state / "ready").exists():
        if launcher.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"the control plane did not start; see {state / 'log'}")
        time.sleep(0.1)


def seed_site(settings: Settings) -> None:
    """What an operator's project is given: a network, an image, flavours, and placeable hypervisors."""
    import openstack

    cloud = openstack.connect(
        auth_url=names.endpoint("identity"),
        username=names.TENANT,
        password=settings.passwords[names.TENANT],
        project_name=names.TENANT,
        user_domain_id="default",
        project_domain_id="default",
        region_name=names.REGION,
        cacert=settings.ca,
    )
    network = cloud.network.create_network(
        name=names.NETWORK,
        provider_network_type="flat",
        provider_physical_network=names.REGION,
        is_port_security_enabled=False,
        mtu=1500,
    )
    cloud.network.create_subnet(
        network_id=network.id,
        name=names.NETWORK,
        ip_version=4,
        cidr=names.CIDR,
        gateway_ip=names.GATEWAY,
        is_dhcp_enabled=False,
        allocation_pools=[{"start": names.POOL[0], "end": names.POOL[1]}],
    )
    for name, (vcpus, memory_mb, disk_gb) in names.FLAVOURS.items():
        cloud.compute.create_flavor(name=name, vcpus=vcpus, ram=memory_mb, disk=disk_gb)
    cloud.image.create_image(
        names.IMAGE,
        data=b"The lab's golden image bears this name; its content is not kept here.\n",
        disk_format="raw",
        container_format="bare",
        os_shutdown_timeout="0",  # a stop cuts the power at once, as a fence needs it
    )


def pack(state: Path, out: Path) -> None:
    """Only what is the same in every lab: no configuration, no key, no log, no path."""
    with closing(sqlite3.connect(state / "db" / "glance.db")) as database, database:
        database.execute("UPDATE image_locations SET value = ''")
    for file in (state / "db").iterdir():
        if file.suffix in (".db", ".db_cell0"):
            with closing(sqlite3.connect(file)) as database:
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                database.execute("VACUUM")
    with tarfile.open(out, "w") as archive:
        for name in KEPT:
            archive.add(state / name, name)


if __name__ == "__main__":
    main()
