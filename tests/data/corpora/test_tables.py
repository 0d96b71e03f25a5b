import csv
import gzip
import io
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from hypothesis import given

from kseq.data import CorpusCounts, read_table

# A lone carriage return belongs to its field; before a newline it is a line end's.
fields = st.text(st.characters(codec="utf-8"), min_size=1).filter(
    lambda text: "\r\n" not in text
)
words = st.text(st.characters(codec="utf-8", exclude_characters="\n\t\ufeff")).filter(
    lambda text: text.strip() and not text.endswith("\r")
)


def table(folder: Path, content: str | bytes, name: str = "x.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@given(st.lists(st.tuples(fields, fields)), st.booleans())
def test_what_the_csv_module_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory,
    pairs: list[tuple[str, str]],
    quoted: bool,
) -> None:
    file = io.StringIO()
    quoting = csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL
    csv.writer(file, quoting=quoting).writerows([("source", "target"), *pairs])
    path = table(tmp_path_factory.mktemp("table"), file.getvalue())
    assert list(read_table(path)) == [
        (s, t) for s, t in pairs if s.strip() and t.strip()
    ]


@given(st.lists(st.tuples(words, words)), st.sampled_from(["x.tsv", "x.txt", "x.TSV"]))
def test_plain_tab_separated_text_is_read_as_it_is_quotes_too(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]], name: str
) -> None:
    content = "".join(f"{source}\t{target}\n" for source, target in pairs)
    path = table(tmp_path_factory.mktemp("table"), content, name)
    assert list(read_table(path, header=False)) == pairs


def test_a_gzipped_table_is_read_by_the_suffix_before(tmp_path: Path) -> None:
    path = table(tmp_path, gzip.compress(b"a\tA\nb\tB\n"), "x.tsv.gz")
    corpus = read_table(path, header=False)
    assert list(corpus) == list(corpus) == [("a", "A"), ("b", "B")]
    assert corpus.files == (str(path),)


def test_columns_are_found_by_name(tmp_path: Path) -> None:
    path = table(tmp_path, "\ufeffde,id,en\nHund,1,dog\r\nKatze,2,cat")
    assert list(read_table(path, "en", "de")) == [("dog", "Hund"), ("cat", "Katze")]


def test_columns_are_found_by_index_without_a_header(tmp_path: Path) -> None:
    path = table(tmp_path, "go\tV;PST\twent\n", "x.tsv")
    assert list(read_table(path, 0, 2, header=False)) == [("go", "went")]
    assert list(read_table(path, target=2, header=False)) == [("go", "went")]


def test_separator_and_quotes_can_be_given(tmp_path: Path) -> None:
    path = table(tmp_path, "source;target\n'a;\"b\n", "x.data")
    assert list(read_table(path, separator=";", quotes=False)) == [("'a", '"b')]
    path = table(tmp_path, '"a\tb"\tc\n', "x.tsv")
    assert list(read_table(path, header=False, quotes=True)) == [("a\tb", "c")]


def test_empty_cells_and_blank_lines_are_counted(tmp_path: Path) -> None:
    path = table(tmp_path, "source,target\n\na,\n,A\n,\nb,B\n")
    corpus = read_table(path)
    assert list(corpus) == [("b", "B")]
    assert corpus.counts == CorpusCounts(
        pairs=1, empty_source=1, empty_target=1, empty_both=2
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"x\.csv, line 1: there is no header"),
        ("\na,b\n", r"x\.csv, line 1: there is no header"),
        (
            "a,target\n1,2\n",
            r"x\.csv must have one column 'source'.*: columns 'a', 'target'",
        ),
        ("source,source,target\n", "must have one column 'source'"),
        ("source,target\na,A\nb\n", r"line 3: a row of 1 columns, .* header has 2"),
        ("source,target\na,A,x\n", r"line 2: a row of 3 columns, .* header has 2"),
        (
            "source,target\n'a',A\nb,\"B\nc,C\n",
            r"line 3: the quote that opens column 2 is not closed\. .*quotes=False",
        ),
        (
            'source,target\n"a\nb",A\n"c"d,C\n',
            r"line 4: the closing quote of column 1 .*: 'd'\. .*quotes=False",
        ),
        (b"source,target\na,A\nb,\xff\n", "line 3: not UTF-8"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(
    tmp_path: Path, content: str | bytes, message: str
) -> None:
    corpus = read_table(table(tmp_path, content))
    with pytest.raises(ValueError, match=message):
        list(corpus)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a\n", r"x\.tsv, line 1: there is no column 1 in a row of 1; .* from 0"),
        ("a\tA\n\nb\tB\tx\n", "line 3: a row of 3 columns, but the first row has 2"),
        ("a\tA\t\n\nb\tB\n", "line 3: a row of 2 columns, but the first row has 3"),
    ],
)
def test_a_bad_row_without_a_header_is_named_too(
    tmp_path: Path, content: str, message: str
) -> None:
    corpus = read_table(table(tmp_path, content, "x.tsv"), header=False)
    with pytest.raises(ValueError, match=message):
        list(corpus)


