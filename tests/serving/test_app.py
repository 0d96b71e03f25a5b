"""The HTTP interface, called in the same process."""

import asyncio
import concurrent.futures
import json
from typing import Any

import httpx2
import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from kseq import Translator
from kseq.decoding import BeamSearch
from kseq.serving.app import BodyLimits, build_app
from kseq.serving.messages import JSON, JSON_LINES
from kseq.serving.service import Service
from kseq.serving.settings import ServingSettings

from .conftest import make

BEAM = BeamSearch(beam_width=3)


def post(client: TestClient, body: Any, kind: str = JSON, **headers: str) -> Any:
    content = json.dumps(body) if kind == JSON and not isinstance(body, bytes) else body
    headers = {"Content-Type": kind, **headers}
    return client.post("/invocations", content=content, headers=headers)


def instances(*texts: Any, **configuration: Any) -> dict[str, Any]:
    return {
        "instances": [
            {"data": text, "configuration": dict(configuration)}
            if configuration
            else {"data": text}
            for text in texts
        ]
    }


def test_ping_says_when_the_model_is_ready(client: TestClient) -> None:
    assert client.get("/ping").status_code == 200


def test_json_has_the_outputs_of_the_translator(
    client: TestClient, translator: Translator
) -> None:
    texts = ["abc", "", "gfedcba", "zzz", "a"]
    response = post(client, instances(*texts))
    assert response.status_code == 200
    assert response.headers["content-type"] == JSON
    expected = [{"target": text} for text in translator.translate(texts, BEAM)]
    assert response.json() == {"predictions": expected}


@pytest.mark.parametrize("flag", ["true", True])
def test_json_has_the_attention_matrix_on_request(
    client: TestClient, translator: Translator, flag: Any
) -> None:
    body = instances("abcd", "b", attention_matrix=flag)
    body["instances"][1]["configuration"]["attention_matrix"] = "false"
    first, second = post(client, body).json()["predictions"]
    (output,) = translator.n_best(["abcd"], BEAM, return_attention=True)[0]
    assert first["target"] == output.text
    matrix = np.array(first["matrix"])
    assert matrix.shape == (len(output.tokens), 4)  # without </s> on either side
    assert output.attention is not None
    expected = output.attention[: len(output.tokens), :4]
    np.testing.assert_allclose(matrix, expected, atol=1e-5)
    assert set(second) == {"target"}


def test_json_lines_have_one_line_per_output(
    client: TestClient, translator: Translator
) -> None:
    body = b'{"source": "abc"}\n{"source": ""}\r\n{"source": "g\\u0061"}\n'
    response = post(client, body, JSON_LINES)
    assert response.headers["content-type"] == JSON_LINES
    lines = response.content.split(b"\n")
    assert lines.pop() == b""
    found = [json.loads(line) for line in lines]
    expected = translator.translate(["abc", "", "ga"], BEAM)
    assert found == [{"target": text} for text in expected]
    # The last line may do without its end.
    assert post(client, body[:-1], JSON_LINES).content == response.content


BAD: list[tuple[Any, str]] = [
    ({"data": 5}, "string"),
    ({"source": "a"}, "string"),
    ("abc", "object"),
    (None, "object"),
    ({"data": "a", "more": 1}, "'more'"),
    ({"data": "a", "configuration": []}, "configuration"),
    ({"data": "a", "configuration": {"beam": 3}}, "'beam'"),
    ({"data": "a", "configuration": {"attention_matrix": "yes"}}, "attention_matrix"),
    ({"data": "a", "configuration": {"attention_matrix": []}}, "attention_matrix"),
    ({"data": "a", "configuration": {"attention_matrix": 1}}, "attention_matrix"),
    ({"data": "a" * 21}, "20 tokens. Received: 21"),
]


@pytest.mark.parametrize(("bad", "words"), BAD)
def test_an_invalid_instance_has_an_error_and_its_neighbours_their_outputs(
    client: TestClient, translator: Translator, bad: Any, words: str
) -> None:
    good = {"data": "abc"}
    response = post(client, {"instances": [good, bad, good]})
    assert response.status_code == 200
    first, error, last = response.json()["predictions"]
    assert first == last == {"target": translator.translate(["abc"], BEAM)[0]}
    assert set(error) == {"error"}
    assert words in error["error"]
    alone = post(client, {"instances": [bad]})
    assert (alone.status_code, alone.json()) == (400, error)


def test_an_invalid_line_has_an_error_too(client: TestClient) -> None:
    body = b'{"source": "a"}\n\n{"source": 7}\n\xff\n{"source": "a", "b": 1}\n'
    lines = [
        json.loads(line) for line in post(client, body, JSON_LINES).content.splitlines()
    ]
    assert [set(line) for line in lines] == [{"target"}, *[{"error"}] * 4]


