"""Maximum output lengths, from statistics of the training data."""

import dataclasses
from typing import Any

import numpy as np

from kseq.config.checks import check_number
from kseq.special_tokens import PAD


@dataclasses.dataclass(frozen=True)
class LengthRatio:
    """Maximum output lengths, from the ratio of target length to source length.

    For a source length it returns ceil((mean + deviations * std) * length) + 2.

    Args:
        mean: Mean of target length / source length, in tokens without `</s>`.
        std: Standard deviation of the ratio. Default: 0.
        deviations: Number of standard deviations to add to the mean. Default: 2.

    Raises:
        TypeError: If an argument is not a number.
        ValueError: If an argument is negative or not finite.

    Example:
        >>> import numpy as np
        >>> from kseq.decoding import LengthRatio
        >>> source = np.array([[5, 6, 7, 3], [5, 3, 0, 0]])
        >>> target = np.array([[5, 6, 7, 8, 9, 3], [5, 5, 3, 0, 0, 0]])
        >>> ratio = LengthRatio.from_ids(source, target)
        >>> round(ratio.mean, 2), round(ratio.std, 2), ratio([10]).tolist()
        (1.83, 0.17, [24])

    Reference:
        Sockeye 1.18 (`--max-output-length-num-stds`).
    """

    mean: float
    std: float = 0.0
    deviations: float = 2.0

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            check_number(name, value)

    @classmethod
    def from_ids(cls, source: Any, target: Any, deviations: float = 2.0) -> Any:
        """Computes the statistics of pairs of sources and targets.

        Args:
            source: Integer ids (pairs, time), where each row ends with `</s>` and is
                padded with 0; or vectors (pairs, time, dim), padded with 0.
            target: Integer ids (pairs, time), where each row ends with `</s>` and is
                padded with 0.
            deviations: As in the class. Default: 2.

        Returns:
            A `LengthRatio`.

        Raises:
            ValueError: If no pair has a token on both sides.
        """
        source, target = np.asarray(source), np.asarray(target)
        real = source != 0 if source.ndim == 2 else (source != 0).any(axis=-1)
        ends = source.ndim == 2
        source_lengths = real.sum(axis=1) - ends
        target_lengths = (target != PAD).sum(axis=1) - 1
        filled = (source_lengths > 0) & (target_lengths > 0)
        if not filled.any():
            raise ValueError("A length ratio needs a pair with a token on both sides.")
        ratios = target_lengths[filled] / source_lengths[filled]
        return cls(float(ratios.mean()), float(ratios.std()), deviations)

    def __call__(self, lengths: Any) -> np.ndarray:
        """Returns maximum output lengths, including `</s>`.

        Args:
            lengths: Integers of any shape, lengths of sources without `</s>`.

        Returns:
            int32, of the same shape.
        """
        longest = (self.mean + self.deviations * self.std) * np.asarray(lengths)
        # A rounding error must not add a token.
        longest = np.minimum(np.ceil(longest - 1e-9), np.iinfo(np.int32).max - 2)
        return longest.astype(np.int32) + 2
