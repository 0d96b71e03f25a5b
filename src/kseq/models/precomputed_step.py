"""The folded step: what does not change while decoding is multiplied once.

The wiring is the decoder's own (`DecoderCore`), run with values that know what they
depend on. Where a kernel meets a value that hangs on the token alone, the product is a
row of a table made for all tokens at once; where it meets a source's memory, the
product is made once for the source; where it meets a state, once for a hypothesis,
however many continuations that has. Layers that this module knows no such way for are
called as they stand.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from kseq.decoding import Step
from kseq.decoding.step_function import flatten_hypotheses as flat
from kseq.layers import (
    Attention,
    AttentionalHidden,
    FusedGRU,
    FusedLSTM,
    LayerNormLSTM,
    LayerNormLSTMCell,
)
from kseq.layers.attention import ATTENTIONS
from kseq.models.decoder import Decoder

# Inputs and states that are together no wider than this are multiplied as they are.
_SMALL = 256

# Larger tables of one-hot vectors would cost more than they spare.
_MOST_ONE_HOT = 512


@dataclasses.dataclass
class _Word:
    """The decoder's input vector, a function of the token alone."""

    width: int


@dataclasses.dataclass
class _State:
    """A state, by its number; a width of None stands for the source's length."""

    index: int
    width: int | None


@dataclasses.dataclass
class _Context:
    """What attention gives: weights (sources, width, source_length) times a memory."""

    weights: Any
    memory: Any

    @property
    def width(self) -> int:
        return self.memory.shape[-1]


@dataclasses.dataclass
class _Joined:
    """Values side by side."""

    parts: list[Any]


def _width(value: Any) -> int:
    if isinstance(value, _Joined):
        return sum(map(_width, value.parts))
    return value.width if not tf.is_tensor(value) else value.shape[-1]


def _parts(value: Any) -> list[Any]:
    if isinstance(value, _Joined):
        return [part for each in value.parts for part in _parts(each)]
    return [value]


@dataclasses.dataclass
class _Sum:
    """A sum of products with kernels, as the wiring asks for it: what to make when."""

    words: list[Any] = dataclasses.field(default_factory=list)  # kernels
    states: list[Any] = dataclasses.field(default_factory=list)  # (number, kernel)
    contexts: list[Any] = dataclasses.field(default_factory=list)  # kernels
    others: list[Any] = dataclasses.field(default_factory=list)  # kernels
    bias: Any = None
    units: int = 0


