"""The command that serves a run over HTTP."""

import signal
from pathlib import Path
from typing import Any

import click

from keras_transfer.cli.options import RUN
from keras_transfer.console.commands import echo
from keras_transfer.console.imports import import_tensorflow
from keras_transfer.errors import ConfigError

_TOKEN = "KERAS_TRANSFER_TOKEN"
_PACKAGES = ("fastapi", "starlette", "uvicorn", "python_multipart", "prometheus_client", "h11")


@click.command()
@RUN
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for all.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 for a free one.")
@click.option("--name", help="Name of the model in URLs; by default that of the folder.")
@click.option(
    "--format",
    "format_name",
    default="auto",
    show_default=True,
    help="keras, or the format of an export; auto serves the fastest one.",
)
@click.option("--max-batch", type=click.IntRange(1, 1024), default=32, show_default=True, help="Inputs in a batch.")
@click.option(
    "--max-wait-ms",
    type=click.FloatRange(0, 1000),
    default=5.0,
    show_default=True,
    help="How long the first input of a batch waits for others.",
)
@click.option("--max-queue", type=click.IntRange(1), default=512, show_default=True, help="Inputs that may wait.")
@click.option(
    "--max-body-mb", type=click.FloatRange(0.001, 1024), default=32.0, show_default=True, help="Of a request."
)
@click.option(
    "--max-characters", type=click.IntRange(1), default=100_000, show_default=True, help="Characters of a text."
)
@click.option(
    "--timeout-seconds",
    type=click.FloatRange(0.1, 3600),
    default=30.0,
    show_default=True,
    help="From a request to its answer.",
)
@click.option("--token", envvar=_TOKEN, show_envvar=True, help="Clients have to send it: Authorization: Bearer TOKEN.")
@click.pass_context
def serve(context: click.Context, /, folder: Path, *, host: str, port: int, **options: Any) -> None:
    """Serve a run over HTTP, with a page to try it and TensorFlow Serving's REST protocol.

    RUN may also be an exported model. Only this machine can reach the server unless --host names another address.
    SIGTERM and Ctrl-C end it after the requests that it has accepted.
    """
    _check_packages()
    token = _check_token(options["token"])
    from keras_transfer.serving.server import find_url, is_loopback, open_socket

    with open_socket(host, port) as opened:
        import_tensorflow()
        from keras_transfer.serving.app import make_app
        from keras_transfer.serving.choose import choose, choose_name
        from keras_transfer.serving.limits import Limits
        from keras_transfer.serving.server import serve as serve_app

        limits = Limits(
            body_bytes=int(options["max_body_mb"] * 2**20),
            queue_inputs=options["max_queue"],
            request_inputs=min(Limits.request_inputs, options["max_queue"]),
            batch_size=options["max_batch"],
            wait_seconds=options["max_wait_ms"] / 1000,
            text_characters=options["max_characters"],
            timeout_seconds=options["timeout_seconds"],
        )
        name = choose_name(folder, options["name"])
        chosen = choose(folder, options["format_name"], batch_size=limits.batch_size)
        app = make_app(name, chosen, limits, token=token)
        for note in chosen.notes:
            echo(note, err=True)
        url = find_url(opened)
        who = "this machine only" if is_loopback(opened) else "every machine that reaches this one"
        guarded = "with the token" if token else "without a token"

        def ready() -> None:
            echo(f"Serving {name} ({chosen.format}) at {url} for {who}, {guarded}. Ctrl-C stops it.")

        stopped_by = serve_app(app, opened, limits, ready)
    context.exit(130 if stopped_by == signal.SIGINT else 0)


def _check_packages() -> None:
    from importlib.util import find_spec

    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"serve needs packages that are not installed: {', '.join(name.replace('_', '-') for name in missing)}. "
            "Install them with pip install 'keras-transfer[web]'."
        )


def _check_token(token: str | None) -> str | None:
    if token is None:
        return None
    if not token.isascii() or not token.isprintable() or " " in token or not token:
        raise ConfigError("--token: expected ASCII characters without blanks. Choose another one.")
    return token
