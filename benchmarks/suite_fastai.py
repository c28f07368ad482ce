"""A process of suite.py: fastai's fine_tune, on PyTorch. Usage: CELL_FOLDER

The pretrained network is the recipe's, EfficientNet-Lite0, since those of torchvision have to be downloaded from a hub;
fastai's own head on it (create_head), its split into body and head, aug_transforms with the set's flips, fine_tune(20)
with its defaults. Batches of 16, since fastai drops the last batch that is not full. Measured with fastai 2.8.12, torch
2.13 (CPU), torchvision 0.28 and efficientnet-lite-pytorch 0.1.
"""

import sys
from pathlib import Path

import torch
from efficientnet_lite_pytorch import EfficientNet
from suite_cell import Cell, write_predicted
from suite_torchvision import import_torchvision
from torch import nn

EPOCHS, BATCH = 20, 16


class Body(nn.Module):
    """The network up to its last feature map."""

    def __init__(self, weights: str) -> None:
        super().__init__()
        self.network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights)
        del self.network._fc
        # PyTorch's momentum, as networks of torchvision and timm have it. With TensorFlow's 0.01, which this port has,
        # the statistics lag behind on few steps: 50 digits gave an accuracy of 0.21 instead of 0.37.
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 0.1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network.extract_features(x)


def main(folder: Path) -> None:
    import_torchvision()
    from fastai.vision import all as fastai

    cell = Cell.read(folder)
    torch.set_num_threads(1)
    fastai.set_seed(cell.seed)
    files, test = ([Path(file) for file in part[0]] for part in (cell.train, cell.test))
    names = {file: cell.classes[label] for file, label in zip(files, cell.train[1], strict=True)}
    flips = {"do_flip": bool(cell.flips), "flip_vert": "vertical" in cell.flips}
    block = fastai.DataBlock(
        blocks=(fastai.ImageBlock, fastai.CategoryBlock(vocab=cell.classes)),
        get_y=lambda file: names[file],
        # No rows are held out; those that fastai shows its metrics of decide nothing.
        splitter=lambda items: (list(range(len(items))), [0]),
        item_tfms=fastai.Resize(cell.size),
        batch_tfms=[*fastai.aug_transforms(**flips), fastai.Normalize.from_stats([0.5] * 3, [0.5] * 3)],
    )
    loaders = block.dataloaders(files, bs=min(BATCH, len(files)), num_workers=0)
    head = fastai.create_head(1280, len(cell.classes))
    fastai.apply_init(head, nn.init.kaiming_normal_)
    model = nn.Sequential(Body(cell.weights), head)
    learner = fastai.Learner(loaders, model, loss_func=fastai.CrossEntropyLossFlat(), splitter=fastai.default_split)
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(EPOCHS)
        probabilities, _ = learner.get_preds(dl=loaders.test_dl(test))
    write_predicted(folder, probabilities.numpy(), epochs=EPOCHS)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
