"""Active-active deployment and failover over an OpenStack and a VMware site."""

__version__ = "0.1.0"
