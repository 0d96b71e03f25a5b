"""How fast kseq decodes, beside the Keras tutorial's loop and a good PyTorch loop.

    python benchmarks/decoding.py [--workload addition g2p multi30k] [--json]

All contestants decode the same sources with the same random weights, in the same
batches, and give outputs of the same lengths: the model's `</s>` is so unlikely that
none ends but at its maximum length. In each round every contestant decodes all
sources of a measurement, in turn; the ratios (their time over that of kseq) are
medians over the rounds. The PyTorch loop needs `pip install "kseq[bench]"`.

- `keras_tutorial`: the loop of Keras's "ten-minute introduction to sequence-to-sequence
  learning": `predict` for the encoder, then `predict` for each token; greedy.
- `torch`: packed encoder, memory projected once, all hypotheses in one batch, one top-k
  over width times vocabulary, states reordered, finished sources dropped; in
  `inference_mode` with two threads.

`gemm_share` is the part of kseq's time that its matrix products alone would take: those
of the encoder and of the folded decoder for every hypothesis, at the rates of bare
products of these shapes, measured in the same run.
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
with contextlib.suppress(ImportError):  # its column is left out
    torch = importlib.import_module("torch")


@dataclasses.dataclass(frozen=True)
class Workload:
    """Sources, the longest outputs, and the model to decode them with."""

    sources: np.ndarray
    lengths: np.ndarray  # of the outputs, all cut there
    settings: dict[str, Any]
    batch_size: int
    searches: list[str]


def addition(count: int | None) -> Workload:
    """Sums of three digits, one-hot, 128 units."""
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
    """Words of 2 to 20 letters: biLSTM of 2 x 256, LSTM of 256 with attention."""
    draw = np.random.default_rng(0)
    lengths = draw.integers(2, 21, count or 12_000)
    return Workload(
        _sources(draw, lengths, 33),
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
    """Sentences of 4 to 30 words: biLSTM of 2 x 256, LSTM of 512 with input feeding."""
    draw = np.random.default_rng(0)
    lengths = np.clip(np.rint(draw.normal(12, 4, count or 1000)), 4, 30).astype(int)
    return Workload(
        _sources(draw, lengths, 8000),
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


def _sources(draw: np.random.Generator, lengths: np.ndarray, size: int) -> np.ndarray:
    sources = draw.integers(4, size, (len(lengths), lengths.max() + 1))
    places = np.arange(sources.shape[1])
    sources[places == lengths[:, None]] = 3
    sources[places > lengths[:, None]] = 0
    return sources.astype(np.int32)


def build(settings: dict[str, Any], seed: int) -> kseq.Seq2Seq:
    """Builds a model whose outputs do not end by themselves.

    Its weights are large enough for some tokens to be much likelier than others, as
    they are with a trained model.
    """
    keras.utils.set_random_seed(seed)
    model = kseq.build_seq2seq(**settings)
    output = model.get_layer("decoder_output")
    kernel, bias = output.get_weights()
    bias[:4] = -1e4  # <pad>, <unk>, <s>, </s>
    output.set_weights([kernel * 10, bias])
    return model


class Kseq:
    """kseq, by `generate`."""

    def __init__(self, model: kseq.Seq2Seq) -> None:
        self.model = model

    def __call__(self, workload: Workload, search: str, batch_size: int) -> Any:
        """Returns the tokens (sources, time)."""
        found = self.model.generate(
            workload.sources,
            BeamSearch(5) if search == "beam" else Greedy(),
            max_length=workload.lengths,
            batch_size=batch_size,
        )
        return found.tokens[:, 0]


class KerasTutorial:
    """The tutorial's loop, over the same layers."""

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
    """The batches that `generate` makes: sources of like lengths together."""
    order = np.argsort((workload.sources != 0).sum(axis=1), kind="stable")
    return [order[k : k + batch_size] for k in range(0, len(order), batch_size)]


class Torch:
    """A good plain loop in PyTorch, with the weights of the model."""

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
        # The decoder's layers are inside of a loop where there is input feeding.
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
                found = self._decode(
                    torch.from_numpy(workload.sources[rows, : lengths.max()]).long(),
                    torch.from_numpy(lengths),
                    torch.from_numpy(workload.lengths[rows].astype("int64")),
                    width,
                )
                tokens[rows, : found.shape[1]] = found
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
        outputs, (h, c) = self.encoder(packed)
        h, c = (torch.cat(list(state), dim=-1) for state in (h, c))
        if self.bridges[0] is not None:
            h, c = (
                torch.tanh(state @ kernel + bias)
                for state, (kernel, bias) in zip((h, c), self.bridges, strict=True)
            )
        memory: Any = None
        keys: Any = None
        far: Any = None
        if self.attends:
            memory, _ = torch.nn.utils.rnn.pad_packed_sequence(
                outputs, batch_first=True
            )
            keys = (memory @ self.query.T).transpose(1, 2)  # (batch, units, time)
            far = torch.zeros(sources.shape).masked_fill(sources == 0, -1e9)[:, None]
        h, c = (state.repeat_interleave(width, dim=0) for state in (h, c))
        fed = torch.zeros(batch * width, self.config.hidden_units)
        scores = torch.full((batch, width), -torch.inf)
        scores[:, 0] = 0
        token = torch.full((batch * width,), 2)
        rows = torch.arange(batch)
        history = torch.zeros((batch, width, int(limits.max())), dtype=torch.long)
        found = torch.zeros((batch, int(limits.max())), dtype=torch.long)
        for step in range(int(limits.max())):
            if self.embedded:
                x = functional.embedding(token, self.target_embedding)
            else:
                x = functional.one_hot(token, self.config.target_vocab_size).float()
            if self.config.input_feeding:
                x = torch.cat([x, fed], dim=-1)
            h, c = self.cell(x, (h, c))
            hidden = h
            if self.attends:
                query = h.view(len(rows), width, -1)
                weights = torch.softmax(torch.baddbmm(far, query, keys), dim=-1)
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
            places = (torch.arange(len(rows))[:, None] * width + parents).view(-1)
            ended = limits <= step + 1
            found[rows[limits == step + 1]] = history[limits == step + 1, 0]
            # The sources that are done leave, once they are an eighth.
            if int(ended.sum()) * 8 >= len(rows):
                kept = (~ended).nonzero()[:, 0]
                places = places.view(len(rows), width)[kept].view(-1)
                token = token.view(len(rows), width)[kept].view(-1)
                rows, limits, scores = rows[kept], limits[kept], scores[kept]
                history = history[kept]
                if self.attends:
                    memory, keys, far = memory[kept], keys[kept], far[kept]
                if not len(rows):
                    break
            h, c = h[places], c[places]
            if self.config.input_feeding:
                fed = hidden[places]
        return found.numpy()


