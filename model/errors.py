"""Why a picture is refused, in sentences for the person who sent it."""

from typing import Literal

# By these words metrics count refused pictures.
Reason = Literal[
    "malformed_request",
    "not_a_picture",
    "damaged",
    "too_small",
    "too_many_megapixels",
    "too_many_pictures",
    "blank",
    "no_memory",
]
SENTENCES: dict[Reason, str] = {
    "blank": "The picture is blank: no ink stands out from its background.",
    "damaged": "The picture is damaged or cut off: send the whole file.",
    "no_memory": "The service has too little memory at the moment: try again in a few seconds.",
}


class BadImage(Exception):
    """A picture is refused; the text is a sentence for the person who sent it. With "no_memory" it may be good."""

    def __init__(self, sentence: str, reason: Reason = "malformed_request") -> None:
        super().__init__(sentence)
        self.reason = reason

    def without_traceback(self) -> "BadImage":
        """Return a copy to keep: the traceback of a raised error keeps all variables on its way, such as the upload."""
        return BadImage(str(self), self.reason)


def refusal(reason: Reason) -> BadImage:
    """Return the refusal for a reason that has one sentence."""
    return BadImage(SENTENCES[reason], reason)
