# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 5. Add a representation: your own way of hiding, without editing the package
#
# **Question.** Is there a class signal in the border of the image, where letters and tubes are?
#
# None of the eleven representations shows the border alone. We write one: a function in a module of
# our own, and a YAML file in a folder of our own. `hideseek` takes both from outside.

# %%
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import numpy as np

from hideseek.data.phantom import CLASSES, PhantomRecipe, draw

folder = TemporaryDirectory(prefix="hideseek-")
os.chdir(folder.name)
os.environ.pop("FORCE_COLOR", None)  # set by Jupyter; progress bars would move in a text
os.environ["PYTHONPATH"] = "."  # where `hideseek` finds the module that is written below
sys.path.insert(0, ".")


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


# %% [markdown]
# ## The function
#
# A representation takes an image, uint8 [H, W], and a mask, bool [H, W], and returns an image of
# the same kind. It must also take `fill`, `margin` and `seed` by name: a sweep varies the first
# two, and `seed` gives random fills a different draw for each image. `fill_hidden` does the
# hiding.

# %%
Path("my_representations.py").write_text('''\
"""Representations of my own."""

import numpy as np

from hideseek.fill import fill_hidden


def border_only(image, mask, *, width=12.0, fill="black", margin=0.0, seed=0):
    """Hide all but a frame of `width` % of the image; the mask and the margin play no part."""
    rows, columns = (round(side * width / 100) for side in image.shape)
    hidden = np.zeros(image.shape, bool)
    hidden[rows : image.shape[0] - rows, columns : image.shape[1] - columns] = True
    return fill_hidden(image, hidden, fill, seed)
''')
print("wrote my_representations.py")

# %% [markdown]
# Look at it before training on it, and check what it promises: a hidden pixel changes nothing.

# %%
from my_representations import border_only

figure, axes = plt.subplots(2, 3, figsize=(5, 3.6), dpi=75, layout="constrained")
for line, carrier in zip(axes, ("marker", "opacity"), strict=True):
    recipe = PhantomRecipe(carriers=(carrier,), size=160)
    for label, axis in enumerate(line):
        one = draw(recipe, 0, label)
        axis.imshow(border_only(one.image, one.mask), cmap="gray", vmin=0, vmax=255)
        axis.set(title=f"{carrier}, {CLASSES[label]}", xticks=[], yticks=[])
        axis.title.set_fontsize(8)
plt.show()

changed = one.image.copy()
changed[60:100, 60:100] = 255
same = np.array_equal(border_only(one.image, one.mask), border_only(changed, one.mask))
print("hidden pixels change nothing:", same)

# %% [markdown]
# ## The choice
#
# A file `roi/NAME.yaml` in a folder that `--config-dir` names makes it a choice, beside the eleven
# that come with the package. `_partial_: true` says that the rest of the arguments come later.
# `fill` and `margin` have to be there: the records of a cell name them. Further keys are settings:
# `roi.width=20`.

# %%
Path("my_conf/roi").mkdir(parents=True)
Path("my_conf/roi/border_only.yaml").write_text("""\
_target_: my_representations.border_only
_partial_: true
fill: black
margin: 0.0
width: 12.0      # of the frame, % of the image
""")
print("wrote my_conf/roi/border_only.yaml")

# %% [markdown]
# ## Two cells with it
#
# The folder is given by `--config-dir`, the module is found through `PYTHONPATH`. A sweep (`-m`)
# hands both on to its cells.

# %%
SETTINGS = (
    "data=phantom",
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
)
for carrier in ("marker", "opacity"):
    planted = (f"data.phantom.carriers=[{carrier}]", f"sweep={carrier}")
    run("train", "--config-dir", "my_conf", "roi=border_only", *SETTINGS, *planted, last=4)

# %%
accuracy = {}
for carrier in ("marker", "opacity"):
    cell = Path(f"multirun/{carrier}/tiny-border_only-s0")
    accuracy[carrier] = json.loads((cell / "metrics.json").read_text())["accuracy"]
    print(f"{carrier}: accuracy with the border alone {accuracy[carrier]:.3f}")

print("the border tells the class of marker:", accuracy["marker"] > 0.8)
print("the border tells the class of opacity:", accuracy["opacity"] > 0.5)

# %% [markdown]
# An audit lists it like the others. Its rule, however, asks the representations that it knows, so
# a sweep of this one alone gets no verdict.

# %%
run("audit", "multirun/marker", status=4)

# %% [markdown]
# ## What to conclude
#
# - The border alone tells the class where a token was planted in it, and not where the disease is
#   in the lungs. No mask takes part, so no mask can give anything away.
# - A representation of your own needs a function of a few lines, a YAML file of a few lines, and
#   two words on the command line. Sweeps, tables and the audit's list of scores treat it as any
#   other.
#
# ## What not to conclude
#
# - Not that a verdict uses it: train the representations of `experiment=controls` as well, and
#   read yours beside them.
# - Chance here does not clear the image: what lies inside the frame was hidden.
# - A frame of 12 % suits these phantoms. Where people or cropping differ, look at the pictures
#   first.
