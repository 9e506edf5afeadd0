"""A small HTTP service for a classifier or a scorer that `bertmini export --to onnx` wrote.

    pip install 'bertmini[serve]'
    bertmini export --model runs/emotion --to onnx --out onnx
    python examples/serve.py onnx --port 8000
    curl localhost:8000/predict --json '{"inputs": ["what a day", {"text": "it rains", "pair": "it pours"}]}'

It needs ONNX Runtime, tokenizers, NumPy, Starlette and uvicorn: no PyTorch and no bertmini. Requests that
come within a few milliseconds of each other, or while the model is busy, become one batch. A request has
limits: bytes of its body, texts, characters of a text, and texts that wait. Answers are those of
`bertmini predict`. One process has one model; start several behind a proxy to use more machines.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import tokenizers
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


@dataclass(frozen=True)
class Limits:
    """What a request may ask for, and how requests share the model."""

    body_bytes: int = 1_000_000
    texts: int = 64  # of a request
    characters: int = 10_000  # of a text, or of a pair together
    waiting: int = 1024  # texts of all requests that wait; more are sent away
    batch: int = 32  # rows of a batch, of one request or of several
    window: float = 0.003  # seconds that the first row waits for others


Text = str | tuple[str, str]


class Model:
    """An exported classifier or scorer with its tokenizer.

    Args:
        directory: what `bertmini export --to onnx` wrote.
        file: model.onnx or model_int8.onnx.
        threads: cores that work on a batch; 0: all.
    """

    def __init__(self, directory: Path, file: str = "model.onnx", threads: int = 0) -> None:
        self.config = json.loads((directory / "config.json").read_text("utf-8"))
        record = json.loads((directory / "export.json").read_text("utf-8"))
        architecture = (self.config.get("architectures") or ["model without a name"])[0]
        if not architecture.endswith("ForSequenceClassification"):
            raise ValueError(f"{directory} holds a {architecture}; expected a classifier or a scorer")
        self.tokenizer = tokenizers.Tokenizer.from_file(str(directory / "tokenizer.json"))
        self.tokenizer.enable_truncation(record["max_length"])
        self.tokenizer.enable_padding(pad_id=self.config.get("pad_token_id", 0))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(
            directory / file, options, providers=["CPUExecutionProvider"]
        )
        labels = self.config.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}
        is_score = self.config.get("problem_type") == "regression" or len(labels) == 1
        self.labels = [] if is_score else [labels[index] for index in sorted(labels, key=int)]

    def answer(self, texts: list[Text]) -> list[dict[str, Any]]:
        """An answer for each text or pair, in order."""
        # A tokenizer that pads takes texts alone or pairs alone as one batch; both together as well.
        rows = self.tokenizer.encode_batch(texts)
        columns = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
        inputs = {
            each.name: np.array([getattr(row, columns[each.name]) for row in rows], np.int64)
            for each in self.session.get_inputs()
        }
        (logits,) = self.session.run(["logits"], inputs)  # [rows, labels]
        if not self.labels:
            return [{"score": round(float(score), 6)} for score in logits[:, 0]]
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float64)
        answers = []
        for best, row in zip(logits.argmax(axis=1), np.round(probabilities, 6).tolist(), strict=True):
            scores = dict(zip(self.labels, row, strict=True))
            answers.append({"label": self.labels[best], "score": row[best], "scores": scores})
        return answers


class Batcher:
    """Texts of many requests, which become batches; each text's answer is a future."""

    def __init__(self, model: Model, limits: Limits) -> None:
        self.model, self.limits = model, limits
        self.waiting: asyncio.Queue[tuple[Text, asyncio.Future[Any]]] = asyncio.Queue()
        self.batches = self.rows = 0  # so far

    async def answers(self, texts: list[Text]) -> list[Any]:
        """The answers for texts, when their batches are done.

        Raises:
            HTTPException: too many texts wait already.
        """
        if self.waiting.qsize() + len(texts) > self.limits.waiting:
            raise HTTPException(503, "too many texts wait; try again in a moment", {"Retry-After": "1"})
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in texts]
        for each in zip(texts, futures, strict=True):
            self.waiting.put_nowait(each)
        return await asyncio.gather(*futures)

    async def work(self) -> None:
        """Make batches for ever: of what waits when the model is free, and of what comes in a moment more."""
        while True:
            batch = [await self.waiting.get()]
            if self.waiting.qsize() < self.limits.batch - 1:
                await asyncio.sleep(self.limits.window)
            while len(batch) < self.limits.batch and not self.waiting.empty():
                batch.append(self.waiting.get_nowait())
            batch = [(text, future) for text, future in batch if not future.done()]  # whose client has gone
            if not batch:
                continue
            self.batches, self.rows = self.batches + 1, self.rows + len(batch)
            try:
                answers = await asyncio.to_thread(self.model.answer, [text for text, _ in batch])
            except Exception as error:  # one batch's failure is not the next one's
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), answer in zip(batch, answers, strict=True):
                if not future.done():
                    future.set_result(answer)


