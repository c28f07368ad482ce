"""Which rows the page shows, and how."""

import re
from types import SimpleNamespace

import numpy as np
import pytest

from keras_transfer.config.schema import HeadConfig
from keras_transfer.data.targets.classes import ClassTarget
from keras_transfer.data.targets.labels import MultilabelTarget
from keras_transfer.data.targets.numbers import NumberTarget
from keras_transfer.explain import EncodedImage, Piece, Shown
from keras_transfer.heads import ClassificationHead, MultilabelHead, NumberHead
from keras_transfer.report.content import Content, Rows
from keras_transfer.report.sections.confusion import pair_examples
from keras_transfer.report.sections.examples import largest_losses

NAMES = ("cat", "<b>dog</b>", "fish")
ROWS = 60


class Examples(SimpleNamespace):
    def select(self, rows):
        return Examples(names=tuple(self.names[row] for row in rows))


def show(run, examples, outputs):
    """Some have an image and overlays, some a text, one is missing."""
    shown = []
    for name, own in zip(examples.names, outputs, strict=True):
        number, names = int(name.split()[1]), tuple(run.target.names[output] for output in own)
        image = EncodedImage(b"jpeg", "image/jpeg", (16, 9))
        pieces = (
            Piece("a ", 0.0),
            Piece("<i>word</i>", 2.0),
            Piece(" of ", 0.1),
            Piece("no", -1.0),
            Piece("x" * 900, 0.0),
        )
        if number % 3 == 0:
            shown.append(Shown(name, image=image, outputs=names, overlays=(image,) * len(names)))
        elif number % 3 == 1:
            shown.append(Shown(name, outputs=names, pieces=pieces))
        else:
            shown.append(Shown(name, problem="It is gone."))
    return shown


def content_of(head, target, predicted, targets, examples=True):
    names = tuple(f"row {number}" for number in range(len(targets)))
    run = SimpleNamespace(head=head, target=target, task=SimpleNamespace(show=show))
    rows = Rows(names, targets, predicted.astype(np.float32), Examples(names=names) if examples else None)
    return Content(run, head.report("test", rows.predicted, targets), rows)


@pytest.fixture(scope="module")
def classes():
    random = np.random.default_rng(0)
    predicted = random.dirichlet([1.0, 1.0, 1.0], ROWS)
    return predicted, random.integers(0, 3, ROWS)


def cards(body):
    return re.findall(r'<li class="example".*?</li>', str(body), re.DOTALL)


def test_the_largest_losses_come_first_with_their_truth_and_prediction(classes):
    predicted, targets = classes
    head = ClassificationHead.fit(NAMES, HeadConfig(), targets)
    section = largest_losses(content_of(head, ClassTarget(NAMES), predicted, targets))
    losses = -np.log(predicted[np.arange(ROWS), targets])
    order = np.argsort(-losses)[:24]
    shown = re.findall(r'<li class="example" id="row-(\d+)">', str(section.body))
    assert list(map(int, shown)) == order.tolist()
    assert "The 24 rows with the largest losses, of 60." in re.sub("<[^>]+>", "", str(section.body))
    for row, card in zip(order, cards(section.body), strict=False):
        assert float(re.search(r'<data value="([^"]+)">', card)[1]) == pytest.approx(losses[row], rel=1e-4)
        words = re.sub(r"<[^>]+>", "", card)
        for index in (targets[row], predicted[row].argmax()):
            assert (
                f"{NAMES[index].replace('<', '&lt;').replace('>', '&gt;')} ({100 * predicted[row, index]:.1f} %)"
                in words
            )
    assert "<b>" not in str(section.body) and "<i>" not in str(section.body)


def test_pairs_have_as_many_rows_as_the_confusion_matrix_has(classes):
    predicted, targets = classes
    content = content_of(ClassificationHead.fit(NAMES, HeadConfig(), targets), ClassTarget(NAMES), predicted, targets)
    chosen = predicted.argmax(axis=1)
    counts = {(i, j): int(((targets == i) & (chosen == j)).sum()) for i in range(3) for j in range(3) if i != j}
    pairs = {(pair.true, pair.predicted): pair.anchor for pair, _ in pair_examples(content)}
    assert sorted(pairs) == sorted(pair for pair, count in counts.items() if count)
    assert [counts[pair] for pair in pairs] == sorted(counts.values(), reverse=True)[: len(pairs)]
    body = str(largest_losses(content).body)
    for pair, anchor in pairs.items():
        part = body[body.index(f'id="{anchor}" ') :].split("</section>")[0]
        assert len(cards(part)) == min(counts[pair], 6)
        assert f'<data value="{counts[pair]}">' in part


def test_images_texts_and_missing_examples_are_shown(classes):
    predicted, targets = classes
    content = content_of(ClassificationHead.fit(NAMES, HeadConfig(), targets), ClassTarget(NAMES), predicted, targets)
    for card in cards(largest_losses(content).body):
        number = int(re.search(r"row (\d+)", card)[1])
        images = re.findall(r'<img src="data:image/jpeg;base64,anBlZw==" width="16" height="9" alt="([^"]+)">', card)
        if number % 3 == 0:
            assert len(images) == 3 and all(images)
            assert images[0].startswith(f"row {number} (true: ")
        elif number % 3 == 1:
            assert re.findall(r'<mark class="([^"]+)" title="([^"]+)">([^<]+)</mark>', card)[:2] == [
                ("for level-4", "+2.00", "&lt;i&gt;word&lt;/i&gt;"),
                ("against level-2", "-1.00", "no"),
            ]
            assert "characters…]" in card and "x" * 300 not in card
        else:
            assert "Not shown. It is gone." in card
    alone = largest_losses(content_of(content.head, content.run.target, predicted, targets, examples=False))
    assert len(cards(alone.body)) > 24 and "<img" not in alone.body


def test_labels_and_numbers(classes):
    random = np.random.default_rng(1)
    predicted, labels = random.uniform(0, 1, (ROWS, 3)), random.integers(0, 2, (ROWS, 3)).astype(np.float32)
    head = MultilabelHead.fit(NAMES, HeadConfig(), labels)
    content = content_of(head, MultilabelTarget(NAMES), predicted, labels)
    worst = head.explained_outputs(predicted, labels)
    assert [
        predicted[row, own] if not labels[row, own] else 1 - predicted[row, own] for row, (own,) in enumerate(worst)
    ] == (pytest.approx(np.abs(predicted - labels).max(axis=1)))
    first = int(np.argmax(content.losses))
    card = re.sub(r"<[^>]+>", "", cards(largest_losses(content).body)[0])
    told = [f"({100 * predicted[first, index]:.1f} %)" for index in range(3) if labels[first, index]]
    assert all(value in card for value in told) or "no label" in card
    numbers = random.normal(10, 2, (ROWS, 1)).astype(np.float32)
    head = NumberHead.fit(("weight",), HeadConfig(), numbers)
    content = content_of(head, NumberTarget(("weight",)), numbers + 1, numbers)
    card = re.sub(r"<[^>]+>|\s+", " ", cards(largest_losses(content).body)[0])
    assert head.explained_outputs(numbers + 1, numbers) == [(0,)] * ROWS
    assert re.search(r"true\s+(\S+)\s+predicted\s+(\S+)", card)
