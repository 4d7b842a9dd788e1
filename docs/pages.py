"""A hook of MkDocs: pages of the site that stand elsewhere in the repository, so that each text is in one place.

Links are written as GitHub follows them, from file to file. Here they become links between the pages of the site.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File, Files

HOME = Path(__file__).parents[1]
# Files of the repository, and their names on the site.
ELSEWHERE = {
    "README.md": "index.md",
    "config/README.md": "config.md",
    "results/README.md": "results.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "CODE_OF_CONDUCT.md": "code-of-conduct.md",
    "CITATION.cff": "CITATION.cff",
    "LICENSE": "LICENSE",
}
ORIGINS = {page: origin for origin, page in ELSEWHERE.items()}


def on_files(files: Files, config) -> Files:
    """Add the pages that do not stand in docs/."""
    for origin, page in ELSEWHERE.items():
        files.append(File.generated(config, page, abs_src_path=str(HOME / origin)))
    return files


def on_page_markdown(markdown: str, page, **_) -> str:
    """Return the text of a page with its links to files of the repository turned into links to pages of the site."""
    here = page.file.src_uri
    folder = posixpath.dirname(ORIGINS.get(here, f"docs/{here}"))

    def link(found: re.Match) -> str:
        target = posixpath.normpath(posixpath.join(folder, found["path"]))
        place = ELSEWHERE.get(target, posixpath.relpath(target, "docs"))
        return f"]({place}{found['anchor']})"

    return re.sub(r"\]\((?!\w+:|#)(?P<path>[^)#\s]+)(?P<anchor>[^)\s]*)\)", link, markdown)
