"""Training speed of kseq, Keras and PyTorch.

    python benchmarks/training.py [--workload tiny small mid big g2p multi30k] [--json]

All contestants take turns in one run, with steps of Adam on batches of ids. The time of
a step runs from the end of one step to the end of the next, so it includes waiting for
data. A ratio is the time of a contestant divided by the time of kseq, as the median
over the rounds.

- `tiny`, `small`, `mid`, `big`: LSTM encoder and decoder without attention, with fixed
  lengths and the same batches for all. `keras` is `keras.layers.LSTM` in a functional
  model. kseq and Keras run with and without `jit_compile=True`, and the faster one of
  each counts. `torch` is `nn.LSTM` with two threads (`pip install "kseq[bench]"`).
- `g2p`, `multi30k`: a bidirectional encoder, attention, and the lengths of CMUDict and
  Multi30k (from `--data DIR`, or a histogram in this folder). `keras` is written as a
  Keras user writes it: random batches padded to their longest row, `keras.layers.LSTM`
  and `Attention`. kseq makes its own batches of the same pairs, by length. Times are
  per target token.

`gemm_share` is the share of kseq's time that its matrix products alone would take. The
speed of products of these shapes is measured in each round. `waiting` is the share of
kseq's time in which a step waits for its batch. `peak` is the maximum memory of some
steps of `big`, in a separate process.
"""

import argparse
import contextlib
import dataclasses
import functools
import importlib
import json
import pathlib
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from products import product_loop

import kseq
from kseq.data import Examples, Vocabulary
from kseq.data.batches import make_batch
from kseq.special_tokens import END, SPECIAL_TOKENS

torch: Any = None
with contextlib.suppress(ImportError):  # without it, its column stays empty
    torch = importlib.import_module("torch")


@dataclasses.dataclass(frozen=True)
class Workload:
    """Shapes of the batches and sizes of the model."""

    batch: int
    units: int
    layers: int
    embedding: int | None  # None: one-hot
    source_size: int
    target_size: int
    steps: int  # per round
    source_time: int = 0  # 0: the lengths of a corpus
    target_time: int = 0


WORKLOADS = {
    "tiny": Workload(32, 64, 1, None, 13, 13, 200, 8, 5),
    "small": Workload(128, 128, 1, None, 13, 13, 80, 8, 5),
    "mid": Workload(256, 256, 1, 128, 45, 45, 15, 10, 10),
    "big": Workload(128, 512, 2, 256, 6000, 6000, 4, 16, 16),
    "g2p": Workload(256, 256, 1, 256, 33, 43, 20),
    "multi30k": Workload(128, 512, 1, 256, 8000, 6000, 8),
}
HEADER = (
    "| workload | kseq, tokens/s | Keras | PyTorch | x Keras | x PyTorch | ms/step | "
    "GEMM share | waiting | peak MiB | of Keras |\n" + "|---" * 11 + "|"
)
# Number of steps per round that do not count: the first step makes the iterator.
WARM_UP = 2


class StepEnds(keras.callbacks.Callback):  # type: ignore[misc, unused-ignore]
    """Records the end of each step."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Records the time."""
        self.times.append(time.perf_counter())


def step_times(ends: list[float]) -> list[float]:
    """Returns the times of the steps that count, in seconds."""
    return [b - a for a, b in zip(ends[WARM_UP - 1 :], ends[WARM_UP:], strict=False)]


class Fitted:
    """A compiled model and the batches that it is trained on."""

    def __init__(self, model: Any, dataset: Callable[[int], tf.data.Dataset]) -> None:
        self.model = model
        self.dataset = dataset
        self.steps_done = 0

    def __call__(self, steps: int) -> list[float]:
        """Takes steps; returns the seconds of each."""
        ends = StepEnds()
        self.model.fit(
            self.dataset(self.steps_done),
            steps_per_epoch=steps + WARM_UP,
            epochs=1,
            verbose=0,
            callbacks=[ends],
        )
        self.steps_done += steps + WARM_UP
        return step_times(ends.times)


