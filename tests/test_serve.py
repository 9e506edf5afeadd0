"""The example service: the answers of `Predictor`, whoever else asks, within its limits, and a clean end."""

from __future__ import annotations

import asyncio
import http.client
import importlib.util
import json
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
pytest.importorskip("starlette", reason="the extra serve is not installed")

from bertmini import Predictor
from bertmini.cli import main

SERVE = Path(__file__).parents[1] / "examples" / "serve.py"


@pytest.fixture(scope="module")
def serve():
    spec = importlib.util.spec_from_file_location("serve", SERVE)
    module = importlib.util.module_from_spec(spec)
    sys.modules["serve"] = module  # dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def exported(tmp_path_factory, classifier) -> Path:
    out = tmp_path_factory.mktemp("serve") / "onnx"
    assert main(["export", "--model", str(classifier), "--to", "onnx", "--out", str(out)]) == 0
    return out


class Held:
    """A model that answers when it may, and keeps how many texts came at once."""

    def __init__(self, inner) -> None:
        self.inner, self.labels, self.sizes, self.may = inner, inner.labels, [], threading.Event()

    def answer(self, texts):
        self.sizes.append(len(texts))
        assert self.may.wait(60)
        return self.inner.answer(texts)


@pytest.fixture
def serving(serve):
    """Runs a service in a thread, of a model and limits; gives its port."""
    running = []

    def start(model, **limits) -> int:
        import uvicorn

        listening = socket.create_server(("127.0.0.1", 0))
        app = serve.application(model, serve.Limits(**limits))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        running.append((server, thread))
        while not server.started:
            time.sleep(0.01)
        return listening.getsockname()[1]

    yield start
    for server, thread in running:
        server.should_exit = True
        thread.join(timeout=10)
        assert not thread.is_alive()


def ask(port: int, content, path: str = "/predict", method: str = "POST", **headers):
    """The status and what the answer's JSON holds."""
    body = content if isinstance(content, bytes) or content is None else json.dumps(content).encode()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def wait_until(port: int, **told) -> None:
    """Until the service's health tells these numbers."""
    deadline = time.monotonic() + 60
    while any(ask(port, None, "/health", "GET")[1][name] != value for name, value in told.items()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def texts_of_all_lengths(number: int) -> list:
    rng = random.Random(0)
    words = ["the", "captain", "was", "happy", "afraid", "angry", "on", "day", "3", "of", ".", "[MASK]", "ü"]
    texts = [" ".join(rng.choices(words, k=1 + int(rng.expovariate(0.1)))) for _ in range(number)]
    return [{"text": text, "pair": texts[i - 1]} if i % 3 == 0 else text for i, text in enumerate(texts)]


def assert_same(found: list, expected: list) -> None:
    assert [each["label"] for each in found] == [each["label"] for each in expected]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours["scores"] == pytest.approx(theirs["scores"], abs=5e-6)


def test_concurrent_clients_get_the_answers_of_predictor_in_order(serve, serving, exported, classifier):
    model = Held(serve.Model(exported))
    port, texts = serving(model), texts_of_all_lengths(240)
    threading.Timer(0.3, model.may.set).start()
    rng, requests = random.Random(1), []
    while texts:
        size = rng.randint(1, 9)
        requests.append(texts[:size])
        del texts[:size]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda inputs: ask(port, {"inputs": inputs}), requests))
    predictor = Predictor.from_pretrained(classifier)
    for (status, content), inputs in zip(answers, requests, strict=True):
        assert status == 200
        assert_same(content["answers"], predictor(inputs))
    assert sum(model.sizes) == 240
    assert len(model.sizes) < len(requests)  # requests shared batches
    assert max(model.sizes) <= 32


def test_what_comes_while_the_model_is_busy_becomes_one_batch(serve, serving, exported):
    model = Held(serve.Model(exported))
    port = serving(model, batch=8)
    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(ask, port, {"inputs": ["happy"]})
        wait_until(port, rows=1)
        others = [pool.submit(ask, port, {"inputs": [f"afraid {i}"]}) for i in range(8)]
        wait_until(port, waiting=8)
        model.may.set()
        assert {each.result()[0] for each in (first, *others)} == {200}
    assert model.sizes == [1, 8]