class FoldedDecoder:
    """Makes folded steps of a decoder.

    Args:
        decoder: A built `Decoder`.
        memory_dim: Width of the memory.
        keys_dim: Width of the attention's keys, or None where there are none.
    """

    def __init__(self, decoder: Decoder, memory_dim: int, keys_dim: int | None) -> None:
        self.decoder = decoder
        self.core = decoder.core
        self.attention = decoder.core.attention
        self.dtype = self.core.recurrent[0].compute_dtype
        self.vocab_size = decoder.config.decoder.vocab_size
        self.input_dim = decoder.config.decoder.input_dim
        self.sums: list[_Sum] = []
        self.word_is_read = False
        self.states_read: set[int] = set()
        self.small_cells: list[Any] = []
        self.keys_are_folded = False
        self._discover(memory_dim, keys_dim)

    def _discover(self, memory_dim: int, keys_dim: int | None) -> None:
        """Runs the wiring once, on one source, to see what products it makes."""
        keys = None if keys_dim is None else tf.zeros([1, 1, keys_dim], self.dtype)
        memory = tf.zeros([1, 1, memory_dim], self.dtype)
        folded = self._folded_keys(memory, keys)
        self.keys_are_folded = folded is not None
        sources = {"memory": memory, "memory_mask": tf.ones([1, 1], tf.bool)}
        if self.keys_are_folded or keys is not None:
            sources["keys"] = folded if self.keys_are_folded else keys
        wide = None if self.attention is None else self.attention.weights_dtype
        states = [  # one without a size is the attention's, as long as the source
            tf.zeros([1, 1, size or 1], self.dtype if size else wide)
            for size in self.core.state_sizes
        ]
        with tf.init_scope():
            _Discovery(self, states, sources).step()

    @property
    def folds_words(self) -> bool:
        """Whether a table of all tokens can spare products."""
        return any(each.words for each in self.sums) and (
            not self.decoder.embeds_one_hot or self.vocab_size <= _MOST_ONE_HOT
        )

    def table_signature(self) -> list[tf.TensorSpec]:
        """Returns the shapes and dtypes of `tables`."""
        widths = [each.units for each in self.sums if each.words]
        widths += [self.input_dim] if self.word_is_read else []
        return [tf.TensorSpec([self.vocab_size, w], self.dtype) for w in widths]

    def tables(self) -> list[Any]:
        """Returns what each token alone gives, for the kernels that meet it.

        Returns:
            List of floats (vocab, units).
        """
        words = None
        if self.word_is_read or not self.decoder.embeds_one_hot:
            words = self.decoder.embed(tf.range(self.vocab_size))  # (vocab, input_dim)
        tables = []
        for each in self.sums:
            if each.words:
                kernel = _added([self._kernel(k) for k in each.words])
                table = kernel if words is None else tf.matmul(words, kernel)
                if each.bias is not None:
                    table += self._bias(each.bias)
                tables.append(table)
        return tables + ([words] if self.word_is_read else [])

    def step(
        self, encoded: dict[str, Any], tables: list[Any] | None
    ) -> tuple[Step, dict[str, Any]]:
        """Returns the step for a search over a batch.

        Args:
            encoded: What the encoder gives.
            tables: What `tables` returns, or None, to multiply every token's vector.

        Returns:
            The `Step`, and the constants of the sources.
        """
        sources = {
            "memory": encoded["memory"],
            "memory_mask": encoded["memory_mask"],
        }
        keys = encoded.get("attention_keys")
        if self.keys_are_folded:
            keys = self._folded_keys(encoded["memory"], keys)
        if keys is not None:
            sources["keys"] = keys
        if self.attention is None:
            sources = {}
        gates = {id(cell): _gates(cell, self.dtype) for cell in self.small_cells}
        kernels = []
        for number, each in enumerate(self.sums):
            stacked = [self._kernel(kernel) for _, kernel in each.states]
            kernels.append(
                {
                    "words": [self._kernel(k) for k in each.words]
                    if not tables
                    else [],
                    "states": tf.concat(stacked, axis=0) if stacked else None,
                    "others": [self._kernel(k) for k in each.others],
                    "bias": None if each.bias is None else self._bias(each.bias),
                }
            )
            for k, kernel in enumerate(each.contexts):
                sources[f"folded_{number}_{k}"] = _times(
                    encoded["memory"], self._kernel(kernel)
                )

        def carry(states: Sequence[Any]) -> dict[str, Any]:
            products = []
            for each, made in zip(self.sums, kernels, strict=True):
                if each.states:
                    read = [tf.cast(states[k], self.dtype) for k, _ in each.states]
                    x = tf.concat(read, axis=-1) if len(read) > 1 else read[0]
                    products.append(tf.matmul(x, made["states"]))
            return {
                "states": {str(k): states[k] for k in sorted(self.states_read)},
                "products": products,
            }

        def advance(tokens: Any, carried: Any, constants: Any) -> tuple[Any, ...]:
            return _Folded(
                self, kernels, gates, tables, tokens, carried, constants
            ).step()

        return Step(advance, self.decoder.project, carry), sources

    def _folded_keys(self, memory: Any, keys: Any) -> Any:
        attention = self.attention
        if attention is None or type(attention) not in ATTENTIONS.values():
            return None
        return attention.folded_keys(memory, memory if keys is None else keys)

    def _kernel(self, kernel: tuple[Any, Any, Any]) -> Any:
        variable, rows, columns = kernel
        value = tf.cast(tf.convert_to_tensor(variable), self.dtype)
        return value[rows[0] : rows[1], columns[0] : columns[1]]

    def _bias(self, bias: Any) -> Any:
        return tf.cast(tf.convert_to_tensor(bias()), self.dtype)


