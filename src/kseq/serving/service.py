"""Decodes the instances of many clients in batches, within limits."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np

from kseq.decoding import BeamSearch
from kseq.serving.batcher import Batcher, QueueFullError, StoppedError
from kseq.serving.messages import Answer, Instance, RequestError
from kseq.serving.settings import ServingSettings
from kseq.special_tokens import END, UNK
from kseq.translator import Translation, Translator

# Maximum size in bytes of a body that the thread of the server reads itself.
SMALL_BODY = 16_384
# In seconds. SageMaker ends a request after 60, and its client cannot try again then.
_TIMEOUT = 55.0
_RETRY_AFTER = 1


class Service:
    """Decodes the instances of many clients with one model.

    Args:
        translator: The `Translator`.
        settings: `ServingSettings`. Default: `ServingSettings()`.
    """

    def __init__(
        self, translator: Translator, settings: ServingSettings | None = None
    ) -> None:
        self.translator = translator
        self.settings = settings or ServingSettings()
        self.attends = translator.model.config.attention is not None
        beam_width = self.settings.beam_width
        self._searches: dict[str, Any] = {"greedy": "greedy"}
        if beam_width > 1:
            self._searches["beam"] = BeamSearch(beam_width)
            self._searches["n_best"] = BeamSearch(beam_width, n=beam_width)
        # The search of /invocations.
        self.best = "beam" if beam_width > 1 else "greedy"
        self._batcher = Batcher(
            self._decode,
            self.settings.max_batch,
            self.settings.max_wait,
            self.settings.max_queue,
        )

    def __enter__(self) -> Service:
        """Traces all searches, so that no client waits for it, and starts to decode."""
        for search in self._searches.values():
            for attention in {False, self.attends}:
                for rows, length in self._samples():
                    ids = np.full((rows, length + 1), UNK, np.int32)  # (rows, time)
                    ids[:, -1] = END
                    self.translator.n_best_of_ids(
                        ids,
                        search,
                        max_length=1,
                        batch_size=rows,
                        return_attention=attention,
                    )
        self._batcher.__enter__()
        return self

    def _samples(self) -> list[tuple[int, int]]:
        """Returns the numbers of rows and tokens of a small and a large batch.

        A search is traced again for batches with at least as many tokens as the
        vocabulary.
        """
        rows = self.settings.max_batch
        length = -(-self.translator.model.config.target_vocab_size // rows)
        return [(1, 1), (rows, min(length, self.settings.max_source_length))]

    def __exit__(self, *exception: object) -> None:
        """Decodes the waiting instances, and accepts no more."""
        self._batcher.__exit__(*exception)

    def encode(self, instances: Sequence[Instance]) -> list[list[int] | str]:
        """Encodes the sources of instances.

        Args:
            instances: List of `Instance`.

        Returns:
            For each instance its ids with `</s>`, or an error message.

        Raises:
            RequestError: If there are too many instances.
        """
        limit = self.settings.max_instances
        if len(instances) > limit:
            message = f"A request must have at most {limit} instances."
            raise RequestError(413, f"{message} Received: {len(instances)}.")
        return [self._encode_instance(instance) for instance in instances]

    def _encode_instance(self, instance: Instance) -> list[int] | str:
        if instance.error:
            return instance.error
        if instance.attention and not self.attends:
            return "The model has no attention, so there is no attention matrix."
        if isinstance(instance.source, str):
            try:
                row = self.translator.source_vocab.encode([instance.source])[0]
            except (TypeError, ValueError) as error:
                return str(error)
            ids = [int(token) for token in row if token]
        else:
            ids = [*instance.source, END]
        limit = self.settings.max_source_length
        if len(ids) - 1 > limit:
            return (
                f"A source must have at most {limit} tokens. Received: {len(ids) - 1}."
            )
        return ids

    async def answer(
        self, instances: Sequence[Instance], encoded: Sequence[list[int] | str]
    ) -> list[Answer]:
        """Decodes the instances of a request.

        Args:
            instances: List of `Instance`.
            encoded: The result of `encode` for them.

        Returns:
            An `Answer` for each instance, in order.

        Raises:
            RequestError: If every instance is invalid, or too many instances wait.
        """
        errors = [each for each in encoded if isinstance(each, str)]
        if errors and len(errors) == len(encoded):
            raise RequestError(400, errors[0])
        sources = [
            (ids, instance.attention)
            for instance, ids in zip(instances, encoded, strict=True)
            if not isinstance(ids, str)
        ]
        decoded = iter(await self.search(self.best, sources))
        answers = []
        for each in encoded:
            outputs = each if isinstance(each, str) else next(decoded)
            if isinstance(outputs, str):
                answers.append(Answer(None, outputs))
            else:
                answers.append(Answer(outputs[0] if outputs else None))
        return answers

    async def search(
        self, search: str, sources: Sequence[tuple[list[int], bool]]
    ) -> list[list[Translation] | str]:
        """Decodes sources in batches with the sources of other clients.

        Args:
            search: `"greedy"`, or with a beam width above 1 `"beam"` or `"n_best"`.
            sources: For each source its ids with `</s>`, and whether to return the
                attention weights.

        Returns:
            For each source its outputs, best first, or an error message.

        Raises:
            RequestError: If too many instances wait.
        """
        futures: list[Any] = [None] * len(sources)
        try:
            for attention in (False, True):
                indices = [k for k, each in enumerate(sources) if each[1] == attention]
                if indices:
                    rows = [sources[k][0] for k in indices]
                    submitted = self._batcher.submit((search, attention), rows)
                    for index, future in zip(indices, submitted, strict=True):
                        futures[index] = asyncio.wrap_future(future)
            results = await asyncio.wait_for(
                asyncio.gather(*futures, return_exceptions=True), _TIMEOUT
            )
        except (QueueFullError, StoppedError, TimeoutError) as error:
            for future in futures:
                if future is not None:
                    future.cancel()
            message = str(error) or f"No answer within {_TIMEOUT:.0f} seconds."
            raise RequestError(503, message, _RETRY_AFTER) from error
        return [
            each
            if not isinstance(each, BaseException)
            else f"The source cannot be decoded: {each}"
            for each in results
        ]

    def _decode(
        self, kind: tuple[str, bool], rows: list[list[int]]
    ) -> list[list[Translation]]:
        search, attention = kind
        ids = np.zeros((len(rows), max(map(len, rows))), np.int32)  # (batch, time)
        for k, row in enumerate(rows):
            ids[k, : len(row)] = row
        return self.translator.n_best_of_ids(
            ids,
            self._searches[search],
            batch_size=len(rows),
            return_attention=attention,
        )
