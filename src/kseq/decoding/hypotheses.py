"""What decoding returns."""

import dataclasses
from collections.abc import Iterable

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Hypotheses:
    """The outputs decoded for a batch of sources, best first.

    Attributes:
        tokens: int32 (batch, n, time). Each hypothesis ends with `</s>` (3), then
            padding (0) follows; one cut at its maximum length has no `</s>`.
        lengths: int32 (batch, n), number of tokens, `</s>` included.
        scores: float32 (batch, n), sum of the model's log-probabilities of the tokens,
            `</s>` included, in nats.
        truncated: bool (batch, n), True where the hypothesis was cut at its maximum
            length.
    """

    tokens: np.ndarray
    lengths: np.ndarray
    scores: np.ndarray
    truncated: np.ndarray

    def __len__(self) -> int:
        return len(self.tokens)

    @classmethod
    def concatenate(cls, parts: Iterable["Hypotheses"]) -> "Hypotheses":
        """Joins the hypotheses of several batches into those of one.

        Args:
            parts: Hypotheses with the same n each; their times may differ.

        Example:
            >>> import numpy as np
            >>> from kseq.decoding import Hypotheses
            >>> one = Hypotheses(
            ...     tokens=np.array([[[5, 3]]]),
            ...     lengths=np.array([[2]]),
            ...     scores=np.array([[-0.1]]),
            ...     truncated=np.array([[False]]),
            ... )
            >>> two = Hypotheses(
            ...     tokens=np.array([[[3]]]),
            ...     lengths=np.array([[1]]),
            ...     scores=np.array([[-0.5]]),
            ...     truncated=np.array([[False]]),
            ... )
            >>> Hypotheses.concatenate([one, two]).tokens.tolist()
            [[[5, 3]], [[3, 0]]]
        """
        parts = list(parts)
        longest = max(part.tokens.shape[2] for part in parts)
        return cls(
            tokens=np.concatenate(
                [
                    np.pad(
                        part.tokens,
                        ((0, 0), (0, 0), (0, longest - part.tokens.shape[2])),
                    )
                    for part in parts
                ]
            ),
            lengths=np.concatenate([part.lengths for part in parts]),
            scores=np.concatenate([part.scores for part in parts]),
            truncated=np.concatenate([part.truncated for part in parts]),
        )
