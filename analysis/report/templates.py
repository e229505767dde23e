"""Fills the HTML templates of the report."""

from pathlib import Path
from typing import Any

import jinja2

from analysis.tables import formats

TEMPLATES = Path(__file__).parent.parent / "templates"


def render(template: str, **values: Any) -> str:
    """A template of ``analysis/templates`` as text; everything from data is escaped, an unknown name is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["sup"] = formats.html
    return environment.get_template(template).render(**values)
