"""SageMaker's container contract: a job and an endpoint as processes."""

import csv
import importlib.util
import io
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from serving.servers import Server

from kseq import Translator
from kseq.cli.main import main
from kseq.data import Vocabulary
from kseq.decoding import BeamSearch
from kseq.sagemaker import write_recordio
from kseq.sagemaker.hyperparameters import read_hyperparameters
from kseq.sagemaker.messages import RECORDIO
from kseq.sagemaker.records import encode_record, read_records
from kseq.serving.messages import JSON, JSON_LINES

WORDS = [f"w{k}" for k in range(6)]
TEXTS = [" ".join(WORDS[(k * j + j) % 6] for j in range(1 + k % 4)) for k in range(60)]
SMALL = {
    "rnn_num_hidden": "8",
    "num_embed_source": "4",
    "num_embed_target": "4",
    "batch_size": "8",
    "learning_rate": "0.05",
    "checkpoint_frequency_num_batches": "6",
    "max_num_batches": "18",
    "optimized_metric": "bleu",
    "rnn_attention_type": "dot",
    "beam_size": "3",
}


def make_root(root: Path, **given: str) -> Path:
    """A root as SageMaker prepares it: a small corpus to copy."""
    config, data = root / "input/config", root / "input/data"
    for folder in (config, *(data / name for name in ("train", "validation", "vocab"))):
        folder.mkdir(parents=True)
    vocab = Vocabulary(WORDS)
    for side in ("src", "trg"):
        vocab.save(data / f"vocab/vocab.{side}.json")
    pairs = list(zip(TEXTS, TEXTS, strict=True))
    write_recordio(pairs[:50], data / "train/train.rec", vocab, vocab)
    write_recordio(pairs[50:], data / "validation/val.rec", vocab, vocab)
    files = {
        "hyperparameters": {**SMALL, **given},
        "inputdataconfig": {"train": {"TrainingInputMode": "File"}},
        "resourceconfig": {"current_host": "algo-1", "hosts": ["algo-1"]},
    }
    for name, content in files.items():
        (config / f"{name}.json").write_text(json.dumps(content))
    return root


