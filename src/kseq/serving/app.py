"""The HTTP interface of a model: `/ping`, `/invocations` and a web page."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib.resources
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Annotated, Any, Literal

import pydantic
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from kseq.serving.messages import (
    FORMATS,
    JSON,
    Instance,
    MessageFormat,
    RequestError,
    check_accept,
    dump_json,
    find_format,
)
from kseq.serving.service import SMALL_BODY, Service

_ERRORS = {
    400: "The request, or every instance in it, is invalid.",
    406: "`Accept` does not include the format of the request.",
    408: "The body did not arrive in time.",
    413: "The body is too large, or has too many instances.",
    415: "The content type is not supported.",
    503: "Too many instances are waiting. `Retry-After` gives the seconds to wait.",
}
_ERROR_SCHEMA = {
    "type": "object",
    "properties": {"error": {"type": "string"}},
    "required": ["error"],
}
# The page loads nothing from other servers, and no text can run as a script.
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
    """A request of the page."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True)

    text: str
    search: Literal["greedy", "beam"] = "greedy"
    n: Annotated[int, pydantic.Field(ge=1)] = 1


class Output(pydantic.BaseModel):
    """One output of a source text."""

    text: str
    score: float
    tokens: list[str]
    truncated: bool
    attention: list[list[float]] | None


class TranslationResponse(pydantic.BaseModel):
    """The response that the page shows."""

    source_tokens: list[str]
    outputs: list[Output]


