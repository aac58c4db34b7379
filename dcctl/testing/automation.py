"""Automation in memory: what people said of it, for several clients of one ensemble."""

from dataclasses import dataclass, field, replace

from dcctl.domain.automation import Automation, Certificate, LastAction
from dcctl.errors import Refused, TimedOut, Unreachable


@dataclass
class FakeAutomations:
    """``ports.Automations``. ``dark``: no quorum. ``lose_answers``: changes are written, nobody hears."""

    said: Automation = field(default_factory=Automation)
    last: LastAction | None = None
    certificates: dict[str, Certificate] = field(default_factory=dict)
    dark: bool = False
    lose_answers: bool = False

    def observe(self) -> Automation:
        self._reach()
        return self.said

    def change(self, wanted: Automation, *, expected: int | None) -> Automation:
        self._reach()
        if self.said.version != expected:
            if replace(self.said, version=None) == replace(wanted, version=None):
                return self.said
            reason = f"{self.said.by or 'somebody'} changed it meanwhile"
            raise Refused("change automation", reasons=(reason,), next_command="dcctl automation show")
        self.said = replace(wanted, version=0 if expected is None else expected + 1)
        if self.lose_answers:
            raise TimedOut("change automation", saw="no answer")
        return self.said

    def observe_last(self) -> LastAction | None:
        self._reach()
        return self.last

    def record_last(self, last: LastAction | None) -> None:
        self._reach()
        self.last = last
        if self.lose_answers:
            raise TimedOut("write what was done last", saw="no answer")

    def observe_certificate(self, lost: str) -> Certificate | None:
        self._reach()
        return self.certificates.get(lost)

    def record_certificate(self, certificate: Certificate) -> None:
        self._reach()
        self.certificates[certificate.lost] = certificate

    def _reach(self) -> None:
        if self.dark:
            raise Unreachable("ask the ensemble", saw="no connection to ZooKeeper")
