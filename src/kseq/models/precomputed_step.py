"""The decoding form of a decoder's step: products with constants are made once.

The wiring is that of `DecoderCore`, run with values that are not computed yet. A layer
declares its products through a `Linear`. Where a kernel meets the token's vector, the
product is a row of a table of all tokens; where it meets a source's memory, the product
is made once for the source; where it meets a state, once for a hypothesis, before the
hypothesis is continued. A recording of one step tells which products there are.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from kseq.decoding import Step
from kseq.decoding.step_function import flat, unflat
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
    """A state, by its index; a width of None stands for the source's length."""

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
    """One product of a sum: what is multiplied, with which rows of a kernel."""

    value: Any
    kernel: Any
    rows: slice


@dataclasses.dataclass
class _Sum:
    """A sum of products, as a layer declares it."""

    factors: list[_Factor]
    bias: Any
    units: int
    splits: int
    is_direct: bool = False

    def of(self, kind: type) -> list[_Factor]:
        """Returns the factors whose value is of a kind."""
        return [each for each in self.factors if isinstance(each.value, kind)]


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
        keys = None if keys_dim is None else tf.zeros([1, 1, keys_dim], self.dtype)
        memory = tf.zeros([1, 1, memory_dim], self.dtype)
        self.has_dot_keys = self._dot_keys(memory, keys) is not None
        with tf.init_scope():
            recording = _Recording(self)
            constants = self._constants(
                {
                    "memory": memory,
                    "memory_mask": tf.ones([1, 1], tf.bool),
                    "attention_keys": keys,
                }
            )
            self.run(recording, constants)
        self.sums = recording.sums
        self.reads_token = recording.reads_token
        self.states_read = sorted(recording.states_read)

    def run(
        self, linear: "_Lazy", constants: dict[str, Any]
    ) -> tuple[Any, list[Any], Any]:
        """Runs the decoder for one step.

        Args:
            linear: Makes the products.
            constants: The memory of the sources, its mask and keys.

        Returns:
            As `DecoderCore`, with tensors (rows, width).
        """
        sizes = enumerate(self.core.state_sizes)
        hidden, after, weights = self.core(
            _Token(self.input_dim),
            [_State(index, size) for index, size in sizes],
            constants.get("memory"),
            constants.get("memory_mask"),
            constants.get("keys"),
            run=_Run(linear, self.has_dot_keys),
        )
        return linear.read(hidden), [linear.read(state) for state in after], weights

    @property
    def uses_tables(self) -> bool:
        """Whether a table of all tokens can save products."""
        return any(map(_reads_table, self.sums)) and (
            not self.decoder.embeds_one_hot or self.vocab_size <= _MAX_ONE_HOT_VOCAB
        )

    def table_signature(self) -> list[tf.TensorSpec]:
        """Returns the shapes and dtypes of `tables`."""
        widths = [each.units for each in self.sums if _reads_table(each)]
        widths += [self.input_dim] if self.reads_token else []
        return [tf.TensorSpec([self.vocab_size, w], self.dtype) for w in widths]

    def tables(self) -> list[Any]:
        """Returns products with the vectors of all tokens.

        Returns:
            List of floats (vocab, units): for each sum that has such products they and
            its bias; then, where they are read themselves, the vectors.
        """
        vectors = None
        if self.reads_token or not self.decoder.embeds_one_hot:
            vectors = self.decoder.embed(tf.range(self.vocab_size))  # (vocab, dim)
        tables = []
        for each in filter(_reads_table, self.sums):
            kernel = _total(map(self.kernel, each.of(_Token)))
            table = kernel if vectors is None else tf.matmul(vectors, kernel)
            tables.append(table if each.bias is None else table + self.bias(each))
        return tables + ([vectors] if self.reads_token else [])

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
        kernels = [self._kernels(each, not tables) for each in self.sums]
        for number, each in enumerate(self.sums):
            for k, factor in enumerate(each.of(_Average)):
                product = _multiply(encoded["memory"], self.kernel(factor))
                constants[f"product_{number}_{k}"] = product

        def carry(states: Sequence[Any]) -> dict[str, Any]:
            products = []
            for each in self.sums:
                factors = [] if each.is_direct else each.of(_State)
                if factors:
                    read = [
                        tf.cast(states[factor.value.index], self.dtype)
                        for factor in factors
                    ]
                    kernel = tf.concat([self.kernel(factor) for factor in factors], 0)
                    products.append(tf.matmul(tf.concat(read, axis=-1), kernel))
            return {
                "states": {str(k): states[k] for k in self.states_read},
                "products": products,
            }

        def advance(tokens: Any, carried: Any, constants: Any) -> tuple[Any, ...]:
            linear = _Precomputed(self, kernels, tables, tokens, carried, constants)
            hidden, states, weights = self.run(linear, constants)
            shape = tf.shape(tokens)[0], tokens.shape[1]
            return *unflat([hidden, states], *shape), weights

        return Step(advance, self.decoder.project, carry), constants

    def kernel(self, factor: _Factor) -> Any:
        """Returns the rows of the kernel of a factor."""
        return self.weight(factor.kernel)[factor.rows]

    def bias(self, each: _Sum) -> Any:
        """Returns the bias of a sum."""
        return self.weight(each.bias)

    def weight(self, weight: Any) -> Any:
        """Returns a weight as a tensor of the decoder's dtype."""
        return tf.cast(Linear().weight(weight), self.dtype)

    def _kernels(self, each: _Sum, with_tokens: bool) -> list[Any]:
        """Returns what a sum multiplies with at every step."""
        if each.is_direct:
            kernel = tf.concat([self.kernel(factor) for factor in each.factors], 0)
            return tf.split(kernel, each.splits, axis=1)
        return [
            None
            if isinstance(factor.value, _State | _Average)
            or (isinstance(factor.value, _Token) and not with_tokens)
            else self.kernel(factor)
            for factor in each.factors
        ]

    def _constants(self, encoded: dict[str, Any]) -> dict[str, Any]:
        """Returns the constants of the sources that the decoder itself reads."""
        if self.core.attention is None:
            return {}
        memory, keys = encoded["memory"], encoded.get("attention_keys")
        constants = {"memory": memory, "memory_mask": encoded["memory_mask"]}
        if self.has_dot_keys:
            keys = self._dot_keys(memory, keys)
        return constants if keys is None else {**constants, "keys": keys}

    def _dot_keys(self, memory: Any, keys: Any) -> Any:
        attention = self.core.attention
        if attention is None:
            return None
        return attention.dot_keys(memory, memory if keys is None else keys)


