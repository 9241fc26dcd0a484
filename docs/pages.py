"""What MkDocs does to the pages: README and CONTRIBUTING join, links to code become text."""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
JOINING = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md"}
_LINK = re.compile(r"\[([^\]\[]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that stand in the root of the project."""
    for source, page in JOINING.items():
        content = _from_root((ROOT / source).read_text(encoding="utf-8"))
        files.append(File.generated(config, page, content=content))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Leave the words of a link that leads out of docs/, to code that the site does not have."""
    return _LINK.sub(lambda link: link[1] if link[2].startswith("../") else link[0], markdown)


def _from_root(markdown: str) -> str:
    """Return a page of the root with its links as they are seen from docs/."""

    def seen(link: re.Match[str]) -> str:
        target = JOINING.get(link[2], link[2].removeprefix("docs/"))
        inside = link[2] in JOINING or link[2].startswith("docs/") or "://" in link[2]
        return f"[{link[1]}]({target}{link[3] or ''})" if inside else link[1]

    return _LINK.sub(seen, markdown)
