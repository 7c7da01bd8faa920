"""Why a picture is refused, in sentences for the person who sent it."""

# Formats that may hold what no program here can decode.
VARIED_FORMATS = ("TIFF", "HEIF", "AVIF", "JPEG2000")
# The reason for refusing a picture that is not the fault of who sent it.
NO_MEMORY = "no_memory"


class BadImage(Exception):
    """A picture is refused; the text is a sentence for the person who sent it.

    The reason is one of the few words by which metrics count such pictures; with NO_MEMORY the picture may be good.
    """

    def __init__(self, sentence: str, reason: str = "malformed_request") -> None:
        super().__init__(sentence)
        self.reason = reason


def blank() -> BadImage:
    """Return the refusal of a picture without ink."""
    return BadImage("The picture is blank: no ink stands out from its background.", "blank")


def undecodable(name: str | None, cause: Exception) -> BadImage:
    """Return the refusal of a picture of a format for what its decoder raised."""
    # libheif also raises it for files that claim too much.
    return no_memory() if isinstance(cause, MemoryError) and name != "HEIF" else damaged(name)


def no_memory() -> BadImage:
    """Return the refusal of a picture that would need more memory than the system gives."""
    return BadImage("The service has too little memory at the moment: try again in a few seconds.", NO_MEMORY)


def damaged(name: str | None) -> BadImage:
    """Return the refusal of a picture of a format that cannot be decoded."""
    if name in VARIED_FORMATS:
        sentence = f"The {name} file is damaged, or of a rare kind: save the picture as a PNG or JPEG file."
        return BadImage(sentence, "damaged")
    return BadImage("The picture is damaged or cut off: send the whole file.", "damaged")
