"""Decoding speed of kseq, the Keras tutorial's loop and a good PyTorch loop.

    python benchmarks/decoding.py [--workload addition g2p multi30k] [--json]

All contestants decode the same sources in the same batches, with the same random
weights. Their outputs have the same lengths: `</s>` is so unlikely that every output
ends at its maximum length. In each round the contestants take turns to decode all
sources of a measurement. A ratio is the time of a contestant divided by the time of
kseq, as the median over the rounds. The PyTorch loop needs `pip install "kseq[bench]"`.

- `keras_tutorial`: the loop of Keras's "ten-minute introduction to sequence-to-sequence
  learning": `predict` for the encoder, then `predict` for each token; greedy.
- `torch`: packed encoder, memory projected once, all hypotheses in one batch, one top-k
  over beam width times vocabulary, states reordered, finished sources dropped; in
  `inference_mode` with two threads.

`gemm_share` is the share of kseq's time that its matrix products alone would take:
those of the encoder and of the precomputed step, for every hypothesis. The speed of
products of these shapes is measured in the same run.
"""

import argparse
import contextlib
import dataclasses
import importlib
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from products import product_loop

import kseq
from kseq.decoding import BeamSearch, Greedy

torch: Any = None
with contextlib.suppress(ImportError):  # without it, its column stays empty
    torch = importlib.import_module("torch")


@dataclasses.dataclass(frozen=True)
class Workload:
    """Sources, the lengths of their outputs, and the settings of the model."""

    sources: np.ndarray
    lengths: np.ndarray  # maximum length of each output, which it always reaches
    settings: dict[str, Any]
    batch_size: int
    searches: list[str]


def addition(count: int | None) -> Workload:
    """Returns sums of three digits, one-hot, for a model with 128 units."""
    task = kseq.data.AdditionTask(digits=3)
    examples = task.sample(count or 10_000, seed=0)
    return Workload(
        examples.source,
        (examples.target != 0).sum(axis=1),
        {
            "source_vocab_size": len(task.vocab),
            "target_vocab_size": len(task.vocab),
            "units": 128,
            "source_representation": "one_hot",
        },
        256,
        ["greedy", "beam"],
    )


