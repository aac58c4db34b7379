"""What a person ordered, as it is typed: a run is begun with it, and resumed from it anywhere. Pure."""

import shlex
from dataclasses import dataclass

FORMS = {
    "failover": ("apply", "--lost"),
    "switchover": ("apply", "--to"),
    "failback": ("apply", "--to"),
    "admit": (),
    "drain": (),
    "undrain": (),
}
"""The moves that can be resumed, and what stands before the site's name."""
REBUILD = "--rebuild"


@dataclass(frozen=True, slots=True)
class Order:
    """``what`` to do with ``site``; ``rules`` are overridden for this one run, for ``reason``."""

    what: str
    site: str
    rules: tuple[str, ...] = ()
    reason: str = ""
    rebuild: bool = False
    """Of an admission: databases that do not follow are copied anew."""

    def words(self) -> str:
        """The command, after ``dcctl``."""
        overridden = [word for rule in self.rules for word in ("--override", rule)]
        reason = ["--reason", self.reason] if self.reason else []
        rebuild = [REBUILD] if self.rebuild else []
        return shlex.join([self.what, *FORMS[self.what], self.site, *rebuild, *overridden, *reason])


def read_order(words: str) -> Order | None:
    """The order that ``words`` are; None where they are no move."""
    try:
        what, *rest = shlex.split(words)
    except ValueError:
        return None
    form = FORMS.get(what)
    if form is None or tuple(rest[: len(form)]) != form or len(rest) <= len(form):
        return None
    site, options = rest[len(form)], rest[len(form) + 1 :]
    if rebuild := what == "admit" and options[:1] == [REBUILD]:
        del options[0]
    pairs = list(zip(options[::2], options[1::2], strict=False))
    rules = tuple(value for option, value in pairs if option == "--override")
    reason = next((value for option, value in pairs if option == "--reason"), "")
    return Order(what, site, rules, reason, rebuild)