async def read_body(request: Request, limit: int) -> bytes:
    """The body, of which no more is read than is allowed."""
    too_large = HTTPException(413, f"the body has more than {limit} bytes; send fewer texts at a time")
    if int(request.headers.get("content-length") or 0) > limit:
        raise too_large
    body = b""
    async for chunk in request.stream():  # one that is sent in chunks does not say how long it is
        body += chunk
        if len(body) > limit:
            raise too_large
    return body


def read_texts(body: bytes, limits: Limits) -> list[Text]:
    """The texts and pairs of {"inputs": […]}.

    Raises:
        HTTPException: 400 for what is not JSON; 422 for no such texts, too many, or one too long.
    """
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        raise HTTPException(400, 'the body is not JSON; expected {"inputs": ["a text", …]}') from None
    inputs = content.get("inputs") if isinstance(content, dict) else None
    if not isinstance(inputs, list) or not inputs:
        raise HTTPException(422, 'expected {"inputs": […]} with a text or more')
    if len(inputs) > limits.texts:
        raise HTTPException(422, f"inputs has {len(inputs)} texts; {limits.texts} are allowed")
    return [read_text(given, number, limits.characters) for number, given in enumerate(inputs)]


def read_text(given: Any, number: int, characters: int) -> Text:
    parts = [given]
    if isinstance(given, dict) and set(given) <= {"text", "pair"}:
        parts = [given.get("text"), *([given["pair"]] if given.get("pair") is not None else [])]
    if not all(isinstance(part, str) for part in parts):
        raise HTTPException(422, f'inputs[{number}] is no text; expected "…" or {{"text": "…", "pair": "…"}}')
    if (length := sum(map(len, parts))) > characters:
        raise HTTPException(422, f"inputs[{number}] has {length} characters; {characters} are allowed")
    try:
        "".join(parts).encode()
    except UnicodeEncodeError:
        raise HTTPException(422, f"inputs[{number}] has half of a surrogate pair") from None
    return parts[0] if len(parts) == 1 else (parts[0], parts[1])


def application(model: Model, limits: Limits | None = None) -> Starlette:
    """The service: POST /predict and GET /health."""
    limits = limits or Limits()
    batcher = Batcher(model, limits)

    async def predict(request: Request) -> JSONResponse:
        texts = read_texts(await read_body(request, limits.body_bytes), limits)
        return JSONResponse({"answers": await batcher.answers(texts)})

    async def health(request: Request) -> JSONResponse:
        is_alive = not worker[0].done()
        told: dict[str, Any] = {
            "status": "ok" if is_alive else "the batches have stopped",
            "labels": model.labels,
        }
        told |= {"waiting": batcher.waiting.qsize(), "batches": batcher.batches, "rows": batcher.rows}
        return JSONResponse(told, 200 if is_alive else 503)

    async def refused(request: Request, error: Exception) -> JSONResponse:
        if isinstance(error, HTTPException):
            return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)
        return JSONResponse({"error": "the model failed; see the log"}, 500)  # uvicorn logs it

    worker: list[asyncio.Task[None]] = []

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        worker.append(asyncio.create_task(batcher.work()))
        yield
        worker[0].cancel()  # uvicorn has waited for the requests that were begun

    routes = [Route("/predict", predict, methods=["POST"]), Route("/health", health)]
    return Starlette(
        routes=routes,
        lifespan=lifespan,
        exception_handlers=dict.fromkeys((HTTPException, Exception), refused),
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path, help="what bertmini export --to onnx wrote")
    parser.add_argument("--host", default="127.0.0.1", help="where it listens; 0.0.0.0: everywhere")
    parser.add_argument("--port", type=int, default=8000, help="0: one that is free")
    parser.add_argument("--int8", action="store_true", help="run model_int8.onnx")
    parser.add_argument("--threads", type=int, default=0, help="cores that work on a batch; 0: all")
    options = parser.parse_args(arguments)
    file = "model_int8.onnx" if options.int8 else "model.onnx"
    try:
        model = Model(options.directory, file, options.threads)
        listening = socket.create_server((options.host, options.port), backlog=2048)
    except Exception as error:  # what its libraries raise has no class in common
        print(f"serve: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    print(f"listening on http://{options.host}:{listening.getsockname()[1]}", flush=True)
    config = uvicorn.Config(
        application(model), log_level="warning", timeout_keep_alive=5, timeout_graceful_shutdown=10
    )
    with contextlib.suppress(KeyboardInterrupt):  # said again when all is answered that was begun
        uvicorn.Server(config).run(sockets=[listening])
    return 0


if __name__ == "__main__":
    sys.exit(main())