class _Run:
    """Runs the wiring with values that know what they depend on."""

    def __init__(self, folded: FoldedDecoder) -> None:
        self.folded = folded
        self.core = folded.core

    def step(self) -> tuple[Any, list[Any], Any]:
        sizes = self.core.state_sizes
        states = [_State(k, size) for k, size in enumerate(sizes)]
        sources = self.sources
        hidden, after, weights = self.core(
            _Word(self.folded.input_dim),
            states,
            sources.get("memory"),
            sources.get("memory_mask"),
            sources.get("keys"),
            run=self,
        )
        return (
            self.value(hidden),
            [self.value(state) for state in after],
            weights,
        )

    # What the two kinds of run do each in its way.

    sources: dict[str, Any]

    def word(self) -> Any:
        """Returns the token's vector."""
        raise NotImplementedError

    def state(self, index: int) -> Any:
        """Returns a state."""
        raise NotImplementedError

    def total(self, products: list[tuple[Any, Any]], bias: Any, units: int) -> Any:
        """Returns a sum of products, of values that are not joined ones."""
        raise NotImplementedError

    # What they have in common.

    def value(self, value: Any) -> Any:
        """Returns a value as a tensor (sources, width, dim)."""
        if isinstance(value, _Word):
            return self.word()
        if isinstance(value, _State):
            return self.state(value.index)
        if isinstance(value, _Context):
            weights = tf.cast(value.weights, value.memory.dtype)
            return tf.matmul(weights, value.memory)
        if isinstance(value, _Joined):
            return tf.concat([self.value(part) for part in value.parts], axis=-1)
        return value

    def linear(
        self,
        products: list[tuple[Any, Any]],
        bias: Any = None,
        columns: tuple[int, int] | None = None,
    ) -> Any:
        """Returns the sum of values times kernels, plus a bias.

        Args:
            products: Pairs of a value and a variable, or of a value and a pair of a
                variable and the rows of it that are meant.
            bias: A function without arguments to a vector, or None.
            columns: The columns of the kernels that are meant. Default: all.
        """
        terms = []
        for value, kernel in products:
            variable, rows = kernel if isinstance(kernel, tuple) else (kernel, None)
            columns = columns or (0, variable.shape[1])
            at = rows[0] if rows else 0
            for part in _parts(value):
                width = _width(part)
                terms.append((part, (variable, (at, at + width), columns)))
                at += width
        assert columns is not None
        return self.total(terms, bias, columns[1] - columns[0])

    def __call__(self, layer: keras.layers.Layer, *args: Any, **kwargs: Any) -> Any:
        if isinstance(layer, Attention):
            return self._attention(layer, *args, **kwargs)
        if type(layer) is AttentionalHidden:
            return self._attentional_hidden(layer, *args)
        if isinstance(layer, keras.layers.Concatenate):
            return _Joined(list(args[0]))
        if isinstance(layer, keras.layers.Dropout):
            return args[0]
        return layer(keras.tree.map_structure(self.value, args[0]))

    def recurrent(
        self, layer: keras.layers.RNN, inputs: Any, states: list[Any]
    ) -> tuple[Any, list[Any]]:
        """Makes a step of a recurrent layer."""
        cell = layer.cell
        if type(layer) in (keras.layers.LSTM, FusedLSTM, LayerNormLSTM):
            return self._lstm(cell, inputs, *states)
        if type(layer) in (keras.layers.GRU, FusedGRU):
            return self._gru(cell, inputs, *states)
        if type(layer) is keras.layers.SimpleRNN:
            products = [(inputs, cell.kernel), (states[0], cell.recurrent_kernel)]
            outputs = cell.activation(self.linear(products, _bias(cell)))
            return outputs, [outputs]
        values = [self.value(state) for state in states]
        outputs, after = cell(flat(self.value(inputs)), flat(values))
        after = list(after) if isinstance(after, list | tuple) else [after]
        outputs, *after = (_unflat(x, values[0]) for x in (outputs, *after))
        return outputs, after

    def _lstm(self, cell: Any, inputs: Any, h: Any, c: Any) -> tuple[Any, list[Any]]:
        c = self.value(c)
        if isinstance(cell, LayerNormLSTMCell):
            x = self.linear([(inputs, cell.kernel)])
            y = self.linear([(h, cell.recurrent_kernel)])
            outputs, (_, after) = cell.combine(flat(x), flat(y), flat(c))
            outputs, after = _unflat(outputs, c), _unflat(after, c)
            return outputs, [outputs, after]
        sigma, tanh = cell.recurrent_activation, cell.activation
        # Keras orders the gates: input, forget, cell, output
        activations = (sigma, sigma, tanh, sigma)
        if _is_small(cell, inputs):
            i, f, g, o = self.whole_gates(cell, inputs, h, activations)
        else:
            gates = self.linear(
                [(inputs, cell.kernel), (h, cell.recurrent_kernel)], _bias(cell)
            )
            i, f, g, o = (
                activation(gate)
                for activation, gate in zip(
                    activations, tf.split(gates, 4, axis=-1), strict=True
                )
            )
        c = f * c + i * g
        h = o * tanh(c)
        return h, [h, c]

    def whole_gates(
        self, cell: Any, inputs: Any, h: Any, activations: Sequence[Any]
    ) -> list[Any]:
        """Returns the gates of a small LSTM, each by one product with its activation.

        TensorFlow does such a product, its bias and its activation in one pass.
        """
        x = tf.concat([self.value(inputs), self.value(h)], axis=-1)
        return [
            _unflat(activation(tf.nn.bias_add(tf.matmul(flat(x), kernel), bias)), x)
            for activation, (kernel, bias) in zip(
                activations, self.gates_of(cell), strict=True
            )
        ]

    def gates_of(self, cell: Any) -> list[tuple[Any, Any]]:
        """Returns kernel and bias of each gate of an LSTM's cell."""
        raise NotImplementedError

    def _gru(self, cell: Any, inputs: Any, h: Any) -> tuple[Any, list[Any]]:
        units = cell.units
        bias = bias_h = None
        if cell.use_bias:
            bias = lambda: cell.bias[0] if cell.reset_after else cell.bias  # noqa: E731
            bias_h = (lambda: cell.bias[1]) if cell.reset_after else None
        # Keras orders the gates: update, reset, candidate
        x = self.linear([(inputs, cell.kernel)], bias)
        x_z, x_r, x_g = tf.split(x, 3, axis=-1)
        kernel = cell.recurrent_kernel
        before = self.value(h)
        if cell.reset_after:
            y_z, y_r, y_g = tf.split(self.linear([(h, kernel)], bias_h), 3, axis=-1)
        else:
            y = self.linear([(h, kernel)], columns=(0, 2 * units))
            y_z, y_r = tf.split(y, 2, axis=-1)
        z = cell.recurrent_activation(x_z + y_z)
        r = cell.recurrent_activation(x_r + y_r)
        if cell.reset_after:
            y_g = r * y_g
        else:
            y_g = self.linear([(r * before, kernel)], columns=(2 * units, 3 * units))
        outputs = z * before + (1 - z) * cell.activation(x_g + y_g)
        return outputs, [outputs]

    def _attention(
        self,
        layer: Attention,
        query: Any,
        memory: Any,
        mask: Any,
        keys: Any = None,
        state: Any = None,
    ) -> tuple[Any, ...]:
        query = self.value(query)  # (sources, width, query_dim)
        state = None if state is None else self.value(state)
        if type(layer) not in ATTENTIONS.values():
            return self._foreign_attention(layer, query, memory, mask, keys, state)
        if self.folded.keys_are_folded:
            scores = tf.matmul(query, keys, transpose_b=True)
        else:
            keys = memory if keys is None else keys
            scores = layer.score(layer.project_query(query), memory, mask, keys, state)
        weights = layer.weigh(scores, mask)
        if type(layer).context is Attention.context:
            context: Any = _Context(weights, memory)
        else:
            context = layer.context(tf.cast(weights, memory.dtype), memory, keys)
        if len(weights.shape) == 4:
            weights = tf.reduce_mean(weights, axis=1)
        after = [] if state is None else [layer.advance(state, weights)]
        return context, weights, *after

    def _foreign_attention(
        self,
        layer: Attention,
        query: Any,
        memory: Any,
        mask: Any,
        keys: Any,
        state: Any,
    ) -> tuple[Any, ...]:
        """Calls a user's own attention, which knows one query for each memory."""
        width = tf.shape(query)[1]

        def repeated(x: Any) -> Any:
            return None if x is None else tf.repeat(x, width, axis=0)

        outputs = layer(
            flat(query),
            repeated(memory),
            repeated(mask),
            keys=repeated(keys),
            state=None if state is None else flat(state),
        )
        return tuple(_unflat(x, query) for x in outputs)

    def _attentional_hidden(
        self, layer: AttentionalHidden, hidden: Any, context: Any
    ) -> Any:
        def bias() -> Any:
            return layer.bias

        both = _Joined([hidden, context])
        if not layer.gate:
            return tf.tanh(self.linear([(both, layer.kernel)], bias))
        gate = self.linear([(both, layer.gate_kernel)], lambda: layer.gate_bias)
        gate = tf.sigmoid(gate)
        width, end = _width(hidden), layer.kernel.shape[0]
        from_hidden = self.linear([(hidden, (layer.kernel, (0, width)))])
        from_context = self.linear([(context, (layer.kernel, (width, end)))], None)
        offset = tf.cast(tf.convert_to_tensor(layer.bias), self.folded.dtype)
        return tf.tanh(gate * from_hidden + (1 - gate) * from_context + offset)


