from __future__ import annotations

import ast

from hideseek.report.chapters.model_card import as_markdown, chapter, model_cards
from tests.report.chapter_evidence import evidence_of, metrics
from tests.report.finished_cells import HOSTILE, TOKEN, all_text, write_finished


def audited(cells, model="resnet50", **audit):
    scores = {(model, "original"): (0.9, 0.85, 0.95), (model, "silhouette"): (0.6, 0.5, 0.7)}
    table = metrics(scores, "macro_auc")
    verdicts = [{"model": model, "sentence": f"{model} reads the lungs.", "failing": ""}]
    return evidence_of({"metrics": table}, cells=cells, verdicts=verdicts, **audit)


def texts(card, about):
    return [text for name, text in card.fields if name == about]


def test_a_card_for_each_network(tmp_path):
    cells = [write_finished(tmp_path, model, roi, seed) for model in ("vgg11", "resnet50")
             for roi in ("silhouette", "original") for seed in (1, 0)]  # fmt: skip
    cards = model_cards(audited(cells))
    assert [card.model for card in cards] == ["resnet50", "vgg11"]
    card = cards[0]
    assert texts(card, "verdict") == ["resnet50 reads the lungs."]
    assert texts(card, "evaluation, macro AUC") == [
        "original: 0.900 (0.85-0.95)", "silhouette: 0.600 (0.50-0.70)",
    ]  # fmt: skip
    assert texts(card, "evaluation, nothing hidden") == ["macro_auc 0.900 (0.85-0.95)"]
    assert texts(cards[1], "verdict") == []
    assert "resnet50-original-s0" in " ".join(texts(card, "how to load"))
    assert "2 representations, seeds 0, 1" in texts(card, "network")[0]
    assert "not for diagnosis" in texts(card, "intended use")[0].lower()


def test_settings_are_those_of_the_network(tmp_path):
    cells = [write_finished(tmp_path, "vgg11", config={"epochs": 7}), write_finished(tmp_path)]
    resnet, vgg = model_cards(audited(cells))
    assert "epochs 20," in texts(resnet, "training")[1]
    assert "epochs 7," in texts(vgg, "training")[1]


def test_networks_of_shuffled_labels_have_no_card(tmp_path):
    shuffled = write_finished(tmp_path, config={"datamodule": {"shuffle_labels": True}})
    assert model_cards(audited([shuffled])) == []
    assert chapter(audited([shuffled])).absent


def test_the_code_to_load_is_code_whatever_the_name(tmp_path):
    cell = write_finished(tmp_path, name='it\'s a "cell"')
    (card,) = model_cards(audited([cell]))
    line = next(text for text in texts(card, "how to load") if text.startswith("In Python: "))
    tree = ast.parse(line.removeprefix("In Python: "))
    paths = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    assert paths == ['it\'s a "cell"/checkpoints/best.ckpt']


def test_own_networks_are_not_promised_to_load(tmp_path):
    net = {"net": {"_target_": "hideseek.models.external.external", "target": "mine:build"}}
    (card,) = model_cards(audited([write_finished(tmp_path, config={"model": net})]))
    assert not any("load_network" in text for text in texts(card, "how to load"))


def test_markdown_escapes_and_keeps_the_order(tmp_path):
    cell = write_finished(tmp_path, HOSTILE, name="cell")
    (card,) = model_cards(audited([cell], HOSTILE))
    text = as_markdown(card)
    assert text.startswith("# Model card: ") and "<script" not in text.replace("\\<", "")
    assert text.index("## intended use") < text.index("## training") < text.index("## how to load")
    assert text.count("## training") == 1
    assert TOKEN not in text and "jane" not in text


def test_the_chapter_keeps_names_as_text(tmp_path):
    cell = write_finished(tmp_path, HOSTILE, "../../etc/passwd", name="cell")
    made = chapter(audited([cell], HOSTILE))
    assert made.tables[0].name.replace("_", "").isalnum()
    assert HOSTILE in all_text(made) and TOKEN not in all_text(made)


def test_no_cells():
    assert "run the sweep" in chapter(evidence_of()).absent
