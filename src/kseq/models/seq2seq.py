"""The whole model: encoder, decoder, training with teacher forcing, generation."""

import os
import pathlib
import re
import warnings
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kseq import losses as kseq_losses
from kseq import metrics as kseq_metrics
from kseq._compat.keras import sum_slices
from kseq.config.architecture import Seq2SeqConfig
from kseq.config.checks import check_boolean, check_choice, check_integer, check_number
from kseq.decoding import Hypotheses
from kseq.distribution import (
    DistributedTraining,
    global_sum,
    together_with_other_workers,
)
from kseq.losses import token_weights
from kseq.models.compiled_functions import Derived
from kseq.models.decoder import Decoder
from kseq.models.encoder import build_encoder
from kseq.models.generator import FoldedMember, Generator, check_source
from kseq.models.inference import Graph, InferenceModels, build_inference_models
from kseq.models.inputs import INPUTS, as_feed, as_targets
from kseq.models.layer_changes import Alterations, without_sharing
from kseq.models.recurrent_stack import as_config
from kseq.models.scheduled_sampling import fed_back_logits
from kseq.models.traced_steps import by_rank
from kseq.progress import displayed
from kseq.storage.atomic_files import whole_file
from kseq.teacher_forcing import COINS, check_ratio

# The layers that Keras can quantize, by mode.
_QUANTIZABLE: dict[str, tuple[type[keras.layers.Layer], ...]] = {
    "int8": (
        keras.layers.Dense,
        keras.layers.EinsumDense,
        keras.layers.Embedding,
        keras.layers.ReversibleEmbedding,
    ),
    "float8": (keras.layers.Dense, keras.layers.EinsumDense),
}
_QUANTIZABLE["int4"] = _QUANTIZABLE["int8"]
# What an optimizer is given: the gradient of which loss over a batch's tokens.
GRADIENTS = ("mean", "sum")


