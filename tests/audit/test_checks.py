import numpy as np
import pytest
from PIL import Image, ImageFilter

from keras_transfer.audit.images import audit_images
from keras_transfer.audit.labels import find_suspicious
from keras_transfer.audit.neighbours import find_neighbours, find_outliers
from keras_transfer.audit.rows import Rows
from keras_transfer.audit.targets import audit_targets
from keras_transfer.audit.texts import audit_texts
from keras_transfer.data.checks.findings import count_kinds, sort_findings
from keras_transfer.data.checks.texts import find_script
from keras_transfer.data.examples.images import Images
from keras_transfer.data.examples.texts import Texts
from keras_transfer.data.splits.splits import Split, Splits
from keras_transfer.data.targets.classes import ClassTarget
from keras_transfer.data.targets.labels import MultilabelTarget
from keras_transfer.data.targets.numbers import NumberTarget


def splits_of(target, **parts):
    """``train=(examples, labels)``, and the same for validation and test."""
    made = []
    for name in ("train", "validation", "test"):
        examples, labels = parts.get(name, (parts["train"][0].select([]), []))
        made.append(Split(name, examples, target.encode(labels), np.ones(len(labels), np.float32)))
    return Splits(target, *made)


def brief(findings, *kinds):
    return sorted((one.kind, one.example) for one in findings if not kinds or one.kind in kinds)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Forty images with detail of every size, and some that are odd."""
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)

    def draw(size=96):
        small = [Image.fromarray(random.integers(0, 256, (n, n, 3), np.uint8)) for n in (4, 12, 48)]
        layers = [np.asarray(one.resize((size, size), Image.Resampling.BICUBIC), float) for one in small]
        return Image.fromarray(np.mean(layers, axis=0).astype(np.uint8))

    for number in range(40):
        draw().save(folder / f"{number:02}.png")
    first = Image.open(folder / "00.png")
    first.filter(ImageFilter.GaussianBlur(6)).save(folder / "blurred.png")
    Image.fromarray(np.asarray(Image.open(folder / "01.png")) // 8).save(folder / "dark.png")
    Image.fromarray(225 + np.asarray(Image.open(folder / "02.png")) // 9).save(folder / "bright.png")
    Image.new("RGB", (96, 96), (10, 200, 30)).save(folder / "blank.png")
    Image.new("RGB", (96, 96), (10, 201, 30)).save(folder / "blank too.png")
    draw(400).save(folder / "large.png")
    draw().resize((240, 96)).save(folder / "wide.png")
    (folder / "copy of 03.png").write_bytes((folder / "03.png").read_bytes())
    Image.open(folder / "04.png").save(folder / "04 again.jpg", quality=90)
    Image.open(folder / "05.png").save(folder / "05 in test.jpg", quality=90)
    (folder / "06 of dogs.png").write_bytes((folder / "06.png").read_bytes())
    return folder


def test_images_that_are_odd(pictures, tmp_path):
    names = sorted(file.name for file in pictures.iterdir())
    test = ["05 in test.jpg", "07.png"]
    train = [name for name in names if name not in test]
    target = ClassTarget(("cat", "dog"))
    labels = ["dog" if name == "06 of dogs.png" else "cat" for name in train]
    splits = splits_of(
        target, train=(Images(pictures, tuple(train)), labels), test=(Images(pictures, tuple(test)), ["cat"] * 2)
    )
    findings = audit_images(splits, memory=tmp_path / "memory")
    assert brief(findings) == [
        ("blank", "blank too.png"),
        ("blank", "blank.png"),
        ("blurred", "blurred.png"),
        ("bright", "bright.png"),
        ("conflicting_labels", "06 of dogs.png"),
        ("conflicting_labels", "06.png"),
        ("dark", "dark.png"),
        ("duplicate", "copy of 03.png"),
        ("near_duplicate", "04.png"),
        ("near_duplicate_in_splits", "05.png"),
        ("odd_aspect", "wide.png"),
        ("odd_size", "large.png"),
    ]
    by_name = {one.example: one for one in findings}
    assert by_name["05.png"].detail == "looks the same as 05 in test.jpg (test)"
    assert by_name["06.png"].detail == "the same bytes as 06 of dogs.png (train), which has the label dog"
    assert (by_name["06.png"].label, by_name["05.png"].split) == ("cat", "train")


SENTENCES = [
    "the river rose above the old stone bridge and flooded three fields near the mill",
    "a committee of nine members voted on tuesday to postpone the reform of school meals",
    "her second novel follows two sisters who inherit a lighthouse without any road to it",
    "engineers replaced the worn bearings of the turbine while the reservoir was empty",
    "nobody expected that the youngest player would score twice in the final minutes",
    "prices of copper fell again as stocks in the harbour warehouses kept growing quickly",
]


def test_texts_that_are_odd():
    random = np.random.default_rng(0)
    words = [f"word{number}" for number in range(400)]
    footer = " read more of our stories on the page of the local news desk today"
    texts = {f"row {number}": " ".join(random.choice(words, 25)) + footer * (number % 3 == 0) for number in range(60)}
    texts |= {
        "short": "ok",
        "greek": "ο ποταμός ανέβηκε πάνω από την παλιά πέτρινη γέφυρα και πλημμύρισε τρία χωράφια",
        "first": SENTENCES[0],
        "same": SENTENCES[0],
        "loud": SENTENCES[1].upper() + "!",
        "quiet": SENTENCES[1],
        "long": " ".join(SENTENCES),
        "changed": " ".join(SENTENCES).replace("nine members", "eight people"),
        "good": SENTENCES[2],
        "bad": SENTENCES[2],
    }
    labels = ["good"] * (len(texts) - 1) + ["bad"]
    examples = Texts(tuple(texts), tuple((text,) for text in texts.values()))
    findings = audit_texts(splits_of(ClassTarget(("bad", "good")), train=(examples, labels)))
    assert brief(findings) == [
        ("boilerplate", ""),
        ("conflicting_labels", "bad"),
        ("conflicting_labels", "good"),
        ("duplicate", "same"),
        ("near_duplicate", "changed"),
        ("near_duplicate", "quiet"),
        ("script", "greek"),
        ("short", "short"),
    ]
    by_kind = {one.kind: one for one in findings}
    assert by_kind["boilerplate"].detail.startswith(f"20 texts have {footer.strip()!r}; the first is row 0 (train)")
    details = {one.example: one.detail for one in findings}
    assert details["quiet"] == "nearly the same text as loud (train), apart from case, spaces and punctuation"
    # Two words that follow one another differ: 4 passages of three words are in one text alone, and 4 in the other.
    passages = len(" ".join(SENTENCES).split()) - 2
    share = f"{(passages - 4) / (passages + 4):.0%} of their passages of three words"
    assert details["changed"] == f"nearly the same text as long (train): {share}"


def test_scripts():
    assert [find_script(text) for text in ("Ελλάδα", "日本語のテキスト", "テキスト", "ok 漢", "123")] == [
        "GREEK",
        "CJK",
        "CJK",
        "LATIN",
        "",
    ]


@pytest.mark.parametrize(
    ("target", "labels", "expected"),
    [
        pytest.param(
            ClassTarget(("Bad", "bad", "good")),
            ["bad"] * 12 + ["Bad"] * 2 + ["good"] * 30,
            [("few_rows", "Bad"), ("imbalance", "Bad"), ("label_twins", '["Bad", "bad"]')],
            id="classes",
        ),
        pytest.param(
            MultilabelTarget(("a", "b")),
            [("a", "b")] * 12 + [("b",)] * 4,
            [("few_rows", "a"), ("few_rows", "b")],
            id="labels",
        ),
        pytest.param(
            NumberTarget(("x",)),
            [(n / 10,) for n in range(40)] + [(99.0,)],
            [("target_outlier", "[99.0]")],
            id="numbers",
        ),
        pytest.param(ClassTarget(("a", "b")), ["a", "b"] * 20, [], id="nothing"),
    ],
)
def test_labels_that_are_odd(target, labels, expected):
    examples = Texts(tuple(map(str, range(len(labels)))), (("t",),) * len(labels))
    findings = sort_findings(audit_targets(splits_of(target, train=(examples, labels))))
    assert sorted((one.kind, one.label) for one in findings) == expected


def rows_of(target, targets):
    names = [f"row {number}" for number in range(len(targets))]
    return Rows(names, ["train"] * len(targets), [target.fingerprint(row) for row in targets])


def test_suspicious_labels():
    random = np.random.default_rng(0)
    target = ClassTarget(("cat", "dog", "empty"))
    truth = random.integers(0, 2, 200)  # no row is empty
    shares = np.full((200, 3), 0.01)
    shares[np.arange(200), truth] = 0.98
    labels = truth.copy()
    labels[[3, 50]] = 1 - labels[[3, 50]]
    found = find_suspicious(rows_of(target, labels), target, labels, shares)
    assert {one.example for one in found} == {"row 3", "row 50"}
    assert all(one.suggested_label == target.names[truth[int(one.example[4:])]] for one in found)

    marks = MultilabelTarget(("a", "b", "c"))
    given = random.integers(0, 2, (200, 3)).astype(np.float32)
    given[:, 2] = 1.0
    held_out = np.where(given > 0.5, 0.95, 0.05)
    given[7] = [1.0, 0.0, 1.0]
    held_out[7] = [0.01, 0.99, 0.9]
    (one,) = find_suspicious(rows_of(marks, given), marks, given, held_out)
    assert (one.example, one.label, one.suggested_label) == ("row 7", '["a", "c"]', '["b", "c"]')

    number = NumberTarget(("x",))
    values = random.normal(0.0, 1.0, (200, 1)).astype(np.float32)
    predicted = values + random.normal(0.0, 0.1, (200, 1))
    values[9] += 3.0
    (one,) = find_suspicious(rows_of(number, values), number, values, predicted)
    assert one.example == "row 9"
    assert float(one.suggested_label.strip("[]")) == pytest.approx(predicted[9, 0], rel=1e-4)


def test_outliers():
    random = np.random.default_rng(0)
    features = random.normal(0.0, 0.05, (300, 16)).astype(np.float32) + np.eye(16, dtype=np.float32)[np.arange(300) % 3]
    features[5] = np.eye(16)[9]
    target = ClassTarget(("a",))
    found = find_outliers(rows_of(target, np.zeros(300, np.int64)), find_neighbours(features, seed=0))
    assert [one.example for one in found] == ["row 5"]
    assert count_kinds(found) == {"outlier": 1}
