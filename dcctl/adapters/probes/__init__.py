"""Probes: one file per way of asking, and one that asks all at once (docs/reference/probe.md)."""

from dcctl.adapters.probes.blocking import Blocking, probe_cloud
from dcctl.adapters.probes.http import probe_clock_by_http, probe_http
from dcctl.adapters.probes.machine import probe_clock_over_ssh, probe_command, probe_disk
from dcctl.adapters.probes.postgresql import probe_postgresql
from dcctl.adapters.probes.round import Outcome, Prober, Round
from dcctl.adapters.probes.swift import probe_swift
from dcctl.adapters.probes.tcp import probe_patroni, probe_tcp, probe_zookeeper
from dcctl.adapters.probes.tls import probe_tls

__all__ = [
    "Blocking",
    "Outcome",
    "Prober",
    "Round",
    "probe_clock_by_http",
    "probe_clock_over_ssh",
    "probe_cloud",
    "probe_command",
    "probe_disk",
    "probe_http",
    "probe_patroni",
    "probe_postgresql",
    "probe_swift",
    "probe_tcp",
    "probe_tls",
    "probe_zookeeper",
]
