"""``ports.Fault`` in the lab: a site is cut off in the backbone, by rules that end by themselves."""

import math

from dcctl.domain.observation import Cut
from dcctl.lab import network
from dcctl.lab.paths import PLACES


class LabFault:
    """The lab on this host. Every call needs root."""

    def observe_cuts(self) -> tuple[Cut, ...]:
        directed = {(each.source, each.target): each.heals_in_s for each in network.observe_cuts()}
        cuts = []
        for site in sorted(PLACES):
            others = [place for place in PLACES if place != site]
            pairs = [(site, other) for other in others] + [(other, site) for other in others]
            if all(pair in directed for pair in pairs):
                cuts.append(Cut(site, max(directed[pair] for pair in pairs)))
        return tuple(cuts)

    def cut(self, site: str, *, for_s: float) -> None:
        network.cut(site, for_s=math.ceil(for_s))

    def heal(self, site: str) -> None:
        network.heal(site)
