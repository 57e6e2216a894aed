"""One run of XGBoost over all workers: every worker has an equal share of the rows, and keeps it.

Rows are read by the workers that train on them. The trees so far are kept with the scheduler every few
seconds; where workers are lost, those that are left read the rows among them again and go on from there.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cnnboost.cluster.connection import ANSWER_SECONDS, gone, load_distributed, wait_for_workers
from cnnboost.errors import ClusterError, CnnboostError, TrainingError
from cnnboost.files import reason_of

if TYPE_CHECKING:
    from distributed import Client
    from xgboost import Booster

log = logging.getLogger("cnnboost")

CHECKPOINT_SECONDS = 5.0
"""Seconds of training that a lost worker costs, about."""
COLLECTIVE_SECONDS = 300
"""Seconds for which workers wait for each other: for the slowest one to read its rows, or to grow a level."""
_ATTEMPTS = 4
"""Number of attempts to train without one more round between them."""
_BLOCKS = 16
"""Number of blocks of rows that a worker reads one by one: a large file is never in memory twice."""


class Rows(Protocol):
    """Rows of a training or validation set, whose features a worker can read by itself."""

    @property
    def width(self) -> int:
        """Number of features."""

    @property
    def codes(self) -> NDArray[np.intp]:
        """Number of the class of each row."""

    @property
    def weight(self) -> NDArray[np.float32] | None:
        """Weight of each row; None where all are alike."""

    def reader(self, start: int, stop: int) -> Callable[[], NDArray[np.float32]]:
        """Return a function, small enough to be sent, that reads the features of a range."""


@dataclass
class Grown:
    """The trees so far."""

    booster: Booster | None = None
    losses: list[float] = field(default_factory=list)

    @property
    def rounds(self) -> int:
        """Number of rounds that have grown."""
        return 0 if self.booster is None else int(self.booster.num_boosted_rounds())


def train(
    client: Client,
    params: dict[str, Any],
    rows: Rows,
    watched: Rows | None,
    *,
    rounds: int,
    patience: int | None,
) -> tuple[Booster, list[float]]:
    """Grow trees on rows that workers read.

    Parameters
    ----------
    client : distributed.Client
    params : dict
        For `xgboost.train`, with `max_bin`; without `nthread`, each worker uses its own threads.
    rows, watched : Rows
        `watched` gives the losses, and ends the growth where `patience` is given.
    rounds, patience : int

    Returns
    -------
    booster : xgboost.Booster
        With all trees, those after the best round too.
    losses : list of float
        On the watched rows, one for each round.

    Raises
    ------
    ClusterError
        If scheduler or workers are gone, or training fails again and again without one more round.
    TrainingError
        If XGBoost gives up for another reason.
    CnnboostError
        What reading the rows raised.
    """
    load_distributed()
    grown, failures = Grown(), 0
    names: list[str] = []
    try:
        while True:
            before = grown.rounds
            addresses = sorted(wait_for_workers(client))
            attempt = _Attempt(client, params, rows, watched, addresses, grown, rounds, patience)
            names.append(attempt.name)
            try:
                return client.sync(attempt.run)
            except _Lost as loss:
                grown = attempt.kept()
                failures = failures + 1 if grown.rounds == before else 0
                if failures >= _ATTEMPTS:
                    raise ClusterError(
                        f"the trees do not grow on: in {failures} attempts workers were lost before one "
                        f"more round was kept ({loss}). Look at their logs, give them more memory ('dask "
                        "worker --memory-limit'), and run the same command again"
                    ) from loss
                log.warning(
                    "workers were lost in training (%s); it goes on from round %d", loss, grown.rounds
                )
    finally:
        _forget(client, names)


def _forget(client: Client, names: Sequence[str]) -> None:
    """Have the scheduler forget trees; a worker left over may have kept some after its attempt was lost."""
    from distributed import Variable

    with suppress(OSError, RuntimeError):
        for name in names:
            Variable(name, client=client).delete()


class _Lost(Exception):
    """Workers were lost in a training."""


class _Attempt:
    """A training that ends, or loses a worker."""

    def __init__(
        self,
        client: Client,
        params: dict[str, Any],
        rows: Rows,
        watched: Rows | None,
        addresses: list[str],
        grown: Grown,
        rounds: int,
        patience: int | None,
    ) -> None:
        self.client, self.rows, self.watched, self.addresses = client, rows, watched, addresses
        self.grown, self.rounds, self.patience = grown, rounds, patience
        # Sums of rows that were drawn by the same numbers again would be of the same rows.
        seed = int(params.get("seed", 0)) + grown.rounds
        self.params = {**params, "seed": seed}
        if grown.booster is not None:
            self.params.pop("base_score", None)  # the trees so far have theirs
        self.name = f"cnnboost-{secrets.token_hex(8)}"

    async def run(self) -> tuple[Booster, list[float]]:
        """Train; always within bounds of time once a worker or the scheduler is gone."""
        known = set(self.client.futures)
        work = asyncio.ensure_future(self._train())
        try:
            while not work.done():
                await asyncio.wait({work}, timeout=1)
                if not work.done():
                    await self._look(work)
            return await self._result(work)
        finally:
            work.cancel()
            await self._release(known)

    async def _look(self, work: asyncio.Future[Any]) -> None:
        """Raise where workers are gone and the others wait for them."""
        missing = set(self.addresses) - set(await self._workers())
        if missing:
            # The others notice by themselves, and say so.
            await asyncio.wait({work}, timeout=10)
            if not work.done():
                raise _Lost(f"{', '.join(sorted(missing))} is gone")

    async def _workers(self) -> dict[str, int]:
        try:
            found = await asyncio.wait_for(self.client.scheduler.ncores(), ANSWER_SECONDS)
        except (OSError, TimeoutError) as error:
            raise gone(self.client, str(error) or "no answer") from error
        if self.client.status not in ("running", "connecting"):
            raise gone(self.client, f"the connection is {self.client.status}")
        return dict(found)

    async def _result(self, work: asyncio.Future[Any]) -> tuple[Booster, list[float]]:
        try:
            return work.result()
        except CnnboostError:
            raise
        except (Exception, asyncio.CancelledError) as error:
            reason = str(error).split("Stack trace")[0].strip().splitlines()
            said = reason[0] if reason else type(error).__name__
            for _ in range(10):  # a worker's end may be known a moment later than its effect
                if set(self.addresses) - set(await self._workers()):
                    raise _Lost(said) from error
                await asyncio.sleep(0.5)
            raise TrainingError(
                f"XGBoost gave up on {len(self.rows.codes):,} rows of {self.rows.width} features on "
                f"{len(self.addresses)} workers: {said}"
            ) from error

    async def _release(self, known: set[str]) -> None:
        """Let the workers stop: what XGBoost has asked of them is wanted no more."""
        from distributed import Future

        left = [Future(key, self.client) for key in set(self.client.futures) - known]
        with suppress(OSError, TimeoutError, RuntimeError):
            if left and self.client.status == "running":
                await asyncio.wait_for(self.client.cancel(left, force=True), ANSWER_SECONDS)

    async def _train(self) -> tuple[Booster, list[float]]:
        from xgboost import config_context
        from xgboost import dask as dxgb
        from xgboost.collective import Config

        with self.client.as_current(), config_context(verbosity=0):
            train = await self._matrix(dxgb, self.rows)
            evals = []
            if self.watched is not None:
                evals = [(await self._matrix(dxgb, self.watched, ref=train), "validation")]
            found = await dxgb.train(
                self.client,
                self.params,
                train,
                num_boost_round=self.rounds - self.grown.rounds,
                evals=evals,
                verbose_eval=False,
                xgb_model=self.grown.booster,
                callbacks=[_keeper(self.name, CHECKPOINT_SECONDS, self.patience, self.grown.losses)],
                coll_cfg=Config(timeout=COLLECTIVE_SECONDS, tracker_timeout=COLLECTIVE_SECONDS, retry=3),
            )
        losses = found["history"].get("validation", {}).get("mlogloss", [])
        return found["booster"], [*self.grown.losses, *map(float, losses)]

    async def _matrix(self, dxgb: Any, rows: Rows, ref: Any = None) -> Any:
        """Have the workers read rows, each an equal share."""
        import dask.array as da
        from distributed import wait

        columns: list[list[Any]] = [[], [], []]
        sizes = []
        for address, part in _shares(len(rows.codes), self.addresses):
            sizes.append(part.stop - part.start)
            weight = None if rows.weight is None else rows.weight[part]
            codes = rows.codes[part].astype(np.int32)
            for column, given in zip(
                columns, (rows.reader(part.start, part.stop), codes, weight), strict=True
            ):
                if given is not None:
                    column.append(
                        self.client.submit(
                            _read, given, workers=[address], allow_other_workers=True, pure=False
                        )
                    )
        futures = [future for column in columns for future in column]
        await wait(futures)
        for future in futures:
            if future.status != "finished":
                error = await future.exception() if future.status == "error" else None
                raise error if error is not None else _Lost("rows were lost while they were read")
        arrays = [
            da.concatenate(
                [
                    da.from_delayed(block, (size, *shape), dtype)
                    for block, size in zip(column, sizes, strict=True)
                ]
            )
            for column, shape, dtype in zip(
                columns, ((rows.width,), (), ()), (np.float32, np.int32, np.float32), strict=True
            )
            if column
        ]
        X, y, *weights = arrays
        return await dxgb.DaskQuantileDMatrix(
            self.client, X, y, weight=weights[0] if weights else None, max_bin=self.params["max_bin"], ref=ref
        )

    def kept(self) -> Grown:
        """Return the trees that were kept last."""
        import xgboost
        from distributed import Variable

        variable = Variable(self.name, client=self.client)
        try:
            state = variable.get(timeout=2)
        except TimeoutError:
            return self.grown
        except OSError as error:
            raise gone(self.client, reason_of(error)) from error
        booster = xgboost.Booster()
        booster.load_model(bytearray(state["model"]))
        return Grown(booster, list(state["losses"]))


def _shares(n: int, addresses: Sequence[str]) -> Iterator[tuple[str, slice]]:
    """Divide rows evenly among workers, the share of each in blocks."""
    for number, address in enumerate(addresses):
        start, stop = n * number // len(addresses), n * (number + 1) // len(addresses)
        step = max(1, -(-(stop - start) // _BLOCKS))
        for first in range(start, stop, step):
            yield address, slice(first, min(first + step, stop))


def _read(column: Any) -> Any:
    """Return a block of rows where it was asked for."""
    return column() if callable(column) else column


def _keeper(name: str, seconds: float, patience: int | None, losses: Sequence[float]) -> Any:
    """Make the callback that keeps the trees, stops early, and stops where nobody wants them any more."""
    from xgboost.callback import TrainingCallback

    class Keeper(TrainingCallback):
        def __init__(self) -> None:
            super().__init__()
            self.kept_at = time.monotonic()

        def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            from distributed import Variable
            from xgboost import collective

            from cnnboost.cluster.tasks import is_cancelled

            # All workers must stop in the same round: the others would wait for one that stopped alone.
            flag = np.array([is_cancelled()], dtype=np.int32)
            if collective.allreduce(flag, collective.Op.MAX)[0]:
                if collective.get_rank() == 0:  # these trees may have been kept after the client forgot them
                    Variable(name).delete()
                return True
            log_loss = evals_log.get("validation", {}).get("mlogloss", [])
            history = [*losses, *map(float, log_loss)]
            if collective.get_rank() == 0 and time.monotonic() - self.kept_at >= seconds:
                state = {"model": bytes(model.save_raw("ubj")), "losses": history}
                Variable(name).set(state)
                self.kept_at = time.monotonic()
            return bool(
                patience is not None and history and len(history) - 1 - int(np.argmin(history)) >= patience
            )

    return Keeper()
