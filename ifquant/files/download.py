"""One file from the network into a place on disk: TLS verified, whole or not at all."""

from __future__ import annotations

import http.client
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from ifquant.errors import MissingDependency
from ifquant.files import storage

CHUNK = 1 << 22
TIMEOUT_S = 60


def fetch(url: str, final: Path) -> None:
    """Download `url` to `final`.

    The certificate of the server is checked against the system's authorities, whatever other
    packages did to Python's defaults.

    Raises
    ------
    MissingDependency
        If the server cannot be reached, is not who it says it is, has no such file, or the
        connection breaks.
    ResourceError
        If the file cannot be written.
    """
    remedy = (
        f"without a network, download it elsewhere and put it at {final}, or give the absolute path"
        " of a file you have"
    )
    if not url.startswith("https://"):
        raise MissingDependency(f"{url} is not fetched: only https:// is; {remedy}")
    storage.write_blocks(final, _blocks(url, remedy))


def _blocks(url: str, remedy: str) -> Iterator[bytes]:
    try:
        response = urllib.request.urlopen(
            url, timeout=TIMEOUT_S, context=ssl.create_default_context()
        )
    except (urllib.error.URLError, OSError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it holds the connection
        raise MissingDependency(
            f"{url} cannot be downloaded ({getattr(error, 'reason', error)}); {remedy}"
        ) from error
    with response:
        if not response.geturl().startswith("https://"):
            raise MissingDependency(
                f"{url} leads to {response.geturl()}, which is not https; {remedy}"
            )
        expected = response.headers.get("Content-Length")
        received = 0
        while chunk := _read(response, url, remedy):
            yield chunk
            received += len(chunk)
    if expected is not None and received != int(expected):
        raise MissingDependency(
            f"{url}: the connection broke after {received} of {expected} bytes; run again, or"
            f" {remedy}"
        )


def _read(response: http.client.HTTPResponse, url: str, remedy: str) -> bytes:
    try:
        return response.read(CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise MissingDependency(
            f"{url}: the connection broke ({error}); run again, or {remedy}"
        ) from error
