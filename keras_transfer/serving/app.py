"""The application: its routes and their responses."""

import asyncio
import contextlib
import functools
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from keras_transfer import __version__
from keras_transfer.run.predicted import to_json
from keras_transfer.run.run import Run
from keras_transfer.serving import openapi
from keras_transfer.serving.answers import check_options, explain_input, to_predictions
from keras_transfer.serving.batching import Batcher
from keras_transfer.serving.card import make_card
from keras_transfer.serving.choose import Chosen
from keras_transfer.serving.guard import FAILED, App, Guard, make_error
from keras_transfer.serving.inputs import read_inputs
from keras_transfer.serving.limits import Limits, Refusal, refuse_stopping
from keras_transfer.serving.metrics import CONTENT_TYPE, Metrics
from keras_transfer.serving.model import ModelAnswers, ServedModel
from keras_transfer.serving.protocol import (
    DEFAULT_SIGNATURE,
    Row,
    describe_metadata,
    describe_status,
    format_answer,
    parse_request,
)

_JSON = "application/json"
_PAGE = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
_MODEL_PATH = re.compile(r"(?i)/v1/models/([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?(/metadata|:[a-z]+)?")
_VERBS = {":predict": "predict", ":classify": "classification", ":regress": "regression"}
_ROUTES = ("/healthz", "/readyz", "/metrics", "/model", "/predict", "/explain", "/openapi.json", *_PAGE)
# Parsing a larger body would block the event loop for some milliseconds; it is parsed in a thread.
_SMALL_BODY = 2**16


@dataclass(frozen=True)
class Service:
    """A model and the objects that its routes need."""

    name: str
    chosen: Chosen
    model: ServedModel
    limits: Limits
    batcher: Batcher
    metrics: Metrics
    card: Mapping[str, Any]

    async def answer(self, signature: str, rows: Sequence[Row]) -> ModelAnswers:
        """Return the model's results for rows of a signature."""
        answers = await self.batcher.answer(self.model.key_of(signature, rows[0]), rows)
        self.metrics.observe_unreadable(int((~answers.read).sum()))
        return answers