def g2p(count: int | None) -> Workload:
    """Returns words of 2 to 20 letters, for a decoder with attention."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(2, 21, count or 12_000)
    return Workload(
        _draw_sources(rng, lengths, 33),
        lengths + 1,
        {
            "source_vocab_size": 33,
            "target_vocab_size": 43,
            "encoder_units": 512,
            "encoder_direction": "bidirectional",
            "decoder_units": 256,
            "embedding_dim": 256,
            "attention": "general",
        },
        256,
        ["greedy", "beam"],
    )


def multi30k(count: int | None) -> Workload:
    """Returns sentences of 4 to 30 words, for a decoder with input feeding."""
    rng = np.random.default_rng(0)
    lengths = np.clip(np.rint(rng.normal(12, 4, count or 1000)), 4, 30).astype(int)
    return Workload(
        _draw_sources(rng, lengths, 8000),
        lengths + 1,
        {
            "source_vocab_size": 8000,
            "target_vocab_size": 6000,
            "encoder_units": 512,
            "encoder_direction": "bidirectional",
            "decoder_units": 512,
            "embedding_dim": 256,
            "attention": "general",
            "input_feeding": True,
        },
        64,
        ["beam"],
    )


WORKLOADS = {"addition": addition, "g2p": g2p, "multi30k": multi30k}
HEADER = (
    "| workload | search | batch | kseq | Keras tutorial | PyTorch | "
    "x Keras tutorial | x PyTorch | GEMM share |\n" + "|---" * 9 + "|"
)


def _draw_sources(
    rng: np.random.Generator, lengths: np.ndarray, size: int
) -> np.ndarray:
    """Returns random ids that end with `</s>`, (sources, time)."""
    sources = rng.integers(4, size, (len(lengths), lengths.max() + 1))
    positions = np.arange(sources.shape[1])
    sources[positions == lengths[:, None]] = 3
    sources[positions > lengths[:, None]] = 0
    return sources.astype(np.int32)


def build(settings: dict[str, Any], seed: int) -> kseq.Seq2Seq:
    """Builds a model whose outputs always reach their maximum length.

    The weights of the output are so large that some tokens are much more likely than
    others, as in a trained model.
    """
    keras.utils.set_random_seed(seed)
    model = kseq.build_seq2seq(**settings)
    output = model.get_layer("decoder_output")
    kernel, bias = output.get_weights()
    bias[:4] = -1e4  # <pad>, <unk>, <s>, </s>
    output.set_weights([kernel * 10, bias])
    return model


class Kseq:
    """Decodes with `generate` of kseq."""

    def __init__(self, model: kseq.Seq2Seq) -> None:
        self.model = model

    def __call__(self, workload: Workload, search: str, batch_size: int) -> Any:
        """Returns the tokens (sources, time)."""
        hypotheses = self.model.generate(
            workload.sources,
            BeamSearch(5) if search == "beam" else Greedy(),
            max_length=workload.lengths,
            batch_size=batch_size,
        )
        return hypotheses.tokens[:, 0]


class KerasTutorial:
    """Decodes with the loop of the Keras tutorial, over the same layers."""

    def __init__(self, model: kseq.Seq2Seq) -> None:
        self.inference = kseq.build_inference_models(model)

    def __call__(self, workload: Workload, search: str, batch_size: int) -> Any:
        """Returns the tokens (sources, time)."""
        count = len(workload.sources)
        tokens = np.zeros((count, workload.lengths.max()), "int32")
        for rows in _batches(workload, batch_size):
            longest = (workload.sources[rows] != 0).sum(axis=1).max()
            sources = workload.sources[rows, :longest]
            state = self.inference.encoder.predict(sources, verbose=0)
            token = np.full(len(rows), 2, "int32")
            for step in range(workload.lengths[rows].max()):
                outputs = self.inference.decoder_step.predict(
                    {**state, "token": token}, batch_size=len(rows), verbose=0
                )
                token = outputs["logits"].argmax(axis=-1).astype("int32")
                tokens[rows, step] = token
                state["states"] = outputs["states"]
        tokens[np.arange(tokens.shape[1]) >= workload.lengths[:, None]] = 0
        return tokens


def _batches(workload: Workload, batch_size: int) -> list[np.ndarray]:
    """Returns the batches of `generate`: sources of similar lengths together."""
    order = np.argsort((workload.sources != 0).sum(axis=1), kind="stable")
    return [order[k : k + batch_size] for k in range(0, len(order), batch_size)]


class Torch:
    """Decodes with a good plain loop in PyTorch, with the weights of the model."""

    def __init__(self, model: kseq.Seq2Seq) -> None:
        torch.set_num_threads(2)
        self.config = config = model.config

        def layer(name: str) -> list[Any]:
            return [torch.tensor(w) for w in model.get_layer(name).get_weights()]

        bidirectional = config.encoder_direction == "bidirectional"
        self.encoder = torch.nn.LSTM(
            config.encoder.input_dim,
            config.encoder.units // (2 if bidirectional else 1),
            batch_first=True,
            bidirectional=bidirectional,
        )
        arrays = layer("encoder_lstm_1")
        with torch.no_grad():
            for k, suffix in enumerate(["", "_reverse"][: len(arrays) // 3]):
                kernel, recurrent, bias = arrays[3 * k : 3 * k + 3]
                for name, value in (
                    ("weight_ih", kernel.T),
                    ("weight_hh", recurrent.T),
                    ("bias_ih", bias),
                    ("bias_hh", bias * 0),
                ):
                    getattr(self.encoder, f"{name}_l0{suffix}").copy_(value)
        self.embedded = config.encoder.representation == "embedding"
        if self.embedded:
            (self.source_embedding,) = layer("encoder_embedding")
            (self.target_embedding,) = layer("decoder_embedding")
        # With input feeding, the decoder's layers are inside a loop.
        core = model.graph.decoder.core
        kernel, recurrent, bias = (
            torch.tensor(w) for w in core.recurrent[0].get_weights()
        )
        width = config.decoder.input_dim + (
            config.hidden_units if config.input_feeding else 0
        )
        self.cell = torch.nn.LSTMCell(width, config.decoder.units)
        with torch.no_grad():
            self.cell.weight_ih.copy_(kernel.T)
            self.cell.weight_hh.copy_(recurrent.T)
            self.cell.bias_ih.copy_(bias)
            self.cell.bias_hh.zero_()
        self.output_kernel, self.output_bias = layer("decoder_output")
        self.attends = core.attention is not None
        if core.attention is not None:
            self.query, *_ = (torch.tensor(w) for w in core.attention.get_weights())
            attentional = core.layers[2]
            self.hidden_kernel, self.hidden_bias = (
                torch.tensor(w) for w in attentional.get_weights()
            )
        self.bridges: list[Any] = []
        for name in ("h", "c"):
            bridge = [
                each for each in model.layers if each.name == f"decoder_init_1_{name}"
            ]
            self.bridges.append(
                [torch.tensor(w) for w in bridge[0].get_weights()] if bridge else None
            )

    def __call__(self, workload: Workload, search: str, batch_size: int) -> Any:
        """Returns the tokens (sources, time)."""
        tokens = np.zeros((len(workload.sources), workload.lengths.max()), "int32")
        width = 5 if search == "beam" else 1
        with torch.inference_mode():
            for rows in _batches(workload, batch_size):
                lengths = (workload.sources[rows] != 0).sum(axis=1)
                outputs = self._decode(
                    torch.from_numpy(workload.sources[rows, : lengths.max()]).long(),
                    torch.from_numpy(lengths),
                    torch.from_numpy(workload.lengths[rows].astype("int64")),
                    width,
                )
                tokens[rows, : outputs.shape[1]] = outputs
        return tokens

    def _decode(self, sources: Any, lengths: Any, limits: Any, width: int) -> Any:
        batch, functional = len(sources), torch.nn.functional
        if self.embedded:
            x = functional.embedding(sources, self.source_embedding)
        else:
            x = functional.one_hot(sources, self.config.source_vocab_size).float()
        packed = torch.nn.utils.rnn.pack_padded_sequence(
            x, lengths, batch_first=True, enforce_sorted=False
        )
        encoder_outputs, (h, c) = self.encoder(packed)
        h, c = (torch.cat(list(state), dim=-1) for state in (h, c))
        if self.bridges[0] is not None:
            h, c = (
                torch.tanh(state @ kernel + bias)
                for state, (kernel, bias) in zip((h, c), self.bridges, strict=True)
            )
        memory: Any = None
        keys: Any = None
        mask_bias: Any = None
        if self.attends:
            memory, _ = torch.nn.utils.rnn.pad_packed_sequence(
                encoder_outputs, batch_first=True
            )
            keys = (memory @ self.query.T).transpose(1, 2)  # (batch, units, time)
            mask_bias = torch.zeros(sources.shape).masked_fill(sources == 0, -1e9)
            mask_bias = mask_bias[:, None]  # (batch, 1, time)
        h, c = (state.repeat_interleave(width, dim=0) for state in (h, c))
        fed_hidden = torch.zeros(batch * width, self.config.hidden_units)
        scores = torch.full((batch, width), -torch.inf)
        scores[:, 0] = 0
        token = torch.full((batch * width,), 2)
        rows = torch.arange(batch)
        history = torch.zeros((batch, width, int(limits.max())), dtype=torch.long)
        outputs = torch.zeros((batch, int(limits.max())), dtype=torch.long)
        for step in range(int(limits.max())):
            if self.embedded:
                x = functional.embedding(token, self.target_embedding)
            else:
                x = functional.one_hot(token, self.config.target_vocab_size).float()
            if self.config.input_feeding:
                x = torch.cat([x, fed_hidden], dim=-1)
            h, c = self.cell(x, (h, c))
            hidden = h
            if self.attends:
                query = h.view(len(rows), width, -1)
                weights = torch.softmax(torch.baddbmm(mask_bias, query, keys), dim=-1)
                context = torch.bmm(weights, memory).view(len(rows) * width, -1)
                hidden = torch.tanh(
                    torch.addmm(
                        self.hidden_bias,
                        torch.cat([h, context], dim=-1),
                        self.hidden_kernel,
                    )
                )
            logits = torch.addmm(self.output_bias, hidden, self.output_kernel)
            log_probs = torch.log_softmax(logits, dim=-1)
            vocab = log_probs.shape[-1]
            total = scores.view(-1, 1) + log_probs
            scores, index = total.view(len(rows), -1).topk(width, dim=-1)
            parents = index // vocab
            token = (index % vocab).view(-1)
            history = history.gather(1, parents[..., None].expand_as(history))
            history[:, :, step] = token.view(len(rows), width)
            parent_rows = (torch.arange(len(rows))[:, None] * width + parents).view(-1)
            finished = limits <= step + 1
            outputs[rows[limits == step + 1]] = history[limits == step + 1, 0]
            # Drop the finished sources once they are an eighth of the batch.
            if int(finished.sum()) * 8 >= len(rows):
                active = (~finished).nonzero()[:, 0]
                parent_rows = parent_rows.view(len(rows), width)[active].view(-1)
                token = token.view(len(rows), width)[active].view(-1)
                rows, limits, scores = rows[active], limits[active], scores[active]
                history = history[active]
                if self.attends:
                    memory, keys = memory[active], keys[active]
                    mask_bias = mask_bias[active]
                if not len(rows):
                    break
            h, c = h[parent_rows], c[parent_rows]
            if self.config.input_feeding:
                fed_hidden = hidden[parent_rows]
        return outputs.numpy()


def gemm_seconds(
    workload: Workload, config: kseq.Seq2SeqConfig, search: str, batch_size: int
) -> float:
    """Returns the time of the matrix products alone, at measured speeds."""
    hypotheses = 5 if search == "beam" else 1
    encoder, decoder = config.encoder, config.decoder
    directions = 2 if config.encoder_direction == "bidirectional" else 1
    units = encoder.units // directions
    total = 0.0
    speeds: dict[tuple[int, int, int], float] = {}

    def add_product(rows: int, inner: int, columns: int, times: float = 1.0) -> None:
        nonlocal total
        # One measurement for each power of two of the number of rows.
        shape = (1 << max(int(rows) - 1, 0).bit_length(), inner, columns)
        if shape not in speeds:
            speeds[shape] = _measure_speed(*shape)
        total += times * 2.0 * rows * inner * columns / speeds[shape]

    for rows in _batches(workload, batch_size):
        lengths = (workload.sources[rows] != 0).sum(axis=1)
        limits = workload.lengths[rows]
        batch, longest = len(rows), int(lengths.max())
        if encoder.representation == "embedding":  # one-hot vectors only select rows
            for _ in range(directions):
                add_product(batch * longest, encoder.input_dim, 4 * units)
        add_product(batch, units, 4 * units, directions * longest)
        if config.attention is not None:
            # The memory times the projections of the queries and of the contexts.
            add_product(batch * longest, encoder.units, decoder.units)
            add_product(batch * longest, encoder.units, config.hidden_units)
        for step in range(limits.max()):
            alive = int((limits > step).sum()) * (1 if step == 0 else hypotheses)
            add_product(alive, decoder.units, 4 * decoder.units)
            if config.input_feeding:
                add_product(alive, config.hidden_units, 4 * decoder.units)
            if config.attention is not None:
                add_product(alive, decoder.units, config.hidden_units)
                # Scores and contexts are products too, a small one for each source.
                add_product(alive, decoder.units, longest)
                add_product(alive, longest, config.hidden_units)
            add_product(alive, config.hidden_units, config.target_vocab_size)
    return total


def _measure_speed(rows: int, inner: int, columns: int) -> float:
    """Returns the speed of one product, in operations per second."""
    product = product_loop(rows, inner, columns)
    count = max(1, int(2e9 / (2 * rows * inner * columns)))
    count = min(count, 200)
    times = []
    for _ in range(3):
        start = time.perf_counter()
        product(count)
        times.append(time.perf_counter() - start)
    return 2.0 * rows * inner * columns * count / min(times)


def measure(
    workload: Workload,
    contestants: dict[str, Callable[..., Any]],
    search: str,
    batch_size: int,
    rounds: int,
) -> tuple[dict[str, float], dict[str, float]]:
    """Measures the contestants in turns.

    Returns:
        Sources per second, and the ratio of each contestant's time to that of kseq.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    outputs = {}
    for attempt in range(rounds + 1):
        for name, contestant in contestants.items():
            start = time.perf_counter()
            outputs[name] = contestant(workload, search, batch_size)
            if attempt:  # the first attempt compiles and warms up
                seconds[name].append(time.perf_counter() - start)
    for name, tokens in outputs.items():
        # Only rounding may make outputs differ, between nearly equal hypotheses.
        same = (tokens == outputs["kseq"]).all(axis=1).mean()
        if same < 0.95:
            raise RuntimeError(f"{1 - same:.1%} of the outputs of {name} differ.")
    per_second = {
        name: len(workload.sources) / statistics.median(times)
        for name, times in seconds.items()
    }
    ratios = {
        name: statistics.median(
            a / b for a, b in zip(times, seconds["kseq"], strict=True)
        )
        for name, times in seconds.items()
        if name != "kseq"
    }
    return per_second, ratios