def build_kseq(work: Workload, attention: bool, jit: bool) -> kseq.Seq2Seq:
    """Builds and compiles the kseq model."""
    settings: dict[str, Any] = {
        "source_vocab_size": work.source_size,
        "target_vocab_size": work.target_size,
        "units": work.units,
    }
    if work.embedding is None:
        settings["source_representation"] = "one_hot"
    else:
        settings["embedding_dim"] = work.embedding
    if attention:
        settings["encoder_direction"] = "bidirectional"
        settings["encoder_units"] = 512
        settings["attention"] = "general"
    else:
        settings["encoder_layers"] = settings["decoder_layers"] = work.layers
    model = kseq.build_seq2seq(**settings)
    model.compile("adam", jit_compile=jit)
    return model


def build_keras(work: Workload, attention: bool, jit: bool) -> keras.Model:
    """Builds and compiles the model that a Keras user writes."""
    layers = keras.layers
    source = keras.Input((None,), dtype="int32", name="encoder_inputs")
    target = keras.Input((None,), dtype="int32", name="decoder_inputs")

    def embed(ids: Any, size: int) -> Any:
        if work.embedding is None:  # the fastest way to one-hot vectors
            frozen = layers.Embedding(size, size, "identity", trainable=False)
            return frozen(ids)
        return layers.Embedding(size, work.embedding, mask_zero=attention)(ids)

    x, states = embed(source, work.source_size), []
    if attention:
        lstm = layers.LSTM(256, return_sequences=True, return_state=True)
        x, *states = layers.Bidirectional(lstm)(x)
        first = [layers.Concatenate()(states[k::2]) for k in (0, 1)]
        states = [[layers.Dense(work.units, "tanh")(state) for state in first]]
    else:
        for _ in range(work.layers):
            x, *state = layers.LSTM(
                work.units, return_sequences=True, return_state=True
            )(x)
            states.append(state)
    memory, x = x, embed(target, work.target_size)
    for state in states:
        x = layers.LSTM(work.units, return_sequences=True)(x, initial_state=state)
    if attention:
        query = layers.Dense(512, use_bias=False)(x)
        context = layers.Attention()([query, memory])
        x = layers.Concatenate()([x, context])
        x = layers.Dense(work.units, "tanh", use_bias=True)(x)
    model = keras.Model([source, target], layers.Dense(work.target_size)(x))
    model.compile(
        "adam",
        keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, ignore_class=0 if attention else None
        ),
        jit_compile=jit,
    )
    return model


class Torch:
    """Trains the same model in PyTorch."""

    def __init__(self, work: Workload, batches: list[Any]) -> None:
        torch.set_num_threads(2)
        nn = torch.nn
        width = work.embedding or work.source_size
        self.one_hot = work.embedding is None
        self.work = work
        self.encoder = nn.LSTM(width, work.units, work.layers, batch_first=True)
        self.decoder = nn.LSTM(width, work.units, work.layers, batch_first=True)
        self.output = nn.Linear(work.units, work.target_size)
        parts = [self.encoder, self.decoder, self.output]
        if not self.one_hot:
            self.source = nn.Embedding(work.source_size, width)
            self.target = nn.Embedding(work.target_size, width)
            parts += [self.source, self.target]
        self.optimizer = torch.optim.Adam(nn.ModuleList(parts).parameters())
        self.batches = [
            [
                torch.from_numpy(np.asarray(ids)).long()
                for ids in (x["encoder_inputs"], x["decoder_inputs"], y)
            ]
            for x, y in batches
        ]

    def __call__(self, steps: int) -> list[float]:
        """Takes steps; returns the seconds of each."""
        functional = torch.nn.functional
        ends = []
        for step in range(steps + WARM_UP):
            source, target, labels = self.batches[step % len(self.batches)]
            self.optimizer.zero_grad()
            if self.one_hot:
                x, y = (
                    functional.one_hot(ids, self.work.source_size).float()
                    for ids in (source, target)
                )
            else:
                x, y = self.source(source), self.target(target)
            _, state = self.encoder(x)
            hidden, _ = self.decoder(y, state)
            logits = self.output(hidden)
            loss = functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
            loss.backward()
            self.optimizer.step()
            loss.item()  # the others read the loss at each step too
            ends.append(time.perf_counter())
        return step_times(ends)


