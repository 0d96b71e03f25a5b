"""The decoding form of a decoder's step: products with constants are made once.

The wiring is that of `DecoderCore`, run with values that are not computed yet. A layer
declares its products through a `Linear`. Where a kernel meets the token's vector, the
product is a row of a table of all tokens; where it meets a source's memory, the product
is made once for the source; where it meets a state, once for a hypothesis, before the
hypothesis is continued. A recording of one step tells which products there are.
"""

import dataclasses
import functools
import itertools
import operator
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from kseq.decoding import Step
from kseq.decoding.step_function import flatten_hypotheses, unflatten_hypotheses
from kseq.layers import Attention, Linear
from kseq.layers.cells import step_of
from kseq.models.decoder import Decoder

# Tokens and states that are together no wider than this are multiplied directly: rows
# of tables and of products are several times as wide, and cost more to move about.
_SMALL = 256

# Larger tables of one-hot vectors would cost more than they save.
_MAX_ONE_HOT_VOCAB = 512


@dataclasses.dataclass
class _Token:
    """The decoder's input vector, a function of the token alone."""

    width: int


@dataclasses.dataclass
class _State:
    """A state by its index; a width of None stands for the source's length."""

    index: int
    width: int | None


@dataclasses.dataclass
class _Average:
    """Weights (sources, hypotheses, source_length) times a memory."""

    weights: Any
    memory: Any

    @property
    def width(self) -> int:
        return self.memory.shape[-1]


@dataclasses.dataclass
class _Factor:
    """A value of a sum of products, and the rows of the kernel that it meets."""

    value: Any
    kernel: Any
    rows: slice


@dataclasses.dataclass
class _Sum:
    """A sum of products, as a layer declares it.

    With `gates` it is multiplied directly, gate by gate: nothing of it is looked up.
    """

    factors: list[_Factor]
    bias: Any
    units: int
    gates: int

    def of(self, kind: type) -> list[_Factor]:
        """Returns the factors that are looked up, of values of a kind."""
        factors = [] if self.gates else self.factors
        return [factor for factor in factors if isinstance(factor.value, kind)]


