"""The OpenStack control plane of the lab's east site: the real services, in a few processes of one host.

Runs in a virtual environment of its own (``requirements.txt``), inside the site's API network namespace.
``dcctl.lab.openstack`` builds, starts and stops it; ``launch`` is where it begins.
"""
