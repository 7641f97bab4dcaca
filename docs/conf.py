"""How Sphinx builds the site: `make docs`. Pages are Markdown that is also readable in the repository."""

import re
from pathlib import Path

from docutils import nodes
from pygments.lexers.configs import IniLexer
from pygments.lexers.sql import PostgresLexer
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

ROOT = Path(__file__).parents[1]
[VERSION] = re.findall(r'__version__ = "(.+)"', (ROOT / "worker" / "crm_sync" / "__init__.py").read_text(encoding="utf-8"))

project = "crm-sync"
author = "The crm-sync authors"
project_copyright = author
version = release = VERSION

extensions = ["myst_parser", "sphinx_copybutton"]
exclude_patterns = ["_build", "generate", "examples"]
myst_enable_extensions = ["attrs_block", "deflist"]
myst_heading_anchors = 4
nitpicky = True

html_theme = "furo"
html_title = f"crm-sync {VERSION}"
html_static_path = ["_static"]
html_css_files = ["crm-sync.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {
    "source_repository": "https://github.com/crm-sync/crm-sync",
    "source_branch": "main",
    "source_directory": "docs/",
}
copybutton_exclude = ".linenos, .gp, .go"


class BothThemes(SphinxTransform):
    """A picture taken in both themes is shown in the reader's theme. The page names the light one, which the repository shows."""

    default_priority = 400  # before images are collected

    def apply(self) -> None:
        for light in list(self.document.findall(nodes.image)):
            if light["uri"].endswith("-light.png"):
                dark = light.deepcopy()
                dark["uri"] = light["uri"].replace("-light.png", "-dark.png")
                light["classes"].append("only-light")
                dark["classes"].append("only-dark")
                light.parent.insert(light.parent.index(light) + 1, dark)


def setup(app: Sphinx) -> None:
    """SQL means PostgreSQL here, with its quotes and parameters; a .env is highlighted like the files it resembles."""
    app.add_transform(BothThemes)
    app.add_lexer("sql", PostgresLexer)
    app.add_lexer("dotenv", IniLexer)
