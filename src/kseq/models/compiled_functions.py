"""What is compiled from a model is made again once a layer of the model changes.

A compiled graph holds the variables and the attributes that its layers had when it was
traced. `enable_lora`, `quantize`, another activation or a replaced weight would
otherwise take no effect after the first decode.
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

# Their objects count by identity alone: what is in them is their own matter.
_FOREIGN = sys.stdlib_module_names | {"keras", "numpy", "tensorflow"}

# What a layer computes depends on these of the attributes that all layers have.
_COMPUTING = {"_dtype_policy", "autocast"}

# Recurrent cells hold those of a batch.
_MASKS = {"_dropout_mask", "_recurrent_dropout_mask"}


class Derived:
    """Values made from models, which are dropped once a layer of those changes.

    A change is an attribute of a layer, or of an object that a layer holds, that is
    added, removed or replaced: a variable, a dtype policy, an activation, a number.
    Values assigned to variables are none, nor is what Keras notes for its own use, such
    as `trainable`.

    Args:
        *roots: Models, or objects that hold models.
    """

    def __init__(self, *roots: Any) -> None:
        self._roots = roots
        self._forget()

    def __getstate__(self) -> dict[str, Any]:
        return {"_roots": self._roots}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._roots = state["_roots"]
        self._forget()

    def _forget(self) -> None:
        self._values: dict[Hashable, Any] = {}
        self._description: Hashable = None
        self._watched: list[tuple[Any, tuple[Any, ...]]] = []
        self._settling = 0

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """Returns a value, made at the first call and after every change.

        Args:
            key: Its name.
            make: Function without arguments that makes it.
        """
        if not self._settling and not _untouched(self._watched):
            before = self._description
            self._describe()
            if self._description != before:
                self._values = {}
        if key not in self._values:
            with self.settled():
                self._values[key] = make()
        return self._values[key]

    def compiled(self, function: Callable[..., Any], signature: list[Any]) -> Any:
        """Returns a function in graph form, for all shapes of a signature.

        Args:
            function: A function of tensors that runs the models.
            signature: Its `tf.TensorSpec`s.
        """

        def traced(*arguments: Any) -> Any:
            with self.settled():
                return function(*arguments)

        return compiled(traced, signature)

    @contextlib.contextmanager
    def settled(self) -> Iterator[None]:
        """Takes what layers note while they are traced for no change."""
        self._settling += 1
        try:
            yield
        finally:
            self._settling -= 1
        if not self._settling:
            self._describe()

    def _describe(self) -> None:
        walk = _Walk()
        self._description = walk.describe(self._roots)
        self._watched = walk.watched


def compiled(function: Callable[..., Any], signature: list[Any]) -> Any:
    """Returns a function in graph form, for all shapes of a signature.

    Args:
        function: A function of tensors.
        signature: Its `tf.TensorSpec`s.
    """
    # TensorFlow counts the traces of what is written in one place together, and would
    # warn of many; of an object like this it counts its own.
    alone = functools.partial(function)
    return tf.function(alone, input_signature=signature, autograph=False)


def describe(value: Any) -> Hashable:
    """Returns what a graph depends on that is traced over a value.

    Args:
        value: Any object.

    Returns:
        A description that equals that of another value where all their attributes are
        equal: numbers, strings, arrays and functions by what they are, variables and
        the objects of other libraries by identity.
    """
    return _Walk().describe(value)


def _untouched(watched: list[tuple[Any, tuple[Any, ...]]]) -> bool:
    """Whether containers hold the very objects that they held."""
    return bool(watched) and all(
        len(live) == len(kept) and all(map(is_, live, kept)) for live, kept in watched
    )


class _Same:
    """An object that equals itself alone; holding it keeps its id from another."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.value is self.value

    def __hash__(self) -> int:
        return id(self.value)


class _Walk:
    """Describes objects and notes the containers that it meets.

    Attributes:
        watched: Pairs of a container and the tuple of what it holds.
    """

    def __init__(self) -> None:
        self.watched: list[tuple[Any, tuple[Any, ...]]] = []
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
            self._watch(value.keys())
            self._watch(value.values())
            return dict, self._all(value.keys()), self._all(value.values())
        if isinstance(value, list | tuple | set | frozenset):
            if not isinstance(value, tuple | frozenset):
                self._watch(value)
            return type(value).__name__, self._all(value)
        if isinstance(value, keras.Operation):
            return self._operation(value)
        if isinstance(value, Derived):
            return Derived
        if tf.is_symbolic_tensor(value):
            return tf.Tensor  # noted by a layer while it was traced
        return self._object(value)

    def _object(self, value: Any) -> Hashable:
        if isinstance(value, functools.partial):
            return functools.partial, self._all(
                (value.func, value.args, value.keywords)
            )
        if isinstance(value, types.MethodType):
            return types.MethodType, self._all((value.__self__, value.__func__))
        if isinstance(value, type) or _root(type(value)) in _FOREIGN:
            if isinstance(value, types.FunctionType) and _root(value) not in _FOREIGN:
                return self._function(value)
            return _Same(value)
        if _root(type(value)) == "kseq" and _is_frozen(value):
            return type(value), value
        if not hasattr(value, "__dict__"):
            return _Same(value)
        self._watch(vars(value).values())
        return self._class(type(value)), self._attributes(vars(value))

    def _operation(self, value: keras.Operation) -> Hashable:
        if isinstance(value, keras.Model) and hasattr(value, "operations"):
            # Its graph of layers; what `fit` and `compile` note is not in it.
            return type(value), self._all(value.operations)
        self._watch(vars(value).values())
        noted = _notes()
        # Keras adds flags that are off, when it loads weights for instance.
        attributes = {
            name: each
            for name, each in vars(value).items()
            if name not in noted and each is not None and each is not False
        }
        return self._class(type(value)), self._attributes(attributes)

    def _function(self, value: types.FunctionType) -> Hashable:
        cells = [cell.cell_contents for cell in value.__closure__ or () if _full(cell)]
        return (
            value.__code__,
            _Same(value.__globals__),
            self._all((cells, value.__defaults__, value.__kwdefaults__)),
        )

    def _class(self, cls: type) -> Hashable:
        """Describes a class; of a user's own also what has been set on it since."""
        own = [c for c in cls.__mro__ if _root(c) not in _FOREIGN | {"kseq"}]
        described = []
        for each in own:
            if id(each) not in self._seen:
                self._seen[id(each)] = len(self._seen), each
                self._watch(vars(each).values())
                described.append(self._attributes(vars(each)))
        return _Same(cls), tuple(described)

    def _attributes(self, attributes: Any) -> Hashable:
        return tuple((name, self.describe(attributes[name])) for name in attributes)

    def _all(self, values: Iterable[Any]) -> Hashable:
        return tuple(self.describe(value) for value in values)

    def _watch(self, values: Any) -> None:
        self.watched.append((values, tuple(values)))


def _root(named: Any) -> str:
    """Returns the package that a class or a function comes from."""
    return str(named.__module__ or "builtins").partition(".")[0]


def _is_frozen(value: Any) -> bool:
    parameters = getattr(value, "__dataclass_params__", None)
    return parameters is not None and parameters.frozen and parameters.eq


def _full(cell: types.CellType) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True


@functools.cache
def _notes() -> frozenset[str]:
    """Returns the attributes that Keras keeps for its own use in every layer."""
    model = keras.Model()
    model.compile()
    return (frozenset(vars(model)) | _MASKS) - _COMPUTING
