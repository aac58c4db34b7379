"""What a pass is told."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from dcctl.domain.replication import (
    Decision,
)
from dcctl.domain.replication_merge import (
    Witness,
)
from dcctl.domain.replication_pass import DeleteCap, Tally
from dcctl.engines.replication_manners import Limits
from dcctl.engines.replication_move import Keep

PAGE_ROWS = 10_000


@dataclass(frozen=True)
class Options:
    """What a pass is told. ``plan`` only says what it would do; nothing is written to either cluster.

    ``emptied`` are containers that one side has removed: there an empty listing is no surprise. ``sample``:
    so many objects, others in each pass, are read and hashed at both sides at its end.
    """

    prefix: str = ""
    plan: Callable[[str, Witness, Decision], None] | None = None
    page_rows: int = PAGE_ROWS
    settled_s: float = 10.0
    reclaim_age_s: float = 604800.0
    margin_s: float = 86400.0
    cap: DeleteCap = field(default_factory=DeleteCap)
    accept_empty: bool = False
    emptied: Collection[str] = ()
    trust_base: bool = True
    keep: Keep = field(default_factory=Keep)
    limits: Limits = field(default_factory=Limits)
    progress: Callable[[Tally], None] | None = None
    arrived: Callable[[str, float], None] | None = None
    sample: int = 0

    @property
    def new_rows(self) -> int:
        """In a page of names of which nothing is known: it leaves room for those to come."""
        return self.page_rows - self.page_rows // 10
