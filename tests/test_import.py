"""`import kseq` costs nothing; the first name that is used brings all it needs."""

import importlib.metadata
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import kseq

NAMES = sorted(set(kseq.__all__) - {"__version__"})
HEAVY = ["tensorflow", "keras", "numpy", "pandas", "matplotlib", "tqdm"]


def child(script: str, *arguments: str) -> str:
    """What a script prints in a process of its own."""
    found = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    return found.stdout


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A compiled and trained model, which needs every kind of registered class."""
    import numpy as np

    path = tmp_path_factory.mktemp("saved") / "model.keras"
    model = kseq.build_seq2seq(
        source_vocab_size=11,
        target_vocab_size=11,
        units=8,
        source_representation="one_hot",
        reverse_source=True,
        decoder_init="mean",
        forget_bias=2.0,
    )
    model.compile(weighted_metrics=["token_accuracy", "sequence_accuracy"])
    inputs = {
        "encoder_inputs": np.array([[5, 6, 3]]),
        "decoder_inputs": np.array([[2, 5]]),
    }
    model.fit(inputs, np.array([[5, 3]]), verbose=0)
    model.save(path)
    return path


def test_importing_the_package_is_quick_and_imports_nothing_heavy() -> None:
    script = """
        import json, sys, time
        begin = time.perf_counter()
        import kseq
        dir(kseq)
        print(json.dumps([time.perf_counter() - begin, sorted(sys.modules)]))
    """
    # The best of a few: how busy the machine is says nothing about the package.
    runs = [json.loads(child(script)) for _ in range(3)]
    assert min(seconds for seconds, _ in runs) < 0.15
    assert set(runs[0][1]) & set(HEAVY) == set()
    inside = [name for name in runs[0][1] if name.startswith("kseq.")]
    assert inside == []


def test_the_configuration_and_the_data_need_no_tensorflow() -> None:
    script = """
        import sys
        from kseq.config.architecture import Seq2SeqConfig
        import kseq.data, kseq.plotting
        Seq2SeqConfig(source_vocab_size=11, target_vocab_size=11).to_json()
        print("tensorflow" in sys.modules, "keras" in sys.modules)
    """
    assert child(script) == "False False\n"


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_can_be_imported(name: str) -> None:
    value = getattr(kseq, name)
    assert callable(value)
    assert name in dir(kseq)
    assert vars(kseq)[name] is value


@pytest.mark.parametrize("name", sorted(set(dir(kseq)) - set(kseq.__all__)))
def test_every_public_module_can_be_reached(name: str) -> None:
    assert getattr(kseq, name).__name__ == f"kseq.{name}"


def test_the_version_is_that_of_the_installed_package() -> None:
    try:
        version = importlib.metadata.version("kseq")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("kseq is not installed here")
    assert kseq.__version__ == version


@pytest.mark.parametrize("name", ["build_transformer", "numpy", "__wrapped__"])
def test_an_unknown_name_is_an_attribute_error(name: str) -> None:
    with pytest.raises(AttributeError, match=f"'kseq' has no attribute '{name}'"):
        getattr(kseq, name)


def test_any_one_name_registers_all_that_a_saved_model_needs(saved: Path) -> None:
    # One process for all names, since TensorFlow is slow to import: before each name,
    # Keras and Python are made to forget kseq.
    script = """
        import sys, keras

        path, *names = sys.argv[1:]

        def loads():
            try:
                return bool(keras.saving.load_model(path).weights)
            except (TypeError, ValueError):
                return False

        for name in names:
            keras.saving.get_custom_objects().clear()
            for module in [m for m in sys.modules if m.split(".")[0] == "kseq"]:
                del sys.modules[module]
            import kseq
            before = loads()
            getattr(kseq, name)
            print(name, before, loads())
    """
    lines = child(script, str(saved), *NAMES).splitlines()
    assert lines == [f"{name} False True" for name in NAMES]