def test_long_texts_and_pairs_are_cut_as_predictor_cuts_them(serve, exported, classifier):
    predictor = Predictor.from_pretrained(classifier)
    long = "the captain was happy and afraid on a day of storms . " * 60
    inputs = [long, (long, "short"), ("short", long), (long, long[7:])]
    assert_same(serve.Model(exported).answer(inputs), predictor(inputs))


def test_a_scorer_gives_scores(serve, pretrained, tmp_path):
    from bertmini import BertForSequenceClassification, WordPieceTokenizer

    fields = {"id2label": {0: "score"}, "problem_type": "regression"}
    BertForSequenceClassification.from_pretrained(pretrained, **fields).save_pretrained(tmp_path / "run")
    WordPieceTokenizer.from_pretrained(pretrained).save_pretrained(tmp_path / "run")
    assert main(f"export --model {tmp_path / 'run'} --to onnx --out {tmp_path / 'onnx'}".split()) == 0
    pair = ("the sea is calm", "the sea is rough")
    expected = Predictor.from_pretrained(tmp_path / "run")(pair)
    (answer,) = serve.Model(tmp_path / "onnx").answer([pair])
    assert answer.keys() == expected.keys() == {"score"}
    assert answer["score"] == pytest.approx(expected["score"], abs=5e-6)


def test_health_says_what_it_serves_and_how_much(serve, serving, exported):
    port = serving(serve.Model(exported))
    assert ask(port, {"inputs": ["happy", "angry"]})[0] == 200
    status, told = ask(port, None, "/health", "GET")
    assert (status, told["status"], told["labels"]) == (200, "ok", ["anger", "fear", "joy"])
    assert (told["rows"], told["waiting"]) == (2, 0)


BAD = [
    (b"not json", 400, "the body is not JSON"),
    (b"\xff\xfe", 400, "the body is not JSON"),
    (b"[" * 5000, 400, "the body is not JSON"),
    ({"texts": ["a"]}, 422, 'expected {"inputs": […]}'),
    (["a"], 422, 'expected {"inputs": […]}'),
    ({"inputs": []}, 422, "with a text or more"),
    ({"inputs": "a"}, 422, 'expected {"inputs": […]}'),
    ({"inputs": ["a", 5]}, 422, "inputs[1] is no text"),
    ({"inputs": [None]}, 422, "inputs[0] is no text"),
    ({"inputs": [{"pair": "a"}]}, 422, "inputs[0] is no text"),
    ({"inputs": [{"text": "a", "label": "b"}]}, 422, "inputs[0] is no text"),
    ({"inputs": ["a"] * 5}, 422, "inputs has 5 texts; 4 are allowed"),
    ({"inputs": ["a", "b" * 101]}, 422, "inputs[1] has 101 characters; 100 are allowed"),
    ({"inputs": [{"text": "a" * 60, "pair": "b" * 60}]}, 422, "inputs[0] has 120 characters"),
    (b'{"inputs": ["\\ud800"]}', 422, "half of a surrogate pair"),
    (b" " * 6001, 413, "the body has more than 6000 bytes"),
]


@pytest.fixture(scope="module")
def narrow(serve, exported):
    return serve.Model(exported), {"body_bytes": 6000, "texts": 4, "characters": 100}


def test_what_is_beyond_the_limits_is_one_line_and_the_service_goes_on(narrow, serving):
    model, limits = narrow
    port = serving(model, **limits)
    for content, status, words in BAD:
        found, told = ask(port, content)
        assert (found, set(told)) == (status, {"error"}), content
        assert words in told["error"]
        assert "\n" not in told["error"]
    assert ask(port, {"inputs": ["happy"]})[0] == 200


