"""How the pages in this folder become a site: ``sphinx-build -W docs build/site``.

The site needs no network, when built or when read. Notebooks are shown as they were committed: the
tests run them.
"""

import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

project = "dbn_jax"
author = "The dbn_jax authors"
project_copyright = author
html_title = "dbn_jax"

extensions = [
    "docstrings",
    "mathml",
    "myst_nb",
    "notebook_pictures",
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

# The page to play with, one file. Home has a link to it.
model, file = "experiments/results/digit_model", HERE / "_page" / "digit_model.html"
file.parent.mkdir(exist_ok=True)
command = [sys.executable, "-m", "experiments.page", f"--pretrained={model}", f"--file={file}"]
subprocess.run(command, cwd=HERE.parent, check=True, stdout=subprocess.DEVNULL)
html_extra_path = ["_page"]

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


def setup(app):
    """Notebooks lie in colab/; Sphinx reads only what is below this folder."""
    for notebook in (HERE.parent / "colab").glob("*.ipynb"):
        shutil.copy2(notebook, HERE / "learn" / notebook.name)
