"""Batches of requests that arrive together, with a model that only counts."""

import asyncio
import threading
import time
from dataclasses import dataclass

import pytest

from keras_transfer.serving.batching import Batcher
from keras_transfer.serving.limits import Limits, Refusal


@dataclass
class Lists:
    values: list

    def part(self, start, stop):
        return Lists(self.values[start:stop])

    def join(self, others):
        return Lists([*self.values, *(value for other in others for value in other.values)])


class Work:
    """Doubles numbers; -1 makes its whole batch fail."""

    def __init__(self, seconds=0.0):
        self.seconds, self.batches, self.threads = seconds, [], set()

    def decode(self, key, rows):
        if any(row == (-1,) for row in rows):
            raise ValueError("a row that no decoder survives")
        return [row[0] for row in rows]

    def predict(self, ready):
        self.threads.add(threading.get_ident())
        self.batches.append(len(ready))
        time.sleep(self.seconds)
        return Lists([2 * value for value in ready])


def run(work, scenario, **limits):
    async def whole():
        bounds = {"batch_size": 4, "queue_inputs": 16, "wait_seconds": 0.05}
        batcher = Batcher(work.decode, work.predict, Limits(**bounds | limits))
        batcher.start()
        try:
            return await asyncio.wait_for(scenario(batcher), 10)
        finally:
            await batcher.stop()

    return asyncio.run(whole())


def ask(batcher, *values, key=("a",)):
    return asyncio.ensure_future(batcher.answer(key, [(value,) for value in values]))


def test_requests_that_arrive_together_share_a_batch_and_have_their_own_results():
    work = Work()

    async def scenario(batcher):
        return [answers.values for answers in await asyncio.gather(*(ask(batcher, n) for n in range(6)))]

    assert run(work, scenario) == [[0], [2], [4], [6], [8], [10]]
    assert work.batches == [4, 2]
    assert len(work.threads) == 1


def test_a_full_batch_does_not_wait():
    async def scenario(batcher):
        started = time.monotonic()
        await asyncio.gather(*(ask(batcher, n) for n in range(4)))
        full = time.monotonic() - started
        await ask(batcher, 1)
        return full, time.monotonic() - started - full

    full, alone = run(Work(), scenario, wait_seconds=0.5)
    assert full < 0.4
    assert alone >= 0.5


def test_a_large_request_is_divided_and_joined():
    work = Work()

    async def scenario(batcher):
        return (await ask(batcher, *range(10))).values

    assert run(work, scenario) == [2 * n for n in range(10)]
    assert work.batches == [4, 4, 2]


def test_rows_of_different_keys_do_not_mix():
    work = Work()

    async def scenario(batcher):
        asked = [ask(batcher, 1), ask(batcher, 2, key=("b",)), ask(batcher, 3)]
        return [answers.values for answers in await asyncio.gather(*asked)]

    assert run(work, scenario) == [[2], [4], [6]]
    assert work.batches == [1, 1, 1]


def test_while_the_model_is_busy_the_next_batch_grows():
    work = Work(seconds=0.2)

    async def scenario(batcher):
        asked = []
        for n in range(8):
            asked.append(ask(batcher, n))
            await asyncio.sleep(0.02)
        await asyncio.gather(*asked)

    run(work, scenario, wait_seconds=0.0, batch_size=8)
    assert sum(work.batches) == 8
    assert len(work.batches) <= 4


def test_a_request_that_fails_does_not_affect_others():
    async def scenario(batcher):
        asked = [ask(batcher, 1), ask(batcher, -1), ask(batcher, 3)]
        return await asyncio.gather(*asked, return_exceptions=True)

    first, failed, third = run(Work(), scenario)
    assert (first.values, third.values) == ([2], [6])
    assert isinstance(failed, ValueError)


def test_a_full_queue_refuses_and_recovers():
    async def scenario(batcher):
        asked = [ask(batcher, *range(4)) for _ in range(4)]
        await asyncio.sleep(0)
        with pytest.raises(Refusal) as refusal:
            await batcher.answer(("a",), [(1,)])
        await asyncio.gather(*asked)
        return refusal.value, (await ask(batcher, 5)).values, batcher.waiting

    refusal, later, waiting = run(Work(seconds=0.05), scenario)
    assert (refusal.status, refusal.headers) == (429, {"Retry-After": "1"})
    assert (later, waiting) == ([10], 0)


def test_cancelled_requests_are_not_computed():
    work = Work(seconds=0.2)

    async def scenario(batcher):
        first = ask(batcher, 1)
        await asyncio.sleep(0.1)
        late = [ask(batcher, n) for n in range(8)]
        await asyncio.sleep(0.05)
        for task in late:
            task.cancel()
        await first
        assert (await ask(batcher, 7)).values == [14]

    run(work, scenario, wait_seconds=0.0)
    assert sum(work.batches) <= 1 + 4 + 1


def test_stopping_completes_accepted_requests():
    async def whole():
        work = Work(seconds=0.1)
        batcher = Batcher(work.decode, work.predict, Limits(wait_seconds=0.0))
        batcher.start()
        asked = ask(batcher, 1)
        await asyncio.sleep(0.02)
        stopping = asyncio.ensure_future(batcher.stop())
        await asyncio.sleep(0.01)
        with pytest.raises(Refusal, match="stopping"):
            await batcher.answer(("a",), [(2,)])
        await stopping
        return asked.done(), (await asked).values

    assert asyncio.run(whole()) == (True, [2])
