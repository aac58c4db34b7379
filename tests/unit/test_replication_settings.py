"""Each row of the table in ``merge_settings``, both ways round."""

import pytest

from dcctl.domain.replication_settings import merge_settings

R = "x-container-read"


@pytest.mark.parametrize(
    ("base", "a", "b", "both"),
    [
        ({R: "x"}, {R: "x"}, {R: "x"}, {R: "x"}),
        ({R: "x"}, {R: "y"}, {R: "x"}, {R: "y"}),
        ({R: "x"}, {}, {R: "x"}, {}),
        ({R: "x"}, {R: "y"}, {R: "y"}, {R: "y"}),
        ({}, {R: "y"}, {}, {R: "y"}),
        (None, {R: "y"}, {}, {R: "y"}),
    ],
)
def test_the_side_that_changed_wins(
    base: dict[str, str] | None, a: dict[str, str], b: dict[str, str], both: dict[str, str]
) -> None:
    for one, other in ((a, b), (b, a)):
        merged = merge_settings(base, one, other)
        assert (merged.a, merged.b, merged.conflicts) == (both, both, ())
        assert merged.agreed == both


@pytest.mark.parametrize("base", [{R: "x"}, None])
def test_two_different_changes_are_left_for_a_person(base: dict[str, str] | None) -> None:
    merged = merge_settings(base, {R: "y"}, {R: "z"})
    assert (merged.a, merged.b, merged.conflicts) == ({R: "y"}, {R: "z"}, (R,))
    assert merged.agreed == {}