@pytest.mark.parametrize(
    ("body", "kind", "status", "words"),
    [
        (b"", JSON, 400, "not JSON"),
        (b"{", JSON, 400, "not JSON"),
        (b"\xff", JSON, 400, "UTF-8"),
        (b"[" * 3000, JSON, 400, "body"),
        (b'{"instances": ' + b"9" * 4000 + b"}", JSON, 400, "body"),
        (b"[]", JSON, 400, "instances"),
        (b'{"instances": {}}', JSON, 400, "instances"),
        (json.dumps(instances(*"aaaaaaaaa")).encode(), JSON, 413, "8 instances"),
        (b"{}\n" * 9, JSON_LINES, 413, "8 instances"),
        (b"{", JSON_LINES, 400, "not JSON"),
        (b"abc", "application/x-recordio-protobuf", 415, "application/json"),
        (b"x" * 4097, JSON, 413, "4096 bytes"),
        (b"a,b", "text/csv", 415, "text/csv"),
        (b"{}", "application/json; charset=latin-1", 415, "utf-8"),
    ],
)
def test_a_request_that_cannot_be_parsed_gets_an_error(
    client: TestClient, body: bytes, kind: str, status: int, words: str
) -> None:
    response = post(client, body, kind)
    assert response.status_code == status
    assert words in response.json()["error"]


def test_a_request_without_instances_has_no_outputs(client: TestClient) -> None:
    assert post(client, instances()).json() == {"predictions": []}
    assert post(client, b"", JSON_LINES).content == b""


def test_a_response_has_the_format_of_the_request(client: TestClient) -> None:
    body = instances("a")
    for accept in ("*/*", "application/*", "text/html, application/json;q=0.5", ""):
        assert post(client, body, accept=accept).status_code == 200
    assert post(client, body, accept="text/csv").status_code == 406
    plain = client.post("/invocations", content=json.dumps(body))
    assert plain.status_code == 200  # JSON, where nothing is said
    kind = "APPLICATION/JSON; Charset=UTF-8"
    assert post(client, json.dumps(body).encode(), kind).status_code == 200


def test_unknown_paths_and_methods_get_an_error(client: TestClient) -> None:
    for response, status in (
        (client.get("/nothing"), 404),
        (client.get("/invocations"), 405),
        (client.post("/ping"), 405),
    ):
        assert response.status_code == status
        assert response.json()["error"]


def test_a_lone_surrogate_is_accepted(
    client: TestClient, translator: Translator
) -> None:
    response = post(client, b'{"instances": [{"data": "a\\ud800"}]}')
    assert response.status_code == 200
    translated = client.post(
        "/translate", content=b'{"text": "a\\ud800"}', headers={"Content-Type": JSON}
    )
    assert translated.status_code in (200, 400)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda some: (
            st.lists(some, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["instances", "data", "configuration", "attention_matrix", "x"]
                ),
                some,
                max_size=3,
            )
        ),
        max_leaves=12,
    ),
    st.sampled_from([JSON, JSON_LINES]),
)
def test_no_json_breaks_the_server(client: TestClient, body: Any, kind: str) -> None:
    response = post(client, json.dumps(body).encode(), kind)
    assert response.status_code in (200, 400, 413)


def test_the_page_translates_with_either_search(
    client: TestClient, translator: Translator
) -> None:
    found = client.post("/translate", json={"text": "abc"}).json()
    (output,) = translator.n_best(["abc"], return_attention=True)[0]
    assert found["source_tokens"] == ["a", "b", "c", "</s>"]
    assert [each["text"] for each in found["outputs"]] == [output.text]
    assert output.attention is not None
    np.testing.assert_allclose(
        found["outputs"][0]["attention"], output.attention, atol=1e-5
    )
    body = {"text": "abc", "search": "beam", "n": 3}
    found = client.post("/translate", json=body).json()
    expected = translator.n_best(["abc"], BeamSearch(beam_width=3, n=3))[0]
    assert [each["text"] for each in found["outputs"]] == [x.text for x in expected]
    assert client.post("/translate", json={"text": ""}).json()["outputs"] == []
    for wrong in (
        {"text": 5},
        {"text": "a", "search": "wide"},
        {"text": "a", "n": 2},
        {"text": "a", "search": "beam", "n": 4},
        {"text": "a", "search": "beam", "n": 0},
        {"text": "a" * 21},
        {"text": "a", "more": 1},
        [],
    ):
        response = client.post("/translate", json=wrong)
        assert response.status_code == 400
        assert response.json()["error"]


