"""What can be said of data, models, attacks and training without touching a tensor.

The bottom room: it imports no torch, so that whoever only plans runs or reads records starts at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real

from frlcore.errors import UserError

NORMS = ("linf", "l2")
OBJECTIVES = ("natural", "noise", "pgd", "trades")
SELECT = ("average standard", "average robust", "worst robust")
AUGMENTS = ("none", "crop", "crop_flip")
SCHEDULES = ("warm-up", "linear")
STANDARD_QUERIES = 5000  # of Square, the attack without gradients in AutoAttack
MODELS = (
    "preact_resnet18", "wrn28_10", "preact_small", "preact_narrow", "preact_wide",
    "preact_resnet18_half", "preact_resnet18_quarter",
)  # fmt: skip


@dataclass(frozen=True)
class DataInfo:
    """What is known of a data set without reading it."""

    name: str
    classes: tuple[str, ...]
    shape: tuple[int, int, int]  # (C, H, W)
    scale: int  # the pixel value that means 1.0
    augment: str  # "none", "crop" or "crop_flip"
    digest: str  # sha256 over image bytes, then label bytes; or "md5:" and the md5 sums of the files
    paper: bool = False  # whether the paper trains on it


DATA = {  # how each is read: `data.sources.LOADERS`
    "digits": DataInfo(
        name="digits",
        classes=tuple("0123456789"),
        shape=(1, 8, 8),
        scale=16,
        augment="none",
        digest="87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826",
    ),
    "cifar10": DataInfo(
        name="cifar10",
        classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        shape=(3, 32, 32),
        scale=255,
        augment="crop_flip",
        digest="32e5966899bde482c0ef7d076bf69809b4b1488c806f657a814cfca4646ec493",
        paper=True,
    ),
    # the md5 sums of train_32x32.mat and test_32x32.mat that torchvision 0.29 checks (datasets.SVHN.split_list)
    "svhn": DataInfo(
        name="svhn",
        classes=tuple("0123456789"),
        shape=(3, 32, 32),
        scale=255,
        augment="crop",  # a mirrored digit is another shape, so no flip
        digest="md5:e26dedcc434d2e4c54c9b2d4a06d8373+eb5a983be6a315427106f1b164d9cef3",
        paper=True,
    ),
    # a second data set of digits for what the paper shows on SVHN: its classes are as unequal in size as SVHN's
    "digits-uneven": DataInfo(
        name="digits-uneven",
        classes=tuple("0123456789"),
        shape=(1, 8, 8),
        scale=16,
        augment="none",
        digest="6cc09782e2af3a82dd0684bce5a6b3e4e3d783adab24e0dafee84490ccb191ea",
    ),
}


def info(name: str) -> DataInfo:
    """Facts about a named data set, without reading it; raises UserError for an unknown name."""
    if name not in DATA:
        raise UserError(f'unknown data set "{name}"; choose one of: {", ".join(DATA)}')
    return DATA[name]


def is_positive(value: object, *, whole: bool = False) -> bool:
    """Whether a setting is a number above 0 that int64 can count or float32 compute with."""
    number = isinstance(value, Integral if whole else Real) and not isinstance(value, bool)
    return number and 0 < value < (2**63 if whole else 2**127)  # type: ignore[operator]


def counted(name: str, value: object, least: int = 1) -> int:
    """A setting that counts something, as an int; raises UserError unless it is a whole number from `least` on."""
    if not (is_positive(value, whole=True) or (isinstance(value, Integral) and value == least == 0)):
        raise UserError(f"{name} must be at least {least}, a whole number, got {value!r}")
    return int(value)  # type: ignore[call-overload]


def seeded(value: object) -> int:
    """A seed as an int; raises UserError unless it is a whole number from 0 to 2^31 - 1, as numpy's generators take."""
    if isinstance(value, bool) or not (isinstance(value, Integral) and 0 <= int(value) < 2**31):
        raise UserError(f"a seed is a whole number from 0 to 2^31 - 1, got {value!r}")
    return int(value)


def radius(eps: object, norm: str, width: float = 1.0) -> float:
    """A radius as a float; raises UserError unless it is a number above 0 and, in l-inf, no wider than the pixel range.

    `width` is that of the range; a radius above it has not been divided by the highest pixel value.
    """
    if not is_positive(eps):
        raise UserError(f"eps must be a positive fraction of the pixel range, a number as 8 / 255, got {eps!r}")
    length = float(eps)  # type: ignore[arg-type]
    if norm == "linf" and length > width:
        if width == 1:
            raise UserError(f"eps is a fraction of the pixel range, got {length:g}: did you mean {length:g} / 255?")
        raise UserError(f"eps = {length:g} is wider than the range of the values, {width:g}")
    return length


@dataclass(frozen=True)
class Attack:
    """A PGD attack on the cross-entropy from a uniform start.

    Arguments:
    - `eps`, `step_size`: radius and length of a step, fractions of the pixel range above 0; in l-inf `eps` is at most 1
    - `steps`: how many, 1 or more
    - `norm`: "linf" or "l2"

    Raises: UserError for a value out of these ranges.

    Source: Eq. 1 and Sec. 5.1; Madry et al. (2018).

    >>> from frlcore import Attack
    >>> Attack(eps=8 / 255, step_size=2 / 255, steps=20).norm
    'linf'
    """

    eps: float
    step_size: float
    steps: int
    norm: str = "linf"

    def __post_init__(self) -> None:
        if not (is_positive(self.eps) and is_positive(self.step_size)):
            raise UserError(f"an attack's eps and step_size must be positive, got {self.eps} and {self.step_size}")
        if not is_positive(self.steps, whole=True):
            raise UserError(f"an attack needs at least 1 step, a whole number, got steps={self.steps}")
        if self.norm not in NORMS:
            raise UserError(f"unknown norm '{self.norm}'; known: {', '.join(NORMS)}")
        radius(self.eps, self.norm)


