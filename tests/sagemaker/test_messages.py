"""RecordIO-protobuf as a format of `POST /invocations`."""

import io
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from serving.conftest import LETTERS, SOUNDS, make

from kseq import Translator
from kseq.decoding import BeamSearch
from kseq.sagemaker import decode_recordio_response, encode_recordio_request
from kseq.sagemaker.messages import FORMATS, RECORDIO
from kseq.sagemaker.records import encode_record, read_records
from kseq.serving.app import build_app
from kseq.serving.messages import JSON, JSON_LINES
from kseq.serving.service import Service
from kseq.serving.settings import ServingSettings

BEAM = BeamSearch(beam_width=3)


@pytest.fixture(scope="module")
def translator() -> Translator:
    return make()


@pytest.fixture(scope="module")
def client(translator: Translator) -> Iterator[TestClient]:
    """A client of a server with small limits."""
    service = Service(translator, ServingSettings(beam_width=3, max_batch=4))
    with TestClient(build_app(service, FORMATS)) as client:
        yield client


def post(client: TestClient, body: bytes) -> bytes:
    response = client.post(
        "/invocations", content=body, headers={"Content-Type": RECORDIO}
    )
    assert response.status_code == 200
    assert response.headers["content-type"] == RECORDIO
    return response.content


def test_a_client_sends_and_receives_texts(
    client: TestClient, translator: Translator
) -> None:
    texts = ["abc", "", "zg"]
    content = post(client, encode_recordio_request(texts, LETTERS))
    assert decode_recordio_response(content, SOUNDS) == translator.translate(
        texts, BEAM
    )


def test_requests_and_responses_hold_ids(
    client: TestClient, translator: Translator
) -> None:
    texts = ["abc", "", "zg"]
    rows = [LETTERS.encode([text])[0, :-1].tolist() for text in texts]
    body = b"".join(encode_record({"source": row, "target": []}) for row in rows)
    features = [each for _, each in read_records(io.BytesIO(post(client, body)), "it")]
    assert features == [
        {"target": [SOUNDS.id(token) for token in text.split()]}
        for text in translator.translate(texts, BEAM)
    ]


def test_an_invalid_record_has_an_error_and_its_neighbour_its_output(
    client: TestClient,
) -> None:
    records = ({"source": [4]}, {"source": [99]}, {"target": [4]})
    content = post(client, b"".join(map(encode_record, records)))
    first, *others = [each for _, each in read_records(io.BytesIO(content), "it")]
    assert set(first) == {"target"}
    assert others == [{"target": []}, {"target": []}]
    assert content.count(b'{"error": ') == 2
    for words in (b"source: ids must be in ", b"the feature 'source' is missing"):
        assert words in content


def test_a_body_that_cannot_be_read_is_refused(client: TestClient) -> None:
    response = client.post(
        "/invocations", content=b"abc", headers={"Content-Type": RECORDIO}
    )
    assert response.status_code == 400
    assert "record 0 (byte 0)" in response.json()["error"]
    assert post(client, b"") == b""


def test_errors_name_the_argument_or_the_record() -> None:
    with pytest.raises(ValueError, match=r"the response, record 0 .*'target'"):
        decode_recordio_response(encode_recordio_request(["a"], LETTERS), SOUNDS)
    with pytest.raises(TypeError, match="`source_vocab`"):
        encode_recordio_request(["a"], "abc")  # type: ignore[arg-type]


def test_the_interface_describes_all_three_formats(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    content = paths["/invocations"]["post"]["requestBody"]["content"]
    assert set(content) == {JSON, JSON_LINES, RECORDIO}


@given(st.binary(max_size=40))
def test_no_body_breaks_the_server(client: TestClient, body: bytes) -> None:
    for content in (body, encode_record({"source": list(body)})):
        response = client.post(
            "/invocations", content=content, headers={"Content-Type": RECORDIO}
        )
        assert response.status_code in (200, 400)
