"""manifest, history, scores, words -> the model card of a bundle. Nothing is trained or measured here."""

from cnnboost.stages.card.card_text import Words, find_words, read_words
from cnnboost.stages.card.writing import Card, write_card

__all__ = ["Card", "Words", "find_words", "read_words", "write_card"]
