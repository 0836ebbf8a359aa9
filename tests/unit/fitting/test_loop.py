"""The supervised loop on a line through points: schedule, averaging, patience, best weights, resumption."""

from __future__ import annotations

import json
import math
import threading
import time

import pytest
import torch
from torch import nn

from harness.errors import RunError
from harness.fitting.ahead import ahead
from harness.fitting.checkpoint import read_state, write_state
from harness.fitting.events import Advanced, Epoch, Started
from harness.fitting.identity import Identity, digest, fingerprint
from harness.fitting.loop import Fit
from harness.fitting.settings import FitSettings, adamw
from harness.fitting.task import Loss, Task, means, read, seeded

X = torch.linspace(-1.0, 1.0, 12)[:, None]
Y = 3.0 * X + 1.0


class Line(Task[torch.Tensor]):
    """Fits a line; its batches and its noise follow from the epoch alone."""

    best_by = "error"

    def __init__(self, seed: int = 0, values: list[float] | None = None) -> None:
        torch.manual_seed(seed)
        self.network = nn.Linear(1, 1)
        self.memory = nn.BatchNorm1d(1)
        self.optimiser = adamw(self.parameters(), 0.1, 0.0)
        self.updates, self.values, self.told = 3, values, []

    def batches(self, epoch):
        order = seeded(0, epoch).permutation(12)
        self.network.train()
        for begin in (0, 4, 8):
            yield torch.as_tensor(order[begin : begin + 4])

    def loss(self, batch):
        seen = X[batch] + 0.1 * torch.randn(len(batch), 1)
        error = (self.memory(self.network(seen)) + self.network(seen) - Y[batch]).square().mean()
        return Loss(error, {"loss": float(error.detach())})

    def evaluate(self, epoch):
        found = float((self.network(X) - Y).square().mean())
        return {"error": self.values[epoch] if self.values else found}

    def improved(self, weights, epoch, value):
        self.told.append((epoch, value))


SETTINGS = FitSettings(epochs=6, rate=0.1, warmup=2, final_rate=0.0, clip=1.0, average=0.9)


def fitted(task: Line, settings: FitSettings = SETTINGS, **more) -> Fit:
    fit = Fit(task, settings, part="line", **more)
    fit.run()
    return fit


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, other.state_dict()[name]) for name, a in one.state_dict().items())


class KilledError(Exception):
    """The process is killed."""


def test_a_fit_that_was_killed_goes_on_to_the_same_weights(tmp_path) -> None:
    whole, cut = Line(), Line()
    rows = fitted(whole).rows
    seen = []

    def kill(event) -> None:
        seen.append(event)
        if isinstance(event, Advanced) and event.done == 2 and sum(isinstance(one, Epoch) for one in seen) == 3:
            raise KilledError

    with pytest.raises(KilledError):
        fitted(cut, checkpoint=tmp_path / "c.safetensors", report=kill)
    resumed, told = Line(seed=5), []
    again = fitted(resumed, checkpoint=tmp_path / "c.safetensors", report=told.append)
    assert told[0] == Started("line", "(goes on after 3 epochs)", 6)
    assert [event.row["epoch"] for event in told if isinstance(event, Epoch)] == [3, 4, 5]
    assert same(whole.network, resumed.network)
    assert same(whole.memory, resumed.memory)
    assert [(row["loss"], row["error"]) for row in rows] == [(row["loss"], row["error"]) for row in again.rows]


def test_every_update_of_a_long_epoch_counts() -> None:
    class Long(Line):
        def batches(self, epoch):
            self.updates = 70
            for _ in range(70):
                yield torch.arange(12)

        def loss(self, batch):
            found = super().loss(batch)
            self.told.append(float(found.total.detach()))
            return Loss(found.total, {"loss": found.total.detach()})

        def improved(self, weights, epoch, value):
            return

        def row(self, outcome):
            assert len(outcome.gradients) == 70
            return super().row(outcome)

    task, seen = Long(), []
    (row,) = fitted(task, FitSettings(epochs=1, rate=0.1, clip=1.0), report=seen.append).rows
    assert row["loss"] == pytest.approx(sum(task.told) / 70)
    assert [event.done for event in seen if isinstance(event, Advanced)] == list(range(1, 71))


def test_the_rate_falls_over_the_epochs_that_are_asked_for() -> None:
    settings = FitSettings(epochs=1, rate=1.0, warmup=10, final_rate=0.1)
    assert settings.rate_at(0, 100) == pytest.approx(0.1)
    assert settings.rate_at(50, 100) == pytest.approx(0.55)
    assert settings.rate_at(100, 100) == pytest.approx(0.1)
    assert FitSettings(epochs=1, rate=0.3).rate_at(77, 100) == 0.3