@dataclass(frozen=True)
class Training:
    """How to train: objective, schedule, training attack, and the attack of the validation.

    Arguments:
    - `objective`: "natural", "noise", "pgd" or "trades"; FRL is "trades" under an FRL policy
    - `eps`, `step_size`, `sigma`: fractions of the pixel range; epochs, steps and `batch_size` are numbers of each
    - the others: see beside them

    Raises: UserError for an unknown objective, norm, selection or schedule, and for a value that is not positive.

    Source: Algorithm 1, step 9, and Sec. 5.1; Zhang et al. (2019) for TRADES.

    >>> from frlcore import Training
    >>> Training("pgd", epochs=30, lr=0.1, milestones=(24, 28)).decay(24)
    0.1
    """

    objective: str
    epochs: int
    lr: float  # with a schedule, its peak
    milestones: tuple[int, ...] = ()  # the learning rate falls to a tenth after each of these epochs
    batch_size: int = 128
    momentum: float = 0.9
    weight_decay: float = 5e-4
    eps: float = 8 / 255
    step_size: float = 2 / 255  # grows with a class's margin
    steps: int = 10
    norm: str = "linf"
    beta: float = 1.0  # weight of the boundary loss (TRADES: 1 / lambda)
    batch_normalised: bool = False  # released code: divide each loss by the batch's sum of weights
    validation_steps: int = 10
    sigma: float | None = None  # "noise": standard deviation of the Gaussian noise
    select: str = "average robust"  # which validation error chooses the "selected" checkpoint
    schedule: str | None = None  # "warm-up": rises over the first epoch; "linear": then falls to 0 instead of by tenths
    largest_step: bool | None = None  # step_size grows with the largest margin in the batch, the same for every class
    rates_early: int | None = None  # so many updates before the learning rate do the policy's rates fall
    average: float | None = None  # memory of a weight average beside the weights, in epochs (`averaging`)
    gate: float | None = None  # it moves once an epoch, if the worst class's robust accuracy on validation is as high

    def __post_init__(self) -> None:
        for name, known in (("objective", OBJECTIVES), ("norm", NORMS), ("select", SELECT)):
            if getattr(self, name) not in known:
                raise UserError(f"unknown {name} '{getattr(self, name)}'; known: {', '.join(known)}")
        whole = ("epochs", "batch_size", "steps", "validation_steps")
        for name in (*whole, "lr", "eps", "step_size", "beta"):
            if not is_positive(getattr(self, name), whole=name in whole):
                raise UserError(f"{name} must be positive, got {getattr(self, name)}")
        radius(self.eps, self.norm)
        for name in ("momentum", "weight_decay"):
            if not (is_positive(value := getattr(self, name)) or value == 0):
                raise UserError(f"{name} must be a number from 0 on, got {value}")
        whole_epochs = isinstance(self.milestones, tuple) and all(
            is_positive(epoch, whole=True) or epoch == 0 for epoch in self.milestones
        )
        if not whole_epochs:
            raise UserError(f"milestones are the numbers of epochs, as in (60, 90), got {self.milestones}")
        for name, sound in (("largest_step", self.largest_step in (None, True)),
                            ("rates_early", self.rates_early is None or is_positive(self.rates_early, whole=True)),
                            ("average", self.average is None or is_positive(self.average)),
                            ("gate", self.gate is None or is_positive(self.gate))):
            if not sound:
                raise UserError(f"{name} is None where it is not wanted, else positive, got {getattr(self, name)}")
        sound = self.sigma is None or is_positive(self.sigma)
        if (self.objective == "noise") != (self.sigma is not None) or not sound:
            raise UserError(f"sigma is the noise of the objective 'noise', a positive number, got {self.sigma}")
        if self.gate is not None and self.average is None:
            raise UserError(f"a gate belongs to a weight average: set average, too, or leave out gate={self.gate}")
        if self.schedule not in (None, *SCHEDULES):
            raise UserError(f"unknown schedule '{self.schedule}'; known: {', '.join(SCHEDULES)}, or none")
        if self.schedule == "linear" and self.milestones:
            raise UserError(f"the schedule 'linear' has no milestones, got {self.milestones}")

    def decay(self, time: float) -> float:
        """How far the learning rate has fallen after `time` epochs, as a factor of its highest value."""
        if self.schedule == "linear":
            return min(1.0, max(0.0, self.epochs - time) / max(self.epochs - 1, 1))
        return 0.1 ** sum(time >= m for m in self.milestones)

    def rate(self, time: float) -> float:
        """The learning rate after `time` epochs: what has not fallen, and under a schedule not before it has risen."""
        return self.lr * self.decay(time) * (min(1.0, time) if self.schedule else 1.0)

    def policy_decay(self, epoch: int) -> float:
        """`decay` as the policy's update before an epoch sees it."""
        return self.decay(epoch + (self.rates_early or 0))

    @property
    def validation_attack(self) -> Attack:
        return Attack(self.eps, self.step_size, self.validation_steps, self.norm)


# What the released code does beside the rule of its policy, for Reweight+Remargin: both losses over the batch's sum of
# weights, steps of a quarter of the batch's largest radius, and rates that fall before the 40th update, not after it.
RELEASED = {"batch_normalised": True, "largest_step": True, "rates_early": 1}
