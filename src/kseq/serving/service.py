"""A model that answers instances in batches, within limits."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from kseq.config.checks import check_integer, check_number
from kseq.decoding import BeamSearch
from kseq.sagemaker.messages import Answer, Instance, RequestError, source_ids
from kseq.serving.batcher import Batcher, QueueFullError, StoppedError
from kseq.special_tokens import END, PAD, UNK
from kseq.translator import Translation, Translator

# Bodies above it are not read in the thread that serves all clients.
SMALL_BODY = 16_384
# SageMaker gives up after 60 seconds; a client that is told earlier can try again.
_PATIENCE = 55.0
_RETRY_AFTER = 1


@dataclasses.dataclass(frozen=True)
class ServingSettings:
    """How a model is served.

    Args:
        beam_width: Width of the beam search; 1 is greedy. Default 5.
        max_batch: Most instances decoded together; 1 does not batch. Default 64.
        max_wait: Seconds that an instance waits for others where nothing is at work.
            Default 0.001.
        max_queue: Most instances that wait; a request beyond is answered with status
            503. Default 1024.
        max_instances: Most instances of a request. Default 1024.
        max_source_length: Most tokens of a source, without `</s>`. Default 500.
        max_body: Most bytes of a request's body. Default 6 MiB, as SageMaker's.
        body_timeout: Seconds in which a body must have come. Default 30.

    Raises:
        TypeError: If a setting has the wrong type.
        ValueError: If one is out of range.

    Example:
        >>> from kseq.serving.service import ServingSettings
        >>> ServingSettings(beam_width=1).max_batch
        64
    """

    beam_width: int = 5
    max_batch: int = 64
    max_wait: float = 0.001
    max_queue: int = 1024
    max_instances: int = 1024
    max_source_length: int = 500
    max_body: int = 6 * 1024 * 1024
    body_timeout: float = 30.0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type == "float":
                check_number(field.name, value)
            else:
                check_integer(field.name, value, 1)


class Service:
    """Answers the instances of many clients with one model.

    Args:
        translator: The `Translator`.
        settings: `ServingSettings`. Default: theirs.
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
        # What /invocations answers with.
        self.best = "beam" if beam_width > 1 else "greedy"
        self._batcher = Batcher(
            self._decode,
            self.settings.max_batch,
            self.settings.max_wait,
            self.settings.max_queue,
        )

    @property
    def searches(self) -> list[str]:
        """Names of the searches: `greedy`, and with a beam `beam` and `n_best`."""
        return list(self._searches)

    def __enter__(self) -> Service:
        """Makes the model ready, so that no client waits for its tracing."""
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
        """Returns rows and tokens of the least batch, and of one of many tokens.

        A search over as many tokens as the vocabulary has, or more, is traced apart.
        """
        rows = self.settings.max_batch
        length = -(-self.translator.model.config.target_vocab_size // rows)
        return [(1, 1), (rows, min(length, self.settings.max_source_length))]

    def __exit__(self, *exception: object) -> None:
        """Answers what waits, and takes nothing more."""
        self._batcher.__exit__(*exception)

    def prepare(self, instances: Sequence[Instance]) -> list[list[int] | str]:
        """Encodes instances.

        Args:
            instances: List of `Instance`.

        Returns:
            For each its ids with `</s>`, or why it cannot be translated.

        Raises:
            RequestError: If there are too many.
        """
        limit = self.settings.max_instances
        if len(instances) > limit:
            raise RequestError(
                413,
                f"A request may have {limit} instances. Received: {len(instances)}.",
            )
        return [self._prepared(instance) for instance in instances]

    def _prepared(self, instance: Instance) -> list[int] | str:
        if instance.error:
            return instance.error
        if instance.attention and not self.attends:
            return "The model has no attention, so there is no attention matrix."
        try:
            ids = source_ids(instance, self.translator.source_vocab)
        except (TypeError, ValueError) as error:
            return str(error)
        limit = self.settings.max_source_length
        if len(ids) - 1 > limit:
            return f"A source may have {limit} tokens. Received: {len(ids) - 1}."
        return ids

    async def answer(
        self, instances: Sequence[Instance], prepared: Sequence[list[int] | str]
    ) -> list[Answer]:
        """Answers the instances of a request.

        Args:
            instances: List of `Instance`.
            prepared: What `prepare` has made of them.

        Returns:
            An `Answer` to each, in order.

        Raises:
            RequestError: If none can be answered, or not now.
        """
        errors = [each for each in prepared if isinstance(each, str)]
        if errors and len(errors) == len(prepared):
            raise RequestError(400, errors[0])
        found = iter(
            await self.search(
                self.best,
                [
                    (ids, instance.attention)
                    for instance, ids in zip(instances, prepared, strict=True)
                    if not isinstance(ids, str)
                ],
            )
        )
        answers = []
        for each in prepared:
            outputs = each if isinstance(each, str) else next(found)
            if isinstance(outputs, str):
                answers.append(Answer(None, outputs))
            else:
                answers.append(Answer(outputs[0] if outputs else None))
        return answers

    async def search(
        self, search: str, sources: Sequence[tuple[list[int], bool]]
    ) -> list[list[Translation] | str]:
        """Decodes sources in batches with those of other clients.

        Args:
            search: One of `searches`.
            sources: For each its ids with `</s>`, and whether attention is wanted.

        Returns:
            For each the outputs, or why it has failed.

        Raises:
            RequestError: If too much is waiting.
        """
        futures: list[Any] = [None] * len(sources)
        try:
            for wanted in (False, True):
                places = [k for k, each in enumerate(sources) if each[1] == wanted]
                if places:
                    kind = (search, wanted)
                    items = [sources[k][0] for k in places]
                    found = self._batcher.submit(kind, items)
                    for place, future in zip(places, found, strict=True):
                        futures[place] = asyncio.wrap_future(future)
            answers = await asyncio.wait_for(
                asyncio.gather(*futures, return_exceptions=True), _PATIENCE
            )
        except (QueueFullError, StoppedError, TimeoutError) as error:
            for future in futures:
                if future is not None:
                    future.cancel()
            message = str(error) or f"No answer within {_PATIENCE:.0f} seconds."
            raise RequestError(503, message, _RETRY_AFTER) from error
        return [
            each
            if not isinstance(each, BaseException)
            else f"It cannot be translated: {each}"
            for each in answers
        ]

    def _decode(
        self, kind: tuple[str, bool], rows: list[list[int]]
    ) -> list[list[Translation]]:
        search, attention = kind
        ids = np.full((len(rows), max(map(len, rows))), PAD, np.int32)  # (batch, time)
        for k, row in enumerate(rows):
            ids[k, : len(row)] = row
        return self.translator.n_best_of_ids(
            ids,
            self._searches[search],
            batch_size=len(rows),
            return_attention=attention,
        )