def test_the_best_weights_are_kept_and_patience_ends() -> None:
    task = Line(values=[3.0, 1.0, 2.0, 1.5, 0.5, 0.1])
    fit = fitted(task, FitSettings(epochs=6, rate=0.1, patience=2))
    assert (fit.best, fit.best_epoch, fit.epoch) == (1.0, 1, 4)
    assert task.told == [(0, 3.0), (1, 1.0)]
    two = Line(values=[3.0, 1.0])
    fitted(two, FitSettings(epochs=2, rate=0.1))
    assert same(task.network, two.network)
    assert fitted(Line(values=[1.0, *[2.0] * 5]), FitSettings(epochs=6, rate=0.1)).epoch == 6, "0 is endless patience"


def test_nothing_is_best_where_everything_is_nan() -> None:
    start, task = Line(), Line(values=[math.nan] * 3)
    fit = fitted(task, FitSettings(epochs=3, rate=0.1))
    assert (fit.best, fit.best_epoch) == (math.inf, -1)
    assert same(task.network, start.network)


def test_without_something_to_minimise_the_last_weights_stay() -> None:
    last, task = Line(values=[3.0, 2.0, 1.0]), Line(values=[1.0, 2.0, 3.0])
    task.best_by = None
    settings = FitSettings(epochs=3, rate=0.1)
    fitted(last, settings)
    fitted(task, settings)
    assert same(last.network, task.network)


def test_averaged_weights_are_what_is_evaluated() -> None:
    """With a decay near 1 the average is that of the warm-up (k / (k + 10) after k updates), by hand."""
    weights = []

    class Watched(Line):
        def batches(self, epoch):
            for batch in super().batches(epoch):
                yield batch
                weights.append(self.network.weight.detach().clone())

        def evaluate(self, epoch):
            self.seen = self.network.weight.detach().clone()
            return super().evaluate(epoch)

    task = Watched()
    expected = task.network.weight.detach().clone()
    fitted(task, FitSettings(epochs=1, rate=0.1, average=0.999))
    for count, value in enumerate(weights, 1):
        expected += (value - expected) * (1.0 - count / (count + 10.0))
    torch.testing.assert_close(task.seen, expected)
    assert not torch.equal(task.seen, weights[-1])


def test_batches_that_teach_nothing_change_nothing() -> None:
    class Empty(Line):
        def loss(self, batch):
            return Loss(None, {"loss": 0.0})

    start, task = Empty(), Empty()
    fit = fitted(task)
    assert same(start.network, task.network)
    assert fit.updates == 0


def test_a_loss_that_is_not_finite_ends_the_fit() -> None:
    class Broken(Line):
        def loss(self, batch):
            return Loss(super().loss(batch).total * math.nan, {})

    with pytest.raises(RunError, match="nan in epoch 0; lower the learning rate"):
        fitted(Broken())


def test_an_epoch_that_fails_leaves_no_thread_behind() -> None:
    class Failing(Line):
        def batches(self, epoch):
            yield from ahead(super().batches(epoch), 1)

        def loss(self, batch):
            raise KilledError

    # The error knows the loop that it comes from.
    with pytest.raises(KilledError) as caught:
        fitted(Failing())
    assert caught.traceback
    assert not [thread for thread in threading.enumerate() if thread.name == "ahead"]


def test_little_time_is_one_epoch() -> None:
    assert fitted(Line(), FitSettings(epochs=3, rate=0.1, minutes=1e-9)).epoch == 1


def test_checkpoints_of_other_settings_are_refused_by_name(tmp_path) -> None:
    def identity(**changed) -> Identity:
        values = {"rate": 0.1, "epochs": 6, "model": {"width": 3}, "scenes": digest(["a", "b"])}
        return Identity({**values, **changed}, frozenset({"epochs"}))

    file = tmp_path / "c.safetensors"
    fitted(Line(), checkpoint=file, identity=identity())
    assert fitted(Line(), FitSettings(epochs=7, rate=0.1), checkpoint=file, identity=identity(epochs=7)).epoch == 7
    for changed, name in (
        ({"rate": 0.2}, r"c\.safetensors was made with other settings \(rate was 0\.1 and is 0\.2\)"),
        ({"model": {"width": 4}}, r"model\.width was 3 and is 4"),
        ({"scenes": digest(["a", "c"])}, "scenes was"),
    ):
        with pytest.raises(RunError, match=name):
            fitted(Line(), checkpoint=file, identity=identity(**changed))


def test_damaged_and_foreign_checkpoints_say_so(tmp_path) -> None:
    file = tmp_path / "c.safetensors"
    file.write_bytes(b"nothing")
    with pytest.raises(RunError, match="cannot resume"):
        fitted(Line(), checkpoint=file)
    write_state(file, {"identity": "[]", "epoch": 3})
    with pytest.raises(RunError, match="another version"):
        fitted(Line(), checkpoint=file)
    file.unlink()
    torch.save({"config": "{}"}, tmp_path / "c.pt")
    with pytest.raises(RunError, match=r"c\.pt is a checkpoint of an earlier version"):
        fitted(Line(), checkpoint=file)


