"""The `keras.utils.PyDataset` of pairs. Importing this module imports Keras."""

from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from kseq.data.batches import Batch, epoch_order, make_batch
from kseq.data.vocabulary import Ids


class PairsPyDataset(keras.utils.PyDataset):  # type: ignore[misc, unused-ignore]
    """Batches of pairs, all padded to the longest pair of the whole set.

    All batches have the same length, because Keras infers the shapes of a PyDataset
    from its first two batches.

    Args:
        source: int32 array of shape `(size, source_time)`, rows ended by `</s>`.
        target: int32 array of shape `(size, target_time)`, rows ended by `</s>`.
        batch_size: int, number of pairs per batch. The last batch may be smaller.
        shuffle: bool, whether to shuffle the pairs anew in each epoch. Default: True.
        seed: int, determines the order together with the epoch. Default: 0.
        **kwargs: arguments of `keras.utils.PyDataset`, such as `workers`.
    """

    def __init__(
        self,
        source: Ids,
        target: Ids,
        batch_size: int,
        shuffle: bool = True,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.source = source
        self.target = target
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.epoch = 0
        self._cached: tuple[int, npt.NDArray[np.int64]] | None = None

    def __len__(self) -> int:
        """Returns the number of batches per epoch."""
        return -(-len(self.source) // self.batch_size)

    def __getitem__(self, index: int) -> Batch:
        """Returns a batch of the current epoch.

        Args:
            index: int, from 0 to `len(self) - 1`.

        Returns:
            A tuple `(inputs, targets)` of int32 arrays.

        Raises:
            IndexError: if `index` is out of range.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"batch {index} of {len(self)} does not exist")
        rows = self._order()[index * self.batch_size : (index + 1) * self.batch_size]
        return make_batch(self.source[rows], self.target[rows])

    def on_epoch_end(self) -> None:
        """Starts the next epoch."""
        self.epoch += 1

    def _order(self) -> npt.NDArray[np.int64]:
        # A single assignment, because Keras reads batches in another thread.
        cached, epoch = self._cached, self.epoch
        if cached is None or cached[0] != epoch:
            size = len(self.source)
            order = epoch_order(size, self.seed, epoch) if self.shuffle else None
            cached = (epoch, np.arange(size) if order is None else order)
            self._cached = cached
        return cached[1]
