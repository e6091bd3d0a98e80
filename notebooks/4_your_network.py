# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 4. Your network: audit a finished PyTorch network without training it again
#
# **Question.** You have a network and its weights. Does it read the lungs of your test images?
#
# `hideseek audit model=external` needs four things: a function or class that returns the network,
# a file with its weights, the images, and their lung masks (which it can find by itself). It hides
# regions of the test images and looks at what the network loses. Everything happens in a temporary
# folder.

# %%
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
import torch
from torch.nn import functional as F

from hideseek.data.cache import Cache
from hideseek.data.phantom import PhantomRecipe, write
from hideseek.models.inputs import normalize

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
# ## The network
#
# An ordinary module in an ordinary file. It takes float images [B, 3, H, W] and returns logits [B,
# classes], in the order of `task.classes` (normal, pneumonia, covid19).

# %%
Path("my_network.py").write_text('''\
"""A network that knows nothing of hideseek."""

from torch import nn


class SmallNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 12, 5, stride=2, padding=2), nn.BatchNorm2d(12), nn.ReLU(),
            nn.Conv2d(12, 24, 3, stride=2, padding=1), nn.BatchNorm2d(24), nn.ReLU(),
            nn.Conv2d(24, 48, 3, stride=2, padding=1), nn.BatchNorm2d(48), nn.ReLU(),
        )
        self.classify = nn.Sequential(nn.AdaptiveMaxPool2d(2), nn.Flatten(), nn.Linear(192, 3))

    def forward(self, images):
        return self.classify(self.features(images))
''')
print("wrote my_network.py")

# %% [markdown]
# ## The images
#
# Two data sets stand for two hospitals. In `honest` the disease is an opacity in the lungs; in
# `marked` a token at the bottom margin says the class. Both have a `manifest.csv` with a row an
# image. `hideseek prepare` turns each into a cache: the squares that a network sees, with lung
# masks. Of what it prints only the end is shown here; [6. Add a source](6_add_source.ipynb) shows
# all of it.

# %%
CARRIERS = {"honest": "opacity", "marked": "marker"}


def data_of(name):
    """Words that name a data set on the command line."""
    return (f"data.name={name}", f"data.manifest={name}/manifest.csv", "data.size=64")


for name, carrier in CARRIERS.items():
    write(PhantomRecipe(carriers=(carrier,), size=64, images=480), Path(name))
    run("prepare", *data_of(name), last=3)

# %% [markdown]
# ## Training in plain PyTorch
#
# This is the part that you have done already. What matters is that the audit feeds the network as
# it was trained: `normalize=paper` divides grey values by 255, `imagenet` uses ImageNet's mean and
# deviation, `standardize` each image's own.

# %%
from my_network import SmallNet


def images_of(cache, split):
    """Images as a network reads them, float [N, 3, 64, 64], and class numbers [N]."""
    rows = cache.rows([split])
    stacked = torch.from_numpy(np.stack([cache[row][0] for row in rows]))[:, None]
    return normalize(stacked, "paper", 3), torch.from_numpy(cache.labels()[rows])


for name in CARRIERS:
    cache = Cache(next(Path("cache").glob(f"cache-{name}-64-*.h5")))
    images, labels = images_of(cache, "train")
    torch.manual_seed(0)
    net = SmallNet()
    epochs, batch = 30, 32
    steps = epochs * (len(images) // batch)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)
    for _ in range(epochs):
        for chosen in torch.randperm(len(images)).split(batch):
            if len(chosen) == batch:
                optimizer.zero_grad()
                F.cross_entropy(net(images[chosen]), labels[chosen]).backward()
                optimizer.step()
                schedule.step()
    net.eval()
    torch.save(net.state_dict(), f"{name}.pt")
    images, labels = images_of(cache, "test")
    with torch.inference_mode():
        accuracy = (net(images).argmax(dim=1) == labels).float().mean()
    print(f"{name}: accuracy on its test images {accuracy:.3f}")

# %% [markdown]
# Both networks are good, and nothing in these two numbers tells them apart.
#
# ## The audit
#
# Lungs, lung boxes and everything else are hidden, with three fills and two margins, and each loss
# is held against hiding as many pixels at random places. The exit status is 0 where the lungs are
# read, 3 for the outside, too or alone, 4 where nothing can be said.


# %%
def audit(name, status):
    """Audit the network that was trained on a data set."""
    network = ("model.net.target=my_network:SmallNet", f"weights={name}.pt", "image_size=64")
    given = ("normalize=paper", "device=cpu", f"name={name}", *data_of(name))
    run("audit", "model=external", *network, *given, status=status)
    return json.loads(Path(f"audit/{name}/audit.json").read_text())


honest = audit("honest", status=0)

# %%
marked = audit("marked", status=3)

# %% [markdown]
# ## Reading it
#
# `hiding.csv` has a row for each region, margin and fill: what hiding it takes from the AUC, and
# by how much that exceeds hiding at random.

# %%
for name, found in (("honest", honest), ("marked", marked)):
    table = pl.read_csv(f"audit/{name}/hiding.csv").filter(
        (pl.col("measure") == "macro_auc") & (pl.col("margin") == 0)
    )
    print(name, "reads:", found["sections"]["hiding"]["reading"])
    with pl.Config(tbl_rows=-1, tbl_hide_dataframe_shape=True, float_precision=3):
        print(table.select("region", "fill", "hidden", "random", "beyond", "state"))

# %% [markdown]
# ## What to conclude
#
# - Two networks of the same accuracy get different answers: the first loses what it knows when the
#   lungs are hidden, the second when everything but the lungs is.
# - A pipeline can gate on the exit status: 0 goes on, anything else stops.
#
# ## What not to conclude
#
# - A network that never saw black holes in training may fail on them for that reason. That a
#   region matters is shown; that the rest holds no information is not. For that train it on the
#   hidden images: [3. Audit a sweep](3_audit_a_sweep.ipynb).
# - Not that the result holds for other images. If the network was trained on some of the test
#   images, or all hospitals share a marker, the audit cannot know.
# - The lung masks were exact here. With a segmenter's masks, look at them first.