def fixed_batches(work: Workload, seed: int) -> list[Any]:
    """Returns batches without padding."""
    rng = np.random.default_rng(seed)
    batches = []
    for _ in range(8):
        shapes = ((work.batch, work.source_time), (work.batch, work.target_time))
        sizes = (work.source_size, work.target_size)
        source, target = (
            np.concatenate(
                [
                    rng.integers(len(SPECIAL_TOKENS), size, (rows, time - 1)),
                    np.full((rows, 1), END),
                ],
                1,
            ).astype("int32")
            for (rows, time), size in zip(shapes, sizes, strict=True)
        )
        batches.append(make_batch(source, target))
    return batches


def endless_dataset(batches: list[Any]) -> tf.data.Dataset:
    """Returns an endless dataset of batches in memory."""
    x = {name: np.stack([x[name] for x, _ in batches]) for name in batches[0][0]}
    y = np.stack([y for _, y in batches])
    options = tf.data.Options()
    options.autotune.enabled = False
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).repeat().prefetch(2)
    return dataset.with_options(options)


def real_pairs(name: str, work: Workload, data: str | None, seed: int) -> Examples:
    """Returns pairs of random tokens with the lengths of a corpus."""
    if data is None:
        path = pathlib.Path(__file__).with_name("lengths.json")
        cells = np.array(json.loads(path.read_text("utf-8"))[name])
        lengths = np.repeat(cells[:, :2], cells[:, 2], axis=0)
    else:
        lengths = np.array(list(count_tokens(name, data)))
    rng = np.random.default_rng(seed)
    sides = []
    sizes = (work.source_size, work.target_size)
    for column, size in zip(lengths.T, sizes, strict=True):
        # Token frequencies follow Zipf's law, as in text.
        weights = 1 / np.arange(1, size - 3)
        shape = (len(column), column.max() + 1)
        ids = rng.choice(size - 4, shape, p=weights / weights.sum()) + 4
        positions = np.arange(shape[1])
        ids[positions == column[:, None]] = 3
        ids[positions > column[:, None]] = 0
        sides.append(ids)
    vocabs = [Vocabulary([f"w{k}" for k in range(size - 4)]) for size in sizes]
    return Examples(sides[0], sides[1], vocabs[0], vocabs[1])


def count_tokens(name: str, data: str) -> Iterator[tuple[int, int]]:
    """Yields the lengths of the pairs of a corpus, in tokens."""
    if name == "g2p":
        for word, phonemes in kseq.data.cmudict("train", folder=data, verify=False):
            yield len(word), len(phonemes.split())
    else:
        for pair in kseq.data.multi30k("train", folder=data, verify=False):
            source, target = (len(text.split()) for text in pair)
            yield source, target


def padded_batches(examples: Examples, batch: int, seed: int) -> Callable[[int], Any]:
    """Returns random batches padded to their longest row, as Keras users make them."""
    inputs, targets = examples.arrays()

    def rows(source: Any, target: Any, labels: Any) -> Any:
        def trim(ids: Any) -> Any:
            return ids[:, : tf.reduce_max(tf.math.count_nonzero(ids, axis=1))]

        x = {"encoder_inputs": trim(source), "decoder_inputs": trim(target)}
        return x, trim(labels)

    def dataset(steps_done: int) -> tf.data.Dataset:
        arrays = (inputs["encoder_inputs"], inputs["decoder_inputs"], targets)
        pairs = tf.data.Dataset.from_tensor_slices(arrays)
        shuffled = pairs.shuffle(len(examples), seed=seed + steps_done).repeat()
        return shuffled.batch(batch).map(rows).prefetch(2)

    return dataset


class Products:
    """Measures the time of matrix products."""

    def __init__(self) -> None:
        self.loops: dict[tuple[int, int, int], Callable[[int], None]] = {}

    def __call__(self, rows: int, inner: int, columns: int) -> float:
        """Returns the time of one product of (rows, inner) and (inner, columns)."""
        shape = (rows, inner, columns)
        if shape not in self.loops:
            self.loops[shape] = product_loop(*shape)
        count = max(3, min(400, int(4e9 / (2 * rows * inner * columns))))
        start = time.perf_counter()
        self.loops[shape](count)
        return (time.perf_counter() - start) / count


