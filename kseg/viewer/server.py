"""Serves a scene to a browser on this machine, and nothing else to anybody else.

It listens on 127.0.0.1 alone. Every address begins with a token that only the line in the terminal names, and stands
for a page, a volume or a table that is made anew: no path of a file is ever taken from a request. A page of another
site that a browser has open cannot reach it either: it does not know the token, and a request that was sent to another
host's name (DNS rebinding) or by another site's page is refused.
"""

import json
import re
import secrets
from collections.abc import Callable
from functools import lru_cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from typing import Any
from urllib.parse import parse_qs, urlsplit

from kseg.console.command_names import command_name
from kseg.console.disk_errors import refusal
from kseg.console.errors import InputError
from kseg.viewer.page import NIIVUE, SCRIPT, STYLE, asset, described, page
from kseg.viewer.scene import Scene
from kseg.viewer.volume_files import image_file, mask_file, measured_masks

HOST = "127.0.0.1"
OWN_NAMES = (HOST, "localhost")
KEPT_FILES = 4
"""Volumes that are kept in memory: image and masks of the case that is looked at."""
IMAGE = re.compile(r"case/(\d{1,6})/image/(\d{1,6})\.nii")
MASK = re.compile(r"case/(\d{1,6})/mask/(\d{1,6})\.nii")
MEASURES = re.compile(r"case/(\d{1,6})/measures\.json")
JSON, BYTES = "application/json", "application/octet-stream"
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "connect-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class ViewServer(ThreadingHTTPServer):
    """A server of one scene.

    Args:
        make_scene: makes what it shows; once more when the page is loaded and files have changed since.
        port: to listen on; 0 for any that is free.

    Raises:
        InputError: as `make_scene` does; or the port is taken, or not for this user.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, make_scene: Callable[[], Scene], port: int = 0) -> None:
        self._make_scene = make_scene
        self.scene = make_scene()
        self.token = secrets.token_urlsafe(32)
        self._one_at_a_time = Lock()
        self._cached = lru_cache(KEPT_FILES)(self._volume)
        try:
            super().__init__((HOST, port), _Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"port {port} of {HOST} cannot be listened on ({reason}): choose another --port") from None

    @property
    def address(self) -> str:
        """Where the page is."""
        return f"http://{HOST}:{self.server_address[1]}/{self.token}/"

    def answer(self, resource: str, query: str) -> tuple[str, bytes] | None:
        """Return the type and the content of what a path behind the token stands for; None where it is nothing.

        Raises:
            InputError: a file of the scene is damaged.
        """
        texts = {
            "": ("text/html; charset=utf-8", lambda: page(self.scene.title).encode()),
            SCRIPT: ("text/javascript; charset=utf-8", lambda: asset(SCRIPT)),
            STYLE: ("text/css; charset=utf-8", lambda: asset(STYLE)),
            NIIVUE: ("text/javascript; charset=utf-8", lambda: asset(NIIVUE)),
            "scene.json": (JSON, self._renewed),
        }
        if resource in texts:
            kind, content = texts[resource]
            return kind, content()
        with self._one_at_a_time:  # so that memory does not depend on how many ask
            return self._of_case(resource, _point(query))

    def _renewed(self) -> bytes:
        """Return the scene for the page, made anew if a file has changed since."""
        with self._one_at_a_time:
            if self.scene.changed_file is not None:
                self.scene = self._make_scene()
                self._cached.cache_clear()
            return json.dumps(described(self.scene), allow_nan=False).encode()

    def _of_case(self, resource: str, at_mm: tuple[float, ...] | None) -> tuple[str, bytes] | None:
        cases = self.scene.cases
        if changed := self.scene.changed_file:
            raise InputError(f"'{changed}' has changed since the page was loaded: load it again")
        if (found := MEASURES.fullmatch(resource)) and int(found[1]) < len(cases):
            measured = measured_masks(cases[int(found[1])].open(), self.scene.structures)
            return JSON, json.dumps(measured, allow_nan=False).encode()
        for pattern in (IMAGE, MASK):
            if (found := pattern.fullmatch(resource)) and int(found[1]) < len(cases):
                case, number = int(found[1]), int(found[2])
                there = cases[case].channels if pattern is IMAGE else cases[case].masks
                if number < len(there):
                    return BYTES, self._cached(pattern is IMAGE, case, number, at_mm)
        return None

    def _volume(self, of_image: bool, case: int, number: int, at_mm: tuple[float, ...] | None) -> bytes:
        shown = self.scene.cases[case]
        if of_image:
            return image_file(shown, number, at_mm)
        return mask_file(shown, number, self.scene.structures, at_mm)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a browser that went away while it was answered."""


class _Handler(BaseHTTPRequestHandler):
    server: ViewServer
    server_version, sys_version = "kseg", ""
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        """Answer with a resource, or with a line that says why not."""
        try:
            address = urlsplit(self.path)
            refused = self._refused(address.path)
        except ValueError:
            address, refused = urlsplit(""), (HTTPStatus.BAD_REQUEST, "this is no address")
        if refused is not None:
            status, line = refused
            return self._send(status, "text/plain; charset=utf-8", line.encode())
        resource = address.path[len(self.server.token) + 2 :]
        try:
            answered = self.server.answer(resource, address.query)
        except Exception as error:
            line = str(error) if isinstance(error, InputError) else refusal(error) or f"kseg failed: {error!r}"
            return self._send(HTTPStatus.UNPROCESSABLE_ENTITY, "text/plain; charset=utf-8", line.encode())
        if answered is None:
            return self._send(HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", b"there is nothing of that name")
        return self._send(HTTPStatus.OK, *answered)

    do_HEAD = do_GET

    def _refused(self, path: str) -> tuple[HTTPStatus, str] | None:
        """Return why a request is none of the page's, if so."""
        hosts = self.headers.get_all("Host") or []
        if len(hosts) != 1 or _name_of(hosts[0]) not in OWN_NAMES:
            return HTTPStatus.MISDIRECTED_REQUEST, f"this server is {HOST} alone"
        origin = self.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != hosts[0]:
            return HTTPStatus.FORBIDDEN, "another site's page may ask nothing of this server"
        token, slash, _ = path.removeprefix("/").partition("/")
        if (
            not path.startswith("/")
            or not slash
            or not secrets.compare_digest(token.encode(), self.server.token.encode())
        ):
            return (
                HTTPStatus.FORBIDDEN,
                f"the address lacks the token: open the one that {command_name('view')} printed",
            )
        return None

    def _send(self, status: HTTPStatus, kind: str, content: bytes) -> None:
        self.send_response(status)
        for name, value in {**HEADERS, "Content-Type": kind, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the terminal for people."""


def _name_of(host: str) -> str:
    """Return the name in a Host header, without its port."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdecimal() else host).lower()


def _point(query: str) -> tuple[float, ...] | None:
    """Return the point that `at=x,y,z` names, RAS mm; None where it names none."""
    try:
        point = tuple(float(word) for word in parse_qs(query).get("at", [""])[0].split(","))
    except ValueError:
        return None
    return point if len(point) == 3 and all(abs(one) < 1e9 for one in point) else None
