"""The bundled reference model and its recipe: a calibrated instrument for measuring forgetting.

Asking where the files lie costs nothing: the training recipe beside this file is imported only
by those who train (see README.md for the model card and the command).
"""

from pathlib import Path


def weights_path() -> Path:
    """Folder of the trained model, in the layout ``from_pretrained`` reads."""
    return Path(__file__).parent / "weights"


def text_path() -> Path:
    """English the model has never seen: for perplexity and as haystack."""
    return Path(__file__).parent / "text" / "english.txt"


def gates_path() -> Path:
    """Folder of the model's strength gates (``strength=learned``)."""
    return Path(__file__).parent / "gates"