def test_the_page_loads_nothing_from_other_servers(client: TestClient) -> None:
    for path in ("/", "/page.js", "/page.css"):
        response = client.get(path)
        assert response.status_code == client.head(path).status_code == 200
        assert "default-src 'none'" in response.headers["content-security-policy"]
        assert "http://" not in response.text.replace("http://www.w3.org/2000/svg", "")
        assert "https://" not in response.text
        assert "innerHTML" not in response.text
    assert client.get("/model").json()["beam_width"] == 3


def test_the_interface_is_described(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert set(paths) == {"/ping", "/invocations", "/translate", "/model"}
    asked = paths["/invocations"]["post"]["requestBody"]["content"]
    assert set(asked) == {JSON, JSON_LINES}
    assert {"400", "413", "415", "503"} <= set(
        paths["/invocations"]["post"]["responses"]
    )


def test_each_of_many_clients_gets_its_own_output(
    client: TestClient, translator: Translator
) -> None:
    texts = [
        "".join("abcdefg"[(k + j) % 7] for j in range(k % 5 + 1)) for k in range(40)
    ]
    expected = translator.translate(texts, BEAM)

    def ask(text: str) -> str:
        return str(post(client, instances(text)).json()["predictions"][0]["target"])

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, texts)) == expected


def test_a_ready_model_is_not_traced_again() -> None:
    translator = make(units=256)  # so wide that products of tokens are in tables
    settings = ServingSettings(beam_width=3, max_batch=4)
    with TestClient(build_app(Service(translator, settings))) as client:
        functions = translator.model._generator()._compiled
        ready = set(functions)
        # Each search with and without attention, of few tokens and of many.
        assert len(ready) == 3 * 2 * 2
        texts = ["a", "abcdefgabcdefg"]
        for flag in ("true", "false"):
            assert post(client, instances(*texts, attention_matrix=flag)).is_success
        for search, n in (("greedy", 1), ("beam", 1), ("beam", 3)):
            for text in texts:
                asked = {"text": text, "search": search, "n": n}
                assert client.post("/translate", json=asked).is_success
        assert set(functions) == ready
        counts = [each.experimental_get_tracing_count() for each in functions.values()]
        assert counts == [1] * len(ready)


def test_a_model_without_attention_or_beam_refuses_them() -> None:
    translator = make(attention=None)
    service = Service(translator, ServingSettings(beam_width=1))
    with TestClient(build_app(service)) as client:
        (prediction,) = post(client, instances("ab")).json()["predictions"]
        assert prediction == {"target": translator.translate(["ab"])[0]}
        response = post(client, instances("ab", attention_matrix="true"))
        assert response.status_code == 400
        assert "no attention" in response.json()["error"]
        found = client.post("/translate", json={"text": "ab", "search": "beam"}).json()
        assert found["outputs"][0]["text"] == prediction["target"]
        assert found["outputs"][0]["attention"] is None


async def ask_app(app: Any, *messages: dict[str, Any], headers: Any = ()) -> list[Any]:
    """Sends messages to an ASGI application, then nothing more."""
    left = list(messages)
    sent: list[Any] = []

    async def receive() -> Any:
        if left:
            return left.pop(0)
        await asyncio.sleep(60)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/", "headers": list(headers)}
    await app(scope, receive, send)
    return sent


async def echo(scope: Any, receive: Any, send: Any) -> None:
    message = await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": message["body"]})


def body(content: bytes, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": content, "more_body": more}


def test_a_body_that_is_too_large_or_too_slow_is_refused() -> None:
    app = BodyLimits(echo, max_body=6, timeout=0.05)

    def status(*messages: dict[str, Any], headers: Any = ()) -> Any:
        sent = asyncio.run(ask_app(app, *messages, headers=headers))
        return sent[0]["status"] if sent else None

    sent = asyncio.run(ask_app(app, body(b"abc", True), body(b"def")))
    assert sent[1]["body"] == b"abcdef"
    assert status(body(b"abc", True), body(b"defg")) == 413
    assert status(headers=[(b"content-length", b"7")]) == 413
    assert status(body(b"abc", True)) == 408
    assert status(body(b"abc", True), {"type": "http.disconnect"}) is None


def test_a_full_queue_tells_clients_to_try_again(translator: Translator) -> None:
    service = Service(
        translator, ServingSettings(beam_width=1, max_batch=1, max_queue=1)
    )
    app = build_app(service)

    async def ask_all() -> list[httpx2.Response]:
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(
            transport=transport, base_url="http://x"
        ) as client:
            requests = [
                client.post("/invocations", json=instances("abc")) for _ in range(8)
            ]
            return list(await asyncio.gather(*requests))

    with service:
        responses = asyncio.run(ask_all())
    statuses = [response.status_code for response in responses]
    assert set(statuses) == {200, 503}
    for response in responses:
        if response.status_code == 503:
            assert response.headers["retry-after"] == "1"
            assert "waiting" in response.json()["error"]
