"""Where a model server listens."""

from typing import NamedTuple
from urllib.parse import urlsplit

from kseg.console.errors import InputError


class Address(NamedTuple):
    """A host, by name or number, and a port of it."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def address_of(server: str, default_port: int) -> Address:
    """Return the address that a user names as HOST, HOST:PORT or [IPv6]:PORT.

    Raises:
        InputError: it is none.
    """
    try:
        parts = urlsplit(f"//{server}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or parts.netloc != server or "@" in server or server.endswith(":"):
        raise InputError(f"--server must be HOST or HOST:PORT: received '{server}'")
    return Address(host, default_port if port is None else port)
