"""A job's events: each change, and a sign of life where nothing changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from codecsieve.pipelines.serve import routes_jobs
from codecsieve.pipelines.serve.jobs import Job


def job(done: int) -> Job:
    return Job("ab", "me", "caches:one", {"options": {}}, "running", "", done, 3, 0, {}, 1.0, None, None)


def test_silence_is_broken_by_a_comment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes_jobs, "_SIGN_SECONDS", 0.02)

    async def jobs() -> AsyncIterator[Job]:
        yield job(1)
        await asyncio.sleep(0.07)
        yield job(2)

    async def told() -> list[str]:
        return [text async for text in routes_jobs._events(jobs())]

    first, *signs, last = asyncio.run(told())
    assert first.startswith('event: job\ndata: {"id": "ab"')
    assert '"done": 2' in last
    assert len(signs) >= 2
    assert set(signs) == {": nothing new\n\n"}


def test_whoever_goes_away_leaves_nothing_behind() -> None:
    ended: list[bool] = []

    async def jobs() -> AsyncIterator[Job]:
        try:
            yield job(1)
            await asyncio.sleep(60)
        finally:
            ended.append(True)

    async def listen() -> None:
        events = routes_jobs._events(jobs())
        await anext(events)
        listening = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0.01)
        listening.cancel()
        await asyncio.wait({listening})
        await asyncio.sleep(0.01)
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(listen())
    assert ended == [True]
