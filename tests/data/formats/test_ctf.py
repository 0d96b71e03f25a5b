import gzip
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from kseq.data import CorpusCounts, ctf_vocabulary, read_ctf, write_ctf

LETTERS = ["'", "</s>", "<s/>", "<s>", "A", "B", "D", "I"]
SOUNDS = ["~AE", "~AH", "~B", "~D", "~IY", "<s>", "</s>"]

symbols = (
    st.text(st.sampled_from("|#:~ä") | st.characters(codec="utf-8"), min_size=1)
    .filter(lambda text: text.split() == [text])
    .filter(lambda text: text not in ("<s>", "</s>") and text[0] != "\ufeff")
)


def ctf(folder: Path, text: str) -> Path:
    path = folder / "x.ctf"
    path.write_bytes(text.encode())
    return path


@given(st.data())
def test_written_pairs_are_read_back(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    def some_symbols() -> list[str]:
        return data.draw(st.lists(symbols, min_size=1, max_size=6, unique=True))

    def texts(of: list[str]) -> st.SearchStrategy[str]:
        return st.lists(st.sampled_from(of), min_size=1, max_size=5).map(" ".join)

    boundaries = data.draw(st.booleans())
    tables = [some_symbols(), some_symbols()]
    pairs = data.draw(st.lists(st.tuples(*map(texts, tables)), max_size=5))
    if boundaries:
        tables = [[*table, "</s>", "<s>"] for table in tables]
    folder = tmp_path_factory.mktemp("ctf")
    path = folder / data.draw(st.sampled_from(["x.ctf", "x.ctf.gz"]))
    write_ctf(pairs, path, *tables, boundaries=boundaries)
    corpus = read_ctf(path, *tables)
    assert list(corpus) == list(corpus) == pairs
    assert corpus.counts == CorpusCounts(pairs=len(pairs))
    # A corpus can be written as well, and comes out the same.
    copy = folder / f"copy.{path.name}"
    write_ctf(corpus, copy, *tables, boundaries=boundaries)
    assert copy.read_bytes() == path.read_bytes()


def test_a_file_is_written_as_cntk_has_it(tmp_path: Path) -> None:
    path = tmp_path / "x.ctf"
    write_ctf([("A B", "~AH"), ("D", "~D")], path, LETTERS, SOUNDS)
    assert path.read_bytes() == (
        b"0\t|S0 3:1 |# <s>\t|S1 5:1 |# <s>\n"
        b"0\t|S0 4:1 |# A\t|S1 1:1 |# ~AH\n"
        b"0\t|S0 5:1 |# B\t|S1 6:1 |# </s>\n"
        b"0\t|S0 1:1 |# </s>\n"
        b"1\t|S0 3:1 |# <s>\t|S1 5:1 |# <s>\n"
        b"1\t|S0 6:1 |# D\t|S1 3:1 |# ~D\n"
        b"1\t|S0 1:1 |# </s>\t|S1 6:1 |# </s>\n"
    )


def test_streams_may_differ_in_length(tmp_path: Path) -> None:
    path = ctf(
        tmp_path,
        "0 |S0 4:1 |S1 1:1\n0 |S1 2:1\n0 |S1 1:1\n1 |S0 5:1\n1 |S0 4:1\n1 |S1 3:1\n",
    )
    expected = [("A", "~AH ~B ~AH"), ("B A", "~D")]
    assert list(read_ctf(path, LETTERS, SOUNDS)) == expected


def test_spaces_tabs_blank_lines_comments_and_line_ends_mean_nothing(
    tmp_path: Path,
) -> None:
    path = ctf(
        tmp_path,
        "\ufeff \r\n"
        "7|S0 4:1|S1 1:1\r\n"
        "\n"
        " 7\t|# one |#S0 5:1 and |# two \t|S1\t2:1.0  |S0  5:1 \n"
        "7 |# |S1 |# of a comment's pipe\n".replace("|S1 |#", "|#S1 |#")
        + "\t\n07 |features 1 2.5 -3 |S0 6:1e0 |# the end",
    )
    corpus = read_ctf(path, LETTERS, SOUNDS)
    assert list(corpus) == [("A B D", "~AH ~B")]


def test_indexes_count_and_comments_do_not(tmp_path: Path) -> None:
    path = ctf(tmp_path, "0 |S0 0:1 |# A |S1 4:1 |# ~AH\n")
    assert list(read_ctf(path, LETTERS, SOUNDS)) == [("'", "~IY")]


def test_boundaries_are_left_out_and_what_remains_empty_is_counted(
    tmp_path: Path,
) -> None:
    path = ctf(
        tmp_path,
        "0 |S0 3:1 |S1 5:1\n0 |S0 2:1 |S1 0:1\n0 |S0 1:1 |S1 6:1\n"
        "1 |S0 3:1 |S1 0:1\n2 |S0 4:1\n3 |S1 6:1\n",
    )
    corpus = read_ctf(path, LETTERS, SOUNDS)
    assert list(corpus) == [("<s/>", "~AE")]
    assert corpus.counts == CorpusCounts(
        pairs=1, empty_source=1, empty_target=1, empty_both=1
    )


def test_a_line_without_an_id_belongs_to_the_one_before(tmp_path: Path) -> None:
    path = ctf(tmp_path, "3 |S0 4:1 |S1 0:1\n|S0 5:1\n1 |S0 6:1 |S1 1:1\n|S1 2:1\n")
    expected = [("A B", "~AE"), ("D", "~AH ~B")]
    assert list(read_ctf(path, LETTERS, SOUNDS)) == expected


def test_without_an_id_at_first_every_line_is_a_sequence(tmp_path: Path) -> None:
    path = ctf(tmp_path, "|S0 4:1 |S1 0:1\n5 |S0 5:1 |S1 1:1\n5 |S0 6:1 |S1 2:1\n")
    expected = [("A", "~AE"), ("B", "~AH"), ("D", "~B")]
    assert list(read_ctf(path, LETTERS, SOUNDS)) == expected


def test_streams_go_by_the_names_given(tmp_path: Path) -> None:
    path = tmp_path / "x.ctf"
    names = {"source_stream": "word", "target_stream": "tag"}
    write_ctf([("A", "~B")], path, LETTERS, SOUNDS, **names)
    assert list(read_ctf(path, LETTERS, SOUNDS, **names)) == [("A", "~B")]
    corpus = read_ctf(path, LETTERS, SOUNDS, source_stream="word")
    message = r"`target_stream` .* of .*x\.ctf\. Received: 'S1'; .* has tag, word"
    with pytest.raises(ValueError, match=message):
        list(corpus)


def test_symbols_come_from_files_too(tmp_path: Path) -> None:
    letters, sounds = tmp_path / "letters", tmp_path / "sounds"
    letters.write_text("".join(f"{symbol}\n" for symbol in LETTERS))
    sounds.write_text("\r\n".join(SOUNDS))
    path = tmp_path / "x.ctf"
    write_ctf([("A", "~B")], path, letters, str(sounds))
    corpus = read_ctf(path, str(letters), sounds)
    assert list(corpus) == [("A", "~B")]
    assert corpus.files == (str(path), str(letters), str(sounds))
    shared = tmp_path / "shared.ctf"
    write_ctf([("A", "B")], shared, letters)
    assert list(read_ctf(shared, letters)) == [("A", "B")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 |S0 8:1", r"the stream S0 must have indexes in 0\.\.7.*: 8\."),
        ("1 |S1 7:1", r"the stream S1 must have indexes in 0\.\.6.*: 7\."),
        ("1 |S0 4:2", "the stream S0 must be one-hot.*: '4:2'"),
        ("1 |S0 4:x", "the stream S0 must be one-hot.*: '4:x'"),
        ("1 |S0 -4:1", "the stream S0 must be one-hot.*: '-4:1'"),
        ("1 |S0 4:1 5:1", "the stream S0 must be one-hot.*: '4:1 5:1'"),
        ("1 |S0 4", "the stream S0 must be one-hot.*: '4'"),
        ("1 |S0", "the stream S0 must be one-hot.*: ''"),
        ("1 |S0 4:1 |S0 5:1", r"each pipe .* once per line.*: '\|S0 5:1'"),
        ("1 | S0 4:1", r"each pipe must be followed by the name"),
        ("A |S0 4:1", "must start with the id of a sequence.*: 'A'"),
        ("-1 |S0 4:1", "must start with the id of a sequence.*: '-1'"),
        ("1 |S0 4:1\n0 |S0 4:1", "the sequence 0 comes back"),
        ("1 |# \udcff", "not UTF-8"),
    ],
)
def test_a_bad_line_is_named_by_file_and_line(
    tmp_path: Path, line: str, message: str
) -> None:
    path = tmp_path / "x.ctf"
    text = f"0 |S0 4:1 |S1 0:1\n\n{line}\n"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    corpus = read_ctf(path, LETTERS, SOUNDS)
    number = 3 + line.count("\n")
    with pytest.raises(ValueError, match=rf"x\.ctf, line {number}: {message}"):
        list(corpus)
    assert corpus.counts is None


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"source_symbols": []}, ValueError, "at least one symbol"),
        ({"source_symbols": ["a", "a"]}, ValueError, "index 1: .* 'a' occurs twice"),
        ({"target_symbols": ["a", "b c"]}, ValueError, "`target_symbols`, index 1: a"),
        ({"target_symbols": ["a", ""]}, ValueError, "must not be empty"),
        ({"target_symbols": [1]}, TypeError, "`target_symbols` must hold only strings"),
        ({"target_symbols": "absent"}, FileNotFoundError, "`target_symbols`: there"),
        ({"source_stream": "S1"}, ValueError, "must differ. Received: 'S1' for both"),
        ({"source_stream": "#S"}, ValueError, "the name of a stream.*: '#S'"),
        ({"target_stream": "a b"}, ValueError, "the name of a stream.*: 'a b'"),
        ({"path": "absent"}, FileNotFoundError, "`path`: there is no file 'absent'"),
    ],
)
def test_bad_arguments_are_refused(
    tmp_path: Path, given: dict[str, Any], error: type[Exception], message: str
) -> None:
    arguments = {"path": ctf(tmp_path, ""), "source_symbols": LETTERS, **given}
    with pytest.raises(error, match=message):
        read_ctf(**arguments)