class _Discovery(_Run):
    """Notes the products that the wiring makes, on values of no meaning."""

    def __init__(
        self, folded: FoldedDecoder, states: list[Any], sources: dict[str, Any]
    ) -> None:
        super().__init__(folded)
        self.states = states
        self.sources = sources

    def word(self) -> Any:
        self.folded.word_is_read = True
        return tf.zeros([1, 1, self.folded.input_dim], self.folded.dtype)

    def state(self, index: int) -> Any:
        self.folded.states_read.add(index)
        return self.states[index]

    def gates_of(self, cell: Any) -> list[tuple[Any, Any]]:
        self.folded.small_cells.append(cell)
        return _gates(cell, self.folded.dtype)

    def total(self, products: list[tuple[Any, Any]], bias: Any, units: int) -> Any:
        found = _Sum(bias=bias, units=units)
        self.folded.sums.append(found)
        for value, kernel in products:
            if isinstance(value, _Word):
                found.words.append(kernel)
            elif isinstance(value, _State):
                found.states.append((value.index, kernel))
            elif isinstance(value, _Context) and units <= value.width:
                found.contexts.append(kernel)
            else:
                self.value(value)
                found.others.append(kernel)
        return tf.zeros([1, 1, units], self.folded.dtype)


class _Folded(_Run):
    """Makes a step of the products that are there already, and of the rest."""

    def __init__(
        self,
        folded: FoldedDecoder,
        kernels: list[dict[str, Any]],
        gates: dict[int, list[tuple[Any, Any]]],
        tables: list[Any] | None,
        tokens: Any,
        carried: dict[str, Any],
        sources: dict[str, Any],
    ) -> None:
        super().__init__(folded)
        self.kernels = kernels
        self.gates = gates
        self.tokens = tokens
        self.tables = tables
        self.carried = carried
        self.sources = sources
        self._number = 0
        self._products = iter(carried["products"])
        self._tables = iter(tables or [])
        self._word: Any = None

    def word(self) -> Any:
        if self._word is None:
            if self.tables:
                self._word = tf.gather(self.tables[-1], self.tokens)
            else:
                self._word = self.folded.decoder.embed(self.tokens)
        return self._word

    def state(self, index: int) -> Any:
        return self.carried["states"][str(index)]

    def gates_of(self, cell: Any) -> list[tuple[Any, Any]]:
        return self.gates[id(cell)]

    def total(self, products: list[tuple[Any, Any]], bias: Any, units: int) -> Any:
        number, self._number = self._number, self._number + 1
        plan, kernels = self.folded.sums[number], self.kernels[number]
        terms = []
        if plan.states:
            terms.append(next(self._products))
        if plan.words and self.tables:
            terms.append(tf.gather(next(self._tables), self.tokens))
        elif kernels["bias"] is not None:
            terms.append(kernels["bias"])
        words, others = iter(kernels["words"]), iter(kernels["others"])
        contexts = 0
        for value, _ in products:
            if isinstance(value, _State):
                continue
            if isinstance(value, _Word):
                if not self.tables:
                    terms.append(_times(self.word(), next(words)))
            elif isinstance(value, _Context) and units <= value.width:
                folded = self.sources[f"folded_{number}_{contexts}"]
                contexts += 1
                terms.append(tf.matmul(tf.cast(value.weights, folded.dtype), folded))
            else:
                terms.append(_times(self.value(value), next(others)))
        return _added(terms)


