"""Matrix products of a step, declared by its layer and computed by a `Linear`.

A step layer (a recurrent cell, an attention, an attentional hidden layer) declares its
products with `linear(products, bias)` and finishes with pointwise operations. `Linear`
multiplies at once. The decoding form of a decoder passes another one, which looks up
what it has multiplied before: a table of all tokens, or products with a source's memory
or a hypothesis's state.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops


class Block:
    """A part of a weight, such as some rows or columns of a kernel.

    Args:
        weight: A Keras variable.
        index: An index or a tuple of slices, as `np.s_` makes them.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from kseq.layers.linear import Block
        >>> kernel = keras.Variable(np.ones((3, 8)))
        >>> Block(kernel, np.s_[:, :4]).shape
        (3, 4)
    """

    def __init__(self, weight: Any, index: Any) -> None:
        self.weight = weight
        self.index = index
        self.shape = np.broadcast_to(False, weight.shape)[index].shape

    def read(self) -> Any:
        """Returns the part as a tensor."""
        return ops.convert_to_tensor(self.weight)[self.index]


class Linear:
    """Computes products of values and kernels at once.

    A value is a tensor (rows, dim), or a list of values that stand side by side.
    """

    def __call__(
        self, products: Sequence[tuple[Any, Any]], bias: Any = None, splits: int = 1
    ) -> Any:
        """Returns the sum of products of values and kernels, plus a bias.

        Args:
            products: Pairs of a value (rows, dim) and a kernel (dim, units), a variable
                or a `Block`.
            bias: A variable or a `Block` (units,). Default: none.
            splits: Number of equal parts of the result, such as gates. Default: 1.

        Returns:
            Float (rows, units); with `splits` above 1 a list of floats (rows, units /
            splits).
        """
        total = None
        for value, kernel in products:
            product = self.multiply(self.read(value), kernel)
            total = product if total is None else total + product
        if bias is not None:
            total = total + self.weight(bias)
        return total if splits == 1 else ops.split(total, splits, axis=-1)

    def multiply(self, x: Any, kernel: Any) -> Any:
        """Multiplies a tensor with a kernel.

        Args:
            x: Float (rows, dim).
            kernel: A variable or a `Block` (dim, units).
        """
        return ops.matmul(x, self.weight(kernel))

    def weight(self, weight: Any) -> Any:
        """Returns a weight as a tensor.

        Args:
            weight: A variable or a `Block`.
        """
        if isinstance(weight, Block):
            return weight.read()
        return ops.convert_to_tensor(weight)

    def read(self, value: Any) -> Any:
        """Returns a value as a tensor, for pointwise operations.

        Args:
            value: A tensor, or a list of values that stand side by side.
        """
        if isinstance(value, list):
            return ops.concatenate([self.read(part) for part in value], axis=-1)
        return value

    def width(self, value: Any) -> int:
        """Returns the size of a value's last axis.

        Args:
            value: A tensor, or a list of values that stand side by side.
        """
        if isinstance(value, list):
            return sum(map(self.width, value))
        return value.shape[-1]

    def average(self, weights: Any, memory: Any) -> Any:
        """Returns the weighted mean of a memory, a value (batch, time, memory_dim).

        Args:
            weights: Float (batch, time, source_length).
            memory: Float (batch, source_length, memory_dim).
        """
        return ops.matmul(weights, memory)


class LinearWithDropout(Linear):
    """Multiplies as a Keras cell in training, with its dropout masks.

    Keras makes one mask for all gates, or one for each.

    Args:
        cell: A cell with `kernel`, `recurrent_kernel` and Keras's dropout masks.
        inputs: Float (batch, dim).
        h: Float (batch, units), the state that is multiplied.
        training: Boolean, whether dropout acts.
    """

    def __init__(self, cell: Any, inputs: Any, h: Any, training: bool) -> None:
        self._masks: dict[int, Any] = {}
        if training and cell.dropout:
            self._masks[id(cell.kernel)] = cell.get_dropout_mask(inputs)
        if training and cell.recurrent_dropout:
            masks = cell.get_recurrent_dropout_mask(h)
            self._masks[id(cell.recurrent_kernel)] = masks

    def multiply(self, x: Any, kernel: Any) -> Any:
        whole = kernel.weight if isinstance(kernel, Block) else kernel
        masks = self._masks.get(id(whole))
        if masks is None:
            return super().multiply(x, kernel)
        if not isinstance(masks, list | tuple):
            return super().multiply(x * masks, kernel)
        gates = np.split(np.arange(whole.shape[1]), len(masks))
        columns = np.arange(whole.shape[1])
        if isinstance(kernel, Block):
            columns = columns[kernel.index[1]]
        used = [
            mask for mask, gate in zip(masks, gates, strict=True) if gate[0] in columns
        ]
        kernels = ops.split(self.weight(kernel), len(used), axis=1)
        pairs = zip(used, kernels, strict=True)
        return ops.concatenate([ops.matmul(x * m, k) for m, k in pairs], axis=-1)
