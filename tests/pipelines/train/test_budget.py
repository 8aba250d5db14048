"""What a training will take: as much as a real one keeps, and as many operations as it does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from codecsieve.encoder import EncoderConfig, OneVisionEncoder
from codecsieve.encoder.concept_head import ConceptHead
from codecsieve.pipelines.learn.ranks import Ranks
from codecsieve.pipelines.train.budget import HeadSize, budget, kept_bytes
from codecsieve.pipelines.train.config import TrainConfig
from codecsieve.pipelines.train.trainer import Bank, Trainer

TOKENS, CLIPS = 64, 6


@pytest.mark.slow
@pytest.mark.parametrize("recompute", [False, True])
def test_memory_is_what_a_real_step_keeps(recompute: bool) -> None:
    config = TrainConfig(batch_size=CLIPS, recompute=recompute)
    told = budget(config, [HeadSize(20_000, TOKENS, 10, CLIPS)])
    trainer = Trainer(config, [Bank("clips", 20_000)], Ranks())
    patches = torch.zeros(CLIPS, TOKENS, 3, 14, 14, dtype=torch.uint8)
    positions = torch.zeros(CLIPS, TOKENS, 3, dtype=torch.int64)
    kept = kept_bytes(lambda: trainer.model(patches=patches, positions=positions), trainer.model)
    assert told.parts["activations"] == pytest.approx(kept, rel=0.02)
    weights = sum(parameter.numel() for parameter in trainer.model.parameters())
    assert (told.parameters, told.parts["weights"], told.parts["AdamW"]) == (weights, 4 * weights, 8 * weights)
    assert told.parts["centres, their gradients and AdamW"] == 4 * 4 * trainer.heads["clips"].weight.numel()


class Peak(TorchDispatchMode):
    """The most bytes that tensors made within have held at once, each piece of memory counted once."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: dict[StorageWeakRef, int] = {}
        self.nbytes = 0

    def __torch_dispatch__(self, act: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = act(*args, **(kwargs or {}))
        given = {StorageWeakRef(one.untyped_storage()) for one in tree_leaves(args) if isinstance(one, torch.Tensor)}
        for one in tree_leaves(made):
            if isinstance(one, torch.Tensor):
                memory = one.untyped_storage()
                if (known := StorageWeakRef(memory)) not in given:
                    self.alive[known] = memory.nbytes()
        self.alive = {memory: size for memory, size in self.alive.items() if not memory.expired()}
        self.nbytes = max(self.nbytes, sum(self.alive.values()))
        return made


@pytest.mark.slow
@pytest.mark.parametrize("clips", [CLIPS, 64])  # drawing takes the most; telling apart does
def test_memory_of_the_loss_is_what_a_real_one_takes(clips: int) -> None:
    classes = 20_000
    told = budget(TrainConfig(batch_size=clips), [HeadSize(classes, TOKENS, 10, clips)])
    head = ConceptHead(classes, 192)
    embeddings, labels = torch.randn(clips, 192, requires_grad=True), torch.randint(0, classes, (clips, 10))
    with Peak() as peak:
        loss = head(embeddings, labels)
    assert told.parts["concept loss"] == pytest.approx(peak.nbytes, rel=0.1)
    with Peak() as peak:
        loss.backward()
    assert peak.nbytes < 1.1 * head.weight.nbytes  # the centres' gradient, which is counted with the centres


@pytest.mark.slow
def test_processes_share_the_bank_and_the_clips() -> None:
    config = TrainConfig(batch_size=16)
    one, two = (budget(config, [HeadSize(1000, TOKENS, 10, 16)], ranks) for ranks in (1, 2))
    assert two.centres * 2 == one.centres
    assert two.tokens * 2 == one.tokens
    assert two.parts["activations"] == pytest.approx(one.parts["activations"] / 2, rel=0.1)


@pytest.mark.slow
def test_heads_take_turns_on_the_device_and_add_up_in_work_and_banks() -> None:
    config = TrainConfig(batch_size=16)
    clips, photos = HeadSize(1000, TOKENS, 10, 16), HeadSize(2000, 16, 100, 8)
    apart, both = [budget(config, [head]) for head in (clips, photos)], budget(config, [clips, photos])
    assert both.parts["activations"] == max(one.parts["activations"] for one in apart)
    assert both.centres == sum(one.centres for one in apart)
    assert both.operations == sum(one.operations for one in apart)
    assert both.tokens == 16 * TOKENS + 8 * 16


@pytest.mark.slow
def test_the_published_training_fits_its_gpus() -> None:
    config = TrainConfig(encoder="large", batch_size=160, recompute=True)
    told = budget(config, [HeadSize(2_000_000, 2048, 10, 160)], ranks=8, bfloat16=True)
    assert told.nbytes < 80e9
    assert told.operations == pytest.approx(20 * 3 * 1.65e12 * 4 / 3, rel=0.1)  # each clip's forward pass twice


@pytest.mark.slow
def test_the_encoder_of_the_budget_is_the_one_that_is_trained() -> None:
    with torch.device("meta"):
        truth = sum(p.numel() for p in OneVisionEncoder(EncoderConfig.preset("small")).parameters())
    assert budget(TrainConfig(encoder="small"), [HeadSize(100, 16, 10, 32)]).parameters == truth


@pytest.mark.slow
def test_in_float64_all_is_twice_as_large_but_what_is_drawn() -> None:
    head = HeadSize(2000, TOKENS, 8, 8)
    plain, double = (budget(TrainConfig(precision=precision), [head]) for precision in ("float32", "float64"))
    for name, nbytes in plain.parts.items():
        if name != "concept loss":
            assert double.parts[name] == 2 * nbytes, name
    assert plain.parts["concept loss"] <= double.parts["concept loss"] <= 2 * plain.parts["concept loss"]