def build_app(service: Service, formats: Sequence[MessageFormat] = FORMATS) -> FastAPI:
    """Builds the web application of a model.

    Args:
        service: The `Service`. The application starts and stops it.
        formats: Formats of `POST /invocations`. A request without a content type is
            read in the first one. Default: JSON and JSON lines.

    Returns:
        A FastAPI application with `GET /ping`, `POST /invocations`, and the page at
        `GET /` with its own paths.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with contextlib.ExitStack() as stack:
            await asyncio.to_thread(stack.enter_context, service)
            yield
            await asyncio.to_thread(stack.close)

    app = FastAPI(
        title="kseq",
        description="Decodes texts with a sequence-to-sequence model.",
        lifespan=lifespan,
        responses={
            status: {"description": text, "content": {JSON: {"schema": _ERROR_SCHEMA}}}
            for status, text in _ERRORS.items()
        },
    )
    app.add_middleware(
        BodyLimits,
        max_body=service.settings.max_body,
        timeout=service.settings.body_timeout,
    )
    app.add_exception_handler(RequestError, _answer_request_error)
    app.add_exception_handler(HTTPException, _answer_http_error)
    app.add_exception_handler(RequestValidationError, _answer_validation_error)

    @app.get("/ping", responses={200: {"description": "The model is ready."}})
    async def ping() -> dict[str, str]:
        return {}

    @app.post(
        "/invocations",
        openapi_extra=_describe_invocations(formats),
        response_class=Response,
    )
    async def invocations(request: Request) -> Response:
        message_format = find_format(request.headers.get("content-type"), formats)
        check_accept(request.headers.get("accept"), message_format.content_type)
        body = await request.body()
        translator = service.translator

        def read() -> tuple[list[Instance], list[list[int] | str]]:
            instances = message_format.read(body, translator.source_vocab)
            return instances, service.encode(instances)

        instances, encoded = await _run_in_thread_if_large(len(body), read)
        answers = await service.answer(instances, encoded)
        write = functools.partial(
            message_format.write, instances, answers, translator.target_vocab
        )
        content = await _run_in_thread_if_large(len(body), write)
        return Response(content, media_type=message_format.content_type)

    @app.post("/translate")
    async def translate(request: TranslationRequest) -> TranslationResponse:
        beam_width = service.settings.beam_width
        if request.n > beam_width or (request.n > 1 and request.search == "greedy"):
            raise RequestError(
                400,
                f"`n` must be at most {beam_width} with search 'beam', and 1 with "
                f"search 'greedy'. Received: {request.n}.",
            )
        instance = Instance(request.text, attention=service.attends)
        size = len(request.text)
        (ids,) = await _run_in_thread_if_large(size, lambda: service.encode([instance]))
        if isinstance(ids, str):
            raise RequestError(400, ids)
        search = "greedy"
        if request.search == "beam" and beam_width > 1:
            search = "beam" if request.n == 1 else "n_best"
        (outputs,) = await service.search(search, [(ids, service.attends)])
        if isinstance(outputs, str):
            raise RequestError(400, outputs)
        names = service.translator.source_vocab.ids_to_tokens(ids)
        return TranslationResponse(
            source_tokens=[_replace_surrogates(name) for name in names],
            outputs=[
                Output(
                    text=_replace_surrogates(output.text),
                    score=output.score,
                    tokens=[_replace_surrogates(token) for token in output.tokens],
                    truncated=output.truncated,
                    attention=(
                        None
                        if output.attention is None
                        else output.attention.astype(float).round(6).tolist()
                    ),
                )
                for output in outputs[: request.n]
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

        async def respond() -> Response:
            return Response(content, media_type=_PAGE[name], headers=headers)

        return respond

    for name in _PAGE:
        path = "/" if name == "index.html" else f"/{name}"
        app.add_api_route(
            path, page(name), methods=["GET", "HEAD"], include_in_schema=False
        )
    return app


class BodyLimits:
    """Middleware that limits the size of a request body and the time to receive it.

    The application gets complete bodies only.

    Args:
        app: The application.
        max_body: Maximum size of a body in bytes.
        timeout: Maximum time to receive a body in seconds.
    """

    def __init__(self, app: Any, max_body: int, timeout: float) -> None:
        self.app = app
        self.max_body = max_body
        self.timeout = timeout

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Handles a connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self.timeout):
                body = await self._read(scope, receive)
        except TimeoutError:
            message = f"The body must arrive within {self.timeout:g} seconds."
            await _error_response(408, message, close=True)(scope, receive, send)
            return
        except RequestError as error:
            await _error_response(error.status, str(error), close=True)(
                scope, receive, send
            )
            return
        if body is None:  # the client has disconnected
            return
        messages = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Any:
            return messages.pop() if messages else await receive()

        await self.app(scope, replay, send)

    async def _read(self, scope: Any, receive: Any) -> bytes | None:
        sizes = [value for name, value in scope["headers"] if name == b"content-length"]
        if sizes and sizes[0].isdigit():
            self._check_size(int(sizes[0]))
        chunks, size = [], 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            self._check_size(size)
            if not message.get("more_body", False):
                return b"".join(chunks)

    def _check_size(self, size: int) -> None:
        if size > self.max_body:
            raise RequestError(413, f"A body must have at most {self.max_body} bytes.")


async def _run_in_thread_if_large(size: int, function: Callable[[], Any]) -> Any:
    """Calls a function, in another thread if it may delay the other clients."""
    return function() if size <= SMALL_BODY else await asyncio.to_thread(function)


async def _answer_request_error(_: Request, error: Any) -> Response:
    return _error_response(error.status, str(error), error.retry_after)


async def _answer_http_error(_: Request, error: Any) -> Response:
    response = _error_response(error.status_code, f"{error.detail}.")
    response.headers.update(error.headers or {})
    return response


async def _answer_validation_error(_: Request, error: Any) -> Response:
    first = error.errors()[0]
    field = ".".join(map(str, first["loc"]))
    return _error_response(400, f"{field}: {first['msg']}.")


def _error_response(
    status: int, message: str, retry_after: int | None = None, close: bool = False
) -> Response:
    headers = {}
    if retry_after is not None:
        headers["Retry-After"] = str(retry_after)
    if close:  # the rest of the body is not read
        headers["Connection"] = "close"
    content = dump_json({"error": message})
    return Response(content, status, headers, media_type=JSON)


def _replace_surrogates(text: str) -> str:
    """Replaces lone surrogates, which UTF-8 cannot encode, by `?`."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _describe_invocations(formats: Sequence[MessageFormat]) -> dict[str, Any]:
    """Returns the OpenAPI description of `POST /invocations`."""
    return {
        "requestBody": {
            "required": True,
            "content": {each.content_type: each.request for each in formats},
        },
        "responses": {
            "200": {
                "description": "An output or an error for each instance, in order.",
                "content": {each.content_type: each.response for each in formats},
            }
        },
    }