@pytest.mark.parametrize("name", ["x.csv", "x.tsv"])
@pytest.mark.parametrize("mark", list("\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029\0"))
def test_only_newlines_end_a_row(tmp_path: Path, name: str, mark: str) -> None:
    separator = "\t" if name == "x.tsv" else ","
    rows = [("source", "target"), (f"a{mark}b", "A"), ("c", f"C{mark}D"), (mark, "E")]
    content = "\r\n".join(separator.join(row) for row in rows)
    expected = rows[1:] if mark.strip() else rows[1:3]
    assert list(read_table(table(tmp_path, content, name))) == expected


@pytest.mark.parametrize("quote", ["", '"'])
def test_a_field_may_be_of_any_length(tmp_path: Path, quote: str) -> None:
    long = "x" * 200_000
    path = table(tmp_path, f"source,target\n{quote}{long}{quote},A\nb,B\n")
    assert list(read_table(path)) == [(long, "A"), ("b", "B")]


def test_a_quoted_field_may_hold_lines_quotes_and_separators(tmp_path: Path) -> None:
    path = table(
        tmp_path, 'source,target\r\n"a,""b""\r\n\r\nc""",A\n6" pipe,"6"""\n"","x"\n'
    )
    corpus = read_table(path)
    assert list(corpus) == [('a,"b"\n\nc"', "A"), ('6" pipe', '6"')]
    assert corpus.counts.empty_source == 1


def test_texts_that_look_like_other_types_stay_texts(tmp_path: Path) -> None:
    texts = ["NA", "null", "1.0", "007", "True", "nan", "1e5", " x "]
    rows = [(text, text) for text in texts]
    content = "".join(f"{source}\t{target}\n" for source, target in rows)
    assert list(read_table(table(tmp_path, content, "x.tsv"), header=False)) == rows
    frame = pd.DataFrame(rows, columns=["source", "target"])
    assert list(read_table(frame)) == rows


def test_a_frame_is_read_by_column_names() -> None:
    frame = pd.DataFrame({"en": ["a", "", "c"], "n": [1, 2, 3], "de": ["A", "B", "C"]})
    corpus = read_table(frame, "en", "de")
    assert list(corpus) == list(corpus) == [("a", "A"), ("c", "C")]
    assert corpus.counts == CorpusCounts(pairs=2, empty_source=1)
    assert corpus.files == ("DataFrame",)
    strings = np.array(["x"], dtype=object)
    strings[0] = np.str_("x")
    ((source, _),) = read_table(pd.DataFrame({"source": strings, "target": ["y"]}))
    assert type(source) is str


@pytest.mark.parametrize("value", [None, float("nan"), 3, b"c", pd.NA])
def test_a_missing_value_in_a_frame_is_named_by_row_and_column(value: Any) -> None:
    frame = pd.DataFrame({"source": ["a", "b"], "target": ["A", value]}, index=[5, 6])
    with pytest.raises(ValueError, match="row 1 of the DataFrame, column 'target': "):
        list(read_table(frame))


def test_a_frame_needs_the_columns_once() -> None:
    frame = pd.DataFrame([["a", "b"]], columns=["source", "source"])
    with pytest.raises(ValueError, match="DataFrame must have one column 'source'"):
        read_table(frame, "source", "source")
    with pytest.raises(
        ValueError, match=r"one column 'target'.*: columns 'source', 'x'"
    ):
        read_table(frame.iloc[:, :1].assign(x="y"), "source", "target")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"table": 3}, TypeError, "a path or a pandas DataFrame. Received: 3"),
        ({"source": 0}, TypeError, "the name of a column if there is a header"),
        (
            {"source": "a", "header": False},
            TypeError,
            "index of a column, from 0.*Received: 'a'",
        ),
        ({"target": -1, "header": False}, ValueError, "at least 0. Received: -1"),
        ({"separator": ",,"}, ValueError, "must be one character"),
        ({"separator": '"'}, ValueError, "must be one character"),
        ({"header": 1}, TypeError, "`header` must be True or False"),
        ({"quotes": 1}, TypeError, "`quotes` must be True or False"),
    ],
)
def test_bad_options_are_refused(
    tmp_path: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    path = table(tmp_path, "source,target\n")
    with pytest.raises(error, match=message):
        read_table(**{"table": path, **options})


def test_an_unknown_suffix_needs_a_separator(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`separator` must be given.*\.csv, \.tsv"):
        read_table(table(tmp_path, "", "x.data"))
    with pytest.raises(FileNotFoundError, match="`table`: there is no file"):
        read_table(tmp_path / "absent.csv")


@pytest.mark.parametrize(
    "options", [{"separator": ","}, {"quotes": True}, {"header": False}]
)
def test_options_of_files_are_refused_for_a_frame(options: dict[str, Any]) -> None:
    frame = pd.DataFrame({"source": ["a"], "target": ["A"]})
    with pytest.raises(ValueError, match=r"must be left out for a DataFrame"):
        read_table(frame, **options)
