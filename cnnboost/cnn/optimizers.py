"""The optimiser of a training and its learning rate, step by step; all of them Keras' own."""

from __future__ import annotations

from typing import Any

from cnnboost.cnn.options import TrainingOptions
from cnnboost.errors import ParameterError

#: Keras' names of its optimisers.
OPTIMIZERS = (
    *("adadelta", "adafactor", "adagrad", "adam", "adamax", "adamw", "ftrl", "lion", "muon", "nadam"),
    *("rmsprop", "sgd"),
)

#: Where a one-cycle training starts, its share of warm-up, and where it ends: those of Smith and Topin (2018)
#: as they are commonly set.
_ONE_CYCLE_START, _ONE_CYCLE_WARMUP, _ONE_CYCLE_END = 1 / 25, 0.3, 1e-4


def build_optimizer(options: TrainingOptions, model: Any, steps: int) -> Any:
    """Build the optimiser of a training."""
    import keras

    given = options.optimizer
    try:
        named = keras.optimizers.get(given) if isinstance(given, str) else given
        config = dict(named.get_config())
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ParameterError(
            f"optimizer={given!r} is none that Keras has; there are: {', '.join(OPTIMIZERS)}"
        ) from error
    for name in ("momentum", "nesterov", "weight_decay"):
        value = getattr(options, name)
        if value in (None, False):
            continue
        if name not in config:
            raise ParameterError(f"{name}={value!r}: the optimiser {given!r} has none; optimizer='sgd' does")
        config[name] = value
    if options.nesterov and not config.get("momentum"):
        raise ParameterError("nesterov=True needs a momentum above 0, e.g. momentum=0.9")
    if options.ema is not None:
        config.update(use_ema=True, ema_momentum=float(options.ema), ema_overwrite_frequency=None)
    if options.learning_rate is not None:
        config["learning_rate"] = float(options.learning_rate)
    if options.decay or options.schedule != "constant":
        if not isinstance(config["learning_rate"], float):
            raise ParameterError(
                f"optimizer={type(named).__name__} has a schedule of its own; give learning_rate, or leave "
                "decay and schedule out"
            )
        config["learning_rate"] = learning_rates(options, config["learning_rate"], steps)
    optimizer = type(named).from_config(config)
    if options.weight_decay:
        optimizer.exclude_from_weight_decay(
            var_list=[v for v in model.trainable_variables if len(v.shape) < 2]
        )
    return optimizer


def learning_rates(options: TrainingOptions, rate: float, steps: int) -> Any:
    """Return the learning rate of every step."""
    import keras

    schedules = keras.optimizers.schedules
    if options.decay:
        return schedules.InverseTimeDecay(rate, decay_steps=1, decay_rate=float(options.decay))
    if options.schedule == "step":
        assert options.step_epochs is not None
        return schedules.ExponentialDecay(
            rate, options.step_epochs * steps, float(options.step_factor), staircase=True
        )
    total = max(1, options.epochs * steps)
    once = options.schedule == "one-cycle"
    share = options.warmup if options.warmup is not None else _ONE_CYCLE_WARMUP if once else 0.0
    rising = min(total - 1, round(share * total))
    end = _ONE_CYCLE_END if once else 0.0
    if not rising:
        return schedules.CosineDecay(rate, total, alpha=end)
    start = rate * _ONE_CYCLE_START if once else 0.0
    return schedules.CosineDecay(start, total - rising, alpha=end, warmup_target=rate, warmup_steps=rising)
