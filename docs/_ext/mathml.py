"""Renders formulas as MathML, which browsers show by themselves: no script, no font, no request."""

from docutils import nodes
from latex2mathml import converter


def setup(app):
    """Registers the renderer; conf.py chooses it by ``html_math_renderer``."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _inline(writer, node):
    writer.body.append(converter.convert(node.astext()))
    raise nodes.SkipNode


def _block(writer, node):
    formula = converter.convert(node.astext(), display="block")
    writer.body.append(f'<div class="formula">{formula}</div>')
    raise nodes.SkipNode
