import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.sources import Chunk, PortEvent
from gateway.sources.link import READ_SIZE, Link


@asynccontextmanager
async def piped() -> AsyncIterator[tuple[Link, int]]:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    link = Link(reader, lambda: os.close(reader), detail="a pipe", lost="the pipe ended")
    async with asyncio.timeout(30):
        try:
            yield link, writer
        finally:
            await link.close()
            os.close(writer)


async def data(link: Link) -> bytes:
    item = await link.receive()
    assert isinstance(item, Chunk)
    return item.data


def test_what_is_there_is_given_at_once_and_in_order() -> None:
    async def main() -> None:
        async with piped() as (link, writer):
            for sent in (b"a", b"bc", bytes(READ_SIZE)):
                os.write(writer, sent)
                assert await data(link) == sent

    asyncio.run(main())


def test_one_chunk_is_held_and_the_kernel_keeps_the_rest() -> None:
    async def main() -> None:
        async with piped() as (link, writer):
            os.write(writer, b"1")
            assert await data(link) == b"1"
            for n in b"23456":
                os.write(writer, bytes([n]))
                await asyncio.sleep(0.01)  # turns in which nobody receives
            assert await data(link) == b"2"
            assert await data(link) == b"3456"

    asyncio.run(main())


def test_the_end_comes_after_what_is_held_and_stays() -> None:
    async def main() -> None:
        async with piped() as (link, writer):
            os.write(writer, b"1")
            assert await data(link) == b"1"
            os.write(writer, b"2")
            await asyncio.sleep(0.01)
            link.end("enough")
            link.end("a second reason changes nothing")
            assert await data(link) == b"2"
            for _ in range(2):
                item = await link.receive()
                assert isinstance(item, PortEvent)
                assert (item.state, item.detail) == ("closed", "enough")

    asyncio.run(main())


def test_who_waits_is_told_of_the_end() -> None:
    async def main() -> None:
        async with piped() as (link, _writer):
            waiting = asyncio.create_task(link.receive())
            await asyncio.sleep(0)
            link.end("enough")
            item = await waiting
            assert isinstance(item, PortEvent)
            assert item.detail == "enough"

    asyncio.run(main())


def test_the_number_of_a_closed_descriptor_can_be_used_again() -> None:
    async def main() -> None:
        async with piped() as (first, _writer):
            waiting = asyncio.create_task(first.receive())
            await asyncio.sleep(0)
            waiting.cancel()
            used = first._fd
        async with piped() as (second, writer):
            assert second._fd == used
            os.write(writer, b"x")
            assert await data(second) == b"x"

    asyncio.run(main())


def test_end_of_file_is_the_end() -> None:
    async def main() -> None:
        reader, writer = os.pipe()
        link = Link(reader, lambda: os.close(reader), detail="", lost="the pipe ended")
        os.write(writer, b"last")
        os.close(writer)
        async with asyncio.timeout(30):
            assert await data(link) == b"last"
            item = await link.receive()
            assert isinstance(item, PortEvent)
            assert item.detail == "the pipe ended"
            await link.close()

    asyncio.run(main())


def test_a_failing_read_is_the_end_with_its_reason() -> None:
    async def main() -> None:
        reader, writer = os.pipe()
        link = Link(writer, lambda: os.close(writer), detail="", lost="it broke")  # a writer cannot be read
        async with asyncio.timeout(30):
            waiting = asyncio.create_task(link.receive())
            await asyncio.sleep(0)
            link._readable()
            item = await waiting
            assert isinstance(item, PortEvent)
            assert item.detail == "it broke (Bad file descriptor)"
            await link.close()
            os.close(reader)

    asyncio.run(main())


def test_waking_up_for_nothing_is_no_end() -> None:
    async def main() -> None:
        async with piped() as (link, writer):
            waiting = asyncio.create_task(link.receive())
            await asyncio.sleep(0)
            link._readable()
            os.write(writer, b"x")
            item = await waiting
            assert isinstance(item, Chunk)
            assert item.data == b"x"

    asyncio.run(main())
