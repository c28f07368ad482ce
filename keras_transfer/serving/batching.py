"""Dynamic batching: inputs of requests that arrive at the same time are predicted in one batch.

Decoding and the model have a thread each, so that the next batch is decoded while the model runs. The event loop owns
all state; the threads only compute.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from keras_transfer.serving.limits import Limits, refuse_full, refuse_stopping
from keras_transfer.serving.protocol import Key, Row

if TYPE_CHECKING:
    from keras_transfer.serving.model import ModelAnswers


@dataclass
class _Item:
    key: Key
    rows: Sequence[Row]
    future: "asyncio.Future[ModelAnswers]"
    arrived: float = field(default_factory=time.monotonic)


class Batcher:
    """Collects rows into batches, and returns the results of its own rows to each request.

    A batch starts when it is full, or when its first row has waited ``limits.wait_seconds``. It grows while the
    model is busy.

    Args:
        decode: Turns rows with the same key into model inputs. An unreadable row does not affect the others.
        predict: Runs the model on these. Each of the two is called from one thread at a time.
        observe: Called with the number of rows and the model's time in seconds for each batch.
    """

    def __init__(
        self,
        decode: Callable[[Any, Sequence[Row]], Any],
        predict: Callable[[Any], "ModelAnswers"],
        limits: Limits,
        observe: Callable[[int, float], None] = lambda rows, seconds: None,
    ) -> None:
        self._decode, self._predict = decode, predict
        self._limits, self._observe = limits, observe
        self._queue: deque[_Item] = deque()
        self._arrival = asyncio.Event()
        self._decoded: asyncio.Queue[tuple[list[_Item], Any]] = asyncio.Queue()
        # One batch is decoded ahead, and no more: the others still grow.
        self._ahead = asyncio.Semaphore(1)
        self._decoder_thread = ThreadPoolExecutor(1, "keras-transfer-decode")
        self._model_thread = ThreadPoolExecutor(1, "keras-transfer-model")
        self._tasks: list[asyncio.Task[None]] = []
        self._waiting = 0
        self._stopping = False

    @property
    def waiting(self) -> int:
        """The number of rows without a result."""
        return self._waiting

    def start(self) -> None:
        """Start processing, in the running event loop."""
        self._tasks = [asyncio.create_task(self._decode_batches()), asyncio.create_task(self._predict_batches())]

    async def stop(self) -> None:
        """Refuse new rows, process those that are waiting, and end."""
        self._stopping = True
        while self._waiting:
            await asyncio.sleep(0.01)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._decoder_thread.shutdown(wait=False)
        self._model_thread.shutdown(wait=False)

    async def answer(self, key: Key, rows: Sequence[Row]) -> "ModelAnswers":
        """Return the model's answers for rows.

        Args:
            key: Rows of equal keys may share a batch.
            rows: At least one.

        Raises:
            Refusal: The queue is full, or the server is stopping.
        """
        if self._stopping:
            raise refuse_stopping()
        if self._waiting + len(rows) > self._limits.queue_inputs:
            raise refuse_full()
        loop, size = asyncio.get_running_loop(), self._limits.batch_size
        items = [_Item(key, rows[start : start + size], loop.create_future()) for start in range(0, len(rows), size)]
        self._waiting += len(rows)
        try:
            self._queue.extend(items)
            self._arrival.set()
            first, *others = [await item.future for item in items]
            return first.join(others) if others else first
        finally:  # of a request that timed out, rows that still wait are not decoded
            for item in items:
                if not item.future.cancel() and not item.future.cancelled():
                    item.future.exception()  # of several that failed, one is raised
            self._waiting -= len(rows)

    async def run_alone(self, function: Callable[[], Any]) -> Any:
        """Run another function in the model's thread, between two batches."""
        return await asyncio.get_running_loop().run_in_executor(self._model_thread, function)

    async def _collect(self) -> list[_Item]:
        """Wait for a batch: items with the same key, in the order of their arrival."""
        batch: list[_Item] = []
        rows = 0
        while not batch:
            await self._wait_for_rows()
            while self._drop_cancelled():
                item = self._queue[0]
                if batch and (item.key != batch[0].key or rows + len(item.rows) > self._limits.batch_size):
                    break
                batch.append(self._queue.popleft())
                rows += len(item.rows)
        return batch

    async def _wait_for_rows(self) -> None:
        """Wait until there is an item, and until it has waited long enough or there are enough items."""
        while not self._drop_cancelled():
            self._arrival.clear()
            await self._arrival.wait()
        first = self._queue[0]
        while (left := first.arrived + self._limits.wait_seconds - time.monotonic()) > 0 and not self._is_full():
            self._arrival.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._arrival.wait(), left)

    def _drop_cancelled(self) -> bool:
        """Return whether there is an item at the head of the queue whose request still waits for it."""
        while self._queue and self._queue[0].future.done():
            self._queue.popleft()
        return bool(self._queue)

    def _is_full(self) -> bool:
        return sum(len(item.rows) for item in self._queue) >= self._limits.batch_size

    async def _decode_batches(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._ahead.acquire()
            batch = await self._collect()
            rows = [row for item in batch for row in item.rows]
            try:
                ready = await loop.run_in_executor(self._decoder_thread, self._decode, batch[0].key, rows)
            except Exception as error:
                await self._decoded.put((batch, error))
            else:
                await self._decoded.put((batch, ready))

    async def _predict_batches(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch, ready = await self._decoded.get()
            self._ahead.release()
            if all(item.future.done() for item in batch):
                continue
            try:
                if isinstance(ready, Exception):
                    raise ready
                started = time.perf_counter()
                answers = await loop.run_in_executor(self._model_thread, self._predict, ready)
                self._observe(sum(len(item.rows) for item in batch), time.perf_counter() - started)
            except Exception as error:
                await self._answer_each(batch, error)
                continue
            start = 0
            for item in batch:
                _resolve(item.future, answers.part(start, start + len(item.rows)))
                start += len(item.rows)

    async def _answer_each(self, batch: Sequence[_Item], error: Exception) -> None:
        """Process each request of a failed batch separately, so that only the one that causes the failure fails."""
        loop = asyncio.get_running_loop()
        if len(batch) == 1:
            _fail(batch[0].future, error)
            return
        for item in batch:
            try:
                ready = await loop.run_in_executor(self._decoder_thread, self._decode, item.key, item.rows)
                _resolve(item.future, await loop.run_in_executor(self._model_thread, self._predict, ready))
            except Exception as own:
                _fail(item.future, own)


def _resolve(future: "asyncio.Future[ModelAnswers]", answers: "ModelAnswers") -> None:
    if not future.done():
        future.set_result(answers)


def _fail(future: "asyncio.Future[ModelAnswers]", error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
