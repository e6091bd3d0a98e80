# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 2. One cell: train a network, and read back what it left
#
# **Question.** What does one run of `hideseek train` leave, and can every number be checked?
#
# A *cell* is one network, one representation and one seed. Here a small network learns from
# synthetic radiographs of 64 px whose disease lies in the lungs. It takes less than a minute on
# one core. All files go to a temporary folder that ends with the notebook.

# %%
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import polars as pl
import torch
from IPython.display import Image as Picture

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


# %% [markdown]
# ## Train
#
# Every word is a setting of the configuration in `conf/`; `hideseek train --help` lists them all.
#
# | setting | here |
# |---|---|
# | `data=phantom` | synthetic radiographs, `data.phantom.*` says which |
# | `model=tiny` | a network for CPUs |
# | `epochs`, `batch_size`, `schedule`, `learning_rate` | a quick recipe that learns |
# | `class_weights=[1,1,1]` | the paper weighs COVID-19 four times; here no class is favoured |
# | `augment=none` | the phantoms vary enough |
# | `logger=csv trainer=cpu` | no W&B, no GPU |

# %%
run(
    "train",
    "data=phantom",
    "data.phantom.size=64",
    "data.phantom.images=480",
    "model=tiny",
    "epochs=12",
    "batch_size=16",
    "schedule=onecycle",
    "learning_rate=5e-3",
    "class_weights=[1,1,1]",
    "augment=none",
    "logger=csv",
    "trainer=cpu",
    "sweep=first",
)

# %% [markdown]
# ## What it left
#
# The folder is named after the model, the representation and the seed. `done.json` is written
# last: a cell without it is not finished, and the same command with the same `sweep=` goes on with
# it.

# %%
cell = Path("multirun/first/tiny-original-s0")
for path in sorted(path for path in cell.rglob("*") if path.is_file()):
    print(f"{path.stat().st_size / 1024:8.1f} kB  {path.relative_to(cell)}")

# %% [markdown]
# `history.csv` has a row for each epoch. The weights that are kept are those of the epoch with the
# best balanced accuracy on the *validation* images; the test images are read once, at the end.

# %%
history = pl.read_csv(cell / "history.csv")
figure, axes = plt.subplots(1, 2, figsize=(7, 2.4), dpi=75, layout="constrained")
for axis, name in zip(axes, ("loss", "balanced_accuracy"), strict=True):
    for part in ("train", "val"):
        axis.plot(history["epoch"] + 1, history[f"{part}/{name}"], label=part)
    axis.set(xlabel="epoch", ylabel=name.replace("_", " "))
    axis.legend()
plt.show()

best = history["val/balanced_accuracy"].max()
score = json.loads((cell / "done.json").read_text())["score"]
print(f"best of the history {best:.3f}, score in done.json {score:.3f}")

# %% [markdown]
# `predictions.csv` has a row for each test image, and every number is computed from it.

# %%
predictions = pl.read_csv(cell / "predictions.csv")
with pl.Config(tbl_cols=-1, tbl_width_chars=110, float_precision=3):
    print(predictions.head(5))

# %%
metrics = json.loads((cell / "metrics.json").read_text())
correct = predictions["label"] == predictions["prediction"]
print(f"accuracy in metrics.json {metrics['accuracy']:.3f}, from the rows {correct.mean():.3f}")
assert abs(metrics["accuracy"] - correct.mean()) < 1e-9

counts = predictions.group_by("label", "prediction").len().sort("label", "prediction")
with pl.Config(tbl_hide_dataframe_shape=True):
    print(counts)

# %% [markdown]
# ## The network again
#
# A checkpoint holds the weights and a card that says how to rebuild the network and feed it. It is
# read without running any code from the file. The cache holds the images as the cell read them.

# %%
from hideseek.checkpoint import load_network
from hideseek.data.cache import Cache
from hideseek.models.inputs import normalize

net, card = load_network(cell / "checkpoints" / "best.ckpt")
print(card.model, card.classes, f"{card.image_size} px, {card.channels} channels")

cache = Cache(next(Path("cache").glob("*.h5")))
row = int(cache.rows(["test"])[0])
image, mask = cache[row]
batch = torch.from_numpy(image)[None, None]
with torch.inference_mode():
    again = net(normalize(batch, card.normalize, card.channels)).softmax(dim=1)[0]

name = cache.table["image_id"][row]
written = predictions.row(by_predicate=pl.col("image_id") == name, named=True)
for number, label in enumerate(card.classes):
    print(f"{name} {label:10} again {again[number]:.4f}, written {written[f'p_{label}']:.4f}")
    assert abs(again[number] - written[f"p_{label}"]) < 1e-3

# %% [markdown]
# `attribution.png` shows where Grad-CAM says that the evidence lies. It is a picture to look at,
# not a test: a map can be plausible for a network that reads something else.

# %%
Picture(cell / "attribution.png", width=320)

# %%
print("accuracy above 0.9:", metrics["accuracy"] > 0.9)

# %% [markdown]
# ## What to conclude
#
# - The command works on this machine, and each number can be recomputed from a table.
# - The network tells the three classes of these phantoms apart when it sees the whole image.
#
# ## What not to conclude
#
# - Not that it reads the lungs. A high accuracy on `original` is where the question starts; the
#   next notebook, [3. Audit a sweep](3_audit_a_sweep.ipynb), asks it.
# - Not that 120 test images and one seed give a precise number.
# - Nothing about patients: the images are drawn.
