"""Models fetched from a directory and over HTTP: verified and resumed, complete or not at all."""

import hashlib
import http.server
import json
import threading
from pathlib import Path

import pytest

import tfgen
from tfgen.errors import InputError
from tfgen.files import sha256
from tfgen.models import preset
from tfgen.zoo import fetching, places, remotes

NAME = "vae-digits"
KEPT = 200_000 // remotes.BLOCK * remotes.BLOCK  # of 200,000 bytes


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("TFGEN_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def published():
    """A pretrained model's directory."""
    return tfgen.zoo.directory(NAME)


class Server(http.server.ThreadingHTTPServer):
    """Serves the files of a folder; its attributes make it misbehave."""

    def __init__(self, folder):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {path.name: path.read_bytes() for path in folder.iterdir()}
        self.asked = []  # (file, its Range header)
        self.ranges = True
        self.breaks = {}  # from a file to how many bytes come before the connection ends
        self.wrong_range = False

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 10

    def do_GET(self):
        server, file = self.server, self.path.rsplit("/", 1)[-1]
        asked = self.headers.get("Range")
        server.asked.append((file, asked))
        if file not in server.files:
            return self.send_error(404)
        content, start, status = server.files[file], 0, 200
        if asked and server.ranges:
            start, status = int(asked.removeprefix("bytes=").removesuffix("-")), 206
            if start >= len(content):
                return self.send_error(416)
        self.send_response(status)
        if status == 206:
            first = 0 if server.wrong_range else start
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = start + server.breaks.get(file, len(content))
        self.wfile.write(content[start:end])
        self.close_connection = end < len(content)
        return None

    def log_message(self, *_):
        pass


@pytest.fixture
def server(published):
    with Server(published) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join(10)


def partial_files(home):
    return {p.name: p.stat().st_size for p in home.rglob("*.part")}


def card_digest(directory):
    return sha256(Path(directory) / preset.CARD)


def assert_whole(directory, published):
    found = {path.name: path.read_bytes() for path in directory.iterdir()}
    assert found == {path.name: path.read_bytes() for path in published.iterdir()}


@pytest.mark.parametrize("over", ["a folder", "http"])
def test_a_fetched_model_is_the_published_one_and_found_by_its_name(
    over, published, server, home, monkeypatch
):
    source = server.address if over == "http" else published
    seen = []
    directory = tfgen.zoo.fetch(
        source, sha256=card_digest(published).upper(), progress=lambda *what: seen.append(what)
    )
    assert directory == home / "fetched" / f"{NAME}@1"
    assert_whole(directory, published)
    assert [p.name for p in directory.parent.iterdir() if p.is_dir()] == [f"{NAME}@1"]
    size = (published / preset.WEIGHTS).stat().st_size
    assert (preset.WEIGHTS, size, size) in seen
    asked = len(server.asked)
    assert tfgen.zoo.fetch(source) == directory
    assert len(server.asked) == asked + (over == "http")  # The card alone, to compare.
    monkeypatch.setattr(places, "PACKAGED", home / "nothing")
    assert tfgen.zoo.list() == [NAME]
    assert tfgen.zoo.load(f"{NAME}@1").latent_dim == tfgen.zoo.load(NAME).latent_dim == 8


def test_a_connection_that_breaks_is_resumed_by_the_same_call(server, published):
    server.breaks[preset.WEIGHTS] = 200_000
    assert_whole(tfgen.zoo.fetch(server.address), published)
    ranges = [asked for file, asked in server.asked if file == preset.WEIGHTS]
    assert ranges == [None, f"bytes={KEPT}-", f"bytes={2 * KEPT}-"]


def test_an_interrupted_fetch_is_resumed_by_the_next_one(server, published, home):
    def interrupt(file, there, total):
        if file == preset.WEIGHTS:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tfgen.zoo.fetch(server.address, progress=interrupt)
    assert not (home / "fetched" / f"{NAME}@1").exists()
    (there,) = partial_files(home).values()
    assert there > 0
    asked = len(server.asked)
    assert_whole(tfgen.zoo.fetch(server.address), published)
    assert (preset.WEIGHTS, f"bytes={there}-") in server.asked[asked:]
    assert not partial_files(home)


def test_a_server_without_ranges_sends_the_whole_file_again(server, published):
    server.breaks[preset.WEIGHTS] = 200_000
    server.ranges = False
    with pytest.raises(InputError, match=rf"the connection broke.*; {KEPT:,} bytes are kept"):
        tfgen.zoo.fetch(server.address)
    del server.breaks[preset.WEIGHTS]
    asked = len(server.asked)
    assert_whole(tfgen.zoo.fetch(server.address), published)
    assert (preset.WEIGHTS, f"bytes={KEPT}-") in server.asked[asked:]


def test_a_file_with_another_digest_is_refused_and_deleted(server, published, home):
    good = server.files[preset.WEIGHTS]
    server.files[preset.WEIGHTS] = bad = bytes([good[0] ^ 1]) + good[1:]
    found = hashlib.sha256(bad).hexdigest()
    expected = tfgen.zoo.card(published)["files"][preset.WEIGHTS]
    with pytest.raises(InputError, match=f"{preset.WEIGHTS}: expected sha256 {expected}.*{found}"):
        tfgen.zoo.fetch(server.address)
    assert not partial_files(home)
    server.files[preset.WEIGHTS] = good
    assert_whole(tfgen.zoo.fetch(server.address), published)


def test_a_partial_file_longer_than_the_whole_is_refused(server, published, home):
    """Without a size in the card: the server has no such range, and the digest decides."""
    card = json.loads(server.files[preset.CARD])
    del card["sizes"]
    server.files[preset.CARD] = json.dumps(card).encode()
    digest = hashlib.sha256(server.files[preset.CARD]).hexdigest()
    folder = home / "fetched" / f".{NAME}@1-{digest[:16]}"
    folder.mkdir(parents=True)
    (folder / (preset.WEIGHTS + ".part")).write_bytes(server.files[preset.WEIGHTS] + b"more")
    with pytest.raises(InputError, match=f"{preset.WEIGHTS}: expected sha256"):
        tfgen.zoo.fetch(server.address)
    assert tfgen.zoo.load(tfgen.zoo.fetch(server.address)).latent_dim == 8


@pytest.mark.parametrize("file", [preset.WEIGHTS, preset.CONFIG, preset.CARD, "README.md"])
@pytest.mark.parametrize("damage", ["flipped", "missing"])
def test_a_damaged_model_is_repaired(file, damage, server, published):
    path = tfgen.zoo.fetch(server.address) / file
    content = path.read_bytes()
    path.unlink()
    if damage == "flipped":
        path.write_bytes(bytes([content[0], content[1] ^ 1]) + content[2:])
    asked = len(server.asked)
    outcome = fetching.ensure(server.address)
    assert (outcome.state, outcome.repaired) == ("repaired", (file,))
    assert [f for f, _ in server.asked[asked:] if f != preset.CARD] == [file][: file != preset.CARD]
    assert_whole(outcome.directory, published)
    assert fetching.ensure(server.address).state == "verified"


def test_a_file_of_another_size_than_in_the_card_is_refused_and_deleted(server, home):
    server.files[preset.WEIGHTS] += b"more"
    with pytest.raises(InputError, match="437,732 bytes, but the card states 437,728"):
        tfgen.zoo.fetch(server.address)
    assert not partial_files(home)


def test_a_response_from_another_byte_is_refused(server):
    server.breaks[preset.WEIGHTS] = 200_000
    server.wrong_range = True
    with pytest.raises(InputError, match=f"from byte {KEPT}, the response starts elsewhere"):
        tfgen.zoo.fetch(server.address)


def test_a_card_with_another_digest_is_refused_before_anything_is_fetched(server, published, home):
    with pytest.raises(InputError, match=r"card.json: expected sha256 0000"):
        tfgen.zoo.fetch(server.address, sha256="0" * 64)
    assert [file for file, _ in server.asked] == [preset.CARD]
    assert not (home / "fetched").exists()


@pytest.mark.parametrize(
    ("card", "message"),
    [
        (b"<html>", "is not the card of a model"),
        (b"[]", "is not the card of a model"),
        (b'{"name": "../../x", "files": {}}', "is not the card of a model"),
        (b'{"name": "x", "version": 0, "files": {}}', "is not the card of a model"),
        (b'{"name": "x", "files": {"../up": "00"}}', "is not a file of a model"),
        (b'{"name": "x", "files": {"card": "00"}}', "is not a file of a model"),
        (b'{"name": "x", "files": {}}', "does not list config.json"),
    ],
)
def test_harmful_cards_are_refused(card, message, server, home):
    server.files[preset.CARD] = card
    with pytest.raises(InputError, match=message):
        tfgen.zoo.fetch(server.address)
    assert not (home / "fetched").exists()


def test_sources_without_a_model_say_so(server, tmp_path):
    server.files.clear()
    with pytest.raises(InputError, match=r"card.json: the server answered 404"):
        tfgen.zoo.fetch(server.address)
    with pytest.raises(InputError, match="is neither a directory nor an http or https URL"):
        tfgen.zoo.fetch("ftp://example.org/model")
    with pytest.raises(InputError, match=r"card.json: No such file"):
        tfgen.zoo.fetch(tmp_path)
    with pytest.raises(InputError, match=r"127.0.0.1.*refused"):
        tfgen.zoo.fetch("http://127.0.0.1:9/model")


def test_another_model_of_the_same_name_and_version_is_not_replaced(published, tmp_path):
    tfgen.zoo.fetch(published)
    other = tmp_path / NAME
    tfgen.models.VAE((8, 8, 1), latent_dim=2, hidden_units=[4]).save_preset(other)
    with pytest.raises(InputError, match="already contains another model of this name and version"):
        tfgen.zoo.fetch(other)
