"""Functions compiled from models, compiled again after a layer changes.

A compiled graph holds the variables and attributes that the layers had when it was
traced. Without this module `enable_lora`, `quantize`, a new activation or a replaced
variable would have no effect after the first decoding.
"""

import contextlib
import functools
import sys
import types
from collections.abc import Callable, Hashable, Iterable, Iterator
from operator import is_
from typing import Any

import keras
import numpy as np
import tensorflow as tf

# Objects of these packages are compared by identity.
_FOREIGN = sys.stdlib_module_names | {"keras", "numpy", "tensorflow"}

# Attributes of all layers that change the result of a layer.
_COMPUTING = {"_dtype_policy", "autocast"}

# Attributes of recurrent cells that change with each batch.
_MASKS = {"_dropout_mask", "_recurrent_dropout_mask"}


class CompiledCache:
    """A cache of values made from models, emptied when a layer of them changes.

    A change is a new, removed or replaced attribute of a layer, or of an object that a
    layer holds: a variable, a dtype policy, an activation, a number. A new value
    assigned to a variable is no change, and neither are attributes that Keras keeps for
    its own use, such as `trainable`.

    Args:
        *roots: Models, or objects that hold models.
    """

    def __init__(self, *roots: Any) -> None:
        self._roots = roots
        self._clear()

    def __getstate__(self) -> dict[str, Any]:
        return {"_roots": self._roots}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._roots = state["_roots"]
        self._clear()

    def _clear(self) -> None:
        self._values: dict[Hashable, Any] = {}
        self._description: Hashable = None
        self._containers: list[tuple[Any, tuple[Any, ...]]] = []
        self._ignoring = 0

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """Returns a cached value, made at the first call and after each change.

        Args:
            key: Key of the value.
            make: Function without arguments that makes the value.
        """
        if not self._ignoring and not _are_unchanged(self._containers):
            before = self._description
            self._describe()
            if self._description != before:
                self._values = {}
        if key not in self._values:
            with self.ignore_changes():
                self._values[key] = make()
        return self._values[key]

    def compile(self, function: Callable[..., Any], signature: list[Any]) -> Any:
        """Returns a `tf.function`, traced once for all shapes of a signature.

        Args:
            function: Function of tensors that runs the models.
            signature: List of a `tf.TensorSpec` for each argument.
        """

        def traced(*arguments: Any) -> Any:
            with self.ignore_changes():
                return function(*arguments)

        return compile_function(traced, signature)

    @contextlib.contextmanager
    def ignore_changes(self) -> Iterator[None]:
        """Ignores changes made while layers are traced or built."""
        self._ignoring += 1
        try:
            yield
        finally:
            self._ignoring -= 1
        if not self._ignoring:
            self._describe()

    def _describe(self) -> None:
        describer = _Describer()
        self._description = describer.describe(self._roots)
        self._containers = describer.containers


def compile_function(function: Callable[..., Any], signature: list[Any]) -> Any:
    """Returns a `tf.function`, traced once for all shapes of a signature.

    Args:
        function: Function of tensors.
        signature: List of a `tf.TensorSpec` for each argument.
    """
    # TensorFlow counts the traces of all functions defined on one line together, and
    # warns if there are many. A partial function has its own count.
    alone = functools.partial(function)
    return tf.function(alone, input_signature=signature, autograph=False)


def describe(value: Any) -> Hashable:
    """Describes everything in a value that a traced graph depends on.

    Args:
        value: Any object.

    Returns:
        A description. Two values have equal descriptions if all their attributes are
        equal: numbers, strings, arrays and functions by content, variables and objects
        of other libraries by identity.
    """
    return _Describer().describe(value)


def _are_unchanged(containers: list[tuple[Any, tuple[Any, ...]]]) -> bool:
    """Whether containers hold the same objects as when they were described."""
    return bool(containers) and all(
        len(now) == len(before) and all(map(is_, now, before))
        for now, before in containers
    )


