"""A model that trains on padded sequences: `compile`, `fit` and their steps."""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kseq import losses as kseq_losses
from kseq import metrics as kseq_metrics
from kseq._compat.keras import sum_slices
from kseq._compat.keras_training import TrainingLoop
from kseq.config.architecture import Seq2SeqConfig
from kseq.config.checks import check_boolean, check_choice, check_integer, check_number
from kseq.distribution import explain_lost_worker, global_sum
from kseq.losses import token_weights
from kseq.models.inputs import convert_targets
from kseq.progress import displayed
from kseq.teacher_forcing import COINS, check_ratio

# Which loss of a batch the optimizer minimizes.
GRADIENTS = ("mean", "sum")


class TrainingModel(TrainingLoop):
    """Base class of `Seq2Seq`: compiles, trains and evaluates.

    Attributes:
        config: The `Seq2SeqConfig` of the model.
    """

    config: Seq2SeqConfig
    _class_weights: list[float] | None = None

    def compile(
        self,
        optimizer: Any = "adam",
        loss: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        teacher_forcing_ratio: Any = 1.0,
        teacher_forcing_coin: str = "token",
        free_running_evaluation: bool = False,
        gradient: str = "mean",
        clipvalue_per_token: float | None = None,
        jit_compile: bool | str = False,
        **kwargs: Any,
    ) -> None:
        """Configures the model for training, with defaults that fit sequences.

        With a `teacher_forcing_ratio` below 1 the model trains with scheduled sampling
        (Bengio et al., 2015): the decoder runs step by step, and at random reads its
        own most probable token instead of the true one. It learns to recover from its
        own errors.

        Args:
            optimizer: Name or object of a Keras optimizer. Default: `"adam"`.
            loss: Any loss that `kseq.losses.get` accepts; the names of Keras's
                categorical cross-entropies mean the default. Default:
                `MaskedCrossentropy()`.
            metrics: Metrics computed without sample weights: `"token_accuracy"` (or
                `"accuracy"`), `"sequence_accuracy"`, `"perplexity"`, `"crossentropy"`,
                or anything else that `kseq.metrics.get` accepts. Default: none.
            weighted_metrics: Metrics computed with sample weights; the same names.
                Default: token accuracy if `metrics` is None, else none.
            teacher_forcing_ratio: Probability, in [0, 1], that the decoder reads the
                true token in training; or a schedule of `kseq.teacher_forcing`, a
                function of the number of updates. Default: 1, teacher forcing, which
                computes all target steps at once.
            teacher_forcing_coin: `"token"` decides for each token, `"batch"` once for
                each step of a batch. Default: `"token"`.
            free_running_evaluation: Feed the decoder its own predictions instead of
                the target in `evaluate` and in validation, for as many steps as the
                target has. Default: False.
            gradient: `"mean"` minimizes the mean loss of a batch's tokens, `"sum"`
                their summed loss: the learning rate then applies per token, as in
                CNTK. Default: `"mean"`.
            clipvalue_per_token: Maximum absolute value of each element of the gradient
                of the mean loss (CNTK's clipping per sample, with truncation). Default:
                no clipping.
            jit_compile: Compile the training step with XLA. XLA removes the checks of
                ids: an id out of range gives nan or wrong values instead of an error.
                `"auto"` means False, also on a GPU. Default: False.
            **kwargs: Other arguments of `keras.Model.compile`.

        Raises:
            TypeError: If an argument has the wrong type.
            ValueError: If an argument is out of range, or if the loss or a metric does
                not work on ids and logits.
        """
        if optimizer is None:
            raise ValueError(
                "`optimizer` must be the name of a Keras optimizer or an object. "
                "Received: None."
            )
        if jit_compile not in (True, False, "auto"):
            raise ValueError(
                "`jit_compile` must be True, False or 'auto'. Received: "
                f"{jit_compile!r}."
            )
        check_integer("steps_per_execution", kwargs.get("steps_per_execution", 1), 1)
        loss_weights = kwargs.get("loss_weights")
        if isinstance(loss_weights, Mapping) and set(loss_weights) != set(
            self.output_names
        ):
            raise ValueError(
                "`loss_weights` must be a number, or a dict with the one key "
                f"{self.output_names[0]!r}. Received: {loss_weights!r}."
            )
        if not callable(teacher_forcing_ratio):
            teacher_forcing_ratio = check_ratio(
                "teacher_forcing_ratio", teacher_forcing_ratio
            )
        check_choice("teacher_forcing_coin", teacher_forcing_coin, COINS)
        check_choice("gradient", gradient, GRADIENTS)
        check_boolean("free_running_evaluation", free_running_evaluation)
        if clipvalue_per_token is not None and not check_number(
            "clipvalue_per_token", clipvalue_per_token
        ):
            raise ValueError("`clipvalue_per_token` must be above 0. Received: 0.")
        self._training_options = {
            "teacher_forcing_ratio": teacher_forcing_ratio,
            "teacher_forcing_coin": teacher_forcing_coin,
            "free_running_evaluation": free_running_evaluation,
            "gradient": gradient,
            "clipvalue_per_token": clipvalue_per_token,
        }
        self._auto_scale_loss = kwargs.get("auto_scale_loss", True)
        if teacher_forcing_ratio != 1 or free_running_evaluation:
            self._coin_seed = keras.random.SeedGenerator()
        if metrics is None and weighted_metrics is None:
            weighted_metrics = ["token_accuracy"]
        super().compile(
            optimizer=optimizer,
            loss=kseq_losses.get(loss),
            metrics=_resolve_metrics("metrics", metrics),
            weighted_metrics=_resolve_metrics("weighted_metrics", weighted_metrics),
            # Keras's "auto" means True on a GPU.
            jit_compile=jit_compile is True,
            **kwargs,
        )

    def get_compile_config(self) -> dict[str, Any]:
        config = super().get_compile_config()
        if config:
            # Loading builds it, and warns if the file has fewer variables.
            self._build_optimizer()
            config |= {
                name: keras.saving.serialize_keras_object(value)
                for name, value in self._training_options.items()
            }
            config["auto_scale_loss"] = self._auto_scale_loss  # Keras omits it
        return config

    def compile_from_config(self, config: dict[str, Any]) -> None:
        # Keras does not call an overridden `compile` by itself.
        self.compile(**keras.saving.deserialize_keras_object(config))
        self._build_optimizer()

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: str | int = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool | None = None,
        class_weight: Any = None,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Trains the model, as `keras.Model.fit` does.

        Args:
            x: Dict or list of input arrays, ids or one-hot vectors; or a dataset of
                (inputs, targets).
            y: Target ids (batch, time); or one-hot vectors of the symbols after the
                special tokens, or of all tokens. None if `x` is a dataset.
            batch_size: Number of rows in a batch, unless `x` is a dataset. Default: 32.
            epochs: Number of epochs. Default: 1.
            verbose: 0: silent. 1: a progress bar on a terminal or in a notebook, and
                one line for each epoch elsewhere, such as in a file. 2: one line for
                each epoch. `"auto"`: 1. Default: `"auto"`.
            callbacks: List of Keras callbacks. Default: none.
            validation_split: Share of the arrays, taken from their end, to validate
                on. Default: 0.
            validation_data: `(inputs, targets)` or a dataset. Default: none.
            shuffle: Shuffle the rows of arrays. Default: True, but False for a
                `tf.data.Dataset`, which has its own order.
            class_weight: Dict from token ids to weights of the target tokens in
                training. Other ids have weight 1; padding always has weight 0. They
                are multiplied by sample weights. Default: none.
            **kwargs: Other arguments of `keras.Model.fit`.

        Returns:
            A Keras `History`.
        """
        if shuffle is None:
            shuffle = not isinstance(
                x, tf.data.Dataset | tf.distribute.DistributedDataset
            )
        if not 0 <= validation_split < 1:
            raise ValueError(
                f"`validation_split` must be in [0, 1). Received: {validation_split}."
            )
        self._set_class_weights(class_weight)
        with explain_lost_worker(self.distribute_strategy):
            return super().fit(
                x,
                y,
                batch_size=batch_size,
                epochs=epochs,
                verbose=displayed(verbose),
                callbacks=callbacks,
                validation_split=validation_split,
                validation_data=validation_data,
                shuffle=shuffle,
                **kwargs,
            )

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        **kwargs: Any,
    ) -> Any:
        """Computes the loss and the metrics, as `keras.Model.evaluate` does.

        Args:
            x: As in `fit`.
            y: As in `fit`.
            batch_size: As in `fit`.
            verbose: As in `fit`.
            **kwargs: Other arguments of `keras.Model.evaluate`.

        Returns:
            A list of the loss and the metrics, or a dict with `return_dict=True`.
        """
        return super().evaluate(x, y, batch_size, displayed(verbose), **kwargs)

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        **kwargs: Any,
    ) -> Any:
        """Computes logits, as `keras.Model.predict` does.

        Args:
            x: As in `fit`.
            batch_size: As in `fit`.
            verbose: As in `fit`.
            **kwargs: Other arguments of `keras.Model.predict`.

        Returns:
            Array of logits, (batch, target_length, vocab).
        """
        return super().predict(x, batch_size, displayed(verbose), **kwargs)

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """Updates the weights once, as `keras.Model.train_on_batch` does.

        Args:
            x: Inputs, as in `fit`.
            y: Targets, as in `fit`.
            sample_weight: Weights, (batch,), (batch, 1) or (batch, time). Default:
                none.
            class_weight: Dict from token ids to weights, as in `fit`. Default: none.
            return_dict: Return a dict instead of a list. Default: False.

        Returns:
            The loss and the metrics.
        """
        self._set_class_weights(class_weight)
        return super().train_on_batch(x, y, sample_weight, return_dict=return_dict)

    def train_step(self, data: Any) -> dict[str, Any]:
        x, y, sample_weight = self._unpack_batch(data)
        sample_weight = self._apply_class_weights(y, sample_weight)
        with tf.GradientTape() as tape:
            logits = self._training_logits(x)
            loss = self.compute_loss(x, y, logits, sample_weight, training=True)
            scaled = self.optimizer.scale_loss(loss)
        if self.trainable_variables:  # none if all layers are frozen
            gradients = tape.gradient(scaled, self.trainable_variables)
            self._apply_gradients(
                [sum_slices(each) for each in gradients],
                self._gradient_change(y, sample_weight),
            )
        return self._step_logs(x, y, logits, sample_weight, loss)

    def test_step(self, data: Any) -> dict[str, Any]:
        x, y, sample_weight = self._unpack_batch(data)
        if self._training_options["free_running_evaluation"]:
            logits = self.free_running_logits(x)
        else:
            logits = self(x, training=False)
        loss = self.compute_loss(x, y, logits, sample_weight, training=False)
        return self._step_logs(x, y, logits, sample_weight, loss)

    def _unpack_batch(self, data: Any) -> tuple[Any, Any, Any]:
        x, y, sample_weight = super()._unpack_batch(data)
        weights = keras.tree.flatten(sample_weight)
        if len(weights) > 1:
            raise ValueError(
                "`sample_weight` must be one array, of shape (batch,), (batch, 1) or "
                f"(batch, time). Received: {len(weights)} arrays."
            )
        return x, convert_targets(y, self.config.target_vocab_size), weights[0]

    def _training_logits(self, x: Any) -> Any:
        ratio: Any = self._training_options["teacher_forcing_ratio"]
        if callable(ratio):
            ratio = ratio(self.optimizer.iterations)
        if isinstance(ratio, float) and ratio == 1:
            return self(x, training=True)
        coin = self._training_options["teacher_forcing_coin"]
        return self._scheduled_sampling_logits(x, ratio, coin, self._coin_seed, True)

    def free_running_logits(self, inputs: Any) -> Any:
        """Computes logits while the decoder reads its own most probable tokens.

        Args:
            inputs: Dict of `encoder_inputs` and `decoder_inputs`, as the model reads.
                Of `decoder_inputs` only the first token and the length of each row are
                used.

        Returns:
            Float32 logits (batch, target_length, vocab).
        """
        return self._scheduled_sampling_logits(inputs, 0.0, "token", None, False)

    def _scheduled_sampling_logits(
        self, inputs: Any, ratio: Any, coin: str, seed: Any, training: bool
    ) -> Any:
        """Computes logits; see `kseq.models.scheduled_sampling`."""
        raise NotImplementedError

    def _step_logs(
        self, x: Any, y: Any, logits: Any, sample_weight: Any, loss: Any
    ) -> dict[str, Any]:
        self._update_displayed_loss(loss, _count_tokens(y, sample_weight))
        return self._reducible_logs(self.compute_metrics(x, y, logits, sample_weight))

    def _gradient_change(
        self, y: Any, sample_weight: Any
    ) -> Callable[[Any], Any] | None:
        """Returns a function to apply to the gradient of a global batch's mean loss."""
        limit: Any = self._training_options["clipvalue_per_token"]
        is_sum = self._training_options["gradient"] == "sum"
        if limit is None and not is_sum:
            return None
        tokens = _count_tokens(y, sample_weight)
        # With half precision the gradient is that of the scaled loss.
        scale = self.optimizer.scale_loss(tf.ones(()))

        def change(gradient: Any) -> Any:
            if limit is not None:
                largest = tf.cast(limit * scale, gradient.dtype)
                gradient = tf.clip_by_value(gradient, -largest, largest)
            return gradient * tf.cast(tokens, gradient.dtype) if is_sum else gradient

        return change

    def _set_class_weights(self, class_weight: Any) -> None:
        weights = None
        if class_weight is not None:
            weights = _check_class_weights(class_weight, self.config.target_vocab_size)
        if weights != self._class_weights:
            self._class_weights = weights
            self.train_function = None  # its graph holds the weights as a constant

    def _apply_class_weights(self, y: Any, sample_weight: Any) -> Any:
        """Multiplies the weights of target tokens by the weights of their ids."""
        if self._class_weights is None:
            return sample_weight
        # The loss refuses ids out of range; here they only must not fail the lookup.
        ids = tf.clip_by_value(tf.cast(y, tf.int32), 0, len(self._class_weights) - 1)
        by_id = tf.gather(tf.constant(self._class_weights), ids)  # (batch, time)
        return token_weights(y, sample_weight) * by_id


def _count_tokens(y: Any, sample_weight: Any) -> Any:
    """Returns the total weight of the tokens of a global batch."""
    return global_sum(tf.reduce_sum(token_weights(y, sample_weight)))


def _resolve_metrics(name: str, metrics: Any) -> Any:
    if isinstance(metrics, str):
        raise TypeError(f"`{name}` must be a list. Received: {metrics!r}.")
    return keras.tree.map_structure(kseq_metrics.get, metrics)


def _check_class_weights(class_weight: Any, vocab_size: int) -> list[float]:
    """Returns a weight for each token id."""
    if not isinstance(class_weight, Mapping):
        raise TypeError(
            "`class_weight` must be a dict from token ids to weights. Received: "
            f"{class_weight!r}."
        )
    weights = [1.0] * vocab_size
    for token, weight in class_weight.items():
        if not isinstance(token, int | np.integer) or not 0 <= token < vocab_size:
            raise ValueError(
                f"`class_weight` must have token ids in 0..{vocab_size - 1} as keys. "
                f"Received: {token!r}."
            )
        weights[token] = check_number(f"class_weight[{token}]", weight)
    return weights
