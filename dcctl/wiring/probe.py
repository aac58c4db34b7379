"""Probes, composed: which ones follow from the configuration, and how a round of them is made."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from dcctl.config.schema import OpenstackSite, VmwareSite

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from dcctl.adapters.probes import Prober
    from dcctl.adapters.ssh import SshRemote
    from dcctl.config.probing import Api
    from dcctl.config.schema import Configuration
    from dcctl.domain.probe import ProbeResult, ProbeSpec

OPERATOR = "operator"
"""The vantage of whoever types: it holds every secret and every vendor's library."""
FRESH_S = 30.0
"""A round that comes later than this after the one before begins its counting anew."""

QUICK_KINDS = ("tcp", "zookeeper", "patroni")
QUICK_LIMIT_S = 0.7
QUICK_TIMES = 2
"""Two that are missed in a row, one a second, make a site dark for a vantage."""
REACH_LIMIT_S = 2.0
"""For a connection to a cloud's API."""


def probe_specs(configuration: "Configuration", place: str = OPERATOR) -> "tuple[ProbeSpec, ...]":
    """Every probe that can be made from ``place``: a site, ``witness``, or ``OPERATOR``."""
    from dcctl.config import probing

    operator = place == OPERATOR
    found = {site: _api(settings) for site, settings in configuration.sites.items()}
    apis = {
        site: api if operator else replace(api, verified=api.verified and _is_file(api.ca_file))
        for site, api in found.items()
        if api is not None
    }
    return probing.probes(configuration, apis=apis, operator=operator)


def quick_specs(configuration: "Configuration", place: str) -> "tuple[ProbeSpec, ...]":
    """What says at once whether anything of a site answers: no page, no login, no library."""
    return tuple(
        replace(each, timeout_s=QUICK_LIMIT_S, rise=QUICK_TIMES, fall=QUICK_TIMES)
        for each in probe_specs(configuration, place)
        if each.kind in QUICK_KINDS and each.site in configuration.sites and each.target != each.site
    )


def _is_file(path: str) -> bool:
    """A machine's configuration names no authority unless somebody put one there."""
    return bool(path) and Path(path).is_file()


def probe_round(
    configuration: "Configuration", place: str = OPERATOR, *, specs: "Sequence[ProbeSpec] | None" = None
) -> "Callable[[], tuple[ProbeResult, ...]]":
    """A round of all probes that can be made from ``place`` (or of ``specs``, which are some of them).

    Each call makes all of them at once and returns when the last has ended, which each does within its
    time limit. What is returned keeps the history, so that ``health`` is told with rise and fall: make it
    once and call it again and again. An agent's round uses neither a secret nor a vendor's library.
    """
    from dcctl.adapters.probes import Round

    chosen = probe_specs(configuration, place) if specs is None else specs
    probers: Mapping[type[Any], Prober] = _plain_probers()
    if place == OPERATOR:
        probers = {**probers, **_operators_probers(configuration)}
    return Round(chosen, probers, fresh_for=timedelta(seconds=FRESH_S))


def _plain_probers() -> "dict[type[Any], Prober]":
    """What needs neither a secret nor SSH nor a vendor's library."""
    from dcctl.adapters import probes
    from dcctl.adapters.patroni import parse_member
    from dcctl.adapters.zookeeper.voters import parse_srvr
    from dcctl.domain import probe

    return {
        probe.HttpCheck: probes.probe_http,
        probe.TcpCheck: probes.probe_tcp,
        probe.TlsCheck: probes.probe_tls,
        probe.ClockCheck: probes.probe_clock_by_http,
        probe.PatroniCheck: probes.probe_patroni(parse_member),
        probe.ZookeeperCheck: probes.probe_zookeeper(parse_srvr),
    }


def _operators_probers(configuration: "Configuration") -> "dict[type[Any], Prober]":
    from dcctl import wiring
    from dcctl.adapters import probes
    from dcctl.adapters.reach import TcpReach
    from dcctl.config.reference import resolve
    from dcctl.domain import probe
    from dcctl.errors import ConfigurationError, Problem

    blocking = probes.Blocking()

    def secret(name: str) -> str:
        return resolve(configuration.secret(name))

    def remote(name: str) -> "SshRemote":
        known = wiring.known_hosts_path(configuration)
        if not known.is_file():  # then it is we who cannot ask
            raise ConfigurationError((Problem(str(known), 0, 0, "no host key is recorded here yet"),))
        return wiring.remote(configuration, name)

    reach = TcpReach(limit_s=REACH_LIMIT_S)

    def cloud(site: str) -> str:
        # A cloud that is dark is told at once, and without loading its library.
        if (api := wiring._api(configuration.sites[site])) is not None:
            reach.observe_port(*api)
        with wiring.machines(configuration, site) as machines:
            servers = machines.observe_servers()
        ours = sum(server.owner == configuration.environment for server in servers)
        return f"lists {len(servers)} servers, {ours} of them ours"

    return {
        probe.PostgresqlCheck: probes.probe_postgresql(secret),
        probe.SwiftCheck: probes.probe_swift(secret),
        probe.CloudCheck: probes.probe_cloud(blocking, cloud),
        probe.ClockCheck: probes.probe_clock_over_ssh(blocking, remote),
        probe.DiskCheck: probes.probe_disk(blocking, remote),
        probe.CommandCheck: probes.probe_command(blocking, remote),
    }


def _api(settings: OpenstackSite | VmwareSite) -> "Api | None":
    """A cloud's API; None where only its own library can tell."""
    from dcctl.config.probing import Api

    match settings:
        case VmwareSite():
            # The document that tells a client which versions it may speak (vSphere Web Services SDK).
            url = settings.endpoint.rstrip("/") + "/sdk/vimServiceVersions.xml"
            return Api(url, str(settings.ca_file or ""), verified=settings.verify_tls)
        case OpenstackSite():
            cloud = _cloud(settings)
            url = str((cloud.get("auth") or {}).get("auth_url") or "")
            return Api(url, str(cloud.get("cacert") or ""), cloud.get("verify", True)) if url else None


def _cloud(settings: OpenstackSite) -> "dict[str, Any]":
    """The entry of the cloud where it is written plainly: in the given ``clouds.yaml``, or ``OS_*``."""
    import os

    import yaml

    if settings.cloud is None:
        variables = os.environ
        auth = {"auth_url": variables.get("OS_AUTH_URL", "")}
        return {"auth": auth, "cacert": variables.get("OS_CACERT", "")}
    try:
        clouds = yaml.safe_load(settings.clouds_file.read_text()) if settings.clouds_file else {}
        found = clouds["clouds"][settings.cloud]
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return {}  # the library says what is wrong with it, in its own words
    return found if isinstance(found, dict) else {}
