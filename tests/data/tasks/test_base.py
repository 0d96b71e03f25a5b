import os
import subprocess
import sys

import numpy as np
import pytest

from kseq.data import AdditionTask, CopyTask, Examples, ReverseTask, SortTask, Task

TASKS = [
    AdditionTask(),
    AdditionTask(terms=3, digits=2, fixed_width=True),
    CopyTask(),
    ReverseTask(),
    SortTask(),
]


@pytest.fixture(params=TASKS, ids=repr)
def task(request: pytest.FixtureRequest) -> Task:
    return request.param


def as_lists(batch: tuple) -> list:
    inputs, targets = batch
    return [
        np.asarray(ids).tolist()
        for ids in (inputs["encoder_inputs"], inputs["decoder_inputs"], targets)
    ]


def test_the_stream_is_a_function_of_seed_and_step(task: Task) -> None:
    streamed = [as_lists(batch) for batch in task.stream(5, seed=2).take(4)]
    assert streamed == [as_lists(task.batch(5, 2, step)) for step in range(4)]
    resumed = [as_lists(batch) for batch in task.stream(5, 2, initial_step=2).take(2)]
    assert resumed == streamed[2:]
    assert streamed[0] != streamed[1]
    assert as_lists(task.batch(5, 3, 0)) != streamed[0]


def test_a_batch_holds_right_answers_and_is_trimmed(task: Task) -> None:
    inputs, targets = task.batch(50, seed=1, step=7)
    sources = task.decode(inputs["encoder_inputs"])
    assert len(sources) == 50
    assert task.decode(targets) == [task.answer(source) for source in sources]
    assert task.decode(inputs["decoder_inputs"]) == task.decode(targets)
    assert (inputs["decoder_inputs"][:, 0] == 2).all()
    assert not (inputs["decoder_inputs"] == 3).any()
    assert inputs["encoder_inputs"][:, -1].any()
    assert targets[:, -1].any()
    assert targets.dtype == np.int32


def test_sample_split_and_stream_of_one_seed_have_nothing_in_common() -> None:
    task = CopyTask()
    sample = set(task.sample(100, seed=0).source_texts())
    split = set(task.split(99, 1, seed=0)[0].source_texts())
    stream = set(task.decode(task.batch(100, seed=0)[0]["encoder_inputs"]))
    assert not sample & split
    assert not sample & stream
    assert not split & stream


def test_a_sample_is_of_examples_with_the_vocabularies_of_the_task(task: Task) -> None:
    examples = task.sample(np.int64(7), seed=np.int64(1))
    assert isinstance(examples, Examples)
    assert len(examples) == 7
    assert examples.source.dtype == examples.target.dtype == np.int32
    assert examples.source_vocab is task.vocab
    assert examples.target_vocab is task.target_vocab
    assert task.target_vocab.tokens == task.vocab.tokens


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("sample", {"n": 0}),
        ("sample", {"n": 1, "seed": -1}),
        ("split", {"train_size": 0, "valid_size": 1}),
        ("split", {"train_size": 1, "valid_size": -5}),
        ("split", {"train_size": 1, "valid_size": 1, "test_size": 0}),
        ("split", {"train_size": 1, "valid_size": 1, "seed": -1}),
        ("batch", {"batch_size": 0}),
        ("batch", {"batch_size": 1, "seed": -1}),
        ("batch", {"batch_size": 1, "step": -1}),
        ("stream", {"batch_size": 0}),
        ("stream", {"batch_size": 1, "seed": -1}),
        ("stream", {"batch_size": 1, "initial_step": -1}),
    ],
)
def test_numbers_out_of_range_are_refused_by_name(method: str, options: dict) -> None:
    name, value = next((n, v) for n, v in options.items() if v < 1 and v != 1)
    call = getattr(AdditionTask(), method)
    with pytest.raises(ValueError, match=f"`{name}` must be .* Received: {value}"):
        call(**options)
    for wrong in (True, 1.0, "1"):
        with pytest.raises(TypeError, match=f"`{name}` must be an integer"):
            call(**{**options, name: wrong})


DIGESTS = """
import hashlib
from kseq.data import AdditionTask, CopyTask, SortTask, Vocabulary, from_pairs

def show(*arrays):
    print(hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest())

for task in (AdditionTask(), AdditionTask(digits=1), CopyTask(), SortTask(3, 1, 3)):
    sample = task.sample(500, seed=1)
    show(sample.source, sample.target)
    for part in task.split(20, 10, seed=1, test_size=5):
        show(part.source, part.target)
    for inputs, targets in task.stream(8, seed=1).take(3).as_numpy_iterator():
        show(*inputs.values(), targets)
texts = [f"w{i} w{i * 7 % 50} x" for i in range(100)]
print(Vocabulary.build(texts, min_frequency=2, max_size=40).tokens)
pairs = from_pairs(texts, texts[::-1], shared_vocab=True)
for inputs, targets in pairs.dataset(8, seed=1).as_numpy_iterator():
    show(*inputs.values(), targets)
"""


def test_one_seed_gives_one_result_in_every_process() -> None:
    children = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", DIGESTS],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            stdout=subprocess.PIPE,
            text=True,
        )
        for hash_seed in ("1", "2")
    ]
    outputs = [child.communicate()[0] for child in children]
    assert [child.returncode for child in children] == [0, 0]
    assert outputs[0] == outputs[1]
    assert len(outputs[0].splitlines()) == 4 * 7 + 1 + 13
