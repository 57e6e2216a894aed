"""One run of XGBoost over all workers: every worker has an equal share of the rows, and keeps it.

Workers read their shares from files, first to see that all is well with them, as a worker that fails later
would leave the others waiting, and again to put them into bins. The trees so far are kept with the scheduler
every few seconds; where workers are lost, those that are left divide the rows again and go on from there.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from cnnboost.cluster.connection import ANSWER_SECONDS, gone, load_distributed, wait_for_workers
from cnnboost.errors import ClusterError, CnnboostError, TrainingError, without_trace
from cnnboost.files import reason_of

if TYPE_CHECKING:
    from distributed import Client
    from xgboost import Booster, DMatrix

log = logging.getLogger("cnnboost")

T = TypeVar("T")

CHECKPOINT_SECONDS = 5.0
"""Seconds of training that a lost worker costs, about."""
COLLECTIVE_SECONDS = 300
"""Seconds for which workers wait for each other: for the slowest one to read its rows, or to grow a level."""
_ATTEMPTS = 4
"""Number of attempts to train without one more round between them."""


class Share(Protocol):
    """What one worker reads; small enough to be sent."""

    def check(self) -> None:
        """Read everything, and raise what is wrong with it."""

    def bins(self, n_threads: int) -> DMatrix:
        """Return a matrix with the bins of all shares; those of any number of workers are the same."""

    def matrices(self, bins: DMatrix, n_threads: int) -> tuple[DMatrix, list[tuple[DMatrix, str]]]:
        """Return the matrices for `xgboost.train`, to be called by all workers together."""


class Rows(Protocol):
    """Rows that can be divided among workers."""

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows to grow on, and of features."""

    @property
    def most_shares(self) -> int:
        """Number of shares that all have rows."""

    def share(self, number: int, count: int) -> Share:
        """Return one of `count` equal shares."""


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
    *,
    rounds: int,
    patience: int | None,
) -> tuple[Booster, list[float]]:
    """Grow trees on rows that workers read.

    Parameters
    ----------
    client : distributed.Client
    params : dict
        For `xgboost.train`; without `nthread`, each worker uses its own threads.
    rows : Rows
    rounds, patience : int
        Where `patience` is given, the losses on the watched rows end the growth.

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
            attempt = _Attempt(client, params, rows, addresses[: rows.most_shares], grown, rounds, patience)
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
        addresses: list[str],
        grown: Grown,
        rounds: int,
        patience: int | None,
    ) -> None:
        self.client, self.rows, self.addresses = client, rows, addresses
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
            reason = without_trace(error).splitlines()
            said = reason[0] if reason else type(error).__name__
            for _ in range(10):  # a worker's end may be known a moment later than its effect
                if set(self.addresses) - set(await self._workers()):
                    raise _Lost(said) from error
                await asyncio.sleep(0.5)
            raise TrainingError(
                f"XGBoost gave up on {self.rows.shape[0]:,} rows of {self.rows.shape[1]} features on "
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
        from distributed import MultiLock
        from distributed.comm import get_address_host

        count = len(self.addresses)
        shares = [
            await self.client.scatter(self.rows.share(number, count), workers=[address], hash=False)
            for number, address in enumerate(self.addresses)
        ]
        await self._on_all(_check, shares)
        keeper = (self.name, CHECKPOINT_SECONDS, self.patience, self.grown.losses)
        rounds = self.rounds - self.grown.rounds
        # Trainings that each had some of the workers would wait for the rest for ever.
        async with MultiLock(self.addresses, self.client):
            host = get_address_host(self.client.scheduler.address)
            link = await self.client.run_on_scheduler(_start_tracker, count, host)
            given = (link, self.params, rounds, self.grown.booster, keeper)
            first = (await self._on_all(_grow, shares, *given))[0]
        assert first is not None
        booster, losses = first
        return booster, [*self.grown.losses, *losses]

    async def _on_all(self, function: Callable[..., T], shares: Sequence[Any], *given: Any) -> list[T]:
        """Call a function on every worker, with its share; raise what the first to fail raises."""
        futures = [
            self.client.submit(function, share, number, *given, workers=[address], pure=False)
            for number, (share, address) in enumerate(zip(shares, self.addresses, strict=True))
        ]
        return await asyncio.gather(*(future.result() for future in futures))

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


def _check(share: Share, number: int) -> None:
    share.check()


def _start_tracker(count: int, host: str) -> dict[str, Any]:
    """Start on the scheduler what brings workers together; return what they must know of it."""
    from xgboost.core import XGBoostError
    from xgboost.tracker import RabitTracker

    tracker = RabitTracker(count, host, sortby="task", timeout=COLLECTIVE_SECONDS)
    tracker.start()

    def follow() -> None:
        with suppress(XGBoostError):  # workers that are lost are noticed by the client
            tracker.wait_for()

    threading.Thread(target=follow, name="xgboost-tracker", daemon=True).start()
    return {**tracker.worker_args(), "dmlc_timeout": COLLECTIVE_SECONDS, "dmlc_retry": 3}


def _grow(
    share: Share,
    number: int,
    link: Mapping[str, Any],
    params: Mapping[str, Any],
    rounds: int,
    booster: Booster | None,
    keeper: tuple[Any, ...],
) -> tuple[Booster, list[float]] | None:
    """Train on a worker, together with the others; the first of them returns the trees."""
    import xgboost
    from distributed import get_worker
    from xgboost.collective import CommunicatorContext

    params = {"nthread": get_worker().state.nthreads, **params}
    history: dict[str, Any] = {}
    bins = share.bins(params["nthread"])
    with xgboost.config_context(verbosity=0), CommunicatorContext(**link, dmlc_task_id=f"{number:06}"):
        train, evals = share.matrices(bins, params["nthread"])
        booster = xgboost.train(
            params,
            train,
            rounds,
            evals=evals,
            evals_result=history,
            verbose_eval=False,
            xgb_model=booster,
            callbacks=[_keeper(*keeper)],
        )
    if number:
        return None
    return booster, [float(loss) for loss in history.get("validation", {}).get("mlogloss", [])]


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
