"""A fault in the middle of something: an engine at work, and what strikes while it is."""

from collections.abc import Callable
from typing import Any

from dcctl.domain.step import Step, Work


def struck_amid(work: Work[Any], strike: Callable[[], Work[None]]) -> Work[Any]:
    """``work``, with ``strike`` once after the first of its steps that cannot be taken back."""
    answer: Any = None
    failure: Exception | None = None
    due = True
    while True:
        try:
            request = work.throw(failure) if failure is not None else work.send(answer)
        except StopIteration as stop:
            return stop.value
        answer, failure = None, None
        try:
            answer = yield request
            if due and isinstance(request, Step) and request.no_return:
                due = False
                yield from strike()
        except Exception as error:  # its engine undoes what it began, and raises this again
            answer, failure = None, error
