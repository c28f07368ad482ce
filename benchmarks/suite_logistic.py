"""A process of suite.py: logistic regression by scikit-learn on features of the frozen network. Usage: CELL_FOLDER

settings.regression: `cv`, StandardScaler and LogisticRegressionCV, which chooses its penalty by held-out cross-entropy;
or `probe`, features of length 1 and LogisticRegression(C=1). Either is calibrated by a temperature, fitted to its own
predictions for training rows that were held out.
"""

import sys
import warnings
from pathlib import Path

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from suite_cell import Cell, write_predicted

STRENGTHS = 10.0 ** np.arange(-5.0, 1.01, 0.5)


def make(regression: str, folds: StratifiedKFold, strength: float | None = None):
    if regression == "probe":
        return make_pipeline(Normalizer(), LogisticRegression(max_iter=1000))
    options = {"solver": "newton-cg", "max_iter": 2000}
    if strength is not None:
        return make_pipeline(StandardScaler(), LogisticRegression(C=strength, **options))
    search = LogisticRegressionCV(
        Cs=STRENGTHS, cv=folds, scoring="neg_log_loss", use_legacy_attributes=False, **options
    )
    return make_pipeline(StandardScaler(), search)


def to_logits(decided: np.ndarray) -> np.ndarray:
    return np.stack([-decided / 2, decided / 2], axis=1) if decided.ndim == 1 else decided


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    def loss(power: float) -> float:
        return -log_softmax(logits * np.exp(-power), axis=1)[np.arange(len(labels)), labels].mean()

    return float(np.exp(minimize_scalar(loss, bounds=(-5.0, 5.0), method="bounded").x))


def main(folder: Path) -> None:
    cell = Cell.read(folder)
    stored = np.load(cell.features)
    place = {number: index for index, number in enumerate(stored["numbers"].tolist())}
    features = stored["features"].astype(np.float64)
    train, test = (features[[place[row] for row in rows]] for rows in (cell.train_rows, cell.test_rows))
    labels, regression = np.array(cell.train[1]), cell.settings["regression"]
    folds = StratifiedKFold(min(5, np.bincount(labels).min()), shuffle=True, random_state=cell.seed)
    model = make(regression, folds).fit(train, labels)
    strength = float(np.ravel(model[-1].C_)[0]) if regression == "cv" else None
    held_out = cross_val_predict(make(regression, folds, strength), train, labels, cv=folds, method="decision_function")
    temperature = fit_temperature(to_logits(held_out), labels)
    probabilities = softmax(to_logits(model.decision_function(test)) / temperature, axis=1)
    feature_seconds = round(float(stored["seconds"]) * len(train), 2)
    write_predicted(folder, probabilities, temperature=temperature, strength=strength, feature_seconds=feature_seconds)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(Path(sys.argv[1]))