class PrecomputedStep:
    """Makes steps for a search over a decoder.

    Args:
        decoder: A built `Decoder`.
        memory_dim: Width of the memory.
        keys_dim: Width of the attention's keys, or None where there are none.
    """

    def __init__(self, decoder: Decoder, memory_dim: int, keys_dim: int | None) -> None:
        self.decoder = decoder
        self.core = decoder.core
        self.dtype = self.core.recurrent[0].compute_dtype
        self.vocab_size = decoder.config.decoder.vocab_size
        self.input_dim = decoder.config.decoder.input_dim
        with tf.init_scope():
            memory = tf.zeros([1, 1, memory_dim], self.dtype)
            encoded = {"memory": memory, "memory_mask": tf.ones([1, 1], tf.bool)}
            if keys_dim is not None:
                encoded["attention_keys"] = tf.zeros([1, 1, keys_dim], self.dtype)
            recording = _Recording(self, 1, 1)
            recording.step(self._constants(encoded))
        self.sums = recording.sums
        self._reads_token = recording.reads_token
        self._states_read = sorted(recording.states_read)

    @property
    def uses_tables(self) -> bool:
        """Whether a table of all tokens can save products."""
        return any(each.of(_Token) for each in self.sums) and (
            not self.decoder.embeds_one_hot or self.vocab_size <= _MAX_ONE_HOT_VOCAB
        )

    def table_signature(self) -> list[tf.TensorSpec]:
        """Returns the shapes and dtypes of `tables`."""
        widths = [each.units for each in self.sums if each.of(_Token)]
        widths += [self.input_dim] if self._reads_token else []
        return [tf.TensorSpec([self.vocab_size, w], self.dtype) for w in widths]

    def tables(self) -> list[Any]:
        """Returns products with the vectors of all tokens.

        Returns:
            List of floats (vocab, units): for each sum with such products these and its
            bias; then, where a layer reads them as they are, the vectors.
        """
        vectors = None
        if self._reads_token or not self.decoder.embeds_one_hot:
            vectors = self.decoder.embed(tf.range(self.vocab_size))  # (vocab, dim)
        tables = []
        for each in self.sums:
            if each.of(_Token):
                kernel = _total(map(self._kernel, each.of(_Token)))
                table = kernel if vectors is None else tf.matmul(vectors, kernel)
                tables.append(table if each.bias is None else table + self._bias(each))
        return tables + ([vectors] if self._reads_token else [])

    def step(
        self, encoded: dict[str, Any], tables: list[Any] | None
    ) -> tuple[Step, dict[str, Any]]:
        """Returns the step for a search over a batch.

        Args:
            encoded: The outputs of the encoder.
            tables: What `tables` returns, or None, to multiply every token's vector.

        Returns:
            The `Step`, and the constants of the sources.
        """
        constants = self._constants(encoded)
        for number, each in enumerate(self.sums):
            for k, factor in enumerate(each.of(_Average)):
                product = _multiply(encoded["memory"], self._kernel(factor))
                constants[f"product_{number}_{k}"] = product
        # Made before the loop of the search.
        made = list(map(self._weights, self.sums))

        def carry(states: Sequence[Any]) -> dict[str, Any]:
            products = []
            for each in self.sums:
                if factors := each.of(_State):
                    read = [states[factor.value.index] for factor in factors]
                    read = [tf.cast(state, self.dtype) for state in read]
                    kernel = tf.concat(list(map(self._kernel, factors)), axis=0)
                    products.append(tf.matmul(tf.concat(read, axis=-1), kernel))
            kept = {str(index): states[index] for index in self._states_read}
            return {"states": kept, "products": products}

        def advance(tokens: Any, carried: Any, constants: Any) -> tuple[Any, ...]:
            run = _Precomputed(self, tf.shape(tokens)[0], tokens.shape[1])
            run.prepare(made, tables or [], tokens, carried, constants)
            hidden, states, weights = run.step(constants)
            return run.by_source(hidden), [run.by_source(x) for x in states], weights

        return Step(advance, self.decoder.project, carry), constants

    def weight(self, weight: Any) -> Any:
        """Returns a weight as a tensor of the decoder's dtype."""
        return tf.cast(Linear().weight(weight), self.dtype)

    def _kernel(self, factor: _Factor) -> Any:
        return self.weight(factor.kernel)[factor.rows]

    def _bias(self, each: _Sum) -> Any:
        return None if each.bias is None else self.weight(each.bias)

    def _weights(self, each: _Sum) -> tuple[list[Any], Any]:
        """Returns the kernels of the factors, or of the gates, and the bias."""
        kernels, bias = list(map(self._kernel, each.factors)), self._bias(each)
        if not each.gates:
            return kernels, bias
        kernels = tf.split(tf.concat(kernels, axis=0), each.gates, axis=1)
        return kernels, tf.split(bias, each.gates)

    def _constants(self, encoded: dict[str, Any]) -> dict[str, Any]:
        """Returns the constants of the sources that the attention reads."""
        attention = self.core.attention
        if attention is None:
            return {}
        memory, keys = encoded["memory"], encoded.get("attention_keys")
        constants = {"memory": memory, "memory_mask": encoded["memory_mask"]}
        dot_keys = attention.dot_keys(memory, memory if keys is None else keys)
        if dot_keys is not None:
            return {**constants, "dot_keys": dot_keys}
        return constants if keys is None else {**constants, "keys": keys}


