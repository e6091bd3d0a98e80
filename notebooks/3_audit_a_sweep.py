# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 3. Audit a sweep: does this network read the lungs?
#
# **Question.** A network has a perfect accuracy. What did it learn?
#
# Here we know the answer, because we plant it: in each phantom a token in the bottom margin, a
# letter, an electrode or a line of text, says the class. The lungs say nothing. The audit is not
# told so.

# %%
import contextlib
import io
import json
import os
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import polars as pl

from hideseek.data.phantom import CLASSES, PhantomRecipe, draw

folder = TemporaryDirectory(prefix="hideseek-")
os.chdir(folder.name)
os.environ.pop("FORCE_COLOR", None)  # set by Jupyter; progress bars would move in a text


def run(*words, status=0, last=None):
    """Run `hideseek WORDS`, show what it prints, or its last lines, and check its exit status."""
    line = " ".join(("$ hideseek", *words))
    print(textwrap.fill(line, 96, subsequent_indent="    ", break_on_hyphens=False))
    command = [sys.executable, "-m", "hideseek", *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    lines = done.stdout.replace(f"{Path.cwd()}{os.sep}", "").splitlines()
    print(*(lines if last is None or done.returncode != status else lines[-last:]), sep="\n")
    print("exit status", done.returncode)
    assert done.returncode == status


# %%
recipe = PhantomRecipe(carriers=("marker",), size=192)
figure, axes = plt.subplots(1, 3, figsize=(6, 2.2), dpi=75, layout="constrained")
for label, axis in enumerate(axes):
    axis.imshow(draw(recipe, 0, label).image, cmap="gray", vmin=0, vmax=255)
    axis.set(title=CLASSES[label], xticks=[], yticks=[])
plt.show()

# %% [markdown]
# ## The sweep
#
# A verdict needs the original, the lungs alone, all but the lungs, and the controls that tell what
# hiding itself gives away. On the command line that is one line, and each cell is a process of its
# own:
#
#     hideseek train -m experiment=controls model=... data=... sweep=planted
#
# Starting a process costs some seconds, and with six small cells that is more than the training.
# So this notebook trains them one after the other in its own process, from the same configuration.
# For work that counts use the command: there a cell that fails leaves the others whole.

# %%
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import open_dict

from hideseek.config import config_folder, register
from hideseek.train import train

SETTINGS = [
    "data=phantom",
    "data.phantom.carriers=[marker]",
    "data.phantom.size=64",
    "data.phantom.images=480",
    "model=tiny",
    "model.net.width=8",
    "epochs=12",
    "batch_size=16",
    "schedule=onecycle",
    "learning_rate=5e-3",
    "class_weights=[1,1,1]",
    "augment=none",
    "logger=csv",
    "trainer=cpu",
    "sweep=planted",
]
REPRESENTATIONS = [
    "original",
    "lungs_isolated",
    "lungs_removed",
    "silhouette",
    "box_silhouette",
    "fixed_box_out",
]


def train_cell(roi):
    """Train a cell in this process, in the folder that `hideseek train` would give it."""
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        config = compose("train", [*SETTINGS, f"roi={roi}"], return_hydra_config=True)
    cell = Path("multirun/planted") / f"tiny-{roi}-s0"
    cell.mkdir(parents=True)
    with open_dict(config):
        config.hydra.runtime.output_dir = str(cell)
    HydraConfig.instance().set_config(config)
    said = io.StringIO()  # an epoch a line, the same as in the history of the cell
    quiet = contextlib.redirect_stdout(said), contextlib.redirect_stderr(said)
    with quiet[0], quiet[1], warnings.catch_warnings(action="ignore"):
        train(config)
    return json.loads((cell / "metrics.json").read_text())["accuracy"]


register()
for roi in REPRESENTATIONS:
    print(f"{roi:16} accuracy {train_cell(roi):.3f}")

# %% [markdown]
# The network is nearly as good without the lungs as with them, and near chance (0.333) with the
# lungs alone. That looks clear. But how much is "nearly" on 120 images, and could the hole have
# told the class?
#
# ## The audit
#
# The exit status is 0 if the lungs are read, 3 for a shortcut, 4 where nothing can be said. A
# script can stop on it.

# %%
run("audit", "multirun/planted", status=3)

# %% [markdown]
# ## How the verdict came about
#
# `audit.json` holds each step: what the AUC of a representation is, with the interval that other
# patients could have given, and what the rule made of it. *up* means that the lower limit lies
# above chance by a margin, *down* that the upper limit lies close to chance, *unclear* neither.

# %%
audit = json.loads(Path("multirun/planted/audit/audit.json").read_text())
verdict = audit["verdicts"][0]
print(verdict["name"], "-", verdict["sentence"])
for step in verdict["steps"]:
    auc = step["score"]
    limits = f"{auc['estimate']:.3f} ({auc['low']:.3f} to {auc['high']:.3f})"
    print(f"  {step['representation']:16} {step['answer']:8} {limits}")

# %%
figure, axis = plt.subplots(figsize=(6, 2.4), dpi=75, layout="constrained")
for place, step in enumerate(reversed(verdict["steps"])):
    auc = step["score"]
    axis.plot([auc["low"], auc["high"]], [place, place], color="tab:blue")
    axis.plot(auc["estimate"], place, "o", color="tab:blue")
axis.axvline(0.5, color="grey", linestyle="--")
names = [f"{step['representation']} ({step['answer']})" for step in reversed(verdict["steps"])]
axis.set(xlabel="AUC, 95 % interval", xlim=(0.3, 1.02), yticks=range(len(names)))
axis.set_yticklabels(names)
plt.show()

# %% [markdown]
# Read it as a chain of questions.
#
# 1. **`original` up.** There is something to explain.
# 2. **`lungs_removed` up.** It does not need the lungs ...
# 3. **`silhouette` and `box_silhouette` down.** ... and it is not the shape of the hole that
#    tells.
# 4. **`lungs_isolated` down.** With the lungs alone it knows nothing, so the lungs are no second
#    source.
# 5. **`fixed_box_out` up.** With one large rectangle gone, the same in every image, it still
#    knows. What it reads is not next to the lungs but away from them.
#
# Together: `outside_marker`. The audit cannot say that it is a token in the bottom margin, only
# that it is something of that kind.
#
# The comparisons with the original say by how much accuracy changed, and whether a difference is
# proven, excluded, or neither.

# %%
comparisons = pl.DataFrame(audit["comparisons"])
with pl.Config(tbl_hide_dataframe_shape=True, tbl_cols=-1, tbl_width_chars=110, float_precision=3):
    print(comparisons.select("representation", "difference", "low", "high", "p_holm", "decision"))

# %%
print("verdict:", verdict["name"])
print("exit status:", audit["status"])
assert verdict["name"] == "outside_marker"

# %% [markdown]
# ## What to conclude
#
# - The network reads something outside the lungs and away from them, although its accuracy on
#   whole images is perfect. That is what we planted.
# - It took six cells. Without the silhouettes the verdict is `inconclusive`, because the hole
#   itself would not be ruled out.
#
# ## What not to conclude
#
# - Not that such a verdict names the cause. It names a place; the cause is yours to find.
# - Not that `lungs` would mean "the disease": lungs differ between hospitals, too.
# - One seed and 120 images suffice for a signal as strong as this one. For a weak one use
#   `seed=0,1,2` and more patients, or the answer will be `inconclusive`.
