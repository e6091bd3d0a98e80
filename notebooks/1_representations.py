# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 1. Representations: what a network is shown, and what hiding gives away
#
# **Question.** Which parts of a radiograph does a network see in each representation, and does the
# act of hiding tell it the class?
#
# The images are phantoms: synthetic radiographs with exact lung masks and a known truth about what
# carries the class. This notebook trains nothing and writes nothing.

# %%
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import polars as pl

from hideseek.data.phantom import CLASSES, PhantomRecipe, draw
from hideseek.regions import fixed_rectangle, lung_boxes
from hideseek.roi import PAPER, REPRESENTATIONS

# %% [markdown]
# ## The five of the paper
#
# `draw` can draw one image as any class with everything else unchanged. Here is one patient three
# times. In these phantoms the disease is an opacity in the lungs and nothing else.


# %%
def panel(rows, columns, picture, title=""):
    """Show picture(row, column) in a grid; rows and columns are names."""
    shape = (1.35 * len(columns), 1.45 * len(rows))
    figure, axes = plt.subplots(
        len(rows), len(columns), figsize=shape, dpi=75, squeeze=False, layout="constrained"
    )
    for row, line in zip(rows, axes, strict=True):
        for column, axis in zip(columns, line, strict=True):
            axis.imshow(picture(row, column), cmap="gray", vmin=0, vmax=255)
            axis.set(xticks=[], yticks=[])
            if row == rows[0]:
                axis.set_title(column, fontsize=8)
            if column == columns[0]:
                axis.set_ylabel(row, fontsize=8)
    figure.suptitle(title, fontsize=9)
    plt.show()


recipe = PhantomRecipe(carriers=("opacity",), size=160)
patient = {name: draw(recipe, 0, label) for label, name in enumerate(CLASSES)}

panel(
    list(CLASSES),
    list(PAPER),
    lambda name, roi: REPRESENTATIONS[roi](patient[name].image, patient[name].mask),
)

# %% [markdown]
# A representation is a function `(image, mask) -> image`. `lungs_removed` and `lungs_isolated` are
# complements: each pixel is shown by exactly one of them.

# %%
one = patient["covid19"]
hidden = {name: REPRESENTATIONS[name](one.image, one.mask) for name in PAPER}
exact = np.array_equal(hidden["lungs_isolated"] + hidden["lungs_removed"], one.image)
print("isolated + removed = original:", exact)

# %% [markdown]
# ## The controls
#
# Look at `lungs_removed` again: the black shape has the size and the outline of the lungs. If one
# class has smaller lungs, or if the segmenter fails on ill lungs, the hole itself tells the class.
# The controls show what the hole alone is worth.
#
# - `silhouette` and `box_silhouette` show the hole and no pixel of the image,
# - `union_box_out` hides a rectangle round both lungs,
# - `around_lungs` shows that rectangle without the lungs,
# - `fixed_box_out` hides the same rectangle in every image, whatever its mask,
# - `random_box_out` hides boxes of the lungs' sizes at random places.
#
# The rectangle of `fixed_box_out` is found on the training images. `hideseek train` does that by
# itself; here it takes a line.

# %%
training = [draw(recipe, index) for index in range(60)]
rectangle = fixed_rectangle(np.stack([lung_boxes(each.mask) for each in training]))
shown = dict(REPRESENTATIONS)
shown["fixed_box_out"] = partial(shown["fixed_box_out"], rectangle=rectangle)
controls = [name for name in REPRESENTATIONS if name not in PAPER]

panel(
    list(CLASSES),
    controls,
    lambda name, roi: shown[roi](patient[name].image, patient[name].mask),
)

# %% [markdown]
# ## Fills and margins
#
# What takes the place of hidden pixels is a choice (`roi.fill`), and so is how far the hidden
# region reaches beyond the lungs (`roi.margin`, in % of their width). `blur` and `shuffle` keep
# something of what they hide, by design.

