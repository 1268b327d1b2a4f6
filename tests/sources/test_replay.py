import asyncio
import os
import time
from pathlib import Path
from typing import Any

import pytest

from gateway.sources import Chunk, PortEvent
from gateway.sources.replay import BLOCK, FIFO, ReplaySource, schedule

TELEGRAM = b"/ISK5\\2M550E-1011\r\n\r\n1-0:1.7.0(00.244*kW)\r\n0-1:24.2.1(1/2)\r\n!ABCD\r\n"


def play(source: ReplaySource, most: int = 10_000) -> list[Chunk | PortEvent]:
    async def main() -> list[Chunk | PortEvent]:
        items: list[Chunk | PortEvent] = []
        async with asyncio.timeout(30):
            iterator = source.chunks()
            async for item in iterator:
                items.append(item)
                if len(items) == most:
                    break
            await iterator.aclose()  # type: ignore[attr-defined]
        return items

    return asyncio.run(main())


def states(items: list[Chunk | PortEvent]) -> list[str]:
    return [item.state for item in items if isinstance(item, PortEvent)]


def data(items: list[Chunk | PortEvent]) -> bytes:
    return b"".join(item.data for item in items if isinstance(item, Chunk))


@pytest.mark.parametrize("pace", ["fast", "line", 0.001])
def test_a_file_is_played_exactly_and_ends(pace: Any, tmp_path: Path) -> None:
    capture = tmp_path / "capture.p1"
    capture.write_bytes(b"\x00noise\n" + TELEGRAM * 5)
    items = play(ReplaySource(capture, pace=pace, baud=4_000_000))
    assert states(items) == ["open", "closed"]
    assert isinstance(items[0], PortEvent)
    assert isinstance(items[-1], PortEvent)
    assert items[-1].detail == f"{capture} has ended"
    assert data(items) == capture.read_bytes()


def test_a_large_file_comes_in_bounded_pieces(tmp_path: Path) -> None:
    capture = tmp_path / "large"
    capture.write_bytes(os.urandom(3 * BLOCK + 7))
    items = play(ReplaySource(capture, pace="fast"))
    assert [len(item.data) for item in items if isinstance(item, Chunk)] == [BLOCK, BLOCK, BLOCK, 7]
    assert data(items) == capture.read_bytes()


def test_others_get_their_turn_while_a_file_is_played_fast(tmp_path: Path) -> None:
    capture = tmp_path / "large"
    capture.write_bytes(bytes(3 * BLOCK))

    async def main() -> list[str]:
        order: list[str] = []

        async def read() -> None:
            async for _item in ReplaySource(capture, pace="fast").chunks():
                order.append("read")

        async def other() -> None:
            for _ in range(2):
                await asyncio.sleep(0)
                order.append("other")

        async with asyncio.timeout(30):
            await asyncio.gather(read(), other())
        return order

    assert asyncio.run(main())[-1] == "read"


def test_the_line_pace_is_the_speed_of_the_line() -> None:
    times = list(schedule([bytes(11_520)], "line", 115_200))
    assert {len(piece) for _, piece in times} == {FIFO}
    assert times[0][0] == pytest.approx(32 * 10 / 115_200)
    assert times[-1][0] == pytest.approx(1.0)
    assert list(schedule([bytes(96)], "line", 9600))[-1][0] == pytest.approx(0.1)


def test_the_line_pace_is_kept_in_real_time(tmp_path: Path) -> None:
    capture = tmp_path / "capture"
    capture.write_bytes(bytes(240))
    start = time.monotonic()
    items = play(ReplaySource(capture, baud=9600))
    assert time.monotonic() - start >= 0.25
    chunks = [item for item in items if isinstance(item, Chunk)]
    assert chunks[-1].monotonic - chunks[0].monotonic >= 0.2


def test_seconds_per_telegram_are_counted_from_beginning_to_beginning() -> None:
    times = list(schedule([TELEGRAM * 4], 10, 1_000_000_000))
    begins = [at for at, piece in times if piece.startswith(b"/ISK5")]
    assert begins == [pytest.approx(n * 10, abs=0.001) for n in range(4)]


@pytest.mark.parametrize("size", [1, 7, len(TELEGRAM), 1000])
def test_where_a_telegram_begins_does_not_depend_on_the_reads(size: int) -> None:
    capture = b"rest of one\n" + TELEGRAM * 3
    blocks = [capture[i : i + size] for i in range(0, len(capture), size)]
    times = list(schedule(blocks, 10, 1_000_000_000))
    assert b"".join(piece for _, piece in times) == capture
    arrivals = [at for at, piece in times for _ in piece]
    first = capture.index(b"/ISK5")
    assert [round(arrivals[first + n * len(TELEGRAM)]) for n in range(3)] == [0, 10, 20]
    assert round(arrivals[-1]) == 20


def test_a_telegram_longer_than_its_interval_delays_the_next() -> None:
    times = list(schedule([b"/" + bytes(959) + b"\n", b"/" + bytes(959)], 0.5, 9600))
    assert [at for at, piece in times if piece.startswith(b"/")][1] == pytest.approx(1.0, abs=0.1)


def test_a_file_is_played_again_and_again(tmp_path: Path) -> None:
    capture = tmp_path / "capture"
    capture.write_bytes(b"abc")
    items = play(ReplaySource(capture, pace="fast", loop=True), most=6)
    assert data(items) == b"abc" * 5


def test_an_empty_file_ends_even_in_a_loop(tmp_path: Path) -> None:
    capture = tmp_path / "empty"
    capture.touch()
    assert states(play(ReplaySource(capture, loop=True))) == ["open", "closed"]


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    (event,) = play(ReplaySource(tmp_path / "none"))
    assert isinstance(event, PortEvent)
    assert event.state == "no_port"
    assert str(tmp_path / "none") in event.detail


def test_a_folder_or_a_pipe_is_no_capture(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        assert states(play(ReplaySource(path))) == ["no_port"]


def test_what_cannot_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    capture = tmp_path / "capture"
    capture.write_bytes(TELEGRAM)

    def deny(*_args: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", deny)
        (event,) = play(ReplaySource(capture))
    assert isinstance(event, PortEvent)
    assert event.detail == f"{capture} cannot be read: Permission denied"


def test_a_file_has_nothing_to_reopen(tmp_path: Path) -> None:
    capture = tmp_path / "capture"
    capture.write_bytes(b"abc")
    source = ReplaySource(capture, pace="fast")
    source.reopen()
    assert states(play(source)) == ["open", "closed"]


@pytest.mark.parametrize("pace", ["slow", 0, -1.0, float("nan"), float("inf")])
def test_a_pace_that_is_none_is_refused(pace: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="pace"):
        ReplaySource(tmp_path, pace=pace)


def test_leaving_early_closes_the_file(tmp_path: Path, resources: Any) -> None:
    capture = tmp_path / "capture"
    capture.write_bytes(bytes(1000))
    before = resources()[0]
    play(ReplaySource(capture, baud=4_000_000), most=3)
    assert resources()[0] == before