def make_app(name: str, chosen: Chosen, limits: Limits, *, token: str | None = None) -> App:
    """Make the application of a model.

    Args:
        token: The token that clients have to send; None if they need none.
    """
    model = ServedModel(chosen.opened)
    model.warm_up(limits.batch_size)
    card = make_card(name, chosen, model, limits)
    # The event loop exists when the application starts, and a batcher belongs to one.
    running: dict[str, Service] = {}
    metrics = Metrics(lambda: running["service"].batcher.waiting if running else 0)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        batcher = Batcher(model.decode, model.predict, limits, metrics.observe_batch)
        batcher.start()
        running["service"] = Service(name, chosen, model, limits, batcher, metrics, card)
        yield
        del running["service"]
        await batcher.stop()

    app = FastAPI(
        title=name,
        version=__version__,
        description=openapi.DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    _add_errors(app)
    _add_page(app)
    _add_probes(app, running, metrics)
    _add_predictions(app, running)
    _add_protocol(app, name, running)
    return Guard(
        app,
        limits,
        token=token,
        observe=lambda path, status, seconds: metrics.observe_request(_route_of(path), status, seconds),
    )


def _route_of(path: str) -> str:
    """The name of a route, for metrics: all paths that clients make up have the same name."""
    if path in _ROUTES:
        return path
    match = _MODEL_PATH.fullmatch(path)
    if match is None:
        return "other"
    return "/v1/models:predict" if (match[4] or "").lower() == ":predict" else "/v1/models"


def _json(document: Any, status: int = 200) -> Response:
    return Response(
        json.dumps(document, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace"), status, media_type=_JSON
    )


def _add_errors(app: FastAPI) -> None:
    """Return all errors as JSON with one key, without paths of this machine."""

    async def refuse(request: Request, error: Exception) -> Response:
        if isinstance(error, Refusal):
            return make_error(error.status, error.message, error.headers)
        if isinstance(error, HTTPException):
            return make_error(error.status_code, f"{error.detail}: {request.method} {request.url.path}", error.headers)
        if isinstance(error, ClientDisconnect):
            return make_error(400, "The client disconnected before its request was complete.")
        return make_error(500, FAILED)

    async def refuse_query(request: Request, error: Exception) -> Response:
        return make_error(400, "top_k is a whole number from 1 on, and min_confidence a number from 0 to 1.")

    for kind in (Refusal, HTTPException, ClientDisconnect, Exception):
        app.add_exception_handler(kind, refuse)
    app.add_exception_handler(RequestValidationError, refuse_query)


def _add_page(app: FastAPI) -> None:
    """Read the page when the server starts: it keeps working if its own files are removed."""
    folder = files("keras_transfer.serving") / "page"

    def serve(content: bytes, media_type: str) -> Callable[[], Any]:
        async def page() -> Response:
            return Response(content, media_type=f"{media_type}; charset=utf-8")

        return page

    for path, (name, media_type) in _PAGE.items():
        app.add_api_route(path, serve((folder / name).read_bytes(), media_type), include_in_schema=False)


def _add_probes(app: FastAPI, running: Mapping[str, Service], metrics: Metrics) -> None:
    @app.get("/healthz", summary="Whether the process answers", tags=["operations"])
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz", summary="Whether the model answers", tags=["operations"], responses=openapi.NOT_READY)
    async def readyz() -> Response:
        return _json({"status": "ready"}) if running else make_error(503, "The server is stopping.")

    @app.get("/metrics", summary="Counts and durations for Prometheus", tags=["operations"])
    async def expose() -> Response:
        return Response(metrics.expose(), media_type=CONTENT_TYPE)


def _add_predictions(app: FastAPI, running: Mapping[str, Service]) -> None:
    @app.get("/model", summary="The model's card", tags=["predictions"])
    async def describe() -> Response:
        return _json(_service(running).card)

    @app.post("/predict", summary="Predict for files or texts", tags=["predictions"], **openapi.PREDICT)
    async def predict(
        request: Request,
        top_k: Annotated[int | None, Query(ge=1, description="Only the most probable classes or labels.")] = None,
        min_confidence: Annotated[
            float | None, Query(ge=0, le=1, description="Abstain below this probability.")
        ] = None,
    ) -> Response:
        service = _service(running)
        check_options(service.chosen.opened, top_k, min_confidence)
        given = await read_inputs(request, service.model, service.limits)
        rows = [one.row for one in given if one.row is not None]
        answers = await service.answer(DEFAULT_SIGNATURE, rows) if rows else None
        opened = service.chosen.opened
        # Finding out the problem of an input takes time.
        predictions = await asyncio.to_thread(to_predictions, opened, given, answers, min_confidence)
        body = {"model": service.name, "predictions": [to_json(prediction, top_k) for prediction in predictions]}
        none_was_read = all(prediction.error is not None for prediction in predictions)
        return _json(body, 422 if none_was_read else 200)

    @app.post("/explain", summary="What in an input supports a prediction", tags=["predictions"], **openapi.EXPLAIN)
    async def explain(request: Request) -> Response:
        service = _service(running)
        run = service.chosen.opened
        if not isinstance(run, Run):
            raise Refusal(501, f"Only the Keras model explains predictions; {service.chosen.format} is served.")
        if not run.task.explains:
            raise Refusal(501, f"The task {run.config.task} has no explanations.")
        given = await read_inputs(request, service.model, service.limits)
        if len(given) > 1:
            raise Refusal(413, f"One input is explained at a time. Received: {len(given)}.")
        shown = await service.batcher.run_alone(lambda: explain_input(run, given[0]))
        return _json(shown)


def _service(running: Mapping[str, Service]) -> Service:
    if not running:
        raise refuse_stopping()
    return running["service"]


def _add_protocol(app: FastAPI, name: str, running: Mapping[str, Service]) -> None:
    """Add TensorFlow Serving's routes: those of this model by name, and the response to any other path."""

    async def answer(request: Request) -> Response:
        path, method = request.url.path, request.method
        match = _MODEL_PATH.fullmatch(path)
        verb = (match[4] or "").lower() if match else ""
        allowed = ("GET",) if verb in ("", "/metadata") else ("POST",)
        if match is None or method not in allowed or verb not in ("", "/metadata", *_VERBS):
            raise Refusal(400, f"Malformed request: {method} {path}")
        service = _service(running)
        _check_servable(service, verb, *match.group(1, 2, 3))
        if verb == "":
            return _json(describe_status(service.chosen.version))
        if verb == "/metadata":
            return _json(describe_metadata(name, service.chosen.version, service.model.signatures))
        if verb != ":predict":
            kind = f"tensorflow/serving/{verb[1:]}"
            raise Refusal(
                400,
                f"Expected {_VERBS[verb]} signature method_name to be {kind}. Was: tensorflow/serving/predict",
            )
        return await _predict(service, await request.body())

    place = f"/v1/models/{name}"
    app.add_api_route(f"{place}:predict", answer, methods=["POST"], summary="Predict", **openapi.TENSORFLOW_SERVING)
    app.add_api_route(place, answer, methods=["GET"], summary="Status of the model", tags=openapi.TAGS)
    app.add_api_route(f"{place}/metadata", answer, methods=["GET"], summary="Signatures", tags=openapi.TAGS)
    methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"]
    app.add_api_route("/v1/{rest:path}", answer, methods=methods, include_in_schema=False)


def _check_servable(service: Service, verb: str, name: str, version: str | None, label: str | None) -> None:
    if name == service.name and label is None and (version is None or int(version) == service.chosen.version):
        return
    if not verb:
        raise Refusal(404, f"Could not find any versions of model {name}")
    if label is not None:
        raise Refusal(400, f"Unrecognized servable version label: {label}")
    wanted = f"Latest({name})" if version is None else f"Specific({name}, {version})"
    raise Refusal(404, f"Servable not found for request: {wanted}")


async def _predict(service: Service, body: bytes) -> Response:
    parse = functools.partial(parse_request, body, service.model.signatures, service.limits)
    asked = parse() if len(body) <= _SMALL_BODY else await asyncio.to_thread(parse)
    answers = await service.answer(asked.signature, asked.rows)
    return Response(format_answer(asked.form, answers.outputs), media_type=_JSON)
