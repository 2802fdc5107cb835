# SPDX-License-Identifier: Apache-2.0
"""MkDocs hook: let relative links lead to the same file on the site as in the repository.

The README is the first page of the site, and every other published file outside ``docs/`` keeps its
path.
"""

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]

OUTSIDE = (
    'README.md',
    'CONTRIBUTING.md',
    'checkpoints/README.md',
    'config/*',
    'examples/*.py',
)
"""Published files outside ``docs/``, as patterns relative to the repository."""

RELATIVE_LINK = re.compile(r'(?<=\]\()(?!\w+:|#)[^)#]+')


def on_files(files: Files, config: Any) -> Files:
    """Add the files outside ``docs/``."""
    for pattern in OUTSIDE:
        for path in sorted(ROOT.glob(pattern)):
            files.append(File.generated(config, _site_path(path), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Rewrite links between files of the repository as links between files of the site."""
    source = Path(page.file.abs_src_path)
    page_folder = Path(page.file.src_uri).parent

    def on_site(link: re.Match[str]) -> str:
        target = Path(os.path.normpath(source.parent / link[0]))
        return os.path.relpath(_site_path(target), page_folder)

    return RELATIVE_LINK.sub(on_site, markdown)


def _site_path(path: Path) -> str:
    name = path.relative_to(ROOT).as_posix()
    return 'index.md' if name == 'README.md' else name.removeprefix('docs/')
