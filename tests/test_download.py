"""Downloads: from a server whose certificate is checked, whole or not at all. The server is on this
machine.
"""

from __future__ import annotations

import http.server
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from ifquant.errors import MissingDependency
from ifquant.files.download import fetch

CONTENT = bytes(range(256)) * 40_000


class Handler(http.server.BaseHTTPRequestHandler):
    """/file whole, /broken less than announced, /away leads to plain http, anything else is
    missing.
    """

    def do_GET(self) -> None:
        if self.path == "/away":
            self.send_response(302)
            self.send_header("Location", f"http://localhost:{self.server.server_address[1]}/file")
            self.end_headers()
            return
        self.send_response(200 if self.path in ("/file", "/broken") else 404)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        if self.path in ("/file", "/broken"):
            self.wfile.write(CONTENT if self.path == "/file" else CONTENT[:1000])

    def log_message(self, *args: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up on a certificate are expected here."""


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def url(authority: trustme.CA) -> Iterator[str]:
    server = Server(("localhost", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    server.socket = context.wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"https://localhost:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))


def refused(match: str, url: str, folder: Path) -> None:
    with pytest.raises(MissingDependency, match=match) as caught:
        fetch(url, folder / "models" / "file")
    assert str(folder / "models" / "file") in str(caught.value), "where to put it by hand"
    assert not any(path.is_file() for path in (folder / "models").rglob("*"))


@pytest.mark.usefixtures("trusted")
def test_a_file_arrives_whole(url: str, tmp_path: Path) -> None:
    fetch(f"{url}/file", tmp_path / "models" / "file")
    assert (tmp_path / "models" / "file").read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["file"]


def test_a_server_nobody_vouches_for_is_refused_even_when_python_was_told_not_to_check(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """cellpose's own download switches verification off for the whole process, as is done here."""
    monkeypatch.setattr(ssl, "_create_default_https_context", ssl._create_unverified_context)
    refused("CERTIFICATE_VERIFY_FAILED|certificate verify failed", f"{url}/file", tmp_path)


@pytest.mark.usefixtures("trusted")
def test_what_goes_wrong_leaves_nothing(url: str, tmp_path: Path) -> None:
    refused("404|Not Found", f"{url}/missing", tmp_path)
    refused("broke", f"{url}/broken", tmp_path)
    refused("cannot be downloaded|not https", f"{url}/away", tmp_path)
    refused("only https", "http" + f"{url}/file".removeprefix("https"), tmp_path)
    refused("cannot be downloaded", "https://localhost:9/file", tmp_path)
