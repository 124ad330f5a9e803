"""For mkdocs (mkdocs.yml): links from the documents to other files of the repository, which are no part of the site.

Owns nothing. Such a file has to be there; on the site its path stands in place of the link.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

log = logging.getLogger("mkdocs.hooks.links")

_LINK = re.compile(r"\[([^\]\n]*)\]\(((?:\.\./)[^)#\s]*)(#[^)\s]*)?\)")


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Called by mkdocs with each page."""
    documents = Path(config["docs_dir"]).resolve()
    folder = Path(page.file.abs_src_path).resolve().parent

    def plain(found: re.Match[str]) -> str:
        target = (folder / found[2]).resolve()
        if target.is_relative_to(documents):
            return found[0]
        if not target.exists():
            log.warning("%s: there is no %s", page.file.src_uri, found[2])
        path = target.relative_to(documents.parent)
        return found[1] if found[1].strip("`") == str(path) else f"{found[1]} (`{path}`)"

    return _LINK.sub(plain, markdown)