@keras.saving.register_keras_serializable(package="kseq")
class Seq2Seq(DistributedTraining):
    """A sequence-to-sequence model: a functional Keras model that knows its config.

    Inputs are a dict of `encoder_inputs`, int32 ids (batch, source_length) or float32
    vectors (batch, source_length, dim), and `decoder_inputs`, int32 ids (batch,
    target_length), `<s> y1 .. yn`. The output is float32 logits (batch, target_length,
    vocab); the targets to fit it to are `y1 .. yn </s>`. Padding is 0, on the right.
    A list of both inputs does as well.

    Instead of ids, one-hot vectors (batch, time, symbols) may be given, as Keras's
    examples have them: symbol k is token 4 + k, the first after the special tokens,
    and a step of zeros is padding. Decoder inputs of that form have no `<s>`: the
    model reads one before them, and gives no logits for it.

    Build one with `build_seq2seq`.

    Args:
        config: A `Seq2SeqConfig`.
        dtype: Dtype or dtype policy of the layers. Default: Keras's global policy.
        name: Name of the model. Default `"seq2seq"`.

    Attributes:
        config: The `Seq2SeqConfig` it was built from.
        graph: The places in its graph that inference starts from.
        derived: What is compiled from it, made again once a layer changes.
    """

    predict_function: Any  # Keras declares none

    def __init__(
        self, config: Seq2SeqConfig, dtype: Any = None, name: str = "seq2seq"
    ) -> None:
        policy = keras.dtype_policies.get(dtype or keras.config.dtype_policy())
        encoder = build_encoder(config, dtype=policy)
        decoder = Decoder(config, policy, encoder)
        decoder_inputs = keras.Input((None,), dtype="int32", name=INPUTS[1])
        memory, memory_mask = encoder.output["memory"], encoder.output["memory_mask"]
        states = decoder.initial_states(memory, memory_mask, encoder.output["states"])
        keys = decoder.attention_keys(memory)
        outputs = decoder(decoder_inputs, states, memory, memory_mask, keys)
        super().__init__(
            inputs={INPUTS[0]: encoder.input, INPUTS[1]: decoder_inputs},
            outputs=outputs["logits"],
            name=name,
        )
        self.config = config
        self.graph = Graph(encoder.input, memory, memory_mask, states, keys, decoder)
        self.dtype_policy = policy  # `compile` scales the loss of "mixed_float16"
        self._built_dtype = keras.dtype_policies.serialize(policy)
        self._class_weights: list[float] | None = None
        # Unless asked for: under XLA the checks of ids are left out.
        self.jit_compile = False
        self._alterations = Alterations(self)
        self.derived = Derived(self)

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        # Before Keras sees them: it would cast float ids to int without a word.
        feed, added = as_feed(inputs, self.config)
        logits = super().__call__(feed, *args, **kwargs)
        return logits[:, added:] if added else logits

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

        With a `teacher_forcing_ratio` below 1 the decoder trains step by step, and
        reads its own most probable token in the place of the true one at random, to
        learn to go on from its own mistakes (scheduled sampling; Bengio et al., 2015).

        Args:
            optimizer: Name or object of a Keras optimizer. Default `"adam"`.
            loss: Default `MaskedCrossentropy()`, which Keras's categorical
                cross-entropies by name stand for too; or whatever `kseq.losses.get`
                takes.
            metrics: Metrics that do not use sample weights: `"token_accuracy"`, which
                `"accuracy"` stands for too, `"sequence_accuracy"`, `"perplexity"`,
                `"crossentropy"`, or whatever `kseq.metrics.get` takes.
            weighted_metrics: Metrics that use sample weights; the same names. Default,
                where `metrics` is None too: token accuracy.
            teacher_forcing_ratio: Probability, in [0, 1], that the decoder reads the
                true token in training; or a schedule of `kseq.teacher_forcing`, a
                function of the updates made so far. Default 1, teacher forcing, for
                all target steps at once.
            teacher_forcing_coin: Below 1, `"token"` (default) draws for each token,
                `"batch"` once for each step of a whole batch.
            free_running_evaluation: Feed the decoder its own predictions in `evaluate`
                and in validation, as many as the target has tokens, instead of the
                target. Default False.
            gradient: What the optimizer is given: the gradient of the `"mean"` loss
                of a batch's tokens (default), or of its `"sum"`, with which a learning
                rate is one for each token, as in CNTK.
            clipvalue_per_token: Maximum absolute value of an element of that gradient
                for each target token of the batch (CNTK's clipping "per sample", with
                truncation). Default None: no clipping.
            jit_compile: Compile the training step by XLA, which leaves the checks of
                ids out: an id out of range then gives nan or wrong values instead of
                an error. Default False, also on a GPU; so does `"auto"`.
            **kwargs: The further arguments of `keras.Model.compile`.

        Raises:
            TypeError: If an argument has the wrong type.
            ValueError: If the ratio is outside [0, 1] or the coin unknown, or
                `gradient` or `clipvalue_per_token` is; or if the loss or a metric is
                not for ids and logits.
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
                f"`loss_weights` must be a number, or name the output "
                f"{self.output_names[0]!r} alone. Received: {loss_weights!r}."
            )
        if not callable(teacher_forcing_ratio):
            teacher_forcing_ratio = check_ratio(
                "teacher_forcing_ratio", teacher_forcing_ratio
            )
        check_choice("teacher_forcing_coin", teacher_forcing_coin, COINS)
        check_boolean("free_running_evaluation", free_running_evaluation)
        check_choice("gradient", gradient, GRADIENTS)
        if clipvalue_per_token is not None and not check_number(
            "clipvalue_per_token", clipvalue_per_token
        ):
            raise ValueError("`clipvalue_per_token` must be above 0. Received: 0.")
        self._updating = {
            "gradient": gradient,
            "clipvalue_per_token": clipvalue_per_token,
        }
        self._auto_scale_loss = kwargs.get("auto_scale_loss", True)
        self._feeding = {
            "teacher_forcing_ratio": teacher_forcing_ratio,
            "teacher_forcing_coin": teacher_forcing_coin,
            "free_running_evaluation": free_running_evaluation,
        }
        if teacher_forcing_ratio != 1 or free_running_evaluation:
            self._feeding_seed = keras.random.SeedGenerator()
        if metrics is None and weighted_metrics is None:
            weighted_metrics = ["token_accuracy"]
        super().compile(
            optimizer=optimizer,
            loss=kseq_losses.get(loss),
            metrics=_resolved("metrics", metrics),
            weighted_metrics=_resolved("weighted_metrics", weighted_metrics),
            # Keras's own "auto" is True on a GPU.
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
                for name, value in {**self._feeding, **self._updating}.items()
            }
            config["auto_scale_loss"] = self._auto_scale_loss  # Keras leaves it out
        return config

    def compile_from_config(self, config: dict[str, Any]) -> None:
        # Keras refuses to call an overridden compile() on its own.
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
        """Trains the model, as `keras.Model.fit` does, whose arguments these are.

        Args:
            x: Dict or list of input arrays, ids or one-hot vectors, or a dataset of
                (inputs, targets).
            y: Target ids (batch, time), or one-hot vectors of the symbols after the
                special tokens, or of all tokens, where `x` is not a dataset.
            batch_size: Rows a batch, where `x` is not a dataset. Default 32.
            epochs: Number of epochs in all. Default 1.
            verbose: 0: silent. 1: a progress bar on a terminal and in a notebook, a
                line for each epoch elsewhere, such as in a file. 2: a line for each
                epoch. Default `"auto"`: 1.
            callbacks: List of Keras callbacks. Default: none.
            validation_split: Share of the arrays, from their end, to validate on.
            validation_data: `(inputs, targets)` or a dataset.
            shuffle: Shuffle the rows of arrays. Default: yes; a `tf.data.Dataset` has
                an order of its own (Keras's default would warn about that).
            class_weight: Dict from token ids to weights of the target tokens with these
                ids, in training; other ids have the weight 1, padding 0 whatever is
                given. Multiplied by sample weights. Default None.
            **kwargs: The further arguments of `keras.Model.fit`.

        Returns:
            Keras's `History`.
        """
        if shuffle is None:
            shuffle = not isinstance(
                x, tf.data.Dataset | tf.distribute.DistributedDataset
            )
        if not 0 <= validation_split < 1:
            raise ValueError(
                f"`validation_split` must be in [0, 1). Received: {validation_split}."
            )
        self._weigh_classes(class_weight)
        with together_with_other_workers(self.distribute_strategy):
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
        """Measures the model, as `keras.Model.evaluate` does.

        Args:
            x: As for `fit`.
            y: As for `fit`.
            batch_size: As for `fit`.
            verbose: As for `fit`.
            **kwargs: The further arguments of `keras.Model.evaluate`.

        Returns:
            What Keras returns: the loss and metrics, as a list or a dict.
        """
        return super().evaluate(x, y, batch_size, displayed(verbose), **kwargs)

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: str | int = "auto",
        **kwargs: Any,
    ) -> Any:
        """Returns the logits, as `keras.Model.predict` does.

        Args:
            x: As for `fit`.
            batch_size: As for `fit`.
            verbose: As for `fit`.
            **kwargs: The further arguments of `keras.Model.predict`.

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
            x: Inputs, as for `fit`.
            y: Targets, as for `fit`.
            sample_weight: Weights of shape (batch,), (batch, 1) or (batch, time).
            class_weight: Dict from token ids to weights, as for `fit`.
            return_dict: Return the figures by name. Default False: a list.
        """
        self._weigh_classes(class_weight)
        return super().train_on_batch(x, y, sample_weight, return_dict=return_dict)

    def _make_function(self, step: Any) -> Any:
        return by_rank(lambda: super(Seq2Seq, self)._make_function(step))

    def make_train_function(self, force: bool = False) -> None:
        # TensorFlow traces a function twice if its first call creates variables.
        with self.distribute_strategy.scope():
            self._build_optimizer()
        super().make_train_function(force)

    def _build_optimizer(self) -> None:
        if self.optimizer is not None and not self.optimizer.built:
            self.optimizer.build(self.trainable_variables)

    def make_predict_function(self, force: bool = False) -> None:
        kept: Any = self.predict_function
        if kept is not None and not force:
            return

        def make() -> Any:
            super(Seq2Seq, self).make_predict_function(force=True)
            made: Any = self.predict_function
            self.predict_function = function
            return made

        function: Any = by_rank(make)
        self.predict_function = function

    def train_step(self, data: Any) -> dict[str, Any]:
        x, y, sample_weight = self._unpacked(data)
        sample_weight = self._weighted_by_id(y, sample_weight)
        with tf.GradientTape() as tape:
            ratio = self._feeding["teacher_forcing_ratio"]
            if callable(ratio):
                ratio = ratio(self.optimizer.iterations)
            logits = self._logits(x, ratio, training=True)
            loss = self.compute_loss(x, y, logits, sample_weight, training=True)
            scaled = self.optimizer.scale_loss(loss)
        if self.trainable_variables:  # none are left where all layers are frozen
            gradients = tape.gradient(scaled, self.trainable_variables)
            self._apply_gradients(
                [sum_slices(each) for each in gradients],
                self._gradient_change(y, sample_weight),
            )
        self._track_loss(loss, y, sample_weight)
        return self._logs(self.compute_metrics(x, y, logits, sample_weight))

    def _gradient_change(self, y: Any, sample_weight: Any) -> Any:
        """Returns what is done to the gradient of the mean loss of a global batch."""
        limit: Any = self._updating["clipvalue_per_token"]
        is_sum = self._updating["gradient"] == "sum"
        if limit is None and not is_sum:
            return None
        tokens = global_sum(tf.reduce_sum(token_weights(y, sample_weight)))
        # The gradient is that of the scaled loss, where half precision has it scaled.
        scale = self.optimizer.scale_loss(tf.ones(()))

        def change(gradient: Any) -> Any:
            if limit is not None:
                # Of the mean: what is cut from the sum at `limit` times its tokens.
                largest = tf.cast(limit * scale, gradient.dtype)
                gradient = tf.clip_by_value(gradient, -largest, largest)
            return gradient * tf.cast(tokens, gradient.dtype) if is_sum else gradient

        return change

    def _unpacked(self, data: Any) -> tuple[Any, Any, Any]:
        """Returns inputs, target ids and sample weights, or None, of a batch."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        weights = keras.tree.flatten(sample_weight)
        if len(weights) > 1:
            raise ValueError(
                "`sample_weight` must be one array, of shape (batch,), (batch, 1) or "
                f"(batch, time). Received: {len(weights)} arrays."
            )
        return x, as_targets(y, self.config.target_vocab_size), weights[0]

    def _weighted_by_id(self, y: Any, sample_weight: Any) -> Any:
        """Multiplies the weights of target tokens by those of `class_weight`."""
        if self._class_weights is None:
            return sample_weight
        # The loss refuses ids out of range; this only keeps the lookup valid.
        ids = tf.clip_by_value(tf.cast(y, tf.int32), 0, len(self._class_weights) - 1)
        by_id = tf.gather(tf.constant(self._class_weights), ids)  # (batch, time)
        return token_weights(y, sample_weight) * by_id

    def _weigh_classes(self, class_weight: Any) -> None:
        """Sets the weights of ids in training; None: all alike."""
        weights = None
        if class_weight is not None:
            weights = _class_weights(class_weight, self.config.target_vocab_size)
        if weights != self._class_weights:
            self._class_weights = weights
            self.train_function = None  # they are a constant in it

    def test_step(self, data: Any) -> dict[str, Any]:
        x, y, sample_weight = self._unpacked(data)
        if self._feeding["free_running_evaluation"]:
            logits = self.free_running_logits(x)
        else:
            logits = self(x, training=False)
        loss = self.compute_loss(x, y, logits, sample_weight, training=False)
        self._track_loss(loss, y, sample_weight)
        return self._logs(self.compute_metrics(x, y, logits, sample_weight))

    def _logits(self, x: Any, ratio: Any, training: bool) -> Any:
        """Returns the logits where the decoder reads a part `ratio` of the truth."""
        if isinstance(ratio, float) and ratio == 1:
            return self(x, training=training)
        coin = self._feeding["teacher_forcing_coin"]
        return self._fed_back_logits(x, ratio, coin, self._feeding_seed, training)

    def free_running_logits(self, inputs: Any) -> Any:
        """Returns the logits where the decoder reads its own most probable tokens.

        Args:
            inputs: Dict of `encoder_inputs` and `decoder_inputs`, as the model takes
                them; of the latter only the first token is read, and where rows end.

        Returns:
            Float32 logits (batch, target_length, vocab).
        """
        return self._fed_back_logits(inputs, 0.0, "token", None, False)

    def _fed_back_logits(
        self, inputs: Any, ratio: Any, coin: str, seed: Any, training: bool
    ) -> Any:
        feed, added = as_feed(inputs, self.config)
        logits = fed_back_logits(
            self._inference(),
            self.graph.decoder,
            feed,
            ratio,
            coin,
            seed,
            training,
            given=1 + added,
        )
        return logits[:, added:]

    def _inference(self) -> InferenceModels:
        return self.derived.get("inference", lambda: build_inference_models(self))

    def _track_loss(self, loss: Any, y: Any, sample_weight: Any) -> None:
        """Adds a batch to the loss that `fit` displays, by its number of tokens.

        Keras weights batches by rows, which is not the mean over an epoch's tokens. The
        loss of a replica is its share of the global batch's.
        """
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        tokens = global_sum(tf.reduce_sum(token_weights(y, sample_weight)))
        self._loss_tracker.update_state(
            loss * replicas, sample_weight=tokens / replicas
        )

    def generate(
        self,
        source: Any,
        search: Any = "greedy",
        *,
        max_length: Any = None,
        batch_size: int = 256,
        return_attention: bool = False,
        prefix: Any = None,
    ) -> Hypotheses:
        """Decodes sources: ids in, ids out.

        The whole search runs in one compiled graph, which is made at the first call and
        serves every shape. A progress bar appears on stderr if it takes long.

        Args:
            source: Integer ids (batch, time), each row ended by `</s>` (3) and padded
                with 0 on the right; or one-hot vectors, as the model takes them; or
                float vectors (batch, time, dim) for a model with a `"features"` source.
            search: `"greedy"` (default), `"beam"`, `"sampling"`, a dict, or an object
                such as `kseq.decoding.BeamSearch(beam_width=10, n=3)`; see
                `kseq.decoding.get`.
            max_length: Longest output in tokens, `</s>` included: an integer, or one
                for each row, or a `kseq.decoding.LengthRatio` of the training data.
                Default: for each row 2 * its source length + 10.
            batch_size: Number of rows decoded at once. Default 256.
            return_attention: Return the attention weights of every output token too.
                Default False.
            prefix: Integer ids (batch, prefix_length), tokens that each output begins
                with, padded with 0 on the right; or one-hot vectors. Default: none.

        Returns:
            `Hypotheses`, with the n of the search.

        Raises:
            ValueError: If the ids are out of range, or of the wrong rank or dtype, or
                a row is empty or not padded on the right; if the model has no attention
                and `return_attention` is True; if the search is unknown; if the model's
                logits are not finite.

        Example:
            >>> from kseq import build_seq2seq
            >>> model = build_seq2seq(
            ...     source_vocab_size=11, target_vocab_size=11, units=8
            ... )
            >>> model.generate([[5, 6, 3], [7, 3, 0]], max_length=4).tokens.shape[:2]
            (2, 1)
            >>> model.generate([[5, 6, 3]], "beam", max_length=4).scores.shape
            (1, 1)
        """
        source = check_source(source, self.config.encoder)
        return self._searches()(
            source, search, max_length, batch_size, return_attention, prefix
        )

    def _searches(self) -> Generator:
        def make() -> Generator:
            return Generator([self.search_member()], compile=self.derived.compiled)

        return self.derived.get("searches", make)

    def search_member(self) -> FoldedMember:
        """Returns the model as a search sees it."""
        return FoldedMember(self._inference().encoder, self.graph.decoder)

    def quantize(
        self,
        mode: str | None = None,
        config: Any = None,
        filters: Any = None,
        **kwargs: Any,
    ) -> None:
        """Quantizes embeddings and dense layers, those inside of attention too.

        Keras has no quantized recurrent layers: they stay as they are.

        Args:
            mode: `"int8"`, `"int4"` or `"float8"` (dense layers outside of attention).
            config: A `keras.quantizers.QuantizationConfig`. Default: that of `mode`.
            filters: Regular expression for the names of the layers to quantize, or a
                list of them, or a function of a layer. Default None: all.
            **kwargs: The further arguments of `keras.Model.quantize`.

        Raises:
            ValueError: If the mode needs the blocks of a transformer (`"gptq"`,
                `"awq"`), if no layer is to be quantized, or if one already is.

        Example:
            >>> from kseq import build_seq2seq
            >>> model = build_seq2seq(
            ...     source_vocab_size=11, target_vocab_size=11, units=8
            ... )
            >>> model.quantize("int8")
            >>> model.get_layer("decoder_output").quantization_mode
            'int8'
        """
        mode = config.mode if config is not None else mode
        if mode not in _QUANTIZABLE:
            raise ValueError(
                "`mode` must be one of 'int8', 'int4', 'float8': others quantize the "
                f"blocks of a transformer. Received: {mode!r}."
            )
        # Keras takes the gradients of float8's scales for their new values: in a loop,
        # as in attention, they would add up.
        layers = self.layers if mode == "float8" else self._flatten_layers()
        chosen = [
            layer
            for layer in layers
            if type(layer) in _QUANTIZABLE[mode] and _matches(filters, layer)
        ]
        if not chosen:
            raise ValueError(
                f"`filters` must match a layer that can be quantized to {mode}: "
                f"{', '.join(each.__name__ for each in _QUANTIZABLE[mode])}. "
                f"Received: {filters!r}."
            )
        done = [layer.name for layer in chosen if layer.quantization_mode is not None]
        if done:
            raise ValueError(
                f"`filters` must leave out layers that are quantized already: "
                f"{', '.join(done)}. Received: {filters!r}."
            )
        super().quantize(mode, config, filters=lambda each: each in chosen, **kwargs)

    def save(
        self,
        filepath: Any,
        overwrite: bool = True,
        zipped: bool = True,
        **kwargs: Any,
    ) -> None:
        """Saves the model, whole or not at all: a crash leaves an older file as it was.

        Args:
            filepath: Path ending in `.keras`.
            overwrite: Replace an existing file. Default True.
            zipped: Must be True: a model is one file.
            **kwargs: The further arguments of `keras.Model.save`.

        Raises:
            ValueError: If `filepath` does not end in `.keras`, if `zipped` is False, or
                if the model was compiled with a function or class of your own that is
                not registered, so that the file could not be loaded.
            FileExistsError: If the file exists and `overwrite` is False.
        """
        if zipped is not None and not check_boolean("zipped", zipped):
            raise ValueError(
                "`zipped` must be True: a model is saved as one '.keras' file. "
                "Received: False."
            )
        path = pathlib.Path(os.fspath(filepath))
        if path.suffix != ".keras":
            raise ValueError(f"`filepath` must end in '.keras'. Received: '{path}'.")
        if not overwrite and path.exists():
            raise FileExistsError(
                f"'{path}' exists already. Choose another name, or pass overwrite=True."
            )
        self._check_compiled()
        with whole_file(path) as temporary:
            super().save(temporary, overwrite=True, **kwargs)

    def _check_compiled(self) -> None:
        """Checks that what the model was compiled with can be loaded again."""
        if not self.compiled:
            return
        given = {**self._compile_config.config, **self._feeding, **self._updating}
        for name, value in given.items():
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # about a lambda: an error here
                    config = keras.saving.serialize_keras_object(value)
                keras.saving.deserialize_keras_object(config)
            except (TypeError, ValueError) as error:
                raise ValueError(
                    f"`{name}` must be registered with "
                    "keras.saving.register_keras_serializable, and have a name or a "
                    "`get_config`, or the saved model could not be loaded. Received: "
                    f"{value!r}."
                ) from error

    def summary(self, *args: Any, expand_nested: bool = True, **kwargs: Any) -> None:
        """Prints the layers, those within a loop too.

        Args:
            *args: As `keras.Model.summary`.
            expand_nested: Show the layers within layers. Default True.
            **kwargs: As `keras.Model.summary`.
        """
        super().summary(*args, expand_nested=expand_nested, **kwargs)

    def get_config(self) -> dict[str, Any]:
        return {
            "config": self.config.to_dict(),
            "dtype": self._built_dtype,
            "name": self.name,
            "alterations": self._alterations.get_config(),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        with without_sharing():
            model = cls(
                Seq2SeqConfig.from_dict(config["config"]),
                dtype=keras.dtype_policies.deserialize(config["dtype"]),
                name=config["name"],
            )
            model._alterations.apply(config["alterations"])
        return model


def build_seq2seq(
    config: Seq2SeqConfig | None = None,
    *,
    dtype: Any = None,
    name: str = "seq2seq",
    **settings: Any,
) -> Seq2Seq:
    """Builds a sequence-to-sequence model.

    Args:
        config: A `Seq2SeqConfig`. Or give its fields as keyword arguments.
        dtype: Dtype or dtype policy of the layers, such as `"mixed_float16"`. Default:
            Keras's global policy.
        name: Name of the model. Default `"seq2seq"`.
        **settings: Fields of `Seq2SeqConfig`: `source_vocab_size`,
            `target_vocab_size`, `units`, ...

    Returns:
        A `Seq2Seq`, a functional `keras.Model`, not yet compiled.

    Raises:
        ValueError: If a setting is invalid; the message names it and what is valid.
        TypeError: If a setting has the wrong type.

    Example:
        >>> from kseq import build_seq2seq
        >>> model = build_seq2seq(
        ...     source_vocab_size=11,
        ...     target_vocab_size=13,
        ...     units=8,
        ...     source_representation="one_hot",
        ...     reverse_source=True,
        ... )
        >>> model.output_shape
        (None, None, 13)
        >>> [layer.name for layer in model.layers if layer.weights]
        ['encoder_lstm_1', 'decoder_lstm_1', 'decoder_output']

    Reference:
        Sutskever et al., 2014, "Sequence to Sequence Learning with Neural Networks".
    """
    return Seq2Seq(as_config(config, settings), dtype=dtype, name=name)


def _matches(filters: Any, layer: keras.layers.Layer) -> bool:
    """Whether `filters`, as `keras.Model.quantize` takes them, let a layer through."""
    if callable(filters):
        return bool(filters(layer))
    patterns = [filters] if isinstance(filters, str) else filters
    return patterns is None or any(re.search(each, layer.name) for each in patterns)


def _resolved(name: str, metrics: Any) -> Any:
    if isinstance(metrics, str):
        raise TypeError(f"`{name}` must be a list. Received: {metrics!r}.")
    return keras.tree.map_structure(kseq_metrics.get, metrics)


def _class_weights(class_weight: Any, vocab_size: int) -> list[float]:
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
                "`class_weight` must have token ids as its keys, of 0.."
                f"{vocab_size - 1}. Received: {token!r}."
            )
        weights[token] = check_number(f"class_weight[{token}]", weight)
    return weights
