import pytest

from keras_transfer.config.recipe_file import parse_recipe
from keras_transfer.config.unused import find_unused, without_unused
from keras_transfer.errors import ConfigError


def parse(task="image_classification", **sections):
    return parse_recipe({"task": task, "data": {"source": "x"}, **sections}, known={}, where="It")


def test_keys_at_their_defaults_are_never_unused():
    written = parse(policy={"name": "full"}).model_dump(mode="json")
    assert written["cache"]["dtype"] == "float32"
    assert parse_recipe(written, known={}, where="It").policy.name == "full"


def test_all_unused_keys_are_reported_at_once_with_the_choice_that_makes_them_so():
    with pytest.raises(ConfigError, match="It has 4 mistakes") as caught:
        parse(
            policy={"name": "head", "head_solver": "solve"},
            training={"epochs": 3, "l2_sp": 0.1, "keep": "last"},
            head={"dropout": 0.5},
            augmentation={"rotation": 9.0, "crop": 0.0},
        )
    lines = sorted(line.strip() for line in str(caught.value).splitlines()[1:])
    assert [line.split(":")[0] for line in lines] == [
        "augmentation.rotation",
        "head.dropout",
        "training.epochs",
        "training.l2_sp",
    ]
    assert all(line.endswith("Leave it out.") and "policy.name=head" in line for line in lines)


def test_flips_are_used_in_predictions_of_a_solved_head():
    policy = {"name": "head", "head_solver": "solve"}
    config = parse(policy=policy, augmentation={"vertical_flip": True, "predict_flips": True})
    assert list(find_unused(config)) == []
    with pytest.raises(ConfigError, match=r"augmentation\.vertical_flip: "):
        parse(policy=policy, augmentation={"vertical_flip": True})


def test_a_recipe_in_which_auto_was_resolved_is_valid_without_its_unused_keys():
    training = {"epochs": 3, "l2_sp": 0.1, "early_stopping": {"patience": 2}, "precision": "mixed_bfloat16"}
    auto = parse(policy={"name": "auto", "head_solver": "solve"}, training=training, head={"dropout": 0.5})
    head = parse(policy={"name": "head", "head_solver": "solve"}).policy
    resolved = without_unused(auto.model_copy(update={"policy": head}))
    assert parse_recipe(resolved.model_dump(mode="json"), known={}, where="It") == resolved
    assert (resolved.training.epochs, resolved.training.l2_sp, resolved.training.early_stopping) == (8, 0.0, None)
    assert (resolved.head.dropout, resolved.training.precision) == (0.2, "mixed_bfloat16")


@pytest.mark.parametrize(
    ("sections", "path"),
    [
        ({"cache": {"views": 4}, "augmentation": {"mixup": 0.2}}, "cache.views"),
        ({"cache": {"views": 4}, "augmentation": {"horizontal_flip": False}}, "cache.views"),
        ({"cache": {"views": 4}, "policy": {"name": "lp_ft", "head_solver": "solve"}}, "cache.views"),
        ({"cache": {"views": 4}, "policy": {"name": "full"}}, "cache.views"),
        ({"cache": {"views": 4}, "policy": {"name": "lora"}}, "cache.views"),
        ({"data": {"source": "x", "bytes": "raw", "path": "file"}}, "data.path"),
        ({"data": {"source": "x", "data_dir": "d"}}, "data.data_dir"),
        ({"distribution": {"worker": 0}}, "distribution.worker"),
    ],
)
def test_an_unused_key_is_named(sections, path):
    with pytest.raises(ConfigError, match=rf"It has a mistake:\n  {path}: .* Leave it out\.$"):
        parse(**sections)


def test_a_key_is_used_again_with_another_choice():
    for policy in ({"name": "lora", "stages": 3}, {"name": "lp_ft", "stages": 3, "head_solver": "solve"}):
        assert parse(cache={"views": 4}, policy=policy).cache.views == 4
    assert parse(data={"source": "tfds:x", "data_dir": "d"}).data.data_dir == "d"
    assert parse(cache={"views": 0}, policy={"name": "full"}).cache.views == 0
