"""One contract suite per port, run by every fake and every adapter that keeps it.

A suite is a class of pytest tests over a ``world``: the port under test with the means to disturb it.
To run one, subclass it in a test module and give it a ``world`` fixture::

    class TestOpenStack(MachinesContract):
        @pytest.fixture
        def world(self) -> Iterator[MachinesWorld]: ...
"""

import pytest

# Plain asserts in a suite explain themselves only when pytest rewrites the module, which it does by
# itself for test files alone.
pytest.register_assert_rewrite(
    "dcctl.testing.contracts.machines",
    "dcctl.testing.contracts.playbooks",
    "dcctl.testing.contracts.traffic",
    "dcctl.testing.contracts.pools",
)