def test_a_body_that_does_not_say_how_long_it_is_is_limited_too(narrow, serving):
    model, limits = narrow
    port = serving(model, **limits)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("POST", "/predict", iter([b" " * 1000] * 100), encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()


def test_other_paths_and_methods_are_told_in_json(narrow, serving):
    model, limits = narrow
    port = serving(model, **limits)
    assert ask(port, None, "/predict", "GET") == (405, {"error": "Method Not Allowed"})
    assert ask(port, {}, "/elsewhere") == (404, {"error": "Not Found"})


def test_more_than_can_wait_is_sent_away_and_what_waited_is_answered(serve, serving, exported):
    model = Held(serve.Model(exported))
    port = serving(model, waiting=4, batch=1)
    with ThreadPoolExecutor(12) as pool:
        first = pool.submit(ask, port, {"inputs": ["happy"]})
        wait_until(port, rows=1)
        others = [pool.submit(ask, port, {"inputs": [f"happy {i}"]}) for i in range(11)]
        while sum(each.done() for each in others) < 7:
            time.sleep(0.01)
        model.may.set()
        statuses = [each.result()[0] for each in (first, *others)]
    assert (statuses.count(200), statuses.count(503)) == (5, 7)
    assert model.sizes == [1] * 5


def test_a_batch_that_fails_is_not_the_end(serve, serving, exported):
    model = Held(serve.Model(exported))
    model.may.set()
    inner, model.inner = model.inner, None
    port = serving(model)
    status, told = ask(port, {"inputs": ["happy"]})
    assert (status, set(told)) == (500, {"error"})
    model.inner = inner
    assert ask(port, {"inputs": ["happy"]})[0] == 200
    assert ask(port, None, "/health", "GET")[0] == 200


def test_the_batcher_waits_for_others_no_longer_than_its_window(serve, exported):
    async def first_answer() -> float:
        batcher = serve.Batcher(serve.Model(exported), serve.Limits(window=0.05))
        work = asyncio.create_task(batcher.work())
        await batcher.answers(["warm"])
        started = time.perf_counter()
        await batcher.answers(["happy"])
        work.cancel()
        return time.perf_counter() - started

    assert 0.05 <= asyncio.run(first_answer()) < 5


# The program


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_the_program_answers_what_was_begun_before_it_stops(how, exported):
    """And it needs neither PyTorch nor bertmini."""
    code = (
        "import sys; sys.modules['torch'] = sys.modules['bertmini'] = None\n"
        f"import runpy; sys.argv = ['serve', {str(exported)!r}, '--port', '0', '--int8', '--threads', '1']\n"
        f"runpy.run_path({str(SERVE)!r}, run_name='__main__')"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        # A shell that starts its jobs in the background has them, and their children, ignore Control-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    try:
        port = int(re.fullmatch(r"listening on http://127\.0\.0\.1:(\d+)\n", process.stdout.readline())[1])
        assert ask(port, {"inputs": ["the captain was happy on day 1"]})[1]["answers"][0]["label"] == "joy"
        with ThreadPoolExecutor(4) as pool:
            inputs = ["happy " * 1000] * 16  # a slow machine must be done before the service stops waiting
            begun = [pool.submit(ask, port, {"inputs": inputs}) for _ in range(4)]
            while ask(port, None, "/health", "GET")[1]["waiting"] == 0:
                time.sleep(0.005)
            process.send_signal(how)
            assert [len(each.result()[1]["answers"]) for each in begun] == [16] * 4
        _, told = process.communicate(timeout=30)
    finally:
        process.kill()
    assert "Traceback" not in told
    assert process.returncode in (0, -how)


def test_a_directory_that_holds_no_classifier_is_one_line(serve, tmp_path, exported, capsys):
    assert serve.main([str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert told.startswith("serve: error: ")
    assert told.count("\n") == 1
    shutil.copytree(exported, tmp_path / "tagger")
    config = json.loads((exported / "config.json").read_text())
    config["architectures"] = ["BertForTokenClassification"]
    (tmp_path / "tagger" / "config.json").write_text(json.dumps(config))
    assert serve.main([str(tmp_path / "tagger")]) == 2
    assert "expected a classifier or a scorer" in capsys.readouterr().err


@pytest.mark.parametrize("spoil", ["tokenizer.json", "model.onnx", "model_int8.onnx", "port"])
def test_what_cannot_be_served_is_one_line(spoil, serve, exported, tmp_path, capsys):
    shutil.copytree(exported, tmp_path / "m")
    more = {"port": ["--port", "70000"], "model_int8.onnx": ["--int8"]}.get(spoil, [])
    if spoil == "model.onnx":
        (tmp_path / "m" / spoil).write_bytes(b"half")
    elif spoil != "port":
        (tmp_path / "m" / spoil).unlink(missing_ok=True)
    assert serve.main([str(tmp_path / "m"), *more]) == 2
    told = capsys.readouterr().err
    assert told.startswith("serve: error: ")
    assert told.count("\n") == 1
