"""``dcctl replication follow`` and ``verify`` where nothing can be signed."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from dcctl.cli.output import emit
from dcctl.cli.replication_stage import Stage
from dcctl.cli.session import Session
from dcctl.errors import DriftFound, UsageError
from dcctl.shell import WallClock

if TYPE_CHECKING:
    from rich.console import Console

    from dcctl.ports import Pauses


def follow_with_tokens(
    stage: Stage, *, every_s: float, seen: "Callable[[Any], None]", pauses: "Sequence[Pauses]"
) -> None:
    """Passes without end."""
    from dcctl.engines import replication_follow
    from dcctl.wiring.replication import token_stores

    with stage.base() as base:
        replication_follow.follow_with_tokens(
            token_stores(stage.settings, WallClock()),
            base,
            stage.containers,
            stage.options(),
            every_s=every_s,
            seen=seen,
            pauses=pauses,
        )


def verify_with_tokens(session: Session, stage: Stage, prefix: str, level: str) -> None:
    """By the bytes' hashes in both listings: times differ always."""
    from dcctl.engines.replication_token import compare_with_tokens
    from dcctl.wiring.replication import token_stores

    if level != "listing":
        raise UsageError("verify with tokens", saw=f"--level {level} needs the container_sync middleware")
    stores = token_stores(stage.settings, WallClock())
    found = compare_with_tokens(stores, stage.containers, stage.options(prefix=prefix))
    document = {
        "containers": [
            {"container": name, "same": not names, "differences": names} for name, names in found.items()
        ]
    }

    def draw(out: "Console") -> None:
        for name, names in found.items():
            out.print(f"{name}: {len(names)} differences")
            for each, saw in names.items():
                out.print(f"  {each}: {saw}")

    emit(session, document, draw)
    if any(found.values()):
        raise DriftFound(
            "find both sides the same",
            saw=f"{sum(map(len, found.values()))} differences",
            next_command="dcctl replication once",
        )
