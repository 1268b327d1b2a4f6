"""Keeps a part of the daemon running: an error ends its task, is told, and the task starts again after a pause."""

import asyncio
import os
import threading
import time
import traceback
from collections.abc import Callable, Coroutine, Iterable, Sequence
from pathlib import Path
from typing import Any

from gateway import log
from gateway.beats import alive

BACK_OFF_S = (1.0, 2.0, 5.0, 10.0, 30.0)
#: a task that ran for this long starts over with the shortest pause
HEALTHY_S = 60.0
STOP_S = 2.0


async def keep(
    start: Callable[[], Coroutine[Any, Any, None]],
    told: Callable[[BaseException, float], None],
    *,
    ends: bool = True,
    pauses: Sequence[float] | None = None,
) -> None:
    """Run `start()` again after every error, which `told` gets with the seconds of the pause: the next of `pauses`.

    Returns when it ends without an error, unless it is not meant to (`ends`): then that counts as one. Cancellation
    cancels it and waits STOP_S for it.
    """
    attempt = 0
    while True:
        began = asyncio.get_running_loop().time()
        error = await outcome(asyncio.ensure_future(start()))
        if error is None and ends:
            return
        if asyncio.get_running_loop().time() - began > HEALTHY_S:
            attempt = 0
        steps = pauses or BACK_OFF_S
        pause = steps[min(attempt, len(steps) - 1)]
        attempt += 1
        told(error or RuntimeError(), pause)
        alive(pause)
        await asyncio.sleep(pause)


async def outcome(task: asyncio.Future[Any]) -> BaseException | None:
    """Wait for a task and give its error; when we are cancelled, so is the task."""
    try:
        await asyncio.wait((task,))
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait((task,), timeout=STOP_S)
    return None if task.cancelled() else task.exception()


def where(error: BaseException) -> str:
    """Name an error by type and place. Never by its text: that may quote what a meter sent."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}"


async def cancel(tasks: Iterable[asyncio.Task[Any]], timeout_s: float) -> None:
    """Cancel tasks and wait for them side by side; what does not end in time is left behind."""
    waited = set(tasks)
    for task in waited:
        task.cancel()
    if waited:
        await asyncio.wait(waited, timeout=timeout_s)


def leave_behind_after(seconds: float) -> None:
    """End the process after a time, whatever hangs; a thread of its own, because the loop may hang, too."""

    def end() -> None:
        time.sleep(seconds)
        log.event("stop_forced", after_s=seconds)
        os._exit(0)

    threading.Thread(target=end, name="stop", daemon=True).start()