# %%
fills = ["black", "mean", "border_mean", "noise", "blur", "inpaint", "shuffle"]
remove = REPRESENTATIONS["lungs_removed"]
panel(["lungs_removed"], fills, lambda row, fill: remove(one.image, one.mask, fill=fill))

margins = ["-10", "0", "10", "20", "30"]
panel(
    ["lungs_removed"],
    margins,
    lambda row, margin: remove(one.image, one.mask, margin=float(margin)),
)

# %% [markdown]
# ## What the mask gives away
#
# Three data sets differ in what carries the class:
#
# - `opacity`: disease in the lungs, exact masks,
# - `lung_size`: the classes differ in the size of the lungs,
# - `mask_error`: disease in the lungs, and masks that miss it, as a segmenter's may.
#
# We use no image at all, only five numbers of each mask: its area, and the heights and widths of
# the two lung boxes. A linear classifier, tested on patients it has not seen, says how well they
# tell the class. An AUC of 0.5 is guessing.

# %%
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def numbers_of(mask):
    """Area of a mask, and heights and widths of its two boxes, as shares of the image."""
    boxes = lung_boxes(mask) / len(mask)
    return [mask.mean(), *(boxes[:, 2] - boxes[:, 0]), *(boxes[:, 3] - boxes[:, 1])]


rows, examples = [], {}
for carrier in ("opacity", "lung_size", "mask_error"):
    phantoms = [draw(PhantomRecipe(carriers=(carrier,), size=96), index) for index in range(240)]
    examples[carrier] = phantoms
    labels = np.array([each.label for each in phantoms])
    patients = [each.patient_id for each in phantoms]
    facts = np.array([numbers_of(each.mask) for each in phantoms])
    chances = cross_val_predict(
        make_pipeline(StandardScaler(), LogisticRegression()),
        facts,
        labels,
        groups=patients,
        cv=GroupKFold(5),
        method="predict_proba",
    )
    areas = {f"area {name}": facts[labels == k, 0].mean() for k, name in enumerate(CLASSES)}
    auc = roc_auc_score(labels, chances, multi_class="ovr")
    rows.append({"carrier": carrier, **areas, "AUC of the mask": auc})

table = pl.DataFrame(rows).with_columns(pl.col(pl.Float64).round(3))
with pl.Config(tbl_hide_dataframe_shape=True, tbl_hide_column_data_types=True):
    print(table)

# %% [markdown]
# With exact masks and nothing planted in the shape the mask tells nothing. In the other two sets a
# network that sees only the hole knows the class. In the third the hole is worse than telling: the
# mask misses the disease, so `lungs_removed` leaves it to be seen.

# %%
missed = [each for each in examples["mask_error"] if each.label > 0][:3]
views = {
    "image": lambda each: each.image,
    "mask": lambda each: each.mask * np.uint8(255),
    "true lungs": lambda each: each.truth_mask * np.uint8(255),
    "lungs_removed": lambda each: remove(each.image, each.mask),
}
panel(
    [f"patient {number}" for number in range(len(missed))],
    list(views),
    lambda row, view: views[view](missed[int(row.split()[1])]),
)

# %%
worth = dict(table.select("carrier", "AUC of the mask").iter_rows())
exact_is_silent = worth["opacity"] < 0.65
shape_tells = min(worth["lung_size"], worth["mask_error"]) > 0.9
print("exact masks tell the class:", not exact_is_silent)
print("size or failure of the masks tells the class:", shape_tells)

# %% [markdown]
# ## What to conclude
#
# - A hidden region is not an absent one. Its shape is a signal, and the masks decide how much of
#   one.
# - So accuracy on `lungs_removed` proves nothing until the silhouettes have been seen to fail.
# - Where they do not fail, `fixed_box_out` is what remains: its shape is the same for every image.
#
# ## What not to conclude
#
# - Not that your masks are as good or as bad as these. `hideseek prepare` judges your masks by
#   class and source and raises an alarm; see [6. Add a source](6_add_source.ipynb).
# - Not that a silhouette at chance makes a mask correct. It says that this network finds no class
#   in its shape.
# - These are drawings. They show how the tools answer, not what radiographs hold.
