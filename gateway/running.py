"""The sinks that run, a task for each, by name; some may be exchanged while the others run on."""

import asyncio
from collections.abc import Collection, Mapping
from typing import Any

from gateway import log
from gateway.beats import Beats, live_as
from gateway.sinks import Sink
from gateway.supervisor import keep, where

#: what a sink may take to say good-bye (s)
STOP_S = 2.5


class Running:
    """The sinks by name, in the order in which they get a reading."""

    def __init__(self, beats: Beats) -> None:
        self.sinks: dict[str, Sink] = {}
        self._beats = beats
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, sinks: Mapping[str, Sink]) -> None:
        """Run exactly these sinks: those that run already go on, the new ones begin."""
        self.sinks = dict(sinks)
        for name, sink in self.sinks.items():
            if name not in self._tasks:
                self._tasks[name] = asyncio.create_task(self._keep(name, sink), name=name)

    async def stop(self, names: Collection[str], *others: asyncio.Future[Any]) -> None:
        """Let sinks say good-bye, and wait for that and for `others`, all side by side, within STOP_S."""
        tasks = [self._tasks.pop(name) for name in names if name in self._tasks]
        self.sinks = {name: sink for name, sink in self.sinks.items() if name in self._tasks}
        for task in tasks:
            task.cancel()
        if tasks or others:
            await asyncio.wait([*tasks, *others], timeout=STOP_S)

    async def _keep(self, name: str, sink: Sink) -> None:
        def told(error: BaseException, pause: float) -> None:
            log.event("sink_ended", sink=name, error=where(error), again_in_s=pause)

        beat = self._beats.part(f"sink {name}")
        live_as(beat)
        try:
            await keep(sink.run, told, ends=False)
        finally:
            self._beats.drop(beat)