class _Run:
    """Runs the layers of a decoder on values that are not computed yet.

    Args:
        linear: Makes the products.
        has_dot_keys: Whether the keys are those of `Attention.dot_keys`.
    """

    def __init__(self, linear: "_Lazy", has_dot_keys: bool) -> None:
        self.linear = linear
        self.has_dot_keys = has_dot_keys

    def __call__(self, layer: keras.layers.Layer, *args: Any) -> Any:
        step = getattr(layer, "step", None)
        if step is not None:
            return step(self.linear, *args)
        (x,) = args
        read = self.linear.read
        return layer([read(each) for each in x] if isinstance(x, list) else read(x))

    def join(self, layer: keras.layers.Concatenate, parts: list[Any]) -> list[Any]:
        return parts

    def recurrent(
        self, layer: keras.layers.RNN, inputs: Any, states: list[Any]
    ) -> tuple[Any, list[Any]]:
        step = step_of(layer.cell)
        if step is not None:
            return step(self.linear, inputs, states)
        read = self.linear.read
        outputs, after = layer.cell(read(inputs), [read(state) for state in states])
        return outputs, list(after) if isinstance(after, list | tuple) else [after]

    def attend(
        self,
        layer: Attention,
        query: Any,
        memory: Any,
        memory_mask: Any,
        keys: Any,
        state: Any,
    ) -> tuple[Any, ...]:
        linear = self.linear
        query = linear.by_source(linear.read(query))  # (sources, hypotheses, dim)
        state = None if state is None else linear.by_source(linear.read(state))
        if type(layer).call is not Attention.call:  # it may know no hypotheses
            return linear.call_with_rows(layer, query, memory, memory_mask, keys, state)
        context, weights, *after = layer.step(
            linear,
            query,
            memory,
            memory_mask,
            memory if keys is None else keys,
            state,
            keys if self.has_dot_keys else None,
        )
        return context, weights, *map(flat, after)


