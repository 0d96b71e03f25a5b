"""The HTTP interface of a model: SageMaker's two paths, and a page to try it on."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib.resources
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, Any, Literal

import pydantic
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from kseq.sagemaker.messages import (
    JSON,
    JSON_LINES,
    RECORDIO,
    Instance,
    RequestError,
    check_accept,
    find_format,
)
from kseq.serving.service import SMALL_BODY, Service

_REFUSED = {
    400: "what was sent cannot be read, or none of its instances be answered",
    406: "`Accept` asks for another format than that of the request",
    408: "the body did not come in time",
    413: "the body is too large, or has too many instances",
    415: "there is no such format",
    503: "too much is waiting; `Retry-After` tells when to try again",
}
# Nothing is loaded from elsewhere, and no text of a user can become a script.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE = {
    "index.html": "text/html; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
}


class TranslationRequest(pydantic.BaseModel):
    """What the page asks for."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True)

    text: str
    search: Literal["greedy", "beam"] = "greedy"
    n: Annotated[int, pydantic.Field(ge=1)] = 1


class Output(pydantic.BaseModel):
    """One output for a text."""

    text: str
    score: float
    tokens: list[str]
    truncated: bool
    attention: list[list[float]] | None


class TranslationResponse(pydantic.BaseModel):
    """What the page shows."""

    source_tokens: list[str]
    outputs: list[Output]