def gemm_seconds(
    workload: Workload, config: kseq.Seq2SeqConfig, search: str, batch_size: int
) -> float:
    """Returns the time of the matrix products alone, at measured rates."""
    hypotheses = 5 if search == "beam" else 1
    encoder, decoder = config.encoder, config.decoder
    directions = 2 if config.encoder_direction == "bidirectional" else 1
    units = encoder.units // directions
    total = 0.0
    rates: dict[tuple[int, int, int], float] = {}

    def spend(rows: int, inner: int, columns: int, times: float = 1.0) -> None:
        nonlocal total
        # Rates of about these many rows: one measurement for each power of two.
        shape = (1 << max(int(rows) - 1, 0).bit_length(), inner, columns)
        if shape not in rates:
            rates[shape] = _rate(*shape)
        total += times * 2.0 * rows * inner * columns / rates[shape]

    for rows in _batches(workload, batch_size):
        lengths = (workload.sources[rows] != 0).sum(axis=1)
        limits = workload.lengths[rows]
        batch, longest = len(rows), int(lengths.max())
        if encoder.representation == "embedding":  # one-hot vectors choose rows
            for _ in range(directions):
                spend(batch * longest, encoder.input_dim, 4 * units)
        spend(batch, units, 4 * units, directions * longest)
        if config.attention is not None:
            # The memory, with the projection of the queries and of the contexts.
            spend(batch * longest, encoder.units, decoder.units)
            spend(batch * longest, encoder.units, config.hidden_units)
        for step in range(limits.max()):
            alive = int((limits > step).sum()) * (1 if step == 0 else hypotheses)
            spend(alive, decoder.units, 4 * decoder.units)
            if config.input_feeding:
                spend(alive, config.hidden_units, 4 * decoder.units)
            if config.attention is not None:
                spend(alive, decoder.units, config.hidden_units)
                # Scores and contexts are products, too: one small one a source.
                spend(alive, decoder.units, longest)
                spend(alive, longest, config.hidden_units)
            spend(alive, config.hidden_units, config.target_vocab_size)
    return total


def _rate(rows: int, inner: int, columns: int) -> float:
    """Returns the rate of a bare product, in operations a second."""
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
    """Lets all decode in turn; returns sentences a second, and ratios to kseq."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    outputs = {}
    for attempt in range(rounds + 1):
        for name, contestant in contestants.items():
            start = time.perf_counter()
            outputs[name] = contestant(workload, search, batch_size)
            if attempt:  # the first is for compiling and warming up
                seconds[name].append(time.perf_counter() - start)
    for name, tokens in outputs.items():
        # Rounding may decide between nearly equal hypotheses; no more than that.
        same = (tokens == outputs["kseq"]).all(axis=1).mean()
        if same < 0.95:
            raise RuntimeError(f"{name} gives {1 - same:.1%} other outputs.")
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


def first(workload: Workload, count: int) -> Workload:
    """Returns a workload of some of the sources."""
    return dataclasses.replace(
        workload, sources=workload.sources[:count], lengths=workload.lengths[:count]
    )


def rows_of(name: str, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Measures a workload; returns its rows."""
    workload = WORKLOADS[name](args.count)
    model = build(workload.settings, args.seed)
    decode: dict[str, Callable[..., Any]] = {"kseq": Kseq(model)}
    rows = []

    def row(search: str, batch_size: int, measured: Any, share: Any = None) -> None:
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
            some = first(workload, count)
            row(
                "greedy",
                batch_size,
                measure(some, tutorial, "greedy", batch_size, args.rounds),
            )
    others = decode | ({"torch": Torch(model)} if torch else {})
    for search in workload.searches:
        size = workload.batch_size
        measured = measure(workload, others, search, size, args.rounds)
        limit = gemm_seconds(workload, model.config, search, size)
        taken = len(workload.sources) / measured[0]["kseq"]
        row(search, size, measured, limit / taken)
    return rows


def main() -> None:
    """Prints the table row by row, or JSON."""
    parser = argparse.ArgumentParser(description="Decoding, side by side.")
    parser.add_argument(
        "--workload", nargs="+", choices=WORKLOADS, default=list(WORKLOADS)
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, help="sources (default: as published)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()

    if not args.json:
        print(HEADER, flush=True)
    found = []
    for name in args.workload:
        for row in rows_of(name, args):
            found.append(row)
            if not args.json:
                print(line(row), flush=True)
    if args.json:
        print(json.dumps(found))


def line(row: dict[str, Any]) -> str:
    """Returns a row of the table."""
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
