"""Task 1's network and what it optimises."""

import pytest
import torch
from torch.nn import functional as F

from btrnn import LSTM, TTLSTM
from btrnn.data.module import DataModule, VideoBatch
from btrnn.data.video.dataset import VideoClips
from btrnn.models import VideoClassifier
from btrnn.tasks import NonFiniteLossError, Task, VideoClassification


def classifier(batch_first: bool = True, bidirectional: bool = False) -> VideoClassifier:
    torch.manual_seed(0)
    layer = TTLSTM((2, 3), (2, 2), tt_rank=2, batch_first=batch_first, bidirectional=bidirectional)
    return VideoClassifier(layer, num_classes=3)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_masked_frames_are_as_if_they_were_not_there(batch_first, bidirectional):
    network = classifier(batch_first, bidirectional)
    frames = torch.randn(4, 5, 6)
    lengths = [5, 2, 1, 4]
    mask = torch.tensor([[step >= 5 - length for step in range(5)] for length in lengths])
    together = network(frames, mask)
    for row, length in enumerate(lengths):
        alone = network(frames[row : row + 1, 5 - length :], torch.ones(1, length, dtype=torch.bool))
        torch.testing.assert_close(together[row : row + 1], alone)
    changed = torch.where(mask.unsqueeze(-1), frames, torch.full_like(frames, 1e6))
    assert torch.equal(network(changed, mask), together)


def test_layout_of_the_recurrent_layer_makes_no_difference():
    frames, mask = torch.randn(2, 3, 6), torch.ones(2, 3, dtype=torch.bool)
    assert torch.equal(classifier(True)(frames, mask), classifier(False)(frames, mask))


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("mask", [None, torch.ones(0, 5, dtype=torch.bool)])
def test_a_batch_of_no_clips_gives_no_scores(batch_first, bidirectional, mask):
    network = classifier(batch_first, bidirectional)
    scores = network(torch.randn(0, 5, 6), mask)
    assert scores.shape == (0, 3)
    scores.sum().backward()
    assert all((parameter.grad == 0).all() for parameter in network.parameters())


def task(**options) -> VideoClassification:
    values = {"learning_rate": 1e-3, "learning_rate_decay": 0.5, "classifier_l2": 0.01} | options
    return VideoClassification(VideoClassifier(LSTM(6, 4, batch_first=True), num_classes=3), **values)


def batch() -> VideoBatch:
    mask = torch.ones(2, 3, dtype=torch.bool)
    return VideoBatch(torch.randn(2, 3, 6), mask, torch.tensor([0, 2]), torch.tensor([5, 7]))


def test_loss_is_cross_entropy_plus_the_penalty_of_the_classifiers_weight(monkeypatch):
    module, data = task(), batch()
    logged = {}
    monkeypatch.setattr(module, "log_dict", lambda metrics, **_: logged.update(metrics))
    loss = module.training_step(data)
    scores = module.network(data.frames, data.mask)
    penalty = 0.01 * float(module.network.classifier.weight.detach().square().sum())
    assert float(loss) == pytest.approx(float(F.cross_entropy(scores, data.labels)) + penalty)
    assert float(logged["train/loss"]) == float(loss)
    assert float(logged["train/accuracy"]) == float((scores.argmax(-1) == data.labels).float().mean())
    loss.backward()
    with_penalty = module.network.classifier.weight.grad.clone()
    module.zero_grad()
    F.cross_entropy(module.network(data.frames, data.mask), data.labels).backward()
    expected = module.network.classifier.weight.grad + 0.02 * module.network.classifier.weight
    torch.testing.assert_close(with_penalty, expected)


def test_learning_rate_decays_as_in_the_released_code():
    configured = task().configure_optimizers()
    optimizer, schedule = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    rates = []
    for _ in range(3):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([1e-3, 1e-3 / 1.5, 1e-3 / 2])
    assert configured["lr_scheduler"]["interval"] == "step"


def test_loss_that_is_no_number_is_an_error(monkeypatch):
    module, data = task(), batch()
    monkeypatch.setattr(module, "log_dict", lambda *_, **__: None)
    with pytest.raises(NonFiniteLossError, match=r"nan at step 0 .* lower task\.learning_rate than 0\.001"):
        module.training_step(data._replace(frames=data.frames * float("nan")))


def test_test_keeps_the_predictions_of_the_last_test_only(monkeypatch):
    module = task()
    monkeypatch.setattr(module, "log_dict", lambda *_, **__: None)
    module.test_step(batch())
    module.on_test_start()
    data = batch()
    module.test_step(data)
    outputs = module.outputs(VideoClips(source="ucf11", root="", cache_dir=""))
    assert outputs["rows"].tolist() == [5, 7]
    assert outputs["predicted"].tolist() == module.network(data.frames, data.mask).argmax(-1).tolist()


@pytest.mark.parametrize("kind", [Task, DataModule])
def test_what_a_run_asks_of_a_task_and_of_data_cannot_be_left_out(kind):
    with pytest.raises(TypeError, match="abstract"):
        type("Incomplete", (kind,), {})()


def test_each_layer_has_its_own_rate_where_they_are_scaled():
    scaled, plain = task(scaled=True), task()
    rates = {
        name: group["lr"]
        for group in scaled.configure_optimizers()["optimizer"].param_groups
        for name, parameter in scaled.named_parameters()
        if any(parameter is one for one in group["params"])
    }
    assert rates["network.recurrent.input_maps.0.weight"] == pytest.approx(1e-3 * 256 / 6)
    assert rates["network.classifier.weight"] == pytest.approx(1e-3 * 256 / 4)
    assert rates["network.classifier.bias"] == 1e-3
    assert [group["lr"] for group in plain.configure_optimizers()["optimizer"].param_groups] == [1e-3]
