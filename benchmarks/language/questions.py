"""Learning answers, and being asked: the same for tiny models and for real ones."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.language.models import Models
from codecsieve.pipelines.language.collate import Sample, pad_samples
from codecsieve.pipelines.language.conversations import Samples
from codecsieve.pipelines.language.training import Stage, run_stage


def learn(
    models: Models,
    samples: Dataset[Sample],
    stages: Sequence[Stage],
    batch_size: int,
    seed: int,
    told: Callable[[int, float], None] = lambda step, loss: None,
) -> list[list[float]]:
    """Run the stages on samples in random order; the losses of each."""
    order = torch.Generator().manual_seed(seed)
    loader: DataLoader[Sample] = DataLoader(
        samples, batch_size, shuffle=True, generator=order, collate_fn=partial(pad_samples, chat=models.chat)
    )
    batches = (_beside(models, batch) for batch in itertools.chain.from_iterable(itertools.repeat(loader)))
    return [run_stage(models.model, stage, batches, told) for stage in stages]


def judge(models: Models, samples: Samples, batch_size: int) -> list[bool]:
    """Of each sample, whether its last answer is given word for word, all before it being known."""
    models.model.eval()
    right = []
    for start in range(0, len(samples), batch_size):
        asked = [samples[number] for number in range(start, min(start + batch_size, len(samples)))]
        prompts = [Sample(one.conversation.asked(), one.clips) for one in asked]
        wanted = [one.conversation.turns[-1].text for one in asked]
        most = max(len(models.chat.tokenizer(text, add_special_tokens=False)["input_ids"]) for text in wanted) + 1
        batch = _beside(models, pad_samples(prompts, models.chat, "left"))
        answers = models.model.answer(batch, models.end, most)
        said = [models.chat.tokenizer.decode(answer) for answer in answers]
        right += [one.strip() == text.strip() for one, text in zip(said, wanted, strict=True)]
    return right


def _beside(models: Models, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The batch on the device that the models are on."""
    device = next(models.model.parameters()).device
    return {name: value.to(device) for name, value in batch.items()}
