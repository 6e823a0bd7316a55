"""Whether a request may in, where that has to be asked: of a service, or of what takes long to compute.

A machine's part: see `exchange`. A request that waits at a gate keeps what comes of its body, and asks one question at
a time, whose answer is `told`.
"""

from __future__ import annotations

from collections.abc import Generator
from math import inf
from typing import Any

from emulab.servers.l7.engine.answering import Answered
from emulab.servers.l7.engine.commands import ASK
from emulab.servers.l7.engine.filters.effect import Asked, GateQuestion, Page
from emulab.servers.l7.engine.questions import ServiceAnswer
from emulab.servers.l7.engine.routes import ReadyRoute


class Admitting(Answered):
    """A request that may have to wait until somebody knows whether it may in."""

    __slots__ = ("_gate", "_question", "_since", "_wanted")

    # Set once the request comes to a gate, or has to be whole first.
    _gate: Generator[GateQuestion, Any, Page | None]
    _question: GateQuestion  # the last one that was asked
    _since: float
    _wanted: tuple[bytes, bytes]  # host and forwarding lines of a request that waits

    def _go_in(self, host: bytes, forwarding: bytes, now: float) -> None:
        """Nothing is in the request's way any more."""
        raise NotImplementedError

    def _stop_at(self, rule: ReadyRoute, asked: Asked, now: float) -> None:
        """The route has gates: its filters say whether the request may in."""
        assert rule.filters is not None
        self._gate = rule.filters.may_in(asked, self._around.kept)
        self._kept, self._kept_size = [], 0
        self._answer_gate(None, now)

    def told(self, answer: Any, now: float) -> None:
        """The answer to the question that was asked."""
        if self._asking:
            self._asking = False
            if self._around.audience.wanted and isinstance(answer, ServiceAnswer):
                self._tell_asked(answer, now)
            self._answer_gate(answer, now)

    def _tell_asked(self, told: ServiceAnswer, now: float) -> None:
        question = self._question
        self._client.tell(
            "auth-request",
            url=f"{'https' if question.server_name else 'http'}://{question.host}:{question.port}{question.target}",
            status=told.status,
            reason=told.why,
            duration_us=(now - self._since) * 1e6,
        )

    def _answer_gate(self, answer: Any, now: float) -> None:
        try:
            question = self._gate.send(answer)
        except StopIteration as end:
            page: Page | None = end.value
            if page is None:
                self._go_in(*self._wanted, now)
            else:
                self.answer_page(page, now)
            return
        self._asking, self._question, self._since = True, question, now
        self._client.deadline = inf  # the shell watches the time that an answer takes
        self._commands.append((ASK, question))
