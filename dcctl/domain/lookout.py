"""Who looks at the sites, who does not any more, and what cannot be decided without them. Pure.

A vantage that is silent is no evidence, in either direction: two places that look are needed to give a site
up, the witness among them (``domain.verdict``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dcctl.domain.observation import Seen
from dcctl.domain.verdict import WITNESS, Vantage


@dataclass(frozen=True, slots=True)
class Silent:
    """An agent whose word is worth nothing now, ``how`` that is so, and whether its machine answers here."""

    name: str
    place: str
    how: str
    answers: bool

    def sentence(self) -> str:
        return f"{self.name} {self.how}"

    def next_command(self) -> str:
        """What shows more, or mends it."""
        return f"dcctl deploy agent --limit {self.name}" if self.answers else f"dcctl probe {self.name}"


def find_silent(
    agents: Mapping[str, str], vantages: Sequence[Vantage], answering: frozenset[str]
) -> tuple[Silent, ...]:
    """Of ``agents`` (names and places) those that published nothing just now; the machines ``answering``
    are reached from here."""
    published = {each.name: each for each in vantages}
    return tuple(
        Silent(name, place, _how(published.get(name)), name in answering)
        for name, place in agents.items()
        if name not in published or not published[name].fresh
    )


def _how(vantage: Vantage | None) -> str:
    if vantage is None:
        return "has published nothing"
    if vantage.age_s < 0:
        return f"has a clock that is {-vantage.age_s:.0f} s ahead of ours"
    return f"published last {vantage.age_s:.0f} s ago"


@dataclass(frozen=True, slots=True)
class Lookout:
    """``problems`` gravest first: the witness's comes before all others. ``dark`` are the machines of a
    silent witness that do not answer here either: that is told with it."""

    problems: tuple[str, ...] = ()
    dark: frozenset[str] = frozenset()


def decide_lookout(
    agents: Mapping[str, str], seen: Seen[tuple[Vantage, ...]], answering: frozenset[str]
) -> Lookout:
    """What is to be said of how the ``agents`` look. A look that did not hear them in its short time says
    nothing of them: each site's verdict, which is UNKNOWN then, does."""
    if not agents or seen.value is None:
        return Lookout()
    silent = find_silent(agents, seen.value, answering)
    problems, dark = [], frozenset[str]()
    if blind := blind_witness(agents, silent):
        told = "; ".join(each.sentence() for each in blind)
        dark = frozenset(each.name for each in blind if not each.answers)
        if len(dark) == len(blind):
            told += ", and nothing of it answers here"
        problems.append(
            f"the witness is silent ({told}): no site is given up without its word, not by automation, nor by"
            f" a person (rule no-unknown-verdict): {blind[0].next_command()}"
        )
    sites = tuple(dict.fromkeys(place for place in agents.values() if place != WITNESS))
    problems += [told for site in sites for told in _of_site(site, sites, agents, silent)]
    return Lookout(tuple(problems), dark)


def blind_witness(agents: Mapping[str, str], silent: Sequence[Silent]) -> tuple[Silent, ...]:
    """The agents at the witness, where all of them are silent."""
    there = [name for name, place in agents.items() if place == WITNESS]
    found = tuple(each for each in silent if each.place == WITNESS)
    return found if len(found) == len(there) else ()


def _of_site(
    site: str, sites: Sequence[str], agents: Mapping[str, str], silent: Sequence[Silent]
) -> list[str]:
    """Of machines that answer: what is silent with its machine is told with that."""
    found = [each for each in silent if each.place == site]
    answering = [each for each in found if each.answers]
    if not answering:
        return []
    told, mend = "; ".join(each.sentence() for each in found), answering[0].next_command()
    names = {each.name for each in found}
    left = [name for name, place in agents.items() if place == site and name not in names]
    if left:
        return [f"an agent at {site} is silent ({told}); {', '.join(left)} still looks from there: {mend}"]
    others = " or ".join(each for each in sites if each != site)
    alone = f"were {others} lost, it would not be given up by itself"
    return [f"nobody looks from {site} ({told}): {alone}: {mend}"]
