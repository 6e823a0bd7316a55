"""httptools, which comes without types, as the two readers use it."""

from __future__ import annotations

from typing import Any, Protocol, cast

import httptools

ParserError: type[Exception] = httptools.HttpParserError
ParserUpgrade: type[Exception] = httptools.HttpParserUpgrade


class Parser(Protocol):
    """The part of `httptools.HttpRequestParser` and `HttpResponseParser` in use here."""

    def feed_data(self, data: bytes) -> None: ...
    def get_http_version(self) -> str: ...


class RequestParser(Parser, Protocol):
    def get_method(self) -> bytes: ...


class ResponseParser(Parser, Protocol):
    def get_status_code(self) -> int: ...


def request_parser(callbacks: Any) -> RequestParser:
    """A parser that calls `callbacks.on_url`, `on_header`, `on_headers_complete`, … ."""
    return cast(RequestParser, httptools.HttpRequestParser(callbacks))


def response_parser(callbacks: Any) -> ResponseParser:
    """A parser that calls `callbacks.on_status`, `on_header`, `on_body`, … ."""
    return cast(ResponseParser, httptools.HttpResponseParser(callbacks))
