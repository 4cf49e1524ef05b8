"""The exceptions that are meant for a person to read."""

from __future__ import annotations

from unicodedata import category

JOINERS = "\u200c\u200d"  # without them Persian words and some emoji fall apart


def plain(text: object) -> str:
    """Text that no terminal and no page acts on: control and direction characters and raw bytes appear as escapes."""
    return "".join(c if c.isprintable() or c in JOINERS or category(c) == "Zs" else ascii(c)[1:-1] for c in str(text))


class UserError(ValueError):
    """Bad input or a broken environment; the message is one line that says what is wrong and what to do.

    Names of files and classes stand in it as `plain` shows them, whoever chose them.

    Arguments:
    - the message

    Raises: it is what the other names raise; the command `frl` prints it and exits with status 2.

    Source: this project; it is a ValueError.

    >>> from frlcore import Attack, UserError
    >>> try:
    ...     Attack(eps=0.1, step_size=0.05, steps=0)
    ... except UserError as error:
    ...     print(error)
    an attack needs at least 1 step, a whole number, got steps=0
    """

    def __init__(self, message: object) -> None:
        super().__init__(plain(message))


class Diverged(UserError):
    """The loss of a training is no number any more; `what` says so without the advice."""

    def __init__(self, loss: float, epoch: int, lr: float) -> None:
        self.what = f"the loss is {loss} in epoch {epoch}"
        self.numbers = loss, epoch, lr
        super().__init__(f"{self.what}: lower the learning rate ({lr})")

    def __reduce__(self) -> tuple[type[Diverged], tuple[float, int, float]]:
        return Diverged, self.numbers  # not the message, so that one process can send it to another