def _is_small(cell: Any, inputs: Any) -> bool:
    """Whether an LSTM's products cost less than what folding them would move about.

    Rows of a table and of products are four times as wide as a state.
    """
    parts = _parts(inputs)
    return (
        cell.use_bias
        and all(isinstance(part, _Word) for part in parts)
        and _width(inputs) + cell.units <= _SMALL
    )


def _gates(cell: Any, dtype: str) -> list[tuple[Any, Any]]:
    kernel = tf.concat([cell.kernel, cell.recurrent_kernel], axis=0)
    kernels = tf.split(tf.cast(kernel, dtype), 4, axis=1)
    biases = tf.split(tf.cast(tf.convert_to_tensor(cell.bias), dtype), 4)
    return list(zip(kernels, biases, strict=True))


def _bias(cell: Any) -> Any:
    return (lambda: cell.bias) if cell.use_bias else None


def _added(terms: list[Any]) -> Any:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def _times(x: Any, kernel: Any) -> Any:
    """Multiplies (sources, width, dim) with a kernel in one product, not a batch."""
    shape = tf.concat([tf.shape(x)[:-1], tf.shape(kernel)[1:]], axis=0)
    y = tf.reshape(tf.matmul(tf.reshape(x, [-1, x.shape[-1]]), kernel), shape)
    return tf.ensure_shape(y, [*x.shape[:-1], kernel.shape[1]])


def _unflat(x: Any, like: Any) -> Any:
    """Turns rows into (sources, width, ...), as `like` has them."""
    shape = tf.concat([tf.shape(like)[:2], tf.shape(x)[1:]], axis=0)
    return tf.ensure_shape(tf.reshape(x, shape), [*like.shape[:2], *x.shape[1:]])
