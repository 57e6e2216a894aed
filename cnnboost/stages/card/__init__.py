"""manifest, history, scores, words -> the model card of a bundle. Nothing is trained or measured here."""

from cnnboost.stages.card.card_text import CardText, find_card_text, read_card_text
from cnnboost.stages.card.writing import Card, write_card

__all__ = ["Card", "CardText", "find_card_text", "read_card_text", "write_card"]