def gemm_seconds(work: Workload, products: Products) -> float:
    """Returns the time of the matrix products of a step alone, at current speed."""
    total = 0.0
    seconds = functools.cache(products)

    def add_product(rows: int, inner: int, columns: int, times: int = 1) -> None:
        nonlocal total
        # The forward product and the two products of the gradient.
        for shape in (
            (rows, inner, columns),
            (rows, columns, inner),
            (inner, rows, columns),
        ):
            total += times * seconds(*shape)

    def recurrent(time: int) -> None:
        # The gradient of the kernel is one product over all steps.
        total_rows = work.batch * time
        nonlocal total
        total += time * seconds(work.batch, work.units, 4 * work.units)
        total += time * seconds(work.batch, 4 * work.units, work.units)
        total += seconds(work.units, total_rows, 4 * work.units)

    for time_ in (work.source_time, work.target_time):
        for layer in range(work.layers):
            width = work.units if layer else work.embedding
            if width:  # one-hot vectors only select rows
                add_product(work.batch * time_, width, 4 * work.units)
            recurrent(time_)
    add_product(work.batch * work.target_time, work.units, work.target_size)
    return total


def waiting_share(fitted: Fitted, steps: int) -> float:
    """Returns the share of the time of steps in which they wait for their batches.

    The time to fetch a batch that is ready is not waiting. It is measured on a dataset
    that repeats one batch, and subtracted.
    """
    batches = iter(fitted.dataset(fitted.steps_done))
    same = iter(tf.data.Dataset.from_tensors(next(batches)).repeat())
    waiting_times, total_times = [], []
    for _ in range(steps + WARM_UP):
        start = time.perf_counter()
        next(same)
        step_start = time.perf_counter()
        x, y = next(batches)
        step_fetched = time.perf_counter()
        fitted.model.train_on_batch(x, y)
        waiting_times.append((step_fetched - step_start) - (step_start - start))
        total_times.append(time.perf_counter() - step_start)
    return max(0.0, sum(waiting_times[WARM_UP:]) / sum(total_times[WARM_UP:]))


def build_contestants(
    name: str, args: argparse.Namespace
) -> tuple[dict[str, Any], dict[str, Callable[[int, int], float]]]:
    """Returns the contestants of a workload, and functions that count their tokens.

    Returns:
        Two dicts with the names of the contestants as keys. A value of the first takes
        steps and returns their times. A value of the second returns the mean number of
        target tokens, given the number of the first step and the number of steps.
    """
    work = WORKLOADS[name]
    keras.utils.set_random_seed(args.seed)
    if work.source_time:
        batches = fixed_batches(work, args.seed)
        dataset = endless_dataset(batches)
        built: dict[str, Any] = {
            "kseq": Fitted(build_kseq(work, False, False), lambda _: dataset),
            "kseq_jit": Fitted(build_kseq(work, False, True), lambda _: dataset),
            "keras": Fitted(build_keras(work, False, False), lambda _: dataset),
            "keras_jit": Fitted(build_keras(work, False, True), lambda _: dataset),
        }
        if torch:
            built["torch"] = Torch(work, batches)
        tokens = float(work.batch * work.target_time)
        return built, dict.fromkeys(built, lambda first, count: tokens)
    examples = real_pairs(name, work, args.data, args.seed)
    stream = kseq.data.BatchStream(examples, batch_size=work.batch, seed=args.seed)
    random = padded_batches(examples, work.batch, args.seed)
    mean = float(np.count_nonzero(examples.target, axis=1).mean() * work.batch)

    def mean_tokens(first: int, count: int) -> float:
        counts = [np.count_nonzero(stream.batch(first + k)[1]) for k in range(count)]
        return float(np.mean(counts))

    return (
        {
            "kseq": Fitted(build_kseq(work, True, False), stream.dataset),
            "keras": Fitted(build_keras(work, True, False), random),
        },
        {"kseq": mean_tokens, "keras": lambda first, count: mean},
    )


