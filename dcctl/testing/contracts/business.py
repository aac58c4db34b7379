"""What every ``ports.Business`` keeps, the real one and the fake.

class TestMyBusiness(BusinessContract):
    @pytest.fixture
    def world(self) -> Iterator[BusinessWorld]: ...
"""

from typing import Protocol

from dcctl.domain.business import Kind, exchanges
from dcctl.domain.business_check import BusinessFindings, check_acting, check_business, decide_courses
from dcctl.domain.history import Phase
from dcctl.ports import Business


class BusinessWorld(Protocol):
    """An application at two sites, its scheduler, documents that are carried, and clients of both edges."""

    business: Business
    sites: tuple[str, str]

    def pass_time(self, seconds: float) -> None:
        """Let the clients work for that long."""


class BusinessContract:
    def test_a_system_that_works_is_clean_through_every_edge(self, world: BusinessWorld) -> None:
        world.business.start()
        world.pass_time(4.0)
        acknowledged = world.business.acknowledged_s()
        history = world.business.stop()
        assert set(acknowledged) == set(history.edges)
        assert all(instants and list(instants) == sorted(instants) for instants in acknowledged.values())
        assert all(each.outcome is Phase.OK for each in exchanges(history))
        assert check_business(history) == BusinessFindings(inventory=True)
        acting = check_acting(history)
        assert (acting.fell, acting.overlapped) == ((), ())
        assert len(acting.epochs) == 1
        assert {each.invoked.kind for each in exchanges(history)} >= {Kind.TENDER, Kind.UPLOAD}

    def test_every_acknowledged_document_is_sought_until_it_is_there(self, world: BusinessWorld) -> None:
        world.business.start()
        world.pass_time(3.0)
        history = world.business.stop()
        missing = [name for site in world.sites for name in world.business.seek(site)]
        while missing:
            world.pass_time(0.5)
            missing = [name for site in world.sites for name in world.business.seek(site)]
        courses = decide_courses(world.business.stop())
        assert len(courses) == len(decide_courses(history)) > 0
        assert all(set(each.arrived) == set(world.sites) and not each.wrong for each in courses)

    def test_marks_are_kept_and_stopping_again_says_the_same(self, world: BusinessWorld) -> None:
        world.business.start()
        at_s = world.business.mark("fault", "east")
        history = world.business.stop()
        mark = history.mark("fault")
        assert mark is not None
        assert (mark.at_s, mark.target) == (at_s, "east")
        assert world.business.stop() == history
