import gzip
import hashlib
import http.server
import importlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kseq.data import Corpus, CorpusCounts, cmudict, multi30k

public = importlib.import_module("kseq.data.corpora.public")

TRAIN = b"""\
'CAUSE  K AH Z
READ  R EH D
READ(2)  R IY D
SHARED  SH EH R D
SHARED(3)  SH AA R D
"""
DEV = b"SHARED  SH EH1 R D\n"
FILES = {
    "cmudict-0.7b.train-dev-20-21": TRAIN,
    "cmudict-0.7b.train-dev-1-21": DEV,
    "val.de.gz": gzip.compress("Ein Hund.\nZwei Bären.\n".encode()),
    "val.en.gz": gzip.compress(b"A dog.\nTwo bears.\n"),
    "test_2016_flickr.de.gz": gzip.compress(b"Test.\n"),
    "test_2016_flickr.en.gz": gzip.compress(b"A test.\n"),
}


@pytest.fixture(autouse=True)
def sums(monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes the small files here for the public ones."""
    for name, data in FILES.items():
        monkeypatch.setitem(public.SHA256, name, hashlib.sha256(data).hexdigest())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    for name, data in FILES.items():
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # Before its home is a temporary one, since it keeps its first.
    import keras  # noqa: F401

    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    return tmp_path / "keras"


class Server:
    """Serves `files`; of those in `cut` the first half, then it hangs up."""

    def __init__(self) -> None:
        self.files = dict(FILES)
        self.cut: set[str] = set()
        self.asked: list[str] = []
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.rpartition("/")[2]
                owner.asked.append(name)
                data = owner.files.get(name)
                if data is None:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data[: len(data) // 2] if name in owner.cut else data)

            def log_message(self, *_: Any) -> None:
                """Nothing on stderr."""

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/data"


@pytest.fixture
def server(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.http.shutdown()
    thread.join()
    server.http.server_close()


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_training_leaves_out_the_words_of_the_development_set(folder: Path) -> None:
    corpus = cmudict("train", folder=folder)
    expected = [("'CAUSE", "K AH Z"), ("READ", "R EH D"), ("READ", "R IY D")]
    assert list(corpus) == list(corpus) == expected
    assert corpus.counts == CorpusCounts(pairs=3, excluded=2)
    assert corpus.report() == ("3 pairs; 2 left out: 2 of words in the development set")
    assert [Path(file).name for file in corpus.files] == list(FILES)[:2]


def test_training_can_keep_the_words_of_the_development_set(folder: Path) -> None:
    (folder / "cmudict-0.7b.train-dev-1-21").unlink()  # then it is not needed
    corpus = cmudict("train", folder=folder, by_word=False)
    assert corpus.references() == {
        "'CAUSE": ["K AH Z"],
        "READ": ["R EH D", "R IY D"],
        "SHARED": ["SH EH R D", "SH AA R D"],
    }


def test_the_development_set_has_what_training_leaves_out(folder: Path) -> None:
    corpus = cmudict("dev", folder=folder)
    pronunciations = ["SH EH1 R D", "SH EH R D", "SH AA R D"]
    assert list(corpus) == [("SHARED", each) for each in pronunciations]
    assert corpus.references() == {"SHARED": pronunciations}
    assert corpus.counts == CorpusCounts(pairs=3)
    alone = list(cmudict("dev", folder=folder, by_word=False))
    train = list(cmudict("train", folder=folder))
    whole = list(cmudict("train", folder=folder, by_word=False))
    assert len(list(corpus)) + len(train) == len(alone) + len(whole)


def test_stress_stays_as_it_is_in_the_file(folder: Path) -> None:
    (folder / "cmudict-0.7b.train-dev-20-21").unlink()  # then it is not needed
    found = list(cmudict("dev", folder=folder, by_word=False))
    assert found == [("SHARED", "SH EH1 R D")]


@pytest.mark.parametrize("line", ["WORD", "", "  "])
def test_a_word_without_phonemes_is_named_by_file_and_line(
    folder: Path, line: str
) -> None:
    path = folder / "cmudict-0.7b.train-dev-1-21"
    path.write_text(f"A  AH\n{line}\n")
    corpus = cmudict("dev", folder=folder, verify=False, by_word=False)
    with pytest.raises(ValueError, match="1-21, line 2: must be a word and its phon"):
        list(corpus)


def test_descriptions_are_paired_in_either_direction(folder: Path) -> None:
    german = ["Ein Hund.", "Zwei Bären."]
    english = ["A dog.", "Two bears."]
    assert multi30k("val", folder=folder).lists() == (german, english)
    corpus = multi30k("val", source="en", target="de", folder=folder)
    assert corpus.lists() == (english, german)


def test_test_is_short_for_the_test_set_of_2016(folder: Path) -> None:
    corpus = multi30k("test", folder=folder)
    assert corpus.files == multi30k("test_2016_flickr", folder=folder).files
    assert list(corpus) == [("Test.", "A test.")]


@pytest.mark.parametrize(("reader", "split"), [(cmudict, "dev"), (multi30k, "val")])
def test_files_may_stand_in_a_folder_of_the_corpus(
    folder: Path, reader: Any, split: str
) -> None:
    whole = list(reader(split, folder=folder))
    inner = folder / reader.__name__
    inner.mkdir()
    for name in FILES:
        (folder / name).rename(inner / name)
    assert list(reader(split, folder=str(folder))) == whole


def test_another_file_of_the_same_name_is_refused(folder: Path) -> None:
    path = folder / "val.en.gz"
    path.write_bytes(gzip.compress(b"A cat.\nTwo bears.\n"))
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    message = f"val.en.gz .*must be {public.SHA256['val.en.gz']}.*Received: {found}"
    with pytest.raises(ValueError, match=message):
        multi30k("val", folder=folder)
    pairs = list(multi30k("val", folder=folder, verify=False))
    assert pairs[0] == ("Ein Hund.", "A cat.")


def test_a_missing_file_is_named_with_its_address(folder: Path) -> None:
    (folder / "val.en.gz").unlink()
    message = "'val.en.gz', or a folder 'multi30k'.* at https://raw.*/raw/val.en.gz"
    with pytest.raises(FileNotFoundError, match=message):
        multi30k("val", folder=folder)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cmudict("valid"), "'train', 'dev', 'test'. Received: 'valid'"),
        (lambda: multi30k("dev"), "'test_2016_flickr', 'test'. Received: 'dev'"),
        (lambda: multi30k("val", source="fr"), "'de', 'en'. Received: 'fr'"),
        (
            lambda: multi30k("val", source="en"),
            "different languages. Received: 'en' for",
        ),
        (
            lambda: cmudict(
                "dev", folder=".", base_url="http://127.0.0.1", by_word=False
            ),
            "must not both be given",
        ),
    ],
)
def test_bad_choices_are_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_files_are_downloaded_once(
    server: Server, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = list(cmudict("train", base_url=server.url))
    assert len(first) == 3
    assert server.asked == list(FILES)[:2]
    assert list(cmudict("train", base_url=server.url + "/")) != []
    assert list(cmudict("train", base_url=server.url)) == first
    assert server.asked == list(FILES)[:2]
    assert files_in(cache) == sorted(list(FILES)[:2])
    # Results may be going to stdout.
    assert capsys.readouterr().out == ""


def test_a_file_at_hand_needs_no_keras(server: Server, cache: Path) -> None:
    list(multi30k("val", base_url=server.url))
    script = f"""if True:
        import sys
        from kseq.data import multi30k
        val = multi30k("val", base_url={server.url!r}, verify=False)
        print(len(list(val)), "keras" in sys.modules)
    """
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert found.stdout == "2 False\n"


def test_a_download_that_breaks_off_leaves_no_file(server: Server, cache: Path) -> None:
    server.cut.add("val.en.gz")
    message = rf"{server.url}/val\.en\.gz could not be downloaded .* pass its `folder`"
    for verify in [True, False]:
        with pytest.raises(OSError, match=message):
            multi30k("val", base_url=server.url, verify=verify)
        assert files_in(cache) == ["val.de.gz"]
    server.cut.clear()
    assert len(list(multi30k("val", base_url=server.url))) == 2


def test_a_wrong_file_is_not_kept(server: Server, cache: Path) -> None:
    name = "cmudict-0.7b.train-dev-1-21"
    server.files[name] = b"OTHER  AH\n"
    found = hashlib.sha256(server.files[name]).hexdigest()
    with pytest.raises(ValueError, match=f"{server.url}/{name} is not.*{found}"):
        cmudict("dev", base_url=server.url, by_word=False)
    assert files_in(cache) == []


def test_a_cached_file_that_was_changed_is_downloaded_anew(
    server: Server, cache: Path
) -> None:
    whole = list(cmudict("dev", base_url=server.url, by_word=False))
    (path,) = (path for path in cache.rglob("*") if path.is_file())
    path.write_bytes(DEV[:-5])
    assert list(cmudict("dev", base_url=server.url, by_word=False)) == whole
    assert len(server.asked) == 2


def test_files_of_two_places_are_not_mixed_up(server: Server, cache: Path) -> None:
    name = "cmudict-0.7b.train-dev-1-21"
    list(cmudict("dev", base_url=server.url, by_word=False))
    server.files[name] = b"OTHER  AH\n"
    other: Corpus = cmudict(
        "dev", base_url=f"{server.url}/other", verify=False, by_word=False
    )
    assert list(other) == [("OTHER", "AH")]


def test_an_absent_file_or_server_is_an_error_in_one_sentence(server: Server) -> None:
    message = r"^http.*/cmudict-0\.7b\.test could not be downloaded \(.*404.*$"
    with pytest.raises(OSError, match=message):
        cmudict("test", base_url=server.url)
    server.http.shutdown()
    server.http.server_close()
    with pytest.raises(OSError, match=r"could not be downloaded \(.*refused.*folder"):
        cmudict("dev", base_url=server.url, by_word=False)
