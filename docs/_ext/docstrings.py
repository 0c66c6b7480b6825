"""Docstrings as the reference shows them: they are written for readers of the source."""

import re

import jax
import optax
from sphinx.domains.python import PyObject

# Absolute values, and the star of (*batch, rows, columns), are no markup.
_MARKS = re.compile(r"\||(?<=\()\*(?=\w)")
_ORIGINS = re.compile(r"~?\b(jax|jaxtyping|numpy|collections\.abc|typing)\.(?=[A-Zn])|~")


def setup(app):
    """Connects what is below; docstrings are seen before their sections are parsed."""
    app.setup_extension("sphinx.ext.autodoc")
    # Users know these classes by public names, and not by the private modules that define them.
    jax.Array.__module__, jax.Array.__name__, jax.Array.__qualname__ = "jax", "Array", "Array"
    optax.GradientTransformation.__module__ = "optax"
    jax.sharding.Mesh.__module__ = "jax.sharding"
    for field in PyObject.doc_field_types:
        if field.name == "variable":
            field.label = "Fields"
    app.connect("autodoc-process-docstring", plain, priority=400)
    app.connect("autodoc-process-signature", short)
    app.connect("missing-reference", of_package)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def plain(app, what, name, obj, options, lines):
    """What docstrings show indented stays as it is."""
    text = "\n".join(lines)
    text = re.sub(r"(?m)^(\S.*)\n\n(?=    )", r"\1\n\n::\n\n", text)
    lines[:] = [
        line if line.startswith("    ") or "``" in line else _MARKS.sub(r"\\\g<0>", line)
        for line in text.splitlines()
    ]


def short(app, what, name, obj, options, signature, returns):
    """Types in signatures bear the names that they have in the source.

    Flax gives its classes no signature; functions make them.
    """
    if signature == "(*args: Any, **kwargs: Any)":
        signature = ""
    return tuple(text and _ORIGINS.sub("", text) for text in (signature, returns))


def of_package(app, env, node, contnode):
    """`rbm.cd_step` is found from everywhere in the package, as its modules import each other."""
    domain, target = env.domains.python_domain, f"dbn_jax.{node['reftarget']}"
    if node["refdomain"] != "py" or target not in domain.objects:
        return None
    return domain.resolve_xref(
        env, node["refdoc"], app.builder, node["reftype"], target, node, contnode
    )