def test_a_bad_symbol_of_a_file_is_named_by_its_line(tmp_path: Path) -> None:
    mapping = tmp_path / "mapping"
    mapping.write_text("a\nb\n\nc\n")
    with pytest.raises(ValueError, match=r"mapping, line 3: a symbol must not be empt"):
        read_ctf(ctf(tmp_path, ""), mapping)


def test_a_mapping_is_a_vocabulary_in_its_order_with_the_marks_as_ours(
    tmp_path: Path,
) -> None:
    mapping = tmp_path / "mapping"
    mapping.write_text("b\n</s>\n<s/>\n<s>\na\n<unk>\n~a\n")
    vocab = ctf_vocabulary(mapping)
    assert vocab.tokens[4:] == ("b", "<s/>", "a", "~a")
    assert vocab == ctf_vocabulary(mapping.read_text().split())
    data = ctf(tmp_path, "0 |S0 3:1 |S1 3:1\n0 |S0 4:1 |S1 6:1\n0 |S0 1:1 |S1 1:1\n")
    ((source, target),) = read_ctf(data, mapping)
    assert vocab.encode([source, target], strict=True).tolist() == [[6, 3], [7, 3]]
    with pytest.raises(ValueError, match="`symbols`, index 1: the symbol 'a' occurs"):
        ctf_vocabulary(["a", "a"])


