"""How the pages in this folder become a site: ``sphinx-build -W docs build/site``.

The site needs no network, when built or when read. Notebooks are shown as they were committed: the
tests run them.
"""

import pathlib
import re
import shutil
import subprocess
import sys

import ipython_pygments_lexers
import jax
import optax
from sphinx.domains.python import PyObject

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

project = "dbn_jax"
author = "The dbn_jax authors"
project_copyright = author
html_title = "dbn_jax"

extensions = [
    "mathml",
    "model_cards",
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_*"]
templates_path = []

# Markdown, and notebooks with the outputs they have.
myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"

# Single backticks in docstrings are links to what they name.
default_role = "py:obj"
add_module_names = False
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_attr_annotations = False

for field in PyObject.doc_field_types:
    if field.name == "variable":
        field.label = "Fields"

_MARKS = re.compile(r"\||(?<=\()\*(?=\w)")
# Users know them by these names, and not by the private modules that define them.
jax.Array.__module__, jax.Array.__name__, jax.Array.__qualname__ = "jax", "Array", "Array"
optax.GradientTransformation.__module__ = "optax"
jax.sharding.Mesh.__module__ = "jax.sharding"

_ORIGINS = re.compile(r"~?\b(jax|jaxtyping|numpy|collections\.abc|typing)\.(?=[A-Zn])|~")

# The page to play with, one file. Home has a link to it.
if (HERE.parent / "experiments" / "page.py").exists():
    model = HERE.parent / "experiments" / "results" / "digit_model"
    file = HERE / "_page" / "digit_model.html"
    file.parent.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "experiments.page", f"--pretrained={model}", f"--file={file}"]
    subprocess.run(command, cwd=HERE.parent, check=True, stdout=subprocess.DEVNULL)
    html_extra_path = ["_page"]
    tags.add("page")  # noqa: F821, Sphinx's

html_theme = "sphinx_book_theme"
html_theme_options = {
    "home_page_in_toc": False,
    "navbar_persistent": [],
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "use_download_button": False,
    "use_fullscreen_button": False,
}
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True


def plain(app, what, name, obj, options, lines):
    """Docstrings are written for readers of the source: what they show indented stays as it is."""
    text = "\n".join(lines)
    text = re.sub(r"(?m)^(\S.*)\n\n(?=    )", r"\1\n\n::\n\n", text)
    # Absolute values and (*batch, rows, columns) are no markup.
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


def setup(app):
    """Notebooks lie in colab/; Sphinx reads only what is below this folder."""
    for notebook in (HERE.parent / "colab").glob("*.ipynb"):
        shutil.copy2(notebook, HERE / "learn" / notebook.name)
    app.add_lexer("python", ipython_pygments_lexers.IPython3Lexer)  # of cells with !git
    app.connect("autodoc-process-docstring", plain, priority=400)
    app.connect("autodoc-process-signature", short)
    app.connect("missing-reference", of_package)
