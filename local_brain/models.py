"""The Brain's models, loaded in the background: the server answers while they are on their way."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TYPE_CHECKING, TypeVar

from local_brain.embedding import TextEmbedder

if TYPE_CHECKING:
    from local_brain.reading import PageReader

T = TypeVar("T")
log = logging.getLogger("local_brain")

READING_MODEL = "rapidocr/PP-OCRv6-small"
EMBEDDING_MODEL = "all-MiniLM-L6-v2-int8"
# Beyond this the models gain next to nothing from further cores.
_MAX_THREADS = 4


class Models:
    """Two futures, each done when its model is ready or could not be loaded (`result()` then raises why)."""

    def __init__(self, *, dimensions: int) -> None:
        self.dimensions = dimensions
        self.embedder: Future[TextEmbedder] = Future()
        self.reader: Future[PageReader] = Future()
        self._threads = min(_MAX_THREADS, len(os.sched_getaffinity(0)))

    def load(self) -> None:
        """Starts loading. A daemon thread, so that a stop does not wait for it."""
        Thread(target=self._load, name="loading", daemon=True).start()

    @property
    def state(self) -> str:
        """`loading`, `ready` or `failed`."""
        futures: list[Future[TextEmbedder] | Future[PageReader]] = [self.embedder, self.reader]
        if any(future.done() and future.exception() for future in futures):
            return "failed"
        return "ready" if all(future.done() for future in futures) else "loading"

    def _load(self) -> None:
        _resolve(self.embedder, EMBEDDING_MODEL, self._embedder)
        _resolve(self.reader, READING_MODEL, self._reader)

    def _embedder(self) -> TextEmbedder:
        embedder = TextEmbedder(dimensions=self.dimensions, threads=self._threads)
        embedder.embed("The first call sets up the model's memory.")
        return embedder

    def _reader(self) -> PageReader:
        # Here, since importing the OCR libraries takes longer than starting the server.
        from local_brain.reading import PageReader  # noqa: PLC0415

        reader = PageReader(threads=self._threads)
        reader.warm_up()
        return reader


def _resolve(future: Future[T], name: str, load: Callable[[], T]) -> None:
    started = time.perf_counter()
    try:
        future.set_result(load())
    except Exception as error:
        log.exception("the model %s could not be loaded", name)
        future.set_exception(error)
    else:
        log.info("the model %s is ready after %.1f s", name, time.perf_counter() - started)
