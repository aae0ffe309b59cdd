"""Where files are found, and downloads from a server on this machine: right, wrong, interrupted."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from playbook.data.files import DataFolder, RemoteFile
from playbook.errors import InputError

CONTENT = b"data" * 1000


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/missing":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[:100] if self.path == "/interrupted" else CONTENT)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server():
    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def isolated(monkeypatch, tmp_path):
    import pooch

    monkeypatch.setattr(pooch.core.time, "sleep", lambda _: None)  # between its tries
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.chdir(tmp_path)


def remote(url: str, content: bytes = CONTENT) -> RemoteFile:
    return RemoteFile("file.gz", url, "md5:" + hashlib.md5(content).hexdigest())


def test_the_places_in_their_order(tmp_path):
    system, file = tmp_path / "system", remote("http://unused")
    places = [Path("data_cache/file.gz"), Path("data_cache/set/file.gz"), system / "file.gz"]
    for place in reversed(places):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
        assert DataFolder("set", None, False, system).get(file) == place


def test_a_root_of_the_users_is_the_only_place(tmp_path):
    (tmp_path / "system").mkdir()
    (tmp_path / "system" / "file.gz").touch()
    (tmp_path / "mine").mkdir()
    mine = DataFolder("set", str(tmp_path / "mine"), False, tmp_path / "system")
    with pytest.raises(
        InputError, match=r"file.gz of set was not found in .*mine, .*mine/set: type data.download=true"
    ):
        mine.get(remote("http://unused"))
    (tmp_path / "mine" / "file").touch()
    assert mine.get(remote("http://unused"), "file") == tmp_path / "mine" / "file"
    missing = DataFolder("set", str(tmp_path / "mistyped"), False, tmp_path / "system")
    with pytest.raises(InputError, match=r"data.root=.*mistyped is not a folder"):
        missing.get(remote("http://unused"))


@pytest.mark.parametrize("root", [None, "new/folder"])
def test_a_download_is_kept_and_not_repeated(server, root):
    folder = DataFolder("set", root, True)
    path = folder.get(remote(f"{server}/file"))
    assert path.resolve() == (Path(root or "data_cache") / "set" / "file.gz").resolve()
    assert path.read_bytes() == CONTENT
    assert DataFolder("set", root, False).get(remote(f"{server}/missing")).resolve() == path.resolve()


@pytest.mark.parametrize(
    ("page", "content", "reason"),
    [("file", b"another", "hash"), ("interrupted", CONTENT, ""), ("missing", CONTENT, "404")],
)
def test_a_download_that_fails_is_one_line_and_leaves_nothing(server, page, content, reason):
    with pytest.raises(
        InputError, match=f"{server}/{page} could not be fetched into data_cache/set: .*{reason}"
    ) as error:
        DataFolder("set", None, True).get(remote(f"{server}/{page}", content))
    assert "\n" not in str(error.value)
    assert [path for path in Path("data_cache").rglob("*") if path.is_file()] == []
