"""What an owner needs after a relocation, as files: what changed, and how old DSNs go on."""

import csv
import io
import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

MAX_ATTACHED: Final = 1024**2
"""Most bytes of a kit that goes with a mail; a larger one is asked for."""
KIT: Final = "handover.zip"

_TABLES: Final[Mapping[str, Sequence[str]]] = {
    "organizations": ("old_slug", "slug", "id"),
    "keys": (
        "organization",
        "project",
        "label",
        "old_project_id",
        "project_id",
        "old_public_key",
        "public_key",
        "dsn",
        "rewritable",
    ),
    "usernames": ("old_username", "username"),
    "not_moved": ("what", "count", "why"),
}
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""The time of every file: the same facts give the same bytes."""


def kit_files(facts: Mapping[str, Any]) -> dict[str, str]:
    """Return the files of a kit by name, from its facts as plain JSON data."""
    tables = {
        f"{name.replace('_', '-')}.csv": _table(columns, facts[name])
        for name, columns in _TABLES.items()
    }
    moved = {one["old_project_id"]: one["project_id"] for one in facts["keys"]}
    origin = facts["ingest_url"]
    return {
        "handover.json": json.dumps(facts, indent=2, ensure_ascii=False) + "\n",
        **tables,
        "nginx-http.conf": _nginx_map(moved),
        "nginx-server.conf": _nginx_server(origin),
        "Caddyfile": _caddy(moved, origin),
    }


def kit_archive(facts: Mapping[str, Any]) -> bytes:
    """Return the files as one zip; the same facts give the same bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as kit:
        for name, text in kit_files(facts).items():
            info = zipfile.ZipInfo(name, _EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            kit.writestr(info, text)
    return out.getvalue()


def write_csv(
    out: io.TextIOBase, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]
) -> None:
    """Write rows under a line of their columns, safe to be opened in a spreadsheet."""
    writer = csv.writer(out)
    writer.writerow(columns)
    writer.writerows([_safe(row.get(column)) for column in columns] for row in rows)


def _safe(value: Any) -> Any:
    """Return a value that no spreadsheet takes for a formula: an export's text is anybody's."""
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return f"'{value}"
    return value


def _table(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    out = io.StringIO(newline="")
    write_csv(out, columns, rows)
    return out.getvalue()


def _nginx_map(moved: Mapping[int, int]) -> str:
    lines = "".join(f"    {old} {new};\n" for old, new in sorted(moved.items()))
    return f"""\
# For the http block of the server that answers for the old host: from the ids of projects there to
# those of the new host.
map $relocation_old $relocation_new {{
    default "";
{lines}}}
"""


def _nginx_server(origin: str) -> str:
    return f"""\
# For the server block of the old host, before its other locations. Replace OLD_BACKEND by what
# answered there before: events of projects that did not move still go to it.
location ~ ^/api/(?<relocation_old>[0-9]+)/ {{
    error_page 418 = @relocation_stays;
    if ($relocation_new = "") {{ return 418; }}
    rewrite ^/api/[0-9]+/(.*)$ /api/$relocation_new/$1 break;
    proxy_pass {origin};
    proxy_set_header Host {urlsplit(origin).netloc};
    proxy_ssl_server_name on;
}}
location @relocation_stays {{
    proxy_pass http://OLD_BACKEND;
}}
"""


def _caddy(moved: Mapping[int, int], origin: str) -> str:
    lines = "".join(f"\t\t{old} {new}\n" for old, new in sorted(moved.items()))
    return f"""\
# For the site block of the old host, before its other handlers. Replace OLD_BACKEND by what
# answered there before: events of projects that did not move still go to it.
@relocation path_regexp relocation ^/api/([0-9]+)/(.*)$
handle @relocation {{
\tmap {{re.relocation.1}} {{relocation_new}} {{
{lines}\t\tdefault stays
\t}}
\t@relocation_moved not vars {{relocation_new}} stays
\thandle @relocation_moved {{
\t\trewrite * /api/{{relocation_new}}/{{re.relocation.2}}
\t\treverse_proxy {origin} {{
\t\t\theader_up Host {urlsplit(origin).netloc}
\t\t}}
\t}}
\thandle {{
\t\treverse_proxy OLD_BACKEND
\t}}
}}
"""