def measure(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Measures the contestants in turns and returns the row of a workload."""
    work = WORKLOADS[name]
    built, tokens = build_contestants(name, args)
    steps = args.steps or work.steps
    for contestant in built.values():
        contestant(2)  # traces
    per_token: dict[str, list[float]] = {key: [] for key in built}
    per_step: dict[str, list[float]] = {key: [] for key in built}
    products, gemm = Products(), []
    for _ in range(args.rounds):
        if work.source_time:
            gemm.append(gemm_seconds(work, products))
        for key, contestant in built.items():
            first = getattr(contestant, "steps_done", 0) + WARM_UP
            # Steps of equal shape take equal time; other steps all count.
            average = statistics.median if work.source_time else statistics.mean
            seconds = average(contestant(steps))
            per_step[key].append(seconds)
            per_token[key].append(seconds / tokens[key](first, steps))
    compiled = {}
    for key in ("kseq", "keras"):
        other = f"{key}_jit"
        if other in built:
            with_jit = per_token.pop(other)
            steps_with_jit = per_step.pop(other)
            faster = statistics.median(with_jit) < statistics.median(per_token[key])
            compiled[key] = faster
            if faster:
                per_token[key], per_step[key] = with_jit, steps_with_jit
    ratios = {
        key: statistics.median(
            a / b for a, b in zip(times, per_token["kseq"], strict=True)
        )
        for key, times in per_token.items()
        if key != "kseq"
    }
    shares = [alone / step for alone, step in zip(gemm, per_step["kseq"], strict=False)]
    return {
        "workload": name,
        "parameters": built["kseq"].model.count_params(),
        "milliseconds_per_step": {
            key: 1000 * statistics.median(times) for key, times in per_step.items()
        },
        "target_tokens_per_s": {
            key: 1 / statistics.median(times) for key, times in per_token.items()
        },
        "ratio": ratios,
        "compiled": compiled,
        "gemm_share": statistics.median(shares) if shares else None,
        "waiting": waiting_share(built["kseq"], steps),
        "peak_mib": peak_memory(name, args) if name == "big" else {},
    }


def peak_memory(name: str, args: argparse.Namespace) -> dict[str, float]:
    """Returns the peak memory of kseq and of Keras, each in a separate process."""
    memory = {}
    for contestant in ("kseq", "keras"):
        command = [sys.executable, __file__, "--workload", name, "--peak", contestant]
        command += ["--seed", str(args.seed)]
        printed = subprocess.run(
            command, check=True, stdout=subprocess.PIPE, text=True
        ).stdout
        memory[contestant] = float(printed)
    return memory


def measure_peak(name: str, contestant: str, args: argparse.Namespace) -> float:
    """Trains one contestant for some steps and returns its peak memory in MiB."""
    work = WORKLOADS[name]
    keras.utils.set_random_seed(args.seed)
    dataset = endless_dataset(fixed_batches(work, args.seed))
    if contestant == "kseq":
        model: Any = build_kseq(work, False, False)
    else:
        model = build_keras(work, False, False)
    Fitted(model, lambda _: dataset)(5)
    # Not from getrusage, which includes the peak of the parent process.
    status = pathlib.Path("/proc/self/status").read_text("utf-8")
    return int(re.findall(r"VmHWM:\s+(\d+)", status)[0]) / 1024


def main() -> None:
    """Prints the table row by row, or JSON at the end."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--workload", nargs="+", choices=WORKLOADS, default=list(WORKLOADS)
    )
    parser.add_argument("--data", help="folder with the files of the corpora")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--steps", type=int, help="steps per round. Default: as published"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--peak", choices=["kseq", "keras"], help=argparse.SUPPRESS)
    args = parser.parse_args()

    if args.peak:
        print(measure_peak(args.workload[0], args.peak, args))
        return
    if not args.json:
        print(HEADER, flush=True)
    rows = []
    for name in args.workload:
        row = measure(name, args)
        rows.append(row)
        if not args.json:
            print(format_row(row), flush=True)
        keras.backend.clear_session()
    if args.json:
        print(json.dumps(rows))


def format_row(row: dict[str, Any]) -> str:
    """Returns a row as a line of the table."""
    names = ["kseq", "keras", "torch"]
    cells = [row["workload"]]
    for key in names:
        mark = " (XLA)" if row["compiled"].get(key) else ""
        cells.append(format_cell(row["target_tokens_per_s"].get(key), ",.0f") + mark)
    cells += [format_cell(row["ratio"].get(key), ".2f") for key in names[1:]]
    cells.append(format_cell(row["milliseconds_per_step"]["kseq"], ",.1f"))
    cells += [format_cell(row["gemm_share"], ".2f"), format_cell(row["waiting"], ".3f")]
    cells += [format_cell(row["peak_mib"].get(key), ",.0f") for key in names[:2]]
    return "| " + " | ".join(cells) + " |"


def format_cell(value: float | None, form: str) -> str:
    """Returns a number as text, or an empty cell for None."""
    return "" if value is None else format(value, form)


if __name__ == "__main__":
    main()
