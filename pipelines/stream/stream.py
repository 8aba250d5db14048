"""The road of a stream: pictures as they come, and each time that a window is due, its selection.

What a window holds is left to `windows`; how a source is opened, decoded and found to be silent, to `codec`.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from types import TracebackType
from typing import Self

from codecsieve.codec.arriving import Bytes
from codecsieve.codec.facts import VideoFacts
from codecsieve.codec.live import LiveDecoder
from codecsieve.pipelines.config import SieveConfig
from codecsieve.pipelines.stream.config import StreamOptions
from codecsieve.pipelines.stream.windows import SlidingWindow, StreamWindow


class Stream(Iterator[StreamWindow]):
    """The windows of a source, one after the other, each as soon as its last frame was decoded.

    An iterator, of one thread, that is closed at its end; `close` or a `with` block ends it before. Frames behind the
    last whole window are in none.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | Bytes,
        config: SieveConfig,
        options: StreamOptions,
        pixels: bool = True,
    ) -> None:
        """Open a source.

        Args:
            source: what `codec.arriving.open_arriving` takes.
            config: what is scored and kept, see `window_config`.
            options: how windows slide, and how long is waited.
            pixels: also cut out the patches.

        Raises:
            VideoError: the source cannot be used, or is silent.
            ConfigError: options that it cannot be read by.
        """
        self.frames = self.windows = 0
        """Frames taken in so far, and windows given."""
        self._options = options
        self._live = LiveDecoder(
            source,
            options.every,
            config.signals,
            options.follow,
            options.patience,
            options.max_memory,
            config.decoder_fields,
        )
        try:
            self._window = SlidingWindow(self._live, config, pixels)
        except BaseException:
            self._live.source.close()
            raise
        self._windows = self._slide(config)

    @property
    def facts(self) -> VideoFacts:
        """What the source's header tells."""
        return self._live.source.facts

    @property
    def covered(self) -> int:
        """Frames up to the last window's last."""
        return self._options.window + (self.windows - 1) * self._options.step if self.windows else 0

    @property
    def pictures_decoded(self) -> int:
        """Pictures that the decoder has shown so far."""
        return self._live.pictures_decoded

    @property
    def signals(self) -> str:
        """`bitstream`, `search`, `difference` or `bits`: what is used."""
        return self._live.signals

    def __next__(self) -> StreamWindow:
        """The next window, waited for.

        Raises:
            StopIteration: the source has ended.
            VideoError: it fell silent or broke off; all windows before that were given.
        """
        return next(self._windows)

    def close(self) -> None:
        """Let the source and all that is held go; a second time does nothing."""
        self._windows.close()
        self._live.source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _slide(self, config: SieveConfig) -> Generator[StreamWindow, None, None]:
        options = self._options
        with self._live as live:
            for slot, arrival in live.slots(config.input_size, config.fitting):
                self._window.add(slot, arrival)
                self.frames += 1
                if self.frames >= options.window and (self.frames - options.window) % options.step == 0:
                    self.windows += 1
                    yield self._window.select(self.windows - 1)