class _Identity:
    """Equal only for the same object, which it keeps alive so that its id is unique."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Identity) and other.value is self.value

    def __hash__(self) -> int:
        return id(self.value)


class _Describer:
    """Describes objects and lists the containers within them.

    Attributes:
        containers: Pairs of a container and a tuple of its items.
    """

    def __init__(self) -> None:
        self.containers: list[tuple[Any, tuple[Any, ...]]] = []
        self._seen: dict[int, tuple[int, Any]] = {}

    def describe(self, value: Any) -> Hashable:
        """Returns the description of an object."""
        if value is None or isinstance(value, bool | int | str | bytes):
            return type(value), value
        if isinstance(value, float | complex | np.generic):
            return type(value), repr(value)  # 0.0 is not -0.0, and nan is nan
        if id(value) in self._seen:
            return "again", self._seen[id(value)][0]
        self._seen[id(value)] = len(self._seen), value
        if isinstance(value, np.ndarray) and value.dtype != object:
            return "array", value.dtype.str, value.shape, value.tobytes()
        if isinstance(value, dict):
            self._add_container(value.keys())
            self._add_container(value.values())
            return (
                dict,
                self._describe_all(value.keys()),
                self._describe_all(value.values()),
            )
        if isinstance(value, list | tuple | set | frozenset):
            if not isinstance(value, tuple | frozenset):
                self._add_container(value)
            return type(value).__name__, self._describe_all(value)
        if isinstance(value, keras.Operation):
            return self._describe_operation(value)
        if isinstance(value, CompiledCache):
            return CompiledCache
        if tf.is_symbolic_tensor(value):
            return tf.Tensor  # stored by a layer while it was traced
        return self._describe_object(value)

    def _describe_object(self, value: Any) -> Hashable:
        if isinstance(value, functools.partial):
            return functools.partial, self._describe_all(
                (value.func, value.args, value.keywords)
            )
        if isinstance(value, types.MethodType):
            return types.MethodType, self._describe_all(
                (value.__self__, value.__func__)
            )
        if isinstance(value, type) or _package(type(value)) in _FOREIGN:
            if (
                isinstance(value, types.FunctionType)
                and _package(value) not in _FOREIGN
            ):
                return self._describe_function(value)
            return _Identity(value)
        if _package(type(value)) == "kseq" and _is_frozen(value):
            return type(value), value
        if not hasattr(value, "__dict__"):
            return _Identity(value)
        self._add_container(vars(value).values())
        return self._describe_class(type(value)), self._describe_attributes(vars(value))

    def _describe_operation(self, value: keras.Operation) -> Hashable:
        if isinstance(value, keras.Model) and hasattr(value, "operations"):
            # Its layers only; `fit` and `compile` change other attributes.
            return type(value), self._describe_all(value.operations)
        self._add_container(vars(value).values())
        bookkeeping = _bookkeeping_attributes()
        # Keras adds attributes that are False, for example when it loads weights.
        attributes = {
            name: each
            for name, each in vars(value).items()
            if name not in bookkeeping and each is not None and each is not False
        }
        return self._describe_class(type(value)), self._describe_attributes(attributes)

    def _describe_function(self, value: types.FunctionType) -> Hashable:
        cells = [
            cell.cell_contents for cell in value.__closure__ or () if _is_filled(cell)
        ]
        return (
            value.__code__,
            _Identity(value.__globals__),
            self._describe_all((cells, value.__defaults__, value.__kwdefaults__)),
        )

    def _describe_class(self, cls: type) -> Hashable:
        """Describes a class. A user can also change the attributes of a class."""
        own = [c for c in cls.__mro__ if _package(c) not in _FOREIGN | {"kseq"}]
        described = []
        for each in own:
            if id(each) not in self._seen:
                self._seen[id(each)] = len(self._seen), each
                self._add_container(vars(each).values())
                described.append(self._describe_attributes(vars(each)))
        return _Identity(cls), tuple(described)

    def _describe_attributes(self, attributes: Any) -> Hashable:
        return tuple((name, self.describe(attributes[name])) for name in attributes)

    def _describe_all(self, values: Iterable[Any]) -> Hashable:
        return tuple(self.describe(value) for value in values)

    def _add_container(self, values: Any) -> None:
        self.containers.append((values, tuple(values)))


def _package(definition: Any) -> str:
    """Returns the name of the package of a class or function."""
    return str(definition.__module__ or "builtins").partition(".")[0]


def _is_frozen(value: Any) -> bool:
    parameters = getattr(value, "__dataclass_params__", None)
    return parameters is not None and parameters.frozen and parameters.eq


def _is_filled(cell: types.CellType) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True


@functools.cache
def _bookkeeping_attributes() -> frozenset[str]:
    """Returns the attributes that Keras keeps for its own use in each layer."""
    model = keras.Model()
    model.compile()
    return (frozenset(vars(model)) | _MASKS) - _COMPUTING