def build_app(service: Service) -> FastAPI:
    """Builds the application of a model.

    Args:
        service: The `Service`; it is made ready when the application starts.

    Returns:
        A FastAPI application: GET /ping, POST /invocations, GET / and what the page
        there asks for.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with contextlib.ExitStack() as stack:
            await asyncio.to_thread(stack.enter_context, service)
            yield
            await asyncio.to_thread(stack.close)

    app = FastAPI(
        title="kseq",
        description="A recurrent sequence-to-sequence model.",
        lifespan=lifespan,
        responses={
            status: {"description": text, "content": {JSON: {"schema": _ERROR}}}
            for status, text in _REFUSED.items()
        },
    )
    app.add_middleware(
        BodyLimits,
        max_body=service.settings.max_body,
        timeout=service.settings.body_timeout,
    )
    app.add_exception_handler(RequestError, _refused)
    app.add_exception_handler(HTTPException, _not_found)
    app.add_exception_handler(RequestValidationError, _invalid)

    @app.get("/ping", responses={200: {"description": "the model is ready"}})
    async def ping() -> dict[str, str]:
        return {}

    @app.post("/invocations", openapi_extra=_INVOCATIONS, response_class=Response)
    async def invocations(request: Request) -> Response:
        kind = find_format(request.headers.get("content-type"))
        check_accept(request.headers.get("accept"), kind.content_type)
        body = await request.body()

        def read() -> tuple[list[Instance], list[list[int] | str]]:
            instances = kind.read(body)
            return instances, service.prepare(instances)

        instances, prepared = await _away_if_long(len(body), read)
        answers = await service.answer(instances, prepared)
        vocab = service.translator.target_vocab
        write = functools.partial(kind.write, instances, answers, vocab)
        found = await _away_if_long(len(body), write)
        return Response(found, media_type=kind.content_type)

    @app.post("/translate")
    async def translate(request: TranslationRequest) -> TranslationResponse:
        beam_width = service.settings.beam_width
        if request.n > beam_width or (request.n > 1 and request.search == "greedy"):
            raise RequestError(
                400,
                f"`n` may be up to {beam_width} with the search 'beam', and 1 with "
                f"'greedy'. Received: {request.n}.",
            )
        instance = Instance(request.text, attention=service.attends)
        size = len(request.text)
        (ids,) = await _away_if_long(size, lambda: service.prepare([instance]))
        if isinstance(ids, str):
            raise RequestError(400, ids)
        search = "greedy"
        if request.search == "beam" and beam_width > 1:
            search = "beam" if request.n == 1 else "n_best"
        (found,) = await service.search(search, [(ids, service.attends)])
        if isinstance(found, str):
            raise RequestError(400, found)
        names = service.translator.source_vocab.ids_to_tokens(ids)
        return TranslationResponse(
            source_tokens=[_plain(name) for name in names],
            outputs=[
                Output(
                    text=_plain(output.text),
                    score=output.score,
                    tokens=[_plain(token) for token in output.tokens],
                    truncated=output.truncated,
                    attention=(
                        None
                        if output.attention is None
                        else output.attention.astype(float).round(6).tolist()
                    ),
                )
                for output in found[: request.n]
            ],
        )

    @app.get("/model")
    async def model() -> dict[str, Any]:
        config = service.translator.model.config
        return {
            "beam_width": service.settings.beam_width,
            "attention": service.attends,
            "source_vocabulary": config.source_vocab_size,
            "target_vocabulary": config.target_vocab_size,
            "max_source_length": service.settings.max_source_length,
        }

    def page(name: str) -> Callable[[], Awaitable[Response]]:
        content = (
            importlib.resources.files("kseq.serving") / "page" / name
        ).read_bytes()
        headers = {
            "Content-Security-Policy": _POLICY,
            "X-Content-Type-Options": "nosniff",
        }

        async def show() -> Response:
            return Response(content, media_type=_PAGE[name], headers=headers)

        return show

    for name in _PAGE:
        path = "/" if name == "index.html" else f"/{name}"
        app.add_api_route(
            path, page(name), methods=["GET", "HEAD"], include_in_schema=False
        )
    return app


class BodyLimits:
    """Middleware that takes whole bodies only, of a size, within a time.

    Args:
        app: The application.
        max_body: Most bytes of a body.
        timeout: Seconds in which it must have come.
    """

    def __init__(self, app: Any, max_body: int, timeout: float) -> None:
        self.app = app
        self.max_body = max_body
        self.timeout = timeout

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serves a connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self.timeout):
                body = await self._read(scope, receive)
        except TimeoutError:
            message = f"The body must come within {self.timeout:g} seconds."
            await _error(408, message, close=True)(scope, receive, send)
            return
        except RequestError as error:
            await _error(error.status, str(error), close=True)(scope, receive, send)
            return
        if body is None:  # the client has gone
            return
        messages = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Any:
            return messages.pop() if messages else await receive()

        await self.app(scope, replay, send)

    async def _read(self, scope: Any, receive: Any) -> bytes | None:
        sizes = [value for name, value in scope["headers"] if name == b"content-length"]
        if sizes and sizes[0].isdigit():
            self._check(int(sizes[0]))
        pieces, size = [], 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            pieces.append(message.get("body", b""))
            size += len(pieces[-1])
            self._check(size)
            if not message.get("more_body", False):
                return b"".join(pieces)

    def _check(self, size: int) -> None:
        if size > self.max_body:
            raise RequestError(413, f"A body may have {self.max_body} bytes.")


async def _away_if_long(size: int, work: Callable[[], Any]) -> Any:
    """Does what may take long in another thread, as others are served meanwhile."""
    return work() if size <= SMALL_BODY else await asyncio.to_thread(work)


async def _refused(_: Request, error: Any) -> Response:
    return _error(error.status, str(error), error.retry_after)


async def _not_found(_: Request, error: Any) -> Response:
    response = _error(error.status_code, f"{error.detail}.")
    response.headers.update(error.headers or {})
    return response


async def _invalid(_: Request, error: Any) -> Response:
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    return _error(400, f"{where}: {first['msg']}.")


def _error(
    status: int, message: str, retry_after: int | None = None, close: bool = False
) -> Response:
    headers = {}
    if retry_after is not None:
        headers["Retry-After"] = str(retry_after)
    if close:  # what is left of the body is not read
        headers["Connection"] = "close"
    content = json.dumps({"error": message}).encode("ascii")
    return Response(content, status, headers, media_type=JSON)


def _plain(text: str) -> str:
    """Returns a text that is Unicode: halves of surrogate pairs become `?`."""
    return text.encode("utf-8", "replace").decode("utf-8")


_ERROR = {
    "type": "object",
    "properties": {"error": {"type": "string"}},
    "required": ["error"],
}
_BINARY = {"schema": {"type": "string", "format": "binary"}}


def _schema(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


_TEXT = {"type": "string"}
_PREDICTION = {
    "target": _TEXT,
    "matrix": {
        "type": "array",
        "items": {"type": "array", "items": {"type": "number"}},
    },
    "error": _TEXT,
}
_WANTED = {"anyOf": [{"type": "boolean"}, {"enum": ["true", "false"]}]}
_INSTANCE = _schema(
    {"data": _TEXT, "configuration": _schema({"attention_matrix": _WANTED})}, "data"
)
_INVOCATIONS = {
    "requestBody": {
        "required": True,
        "content": {
            JSON: {
                "schema": _schema(
                    {"instances": {"type": "array", "items": _INSTANCE}}, "instances"
                ),
                "example": {"instances": [{"data": "a source"}]},
            },
            JSON_LINES: {"schema": _TEXT, "example": '{"source": "a source"}\n'},
            RECORDIO: _BINARY,
        },
    },
    "responses": {
        "200": {
            "description": "an answer to each instance, or an error in its place",
            "content": {
                JSON: {
                    "schema": _schema(
                        {
                            "predictions": {
                                "type": "array",
                                "items": _schema(_PREDICTION),
                            }
                        },
                        "predictions",
                    )
                },
                JSON_LINES: {"schema": _TEXT},
                RECORDIO: _BINARY,
            },
        }
    },
}