def test_an_empty_file_has_no_pairs(tmp_path: Path) -> None:
    corpus = read_ctf(ctf(tmp_path, ""), LETTERS)
    assert list(corpus) == []
    assert corpus.counts == CorpusCounts()


@pytest.mark.parametrize(
    ("pair", "error", "message"),
    [
        (("A", "~ZH"), ValueError, "of `target_symbols`.*'~ZH' in target 1, '~ZH'"),
        (("A C", "~B"), ValueError, "of `source_symbols`.*'C' in source 1, 'A C'"),
        ((" ", "~B"), ValueError, "must not be empty. Received: source 1"),
        (("A <s>", "~B"), ValueError, "must not contain '<s>'.*source 1, 'A <s>'"),
        (("A", 3), TypeError, "two strings each. Received: target 1, 3"),
    ],
)
def test_a_bad_pair_leaves_the_older_file(
    tmp_path: Path, pair: Any, error: type[Exception], message: str
) -> None:
    path = ctf(tmp_path, "old")
    with pytest.raises(error, match=message):
        write_ctf([("A", "~B"), pair], path, LETTERS, SOUNDS)
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["x.ctf"]


def test_boundaries_must_be_among_the_symbols(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match="`target_symbols` must contain '<s>' and '</s>'"
    ):
        write_ctf([("A", "a")], tmp_path / "x.ctf", LETTERS, ["a", "<s>"])


def test_the_same_pairs_make_the_same_gzipped_bytes(tmp_path: Path) -> None:
    for name in ["a.ctf.gz", "b.ctf.gz"]:
        write_ctf([("A", "~B")], tmp_path / name, LETTERS, SOUNDS)
    packed = (tmp_path / "a.ctf.gz").read_bytes()
    assert packed == (tmp_path / "b.ctf.gz").read_bytes()
    assert packed[4:8] == bytes(4)  # no time of writing
    assert gzip.decompress(packed).startswith(b"0\t|S0 3:1 |# <s>\t|S1 5:1")
