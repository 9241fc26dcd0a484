"""The files of a hand-over kit: what they say, and what real proxies make of them."""

import csv
import http.client
import io
import json
import shutil
import subprocess
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from relocation.local.processes import free_port
from relocation.notices.handover_kit import kit_archive, kit_files


def key(old: int, new: int, **more: object) -> dict[str, Any]:
    return {
        "organization": "acme",
        "project": "web",
        "label": "Default",
        "old_project_id": old,
        "project_id": new,
        "old_public_key": "a" * 32,
        "public_key": "a" * 32,
        "dsn": f"https://{'a' * 32}@new.example.org/{new}",
        "rewritable": True,
        **more,
    }


def facts(ingest_url: str = "https://new.example.org", **more: object) -> dict[str, Any]:
    return {
        "relocation_id": "r-1",
        "ingest_url": ingest_url,
        "organizations": [{"old_slug": "acme", "slug": "acme-x7", "id": 4}],
        "keys": [key(1, 5), key(1, 5, label="Second"), key(12, 51), key(7, 1)],
        "usernames": [{"old_username": "ann", "username": "ann-x7"}],
        "not_moved": [{"what": "integrations", "count": 3, "why": "They are not taken."}],
        **more,
    }


def test_the_kit_is_the_same_bytes_for_the_same_facts() -> None:
    assert kit_archive(facts()) == kit_archive(facts())
    with zipfile.ZipFile(io.BytesIO(kit_archive(facts()))) as kit:
        assert {name: kit.read(name).decode() for name in kit.namelist()} == kit_files(facts())


def test_tables_and_json_say_the_same() -> None:
    files = kit_files(facts())
    assert json.loads(files["handover.json"]) == facts()
    keys = list(csv.DictReader(io.StringIO(files["keys.csv"])))
    assert [row["dsn"] for row in keys] == [one["dsn"] for one in facts()["keys"]]
    renamed = list(csv.DictReader(io.StringIO(files["usernames.csv"])))
    assert renamed == facts()["usernames"]


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t"])
def test_no_text_of_an_export_is_a_formula_in_a_spreadsheet(begin: str) -> None:
    evil = f"{begin}HYPERLINK(1)"
    files = kit_files(facts(keys=[key(1, 5, label=evil)]))
    (row,) = csv.DictReader(io.StringIO(files["keys.csv"]))
    assert row["label"] == f"'{evil}"


@contextmanager
def backend(name: str) -> Iterator[int]:
    """A server that says its name, and what it was asked for and as whom."""

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            said = json.dumps([name, self.path, self.headers["Host"], body.decode()]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def start_nginx(folder: Path, port: int, files: dict[str, str]) -> list[str]:
    for name, text in files.items():
        (folder / name).write_text(text)
    (folder / "nginx.conf").write_text(
        f"""
        daemon off; pid {folder}/pid; error_log stderr;
        events {{}}
        http {{
            access_log off;
            client_body_temp_path {folder}/a; proxy_temp_path {folder}/b;
            fastcgi_temp_path {folder}/c; uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
            include {folder}/nginx-http.conf;
            server {{ listen 127.0.0.1:{port}; include {folder}/nginx-server.conf; }}
        }}
        """
    )
    return ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")]


def start_caddy(folder: Path, port: int, files: dict[str, str]) -> list[str]:
    (folder / "kit").write_text(files["Caddyfile"])
    site = f"{{\n admin off\n}}\nhttp://127.0.0.1:{port} {{\n import {folder}/kit\n}}\n"
    (folder / "Caddyfile").write_text(site)
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]


@pytest.fixture(params=[start_nginx, start_caddy], ids=["nginx", "caddy"])
def proxy(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[str], list[str]]]:
    """A real proxy with the maps of the kit; sends an event to it and returns who answered what."""
    port = free_port()
    with backend("old") as old, backend("new") as new:
        files = {
            name: text.replace("OLD_BACKEND", f"127.0.0.1:{old}")
            for name, text in kit_files(facts(f"http://127.0.0.1:{new}")).items()
        }
        command = request.param(tmp_path, port, files)
        if not shutil.which(command[0]):
            pytest.skip(f"{command[0]} is not installed")
        log = (tmp_path / "log").open("w")
        environment = {"HOME": str(tmp_path), "PATH": "/usr/sbin:/usr/bin:/bin"}
        with subprocess.Popen(command, stdout=log, stderr=log, env=environment) as process:

            def send(path: str) -> list[str]:
                whole = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
                with closing(whole) as connection:
                    host = {"Host": "127.0.0.1"}
                    connection.request("POST", path, body="event", headers=host)
                    return list(json.loads(connection.getresponse().read()))

            try:
                wait_for(port, process, tmp_path / "log")
                yield lambda path: [part.replace(str(new), "NEW") for part in send(path)]
            finally:
                process.terminate()
                process.wait()
                log.close()


def wait_for(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Wait until the proxy listens; it does, or it ends."""
    while True:
        try:
            with closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
                connection.connect()
        except ConnectionRefusedError:
            assert process.poll() is None, log.read_text()
        else:
            return


def test_events_for_old_dsns_reach_the_new_projects_and_no_others(
    proxy: Callable[[str], list[str]],
) -> None:
    host = "127.0.0.1:NEW"
    expectations: dict[str, list[str | None]] = {
        "/api/1/envelope/?sentry_key=abc": ["new", "/api/5/envelope/?sentry_key=abc", host],
        "/api/12/store/": ["new", "/api/51/store/", host],
        # A number that is an old and a new id: the old one counts.
        "/api/7/envelope/": ["new", "/api/1/envelope/", host],
        # A project that did not move.
        "/api/5/envelope/?a=b": ["old", "/api/5/envelope/?a=b", None],
        "/api/123/envelope/": ["old", "/api/123/envelope/", None],
    }
    for path, expected in expectations.items():
        name, asked, seen_host, body = proxy(path)
        assert [name, asked, body] == [*expected[:2], "event"]
        if expected[2]:
            assert seen_host == expected[2]