class _Run(Linear):
    """Runs the layers of a decoder for one step, on values that are not computed yet.

    Tensors are (rows, dim), a row for each hypothesis of each source.

    Args:
        plan: A `PrecomputedStep`.
        sources: Number of sources.
        hypotheses: Number of hypotheses of each.
    """

    def __init__(self, plan: PrecomputedStep, sources: Any, hypotheses: int) -> None:
        self.plan = plan
        self._shape = sources, hypotheses

    def step(self, constants: dict[str, Any]) -> tuple[Any, list[Any], Any]:
        """Runs the decoder: returns what `DecoderCore` does, as tensors.

        Args:
            constants: The memory of the sources, its mask and keys.
        """
        core = self.plan.core
        names = ("memory", "memory_mask", "keys")
        memory, mask, keys = map(constants.get, names)
        self._dot_keys = constants.get("dot_keys")
        states = [_State(k, size) for k, size in enumerate(core.state_sizes)]
        token = _Token(self.plan.input_dim)
        hidden, after, weights = core(token, states, memory, mask, keys, run=self)
        return self.read(hidden), list(map(self.read, after)), weights

    # The layers, as `LayerByLayer` calls them.

    def call(self, layer: keras.layers.Layer, *args: Any) -> Any:
        if hasattr(layer, "step"):
            return layer.step(self, *args)
        (x,) = args
        return layer(list(map(self.read, x)) if isinstance(x, list) else self.read(x))

    def join(self, layer: keras.layers.Concatenate, parts: list[Any]) -> list[Any]:
        return parts

    def recurrent(
        self, layer: keras.layers.RNN, inputs: Any, states: list[Any]
    ) -> tuple[Any, list[Any]]:
        step = step_of(layer.cell)
        if step is not None:
            return step(self, inputs, states)
        outputs, after = layer.cell(self.read(inputs), list(map(self.read, states)))
        return outputs, list(after) if isinstance(after, list | tuple) else [after]

    def attend(
        self,
        layer: Attention,
        query: Any,
        memory: Any,
        mask: Any,
        keys: Any,
        state: Any,
    ) -> tuple[Any, ...]:
        query, state = self.read(query), None if state is None else self.read(state)
        if type(layer).call is not Attention.call:  # it takes one query a source
            rows = [
                None if x is None else tf.repeat(x, self._shape[1], axis=0)
                for x in (memory, mask, keys)
            ]
            context, weights, *after = layer(query, *rows, state)
            return context, self.by_source(weights), *after
        context, weights, *after = layer.step(
            self,
            self.by_source(query),
            memory,
            mask,
            memory if keys is None else keys,
            None if state is None else self.by_source(state),
            self._dot_keys,
        )
        return context, weights, *after

    # The products, as a `Linear`.

    def weight(self, weight: Any) -> Any:
        return self.plan.weight(weight)

    def average(self, weights: Any, memory: Any) -> Any:
        return _Average(weights, memory)

    def width(self, value: Any) -> int:
        is_lazy = isinstance(value, _Token | _State | _Average)
        return value.width if is_lazy else super().width(value)

    def read(self, value: Any) -> Any:
        if isinstance(value, _Token):
            return self.token()
        if isinstance(value, _State):
            return self.state(value)
        if isinstance(value, _Average):
            weights = tf.cast(value.weights, value.memory.dtype)
            value = tf.matmul(weights, value.memory)
        value = super().read(value)
        # An attention gives (sources, hypotheses, dim).
        return flatten_hypotheses(value) if len(value.shape) == 3 else value

    def token(self) -> Any:
        """Returns the vectors of the tokens, (rows, dim)."""
        raise NotImplementedError

    def state(self, state: _State) -> Any:
        """Returns a state, (rows, width)."""
        raise NotImplementedError

    def by_source(self, x: Any) -> Any:
        """Turns (rows, dim) into (sources, hypotheses, dim)."""
        return unflatten_hypotheses(x, *self._shape)