NUMBERS = [
    *((math.nan, 1, 1.0, 1, 1.0), (-5, 1, 1.0, 1, 1.0), (6, 10**99, 1.0, 0, 1.0), ("6", "1", "x", "1", "y")),
    *((6, 18, math.nan, 0, 1.0), (6, 18, 1.0, 0, math.inf)),
]
PARTS = [
    *((part, None) for part in ("best_weights", "optimizer", "numbers", "network")),
    *(("config", []), ("rows", 3), ("rows", [1, 2]), ("rows", [{}])),
    *(("numbers", list(numbers)) for numbers in NUMBERS),
]


@pytest.mark.parametrize(("part", "value"), PARTS)
def test_checkpoints_whose_parts_do_not_fit_are_refused_at_the_start(tmp_path, part, value) -> None:
    file = tmp_path / "c.safetensors"
    fitted(Line(values=[1.0] * 6), checkpoint=file)
    state = read_state(file, torch.device("cpu"))
    if part == "optimizer":
        state[part]["state"][0]["exp_avg"] = torch.zeros(7)
    else:
        state[part] = {"weight": torch.zeros(7)} if value is None else value
    write_state(file, state)
    with pytest.raises(RunError, match=r"cannot resume|does not say with which settings"):
        fitted(Line(values=[1.0] * 6), checkpoint=file)


@pytest.mark.parametrize("change", [{"step": "x"}, {"exp_avg": None}, {"step": torch.zeros(3)}])
def test_what_the_optimiser_knows_is_checked_and_its_settings_are_the_runs(tmp_path, change) -> None:
    file = tmp_path / "c.safetensors"
    fitted(Line(), FitSettings(epochs=1, rate=0.1), checkpoint=file)
    state = read_state(file, torch.device("cpu"))
    for group in state["optimizer"]["param_groups"]:
        group |= {"betas": "x", "eps": "y"}
    write_state(file, state)
    fitted(Line(), FitSettings(epochs=2, rate=0.1), checkpoint=file)
    # The last parameter is in the second group.
    state["optimizer"]["state"][3] |= change
    write_state(file, state)
    with pytest.raises(RunError, match="cannot resume"):
        fitted(Line(), FitSettings(epochs=3, rate=0.1), checkpoint=file)


def test_a_state_comes_back_as_it_was(tmp_path) -> None:
    shared = torch.arange(4.0)
    state = {
        "a": {0: shared, 1: shared[::2], "b": (1, [0.1, None], torch.tensor(3))},
        "nan": [float("inf"), torch.tensor([float("nan")])],
        "tensor": {"tensor": "0"},
    }
    write_state(tmp_path / "s.safetensors", state)
    again = read_state(tmp_path / "s.safetensors", torch.device("cpu"))
    assert repr(again) == repr(state)


def test_an_identity_claims_a_file_and_refuses_another(tmp_path) -> None:
    network, stranger = nn.Linear(2, 2), nn.Linear(2, 2)
    assert fingerprint(network) == fingerprint(network)
    file = tmp_path / "made_by.json"
    Identity({"prior": fingerprint(network)}).claim(file)
    Identity({"prior": fingerprint(network)}).claim(file)
    with pytest.raises(RunError, match=r"made_by\.json.*prior was"):
        Identity({"prior": fingerprint(stranger)}).claim(file)
    assert json.loads(file.read_text()) == {"prior": fingerprint(network)}


def test_decay_is_for_matrices() -> None:
    network = nn.Linear(2, 3)
    matrices, vectors = adamw(list(network.parameters()), 0.1, 0.5).param_groups
    assert (matrices["params"], matrices["weight_decay"]) == ([network.weight], 0.5)
    assert (vectors["params"], vectors["weight_decay"]) == ([network.bias], 0.0)


def test_means_over_batches() -> None:
    assert means([{"a": 1.0, "b": 2.0}, {"a": 3.0, "b": 4.0}]) == {"a": 2.0, "b": 3.0}


def test_batches_are_made_ahead_in_order_and_errors_come_in_their_turn() -> None:
    made, enough = [], threading.Event()

    def items():
        for number in range(9):
            made.append(number)
            if number == 3:
                enough.set()
            yield number
        raise ValueError("the tenth")

    found = ahead(items(), 2)
    assert next(found) == 0
    # Two wait, and one is made that waits for its place.
    assert enough.wait(10.0)
    time.sleep(0.05)
    assert made == [0, 1, 2, 3]
    assert [next(found) for _ in range(8)] == list(range(1, 9))
    with pytest.raises(ValueError, match="the tenth"):
        next(found)
    endless = ahead(iter(int, 1), 1)
    assert next(endless) == 0
    endless.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "ahead"]


def test_numbers_are_read_together_and_keep_their_places() -> None:
    found = read([{"a": torch.tensor(1.5), "b": 2.0}, {}, {"c": torch.tensor([3], dtype=torch.int64)}])
    assert found == [{"a": 1.5, "b": 2.0}, {}, {"c": 3.0}]