def first_sources(workload: Workload, count: int) -> Workload:
    """Returns a workload with the first sources only."""
    return dataclasses.replace(
        workload, sources=workload.sources[:count], lengths=workload.lengths[:count]
    )


def measure_workload(name: str, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Measures a workload and returns its rows of the table."""
    workload = WORKLOADS[name](args.count)
    model = build(workload.settings, args.seed)
    decode: dict[str, Callable[..., Any]] = {"kseq": Kseq(model)}
    rows = []

    def add_row(search: str, batch_size: int, measured: Any, share: Any = None) -> None:
        per_second, ratios = measured
        rows.append(
            {
                "workload": name,
                "search": search,
                "batch_size": batch_size,
                "sentences_per_s": per_second,
                "ratio": ratios,
                "gemm_share": share,
            }
        )

    if "greedy" in workload.searches:
        tutorial = decode | {"keras_tutorial": KerasTutorial(model)}
        for batch_size, count in ((1, 8), (32, 128)):
            some = first_sources(workload, count)
            add_row(
                "greedy",
                batch_size,
                measure(some, tutorial, "greedy", batch_size, args.rounds),
            )
    others = decode | ({"torch": Torch(model)} if torch else {})
    for search in workload.searches:
        size = workload.batch_size
        measured = measure(workload, others, search, size, args.rounds)
        limit = gemm_seconds(workload, model.config, search, size)
        seconds = len(workload.sources) / measured[0]["kseq"]
        add_row(search, size, measured, limit / seconds)
    return rows


def main() -> None:
    """Prints the table row by row, or JSON at the end."""
    parser = argparse.ArgumentParser(
        description="Compare the decoding speed of several libraries."
    )
    parser.add_argument(
        "--workload", nargs="+", choices=WORKLOADS, default=list(WORKLOADS)
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--count", type=int, help="number of sources. Default: as published"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()

    if not args.json:
        print(HEADER, flush=True)
    rows = []
    for name in args.workload:
        for row in measure_workload(name, args):
            rows.append(row)
            if not args.json:
                print(format_row(row), flush=True)
    if args.json:
        print(json.dumps(rows))


def format_row(row: dict[str, Any]) -> str:
    """Returns a row as a line of the table."""
    names = ["kseq", "keras_tutorial", "torch"]
    cells = [row["workload"], row["search"], str(row["batch_size"])]
    for key in names:
        value = row["sentences_per_s"].get(key)
        cells.append("" if value is None else f"{value:,.0f}")
    for key in names[1:]:
        value = row["ratio"].get(key)
        cells.append("" if value is None else f"{value:.2f}")
    share = row["gemm_share"]
    cells.append("" if share is None else f"{share:.2f}")
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