class _Lazy(Linear):
    """A `Linear` of values that are not computed yet; tensors are (rows, dim)."""

    def __init__(self, plan: PrecomputedStep, sources: Any, hypotheses: int) -> None:
        self.plan = plan
        self._shape = sources, hypotheses

    def token(self) -> Any:
        """Returns the vectors of the tokens, (rows, dim)."""
        raise NotImplementedError

    def state(self, index: int) -> Any:
        """Returns a state, (rows, width)."""
        raise NotImplementedError

    def by_source(self, x: Any) -> Any:
        """Turns (rows, dim) into (sources, hypotheses, dim)."""
        return unflat(x, *self._shape)

    def weight(self, weight: Any) -> Any:
        return self.plan.weight(weight)

    def read(self, value: Any) -> Any:
        if isinstance(value, _Token):
            return self.token()
        if isinstance(value, _State):
            return self.state(value.index)
        if isinstance(value, _Average):
            weights = tf.cast(value.weights, value.memory.dtype)
            return flat(tf.matmul(weights, value.memory))
        if isinstance(value, list):
            return tf.concat([self.read(part) for part in value], axis=-1)
        # What attention gives is (sources, hypotheses, dim).
        return flat(value) if len(value.shape) == 3 else value

    def width(self, value: Any) -> int:
        if isinstance(value, _Token | _State | _Average):
            assert value.width is not None
            return value.width
        return super().width(value)

    def average(self, weights: Any, memory: Any) -> Any:
        return _Average(weights, memory)

    def call_with_rows(
        self,
        layer: Attention,
        query: Any,
        memory: Any,
        mask: Any,
        keys: Any,
        state: Any,
    ) -> tuple[Any, ...]:
        """Calls an attention with a `call` of its own, on one query a source."""
        count = self._shape[1]

        def repeated(x: Any) -> Any:
            return None if x is None else tf.repeat(x, count, axis=0)

        state = None if state is None else flat(state)
        context, weights, *after = layer(
            flat(query), repeated(memory), repeated(mask), repeated(keys), state
        )
        return context, unflat(weights, *self._shape), *after


class _Recording(_Lazy):
    """Records the sums of one step, on values of no meaning."""

    def __init__(self, plan: PrecomputedStep) -> None:
        super().__init__(plan, 1, 1)
        self.sums: list[_Sum] = []
        self.reads_token = False
        self.states_read: set[int] = set()

    def token(self) -> Any:
        self.reads_token = True
        return tf.zeros([1, self.plan.input_dim], self.plan.dtype)

    def state(self, index: int) -> Any:
        self.states_read.add(index)
        width = self.plan.core.state_sizes[index]
        if width is None:  # that of the attention, as long as the source
            attention = self.plan.core.attention
            assert attention is not None
            return tf.zeros([1, 1], attention.weights_dtype)
        return tf.zeros([1, width], self.plan.dtype)

    def __call__(
        self, products: Sequence[tuple[Any, Any]], bias: Any = None, splits: int = 1
    ) -> Any:
        factors = [
            _Factor(part, kernel, slice(start, stop))
            for value, kernel in products
            for part, start, stop in self._parts(value)
        ]
        units = products[0][1].shape[1]
        for factor in factors:
            if isinstance(factor.value, _Average) and units > factor.value.width:
                factor.value = self.read(factor.value)  # the average is narrower
        each = _Sum(factors, bias, units, splits)
        tokens, states = each.of(_Token), each.of(_State)
        values = [factor.value for factor in factors]
        each.is_direct = (
            splits > 1
            and bias is not None
            and bool(tokens and states)
            and len(tokens) + len(states) == len(factors)
            and sum(map(self.width, values)) <= _SMALL
        )
        if each.is_direct:
            for value in values:
                self.read(value)
        self.sums.append(each)
        total = tf.zeros([1, units], self.plan.dtype)
        return total if splits == 1 else tf.split(total, splits, axis=-1)

    def _parts(self, value: Any, start: int = 0) -> Iterator[tuple[Any, int, int]]:
        """Takes a joined value apart: each part, and its rows of a kernel."""
        for part in _parts(value):
            stop = start + self.width(part)
            yield part, start, stop
            start = stop


