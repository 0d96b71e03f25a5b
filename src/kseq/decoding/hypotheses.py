"""The result of decoding."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Hypotheses:
    """The hypotheses of a batch of sources, best first.

    Attributes:
        tokens: int32 (batch, n, time). Each hypothesis ends with `</s>` (3), followed
            by padding (0). A truncated hypothesis has no `</s>`.
        lengths: int32 (batch, n), number of tokens, including `</s>`.
        scores: float64 (batch, n), sum of the log-probabilities of the tokens,
            including `</s>`, in nats. Penalties of a beam search are not included.
        truncated: bool (batch, n), True if the hypothesis reached its maximum length
            before `</s>`.
        log_probs: float64 (batch, n, time), log-probability of each token, in nats; 0
            after the end.
        attention: float32 (batch, n, time, source_length), attention weights of each
            token, 0 after the end; None unless requested.
    """

    tokens: np.ndarray
    lengths: np.ndarray
    scores: np.ndarray
    truncated: np.ndarray
    log_probs: np.ndarray
    attention: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, rows: Any) -> "Hypotheses":
        """Returns the hypotheses of some sources.

        Args:
            rows: A slice, or a list or an array of indices or booleans.
        """
        values: dict[str, Any] = {
            field.name: getattr(self, field.name) for field in dataclasses.fields(self)
        }
        selected: dict[str, Any] = {
            name: value if value is None else value[rows]
            for name, value in values.items()
        }
        return Hypotheses(**selected)

    @classmethod
    def concatenate(cls, parts: Iterable["Hypotheses"]) -> "Hypotheses":
        """Concatenates the hypotheses of several batches.

        Args:
            parts: List of `Hypotheses` with the same n. Their lengths and the lengths
                of their sources can differ.

        Example:
            >>> import numpy as np
            >>> from kseq.decoding import Hypotheses
            >>> one = Hypotheses(
            ...     tokens=np.array([[[5, 3]]]),
            ...     lengths=np.array([[2]]),
            ...     scores=np.array([[-0.1]]),
            ...     truncated=np.array([[False]]),
            ...     log_probs=np.array([[[-0.1, 0.0]]]),
            ... )
            >>> two = Hypotheses(
            ...     tokens=np.array([[[3]]]),
            ...     lengths=np.array([[1]]),
            ...     scores=np.array([[-0.5]]),
            ...     truncated=np.array([[False]]),
            ...     log_probs=np.array([[[-0.5]]]),
            ... )
            >>> Hypotheses.concatenate([one, two]).tokens.tolist()
            [[[5, 3]], [[3, 0]]]
        """
        parts = list(parts)
        attentions = [part.attention for part in parts if part.attention is not None]
        return cls(
            tokens=_concatenate([part.tokens for part in parts]),
            lengths=np.concatenate([part.lengths for part in parts]),
            scores=np.concatenate([part.scores for part in parts]),
            truncated=np.concatenate([part.truncated for part in parts]),
            log_probs=_concatenate([part.log_probs for part in parts]),
            attention=_concatenate(attentions) if attentions else None,
        )


def _concatenate(arrays: list[np.ndarray]) -> np.ndarray:
    """Concatenates arrays of several batches, padded with zeros to one length."""
    shape = np.max([array.shape for array in arrays], axis=0)
    return np.concatenate(
        [
            np.pad(
                array,
                [(0, 0), (0, 0), *((0, k) for k in (shape - array.shape)[2:])],
            )
            for array in arrays
        ]
    )