class _Recording(_Run):
    """Records the sums of one step, on zeros."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.sums: list[_Sum] = []
        self.reads_token = False
        self.states_read: set[int] = set()

    def token(self) -> Any:
        self.reads_token = True
        return tf.zeros([1, self.plan.input_dim], self.plan.dtype)

    def state(self, state: _State) -> Any:
        self.states_read.add(state.index)
        attention = self.plan.core.attention
        wide = None if attention is None else attention.weights_dtype
        return tf.zeros([1, state.width or 1], self.plan.dtype if state.width else wide)

    def __call__(
        self, products: Sequence[tuple[Any, Any]], bias: Any = None, splits: int = 1
    ) -> Any:
        units = products[0][1].shape[1]
        factors = []
        for value, kernel in products:
            start = 0
            for part in _parts(value):
                stop = start + self.width(part)
                if isinstance(part, _Average) and units > part.width:
                    part = self.read(part)  # narrower than its product
                factors.append(_Factor(part, kernel, slice(start, stop)))
                start = stop
        kinds = {type(factor.value) for factor in factors}
        width = sum(self.width(factor.value) for factor in factors)
        is_small = kinds == {_Token, _State} and width <= _SMALL
        gates = splits if splits > 1 and is_small and bias is not None else 0
        self.sums.append(_Sum(factors, bias, units, gates))
        for factor in factors if gates else []:
            self.read(factor.value)
        total = tf.zeros([1, units], self.plan.dtype)
        return total if splits == 1 else tf.split(total, splits, axis=-1)


class _Precomputed(_Run):
    """Looks up the products that have been made, and makes the others."""

    def prepare(
        self,
        weights: list[tuple[list[Any], Any]],
        tables: list[Any],
        tokens: Any,
        carried: dict[str, Any],
        constants: dict[str, Any],
    ) -> None:
        """Takes what has been made before the step; see `PrecomputedStep.step`."""
        self._sums = iter(enumerate(zip(self.plan.sums, weights, strict=True)))
        self._tables, self._next_table = tables, iter(tables)
        self._vectors: Any = None
        self._tokens = tf.reshape(tokens, [-1])
        self._states = flatten_hypotheses(carried["states"])
        self._products = iter(flatten_hypotheses(carried["products"]))
        self._constants = constants

    def token(self) -> Any:
        if self._vectors is None:
            if self._tables:
                self._vectors = tf.gather(self._tables[-1], self._tokens)
            else:
                self._vectors = self.plan.decoder.embed(self._tokens)
        return self._vectors

    def state(self, state: _State) -> Any:
        return self._states[str(state.index)]

    def __call__(
        self, products: Sequence[tuple[Any, Any]], bias: Any = None, splits: int = 1
    ) -> Any:
        number, (recorded, (kernels, bias)) = next(self._sums)
        values = [part for value, _ in products for part in _parts(value)]
        if recorded.gates:
            # TensorFlow joins each product with its bias and its activation.
            x = self.read(values)
            pairs = zip(kernels, bias, strict=True)
            return [tf.nn.bias_add(tf.matmul(x, gate), part) for gate, part in pairs]
        terms = [next(self._products)] if recorded.of(_State) else []
        looked_up = (_State, _Token) if self._tables else _State
        if self._tables and recorded.of(_Token):
            terms.append(tf.gather(next(self._next_table), self._tokens))
        elif bias is not None:
            terms.append(bias)
        averages = itertools.count()
        factors = zip(recorded.factors, values, kernels, strict=True)
        for factor, value, kernel in factors:
            if isinstance(factor.value, _Average):
                made = self._constants[f"product_{number}_{next(averages)}"]
                weights = tf.cast(value.weights, made.dtype)
                terms.append(flatten_hypotheses(tf.matmul(weights, made)))
            elif not isinstance(value, looked_up):
                terms.append(tf.matmul(self.read(value), kernel))
        total = _total(terms)
        return total if splits == 1 else tf.split(total, splits, axis=-1)


def _parts(value: Any) -> list[Any]:
    """Returns the values that stand side by side in a value."""
    if isinstance(value, list):
        return [part for each in value for part in _parts(each)]
    return [value]


def _total(terms: Any) -> Any:
    return functools.reduce(operator.add, terms)


def _multiply(x: Any, kernel: Any) -> Any:
    """Multiplies (sources, source_length, dim) with a kernel in one product."""
    shape = tf.concat([tf.shape(x)[:-1], tf.shape(kernel)[1:]], axis=0)
    y = tf.reshape(tf.matmul(tf.reshape(x, [-1, x.shape[-1]]), kernel), shape)
    return tf.ensure_shape(y, [*x.shape[:-1], kernel.shape[1]])