def command(what: str, root: Path, *flags: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "kseq", "sagemaker", what, "--root", str(root), *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"},
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A root in which a job has come to its end, and what it has printed."""
    root = make_root(tmp_path_factory.mktemp("ml"))
    process = command("train", root)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return root, out


def test_a_job_writes_a_model_and_metrics_and_no_failure(
    trained: tuple[Path, str],
) -> None:
    root, out = trained
    model = {path.name for path in (root / "model").iterdir()}
    assert {"model.keras", "config.json", "serving.json"} <= model
    for name in ("vocab.src.json", "vocab.trg.json"):
        given = root / "input/data/vocab" / name
        assert (root / "model" / name).read_bytes() == given.read_bytes()
    assert not any(path.suffix in (".pkl", ".pickle") for path in root.rglob("*"))
    assert not (root / "output/failure").exists()
    rows = list(
        csv.DictReader(io.StringIO((root / "output/data/metrics.csv").read_text()))
    )
    assert [row["updates"] for row in rows] == ["6", "12", "18"]
    for name in ("validation:bleu", "validation:perplexity", "validation:accuracy"):
        told = re.findall(rf"^{name}=([0-9.e+-]+)$", out, re.MULTILINE)
        column = name.replace("validation:", "valid_").replace("_acc", "_token_acc")
        expected = [float(row[column]) for row in rows]
        assert [float(value) for value in told] == pytest.approx(expected, rel=1e-4)
    assert len(re.findall(r"^train:perplexity=", out, re.MULTILINE)) == 3


@pytest.fixture(scope="module")
def cloud() -> Any:
    """The example whose boto3 calls no test can make."""
    path = Path(__file__).parents[2] / "examples/sagemaker/cloud.py"
    spec = importlib.util.spec_from_file_location("cloud", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_container_accepts_the_job_of_the_example(
    cloud: Any, trained: tuple[Path, str]
) -> None:
    root, out = trained
    settings = json.loads(
        Path(cloud.__file__).with_name("hyperparameters.json").read_text()
    )
    job = cloud.training_job("name", "image", "role", "bucket", settings)
    assert job["HyperParameters"] == settings
    assert read_hyperparameters(job["HyperParameters"]).model["units"] == 512
    channels = [channel["ChannelName"] for channel in job["InputDataConfig"]]
    assert channels == ["train", "validation", "vocab"]
    assert set(channels) == {path.name for path in (root / "input/data").iterdir()}
    for file, channel in cloud.CHANNELS.items():
        assert (root / "input/data" / channel / file).is_file()
    algorithm = job["AlgorithmSpecification"]
    assert algorithm["TrainingInputMode"] == "File"
    for metric in algorithm["MetricDefinitions"]:
        assert len(re.findall(metric["Regex"], out)) == 3


def test_an_endpoint_answers_in_the_three_formats(
    trained: tuple[Path, str], tmp_path: Path, cloud: Any
) -> None:
    root, _ = trained
    # As SageMaker hands it on: an archive of what is in the folder.
    endpoint = tmp_path / "endpoint"
    (endpoint / "model").mkdir(parents=True)
    with tarfile.open(endpoint / "model/model.tar.gz", "w:gz") as archive:
        archive.add(root / "model", arcname=".")
    texts = TEXTS[:3]
    translator = Translator.load(root / "model")
    expected = translator.translate(texts, BeamSearch(beam_width=3))
    with command("serve", endpoint, "--host", "127.0.0.1", "--port", "0") as process:
        try:
            server = Server(process)
            body: Any = {"instances": [{"data": text} for text in texts]}
            body["instances"][0]["configuration"] = {"attention_matrix": "true"}
            found = server.post(json.dumps(body).encode(), JSON)
            predictions = json.loads(found)["predictions"]
            assert [each["target"] for each in predictions] == expected
            matrix = predictions[0]["matrix"]
            assert len(matrix) == len(expected[0].split())
            assert all(len(row) == len(texts[0].split()) for row in matrix)
            sent = cloud.request(texts[:1], attention=True)
            found = server.post(sent["Body"].encode(), sent["ContentType"])
            (prediction,) = json.loads(found)["predictions"]
            assert prediction == predictions[0]
            cloud.plot(texts[0], prediction, tmp_path / "attention.png")
            assert (tmp_path / "attention.png").stat().st_size > 1000
            lines = b"".join(json.dumps({"source": t}).encode() + b"\n" for t in texts)
            found = server.post(lines, JSON_LINES)
            assert [json.loads(x)["target"] for x in found.splitlines()] == expected
            vocab = translator.source_vocab
            records = b"".join(
                encode_record({"source": map(vocab.id, text.split())}) for text in texts
            )
            found = server.post(records, RECORDIO)
            ids = [each["target"] for _, each in read_records(io.BytesIO(found), "it")]
            names = translator.target_vocab.ids_to_tokens
            assert [" ".join(names(row)) for row in ids] == expected
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        finally:
            process.kill()


def test_a_stopped_job_writes_its_best_model_and_resumes(
    tmp_path: Path, trained: tuple[Path, str]
) -> None:
    root = make_root(
        tmp_path / "ml", max_num_batches="100000", checkpoint_threshold="99999"
    )
    process = command("train", root)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("validation:bleu="):
            break
    process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    process.communicate(timeout=300)
    assert process.returncode == 0
    assert time.monotonic() - began < 120
    assert Translator.load(root / "model").translate(TEXTS[:2])
    assert not (root / "output/failure").exists()
    # On another machine: the checkpoints are all that is left of it.
    updates = json.loads((root / "input/config/hyperparameters.json").read_text())
    rows = (root / "checkpoints/kseq/metrics.csv").read_text().count("\n") - 1
    updates["max_num_batches"] = str(6 * (rows + 2))
    (root / "input/config/hyperparameters.json").write_text(json.dumps(updates))
    process = command("train", root)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    told = len(re.findall("^validation:bleu=", out, re.MULTILINE))
    assert 1 <= told <= 2  # the others were before it was stopped
    with open(root / "output/data/metrics.csv") as file:
        assert len(list(csv.DictReader(file))) == rows + 2


def write(name: str, content: Any) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        text = content if isinstance(content, str) else json.dumps(content)
        (root / "input" / name).write_text(text)

    return change


def remove(name: str) -> Callable[[Path], None]:
    return lambda root: (root / "input" / name).unlink()


def damage(root: Path) -> None:
    path = root / "input/data/train/train.rec"
    path.write_bytes(path.read_bytes()[:-2])


HYPERPARAMETERS = "config/hyperparameters.json"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (write(HYPERPARAMETERS, {"batchsize": "3"}), "Did you mean `batch_size`?"),
        (write(HYPERPARAMETERS, {"cnn_num_hidden": "3"}), "convolutional"),
        (write(HYPERPARAMETERS, "{"), "is not JSON"),
        (write(HYPERPARAMETERS, "[]"), "must hold a JSON object"),
        (remove(HYPERPARAMETERS), "hyperparameters.json' is missing"),
        (
            write("config/resourceconfig.json", {"hosts": ["a", "b"]}),
            "InstanceCount must be 1",
        ),
        (
            write(
                "config/inputdataconfig.json", {"train": {"TrainingInputMode": "Pipe"}}
            ),
            "input mode File. Received: Pipe",
        ),
        (remove("data/train/train.rec"), "The channel train must have files"),
        (remove("data/vocab/vocab.trg.json"), "must have one file vocab.trg.json"),
        (write("data/vocab/vocab.src.json", {"a": 0}), "is not a vocabulary"),
        (damage, "train.rec, record 49 (byte "),
    ],
)
def test_the_reason_of_a_failure_is_written(
    tmp_path: Path,
    change: Callable[[Path], None],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = make_root(tmp_path / "ml")
    change(root)
    assert main(["sagemaker", "train", "--root", str(root)]) == 1
    reason = (root / "output/failure").read_text()
    assert words in reason
    assert len(reason) <= 1024
    assert words.split(" Did")[0] in capsys.readouterr().err
    assert not (root / "model").exists()


def test_a_usage_error_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sagemaker", "serve", "--root", str(tmp_path), "--port", "0"]) == 1
    assert "has no model" in capsys.readouterr().err
    assert main(["sagemaker", "train", "--root", str(tmp_path), "--port", "1"]) == 2
    assert "--port needs serve" in capsys.readouterr().err
    for argv in (["sagemaker"], ["sagemaker", "deploy"]):
        assert main(argv) == 2
        assert "must be train or serve" in capsys.readouterr().err
