"""Every configuration file of the control plane.

An option stands here only where the default does not fit one host, one process per service, no agents and
no message broker; the reason is beside it unless the option says it.
"""

import configparser
import sysconfig
from pathlib import Path

from labcloud import names
from labcloud.settings import Settings

Sections = dict[str, dict[str, object]]

WEB = Path(sysconfig.get_path("data")) / "etc"
"""Where pip put the services' own paste files."""


def write_all(state: Path, settings: Settings) -> None:
    """Write ``etc/``, readable by its owner only, and the directories that the files name."""
    for directory in ("etc", "db", "log", "images", "staging", "tasks", "fernet", "credential", "lock"):
        (state / directory).mkdir(mode=0o700, exist_ok=True)
    (state / "compute_id").write_text(names.node_id(names.HYPERVISORS[0]))  # nova-compute asks for one
    service = _service_user(settings)
    _write(state, "keystone.conf", _keystone(state))
    _write(state, "placement.conf", _placement(state, service))
    _write(state, "glance-api.conf", _glance(state, service))
    _write(state, "neutron.conf", _neutron(state, service))
    _write(state, "nova.conf", _nova(state, service))


def _write(state: Path, name: str, sections: Sections) -> None:
    document = configparser.ConfigParser(interpolation=None, default_section="")
    document.read_dict(sections)
    file = state / "etc" / name
    file.touch(mode=0o600)
    with file.open("w") as out:
        document.write(out)


def _service_user(settings: Settings) -> dict[str, object]:
    """How one service proves to another who it is."""
    return {
        "auth_type": "v3password",
        "auth_url": names.endpoint("identity"),
        "username": "service",
        "password": settings.passwords["service"],
        "project_name": "service",
        "user_domain_id": "default",
        "project_domain_id": "default",
        "region_name": names.REGION,
        "cafile": settings.ca,
    }


def _tokens(service: dict[str, object]) -> dict[str, object]:
    """How a service checks the tokens of those who call it."""
    return {
        **service,
        "www_authenticate_uri": names.endpoint("identity"),
        "service_token_roles": "service",
        "service_token_roles_required": "true",
    }


def _log(state: Path, name: str) -> dict[str, object]:
    return {"log_file": state / "log" / f"{name}.log", "use_stderr": "false"}


def _database(state: Path, name: str) -> dict[str, object]:
    # The lab's state is not worth an fsync; a writer waits for the others as long as a request may take.
    return {
        "connection": f"sqlite:///{state}/db/{name}.db?timeout=60",
        "sqlite_synchronous": "false",
        "max_pool_size": 10,
        "max_overflow": 20,
    }


def _keystone(state: Path) -> Sections:
    return {
        "DEFAULT": _log(state, "keystone"),
        "database": _database(state, "keystone"),
        "fernet_tokens": {"key_repository": state / "fernet"},
        "fernet_receipts": {"key_repository": state / "fernet"},
        "credential": {"key_repository": state / "credential"},
        "token": {"expiration": 86400},
        "cache": {"enabled": "true", "backend": "oslo_cache.dict"},
    }


def _placement(state: Path, service: dict[str, object]) -> Sections:
    return {
        "DEFAULT": _log(state, "placement"),
        "placement_database": _database(state, "placement"),
        "keystone_authtoken": _tokens(service),
    }


def _glance(state: Path, service: dict[str, object]) -> Sections:
    return {
        "DEFAULT": _log(state, "glance") | {"enabled_backends": "file:file", "transport_url": "fake://"},
        "database": _database(state, "glance"),
        "glance_store": {"default_backend": "file"},
        "file": {"filesystem_store_datadir": state / "images"},
        "os_glance_staging_store": {"filesystem_store_datadir": state / "staging"},
        "os_glance_tasks_store": {"filesystem_store_datadir": state / "tasks"},
        "paste_deploy": {"flavor": "keystone", "config_file": WEB / "glance" / "glance-api-paste.ini"},
        "oslo_concurrency": {"lock_path": state / "lock"},
        "keystone_authtoken": _tokens(service),
    }


def _neutron(state: Path, service: dict[str, object]) -> Sections:
    return {
        "DEFAULT": _log(state, "neutron")
        | {
            "core_plugin": "ml2",
            "service_plugins": "",
            "auth_strategy": "keystone",
            "api_paste_config": WEB / "neutron" / "api-paste.ini",
            "transport_url": "fake://",
            "state_path": state,
            "notify_nova_on_port_status_changes": "false",  # our ports are bound when they are created
            "notify_nova_on_port_data_changes": "false",
            "dhcp_agent_notification": "false",
            "enable_traditional_dhcp": "false",
            "global_physnet_mtu": 1500,
        },
        "ml2": {
            "type_drivers": "flat",
            "tenant_network_types": "",
            "mechanism_drivers": "lab",
            "extension_drivers": "port_security",
        },
        "ml2_type_flat": {"flat_networks": names.REGION},
        "database": _database(state, "neutron"),
        "oslo_concurrency": {"lock_path": state / "lock"},
        "placement": service,
        "quotas": {"quota_port": -1},
        "keystone_authtoken": _tokens(service),
    }


def _nova(state: Path, service: dict[str, object]) -> Sections:
    peer = service | {"valid_interfaces": "public"}
    return {
        "DEFAULT": _log(state, "nova")
        | {
            "host": "east-control",
            "my_ip": names.ADDRESS,
            "state_path": state,
            "transport_url": "fake:///",
            "compute_driver": "lab.LabDriver",
            "report_interval": 2,
            "service_down_time": 8,
            "sync_power_state_interval": 5,  # a machine that died by itself shows as SHUTOFF this soon
            "heal_instance_info_cache_interval": 0,
            "update_resources_interval": 30,
            "running_deleted_instance_poll_interval": 0,
            "instance_usage_audit": "false",
            "vif_plugging_is_fatal": "false",
            "vif_plugging_timeout": 0,
            "reserved_host_memory_mb": names.RESERVED_MEMORY_MB,
            "periodic_fuzzy_delay": 2,
        },
        "api": {"auth_strategy": "keystone"},
        "api_database": _database(state, "nova_api"),
        "database": _database(state, "nova"),
        "conductor": {"workers": 1},
        "scheduler": {"workers": 1, "max_attempts": 1},
        "filter_scheduler": {"track_instance_changes": "false"},
        "compute": {"live_migration_wait_for_vif_plug": "false"},
        "vnc": {"enabled": "false"},
        "quota": {"instances": -1, "cores": -1, "ram": -1},
        "placement": peer,
        "neutron": peer,
        "glance": peer,
        "cinder": service,
        "service_user": service | {"send_service_user_token": "true"},
        "oslo_concurrency": {"lock_path": state / "lock"},
        "oslo_messaging_notifications": {"driver": "noop"},
        "keystone_authtoken": _tokens(service),
    }