class _Precomputed(_Lazy):
    """Looks up the products that have been made, and makes the others."""

    def __init__(
        self,
        plan: PrecomputedStep,
        kernels: list[list[Any]],
        tables: list[Any] | None,
        tokens: Any,
        carried: dict[str, Any],
        constants: dict[str, Any],
    ) -> None:
        super().__init__(plan, tf.shape(tokens)[0], tokens.shape[1])
        self._kernels = kernels
        self._tokens = tf.reshape(tokens, [-1])
        self._vectors = tables[-1] if tables and plan.reads_token else None
        self._has_tables = bool(tables)
        self._tables = iter(tables or [])
        self._states = flat(carried["states"])
        self._products = iter(flat(carried["products"]))
        self._constants = constants
        self._numbers = itertools.count()
        self._token: Any = None

    def token(self) -> Any:
        if self._token is None:
            if self._vectors is not None:
                self._token = tf.gather(self._vectors, self._tokens)
            else:
                self._token = self.plan.decoder.embed(self._tokens)
        return self._token

    def state(self, index: int) -> Any:
        return self._states[str(index)]

    def __call__(
        self, products: Sequence[tuple[Any, Any]], bias: Any = None, splits: int = 1
    ) -> Any:
        number = next(self._numbers)
        recorded, kernels = self.plan.sums[number], self._kernels[number]
        values = [part for value, _ in products for part in _parts(value)]
        if recorded.is_direct:
            # TensorFlow joins each product with its bias and its activation.
            x = tf.concat([self.read(value) for value in values], axis=-1)
            biases = tf.split(self.plan.bias(recorded), splits)
            return [
                tf.nn.bias_add(tf.matmul(x, kernel), part)
                for kernel, part in zip(kernels, biases, strict=True)
            ]
        terms = []
        if recorded.of(_State):
            terms.append(next(self._products))
        if self._has_tables and recorded.of(_Token):
            terms.append(tf.gather(next(self._tables), self._tokens))
        elif bias is not None:
            terms.append(self.plan.bias(recorded))
        averages = itertools.count()
        for factor, value, kernel in zip(
            recorded.factors, values, kernels, strict=True
        ):
            if kernel is not None:
                terms.append(tf.matmul(self.read(value), kernel))
            elif isinstance(factor.value, _Average):
                product = self._constants[f"product_{number}_{next(averages)}"]
                weights = tf.cast(value.weights, product.dtype)
                terms.append(flat(tf.matmul(weights, product)))
        total = _total(terms)
        return total if splits == 1 else tf.split(total, splits, axis=-1)


def _parts(value: Any) -> list[Any]:
    if isinstance(value, list):
        return [part for each in value for part in _parts(each)]
    return [value]


def _reads_table(each: _Sum) -> bool:
    return not each.is_direct and bool(each.of(_Token))


def _total(terms: Any) -> Any:
    first, *rest = terms
    for term in rest:
        first = first + term
    return first


def _multiply(x: Any, kernel: Any) -> Any:
    """Multiplies (sources, source_length, dim) with a kernel in one product."""
    shape = tf.concat([tf.shape(x)[:-1], tf.shape(kernel)[1:]], axis=0)
    y = tf.reshape(tf.matmul(tf.reshape(x, [-1, x.shape[-1]]), kernel), shape)
    return tf.ensure_shape(y, [*x.shape[:-1], kernel.shape[1]])
