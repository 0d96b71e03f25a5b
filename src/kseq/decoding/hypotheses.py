"""What decoding returns."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Hypotheses:
    """The outputs decoded for a batch of sources, best first.

    Attributes:
        tokens: int32 (batch, n, time). Each hypothesis ends with `</s>` (3), then
            padding (0) follows; one cut at its maximum length has no `</s>`.
        lengths: int32 (batch, n), number of tokens, `</s>` included.
        scores: float64 (batch, n), sum of the model's log-probabilities of the tokens,
            `</s>` included, in nats. (What a beam search ranks by has penalties, too.)
        truncated: bool (batch, n), True where the hypothesis was cut at its maximum
            length.
        log_probs: float64 (batch, n, time), the model's log-probability of each token,
            in nats; 0 after the end.
        attention: float32 (batch, n, time, source_length), the attention weights at
            each token, on request; else None. Rows of zeros after the end.
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
            rows: A slice, a list or an array of numbers of sources, or of booleans.
        """
        values: dict[str, Any] = {
            field.name: getattr(self, field.name) for field in dataclasses.fields(self)
        }
        some: dict[str, Any] = {
            k: v if v is None else v[rows] for k, v in values.items()
        }
        return Hypotheses(**some)

    @classmethod
    def concatenate(cls, parts: Iterable["Hypotheses"]) -> "Hypotheses":
        """Joins the hypotheses of several batches into those of one.

        Args:
            parts: Hypotheses with the same n each; their times may differ, and so may
                the lengths of their sources.

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
            tokens=_joined([part.tokens for part in parts]),
            lengths=np.concatenate([part.lengths for part in parts]),
            scores=np.concatenate([part.scores for part in parts]),
            truncated=np.concatenate([part.truncated for part in parts]),
            log_probs=_joined([part.log_probs for part in parts]),
            attention=_joined(attentions) if attentions else None,
        )


def _joined(arrays: list[np.ndarray]) -> np.ndarray:
    """Joins arrays of several batches, each padded with zeros to the largest."""
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
