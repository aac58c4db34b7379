"""What must hold between the keys of a configuration, not within one."""

from collections.abc import Iterator

from dcctl.config.document import Node
from dcctl.errors import Problem


def problems(root: Node) -> Iterator[Problem]:
    del root
    yield from ()
