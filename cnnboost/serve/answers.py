"""The documents that the server answers with; the OpenAPI document is made from these."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field


class Problem(BaseModel):
    """Why a request was refused."""

    error: str = Field(description="One sentence.")


class Row(BaseModel):
    """One image: its class and the probabilities of all classes, or why there are none."""

    name: str | None = Field(description="The file name that the client gave the image.")
    label: str | None = Field(None, description="The most probable class.")
    probabilities: dict[str, float] | None = None
    error: str | None = None


class Box(BaseModel):
    """A rectangle in pixels of the upright image, from its upper left corner."""

    x: float
    y: float
    width: float
    height: float


class FaceRow(BaseModel):
    """One face of an image."""

    box: Box
    score: float = Field(description="How sure the detector is.")
    label: str
    probabilities: dict[str, float]


class FacesRow(BaseModel):
    """One image and the faces that were found in it, or why it could not be used."""

    name: str | None
    width: int | None = Field(None, description="Of the upright image, in pixels.")
    height: int | None = None
    faces: list[FaceRow] | None = None
    error: str | None = None


class Answer(BaseModel):
    """One row for each image, in the order of the request."""

    classes: list[str]
    rows: list[Row | FacesRow]
    failed: int = Field(description="Rows with an error.")


class NoAnswer(Problem):
    """The answer where no image could be used."""

    rows: list[Row | FacesRow] = Field(default_factory=list)


class Card(BaseModel):
    """What the model card says, in Markdown."""

    use: str | None
    misuse: str | None


class Model(BaseModel):
    """The model that answers."""

    title: str
    recipe: str | None
    graph: str
    classes: list[str]
    input: dict[str, int]
    wants: str | None = Field(description="What its images show: a face, or nothing in particular.")
    layer: str | None
    mode: str | None
    scores: dict[str, Any] | None
    card: Card
    version: str
    faces: bool = Field(description="Whether ?faces=true is answered here.")
    limits: dict[str, float]


class Health(BaseModel):
    """The server answers."""

    status: str


#: Refusals, for the OpenAPI document.
PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"description": "The body cannot be read, or faces cannot be found here.", "model": Problem},
    408: {"description": "The body did not arrive in time.", "model": Problem},
    413: {"description": "The body is too large, or holds too many images.", "model": Problem},
    415: {"description": "The body is of a type that is not accepted.", "model": Problem},
    422: {
        "description": "No image of the request could be used, or a parameter has a wrong value.",
        "model": NoAnswer,
    },
    503: {
        "description": "The server has too much to do; Retry-After says when to try again.",
        "model": Problem,
    },
}
