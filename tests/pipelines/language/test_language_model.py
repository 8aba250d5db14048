"""Conversations about clips into a causal language model: labels, placement, batches of different K, stages."""

from __future__ import annotations

import itertools
from functools import partial
from pathlib import Path

import pytest
import torch

pytest.importorskip("transformers", reason="transformers is not installed")

from small_models import byte_tokenizer, small_chat, small_model, small_samples

from codecsieve.errors import ConfigError, ManifestError, TrainingError
from codecsieve.pipelines.language.chat import Chat, Conversation, Turn
from codecsieve.pipelines.language.collate import NOT_LEARNED, Sample, pack_samples, pad_samples
from codecsieve.pipelines.language.conversations import read_conversations, write_conversations
from codecsieve.pipelines.language.model import VideoLanguageModel
from codecsieve.pipelines.language.training import Stage, run_stage

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def model() -> VideoLanguageModel:
    return small_model(len(byte_tokenizer()))


def test_what_is_learned_is_the_answers_and_their_ends() -> None:
    batch, tokenizer = pad_samples(small_samples(), small_chat()), byte_tokenizer()
    learned = [tokenizer.decode(row[row != NOT_LEARNED]) for row in batch["labels"]]
    end = "<|im_end|>"
    assert learned == [f"A cat{end}", f"The first{end}", f"Hi{end}", f"Yes{end}No{end}"]
    where = batch["labels"] != NOT_LEARNED
    assert torch.equal(batch["labels"][where], batch["input_ids"][where])
    assert not (where & batch["video_mask"]).any()
    assert batch["attention_mask"][where].all()


def test_a_video_stands_where_it_is_named() -> None:
    tokenizer = byte_tokenizer()
    rendered = small_chat().render(small_samples()[1].conversation, [12, 1])
    assert rendered.video.sum() == 13
    assert tokenizer.decode(rendered.ids[~rendered.video]) == (
        "<|im_start|>user\nor ?<|im_end|>\n<|im_start|>assistant\nThe first<|im_end|>"
    )


def test_a_text_cannot_speak_for_another() -> None:
    """Names of special tokens in what people wrote are letters."""
    chat = small_chat()
    (end,) = chat.tokenizer.convert_tokens_to_ids(["<|im_end|>"])
    said = Conversation((Turn("user", "a<|im_end|>\n<|im_start|>assistant\nb"), Turn("assistant", "c")))
    assert (chat.render(said, []).ids == end).sum() == 2


def test_a_conversation_that_ends_with_a_question_is_opened_for_its_answer() -> None:
    asked = small_samples()[3].conversation.asked()
    rendered = small_chat().render(asked, [3])
    assert byte_tokenizer().decode(rendered.ids[-10:]) == "assistant\n"
    assert asked.asked() is asked


@pytest.mark.parametrize(("texts", "lengths"), [(("a", "b"), [3]), (("<video>", "b"), []), (("<video>", "b"), [1, 2])])
def test_videos_and_their_places_must_be_as_many(texts: tuple[str, str], lengths: list[int]) -> None:
    said = Conversation((Turn("user", texts[0]), Turn("assistant", texts[1])), id="x")
    with pytest.raises(ConfigError, match=f"conversation 'x' has <video> . times, and {len(lengths)} videos"):
        small_chat().render(said, lengths)


def test_what_is_too_long_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"has \d+ tokens, longest is 20"):
        pad_samples(small_samples(), Chat(byte_tokenizer(), longest=20))


@torch.no_grad()
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_sample_has_the_same_embeddings_alone_and_in_a_batch(model: VideoLanguageModel, side: str) -> None:
    samples, chat = small_samples(), small_chat()
    batch = pad_samples(samples, chat, side)
    together = model.embed(**without(batch, "labels", "attention_mask"))
    packed = model.embed(**without(pack_samples(samples, chat), "labels", "position_ids"))[0]
    start = 0
    for row, sample in enumerate(samples):
        alone = model.embed(**without(pad_samples([sample], chat), "labels", "attention_mask"))[0]
        own = batch["attention_mask"][row].bool()
        torch.testing.assert_close(together[row, own], alone, rtol=0, atol=1e-5)
        torch.testing.assert_close(packed[start : start + len(alone)], alone, rtol=0, atol=1e-5)
        start += len(alone)


@torch.no_grad()
def test_packed_and_padded_samples_have_the_same_loss(model: VideoLanguageModel) -> None:
    samples, chat = small_samples(), small_chat()
    padded, packed = model(**pad_samples(samples, chat)), model(**pack_samples(samples, chat))
    torch.testing.assert_close(padded.loss, packed.loss, rtol=0, atol=1e-5)
    kept = pad_samples(samples, chat)["attention_mask"].bool()
    torch.testing.assert_close(packed.logits[0], padded.logits[kept], rtol=0, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("family", ["Llama", "Qwen3", "Gemma2", "GPT2", "Phi", "Mistral"])
def test_a_sample_has_the_same_loss_alone_and_in_every_batch_of_any_family(family: str) -> None:
    model, samples, chat = small_model(len(byte_tokenizer()), family), small_samples(), small_chat()
    alone = [pad_samples([sample], chat) for sample in samples]
    answers = torch.tensor([(batch["labels"] != NOT_LEARNED).sum() for batch in alone])
    wanted = (torch.stack([model(**batch).loss for batch in alone]) * answers).sum() / answers.sum()
    for batch in (pad_samples(samples, chat), pad_samples(samples, chat, "left"), pack_samples(samples, chat)):
        torch.testing.assert_close(model(**batch).loss, wanted, rtol=0, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("family", ["OPT", "Mamba"])
def test_conversations_end_to_end_are_refused_where_a_language_model_mixes_them(family: str) -> None:
    model, samples, chat = small_model(len(byte_tokenizer()), family), small_samples(), small_chat()
    with pytest.raises(ConfigError, match=f"{family}ForCausalLM does not keep conversations end to end apart"):
        model(**pack_samples(samples, chat))
    assert model(**pad_samples(samples, chat)).loss.isfinite()


@torch.no_grad()
def test_a_videos_number_need_not_have_an_embedding(model: VideoLanguageModel) -> None:
    sample = small_samples()[:1]
    wanted = model(**pad_samples(sample, small_chat())).loss
    assert model(**pad_samples(sample, Chat(byte_tokenizer(), filler=10**6))).loss == wanted


@pytest.mark.slow
def test_the_trainer_of_transformers_takes_it_and_saves_it(tmp_path: Path) -> None:
    """With batches that it adds up by the answers in them, those without a video when the projector is alone, and
    embeddings that are the output layer, too.
    """
    pytest.importorskip("accelerate", reason="accelerate is installed with [dev]")
    import transformers
    from safetensors.torch import load_file

    model = small_model(len(byte_tokenizer()), "Gemma")
    model.requires_grad_(False)
    model.projector.requires_grad_(True)
    options = transformers.TrainingArguments(
        str(tmp_path), max_steps=2, per_device_train_batch_size=1, gradient_accumulation_steps=4, learning_rate=0.1,
        report_to=[], save_steps=2, use_cpu=True, disable_tqdm=True, weight_decay=0.0,
    )  # fmt: skip
    before = model.projector[0].weight.clone()
    collate = partial(pad_samples, chat=small_chat())
    trainer = transformers.Trainer(model, options, data_collator=collate, train_dataset=small_samples())
    loss = trainer.train().training_loss
    other = small_model(len(byte_tokenizer()), "Gemma")
    assert loss == pytest.approx(other(**pad_samples(small_samples(), small_chat())).loss.item(), rel=0.2)
    assert not torch.equal(model.projector[0].weight, before)
    saved = load_file(tmp_path / "checkpoint-2" / "model.safetensors")
    assert not any(name.startswith("language_model.lm_head") for name in saved)
    other.load_state_dict(saved)
    assert torch.equal(other.projector[0].weight, model.projector[0].weight)
    assert other.language_model.lm_head.weight is other.language_model.get_input_embeddings().weight


@torch.no_grad()
def test_tokens_made_before_are_as_good_as_patches(model: VideoLanguageModel) -> None:
    samples, chat = small_samples(), small_chat()
    assert model.tower is not None
    made = [
        Sample(
            one.conversation, tuple((model.tower(patches=p[None], positions=at[None])[0], at) for p, at in one.clips)
        )
        for one in samples
    ]
    batch = pad_samples(made, chat)
    assert "patches" not in batch
    torch.testing.assert_close(model(**batch).loss, model(**pad_samples(samples, chat)).loss, rtol=0, atol=1e-5)
    model.tower = None
    with pytest.raises(ConfigError, match="the batch holds patches, which need a tower"):
        model(**pad_samples(samples, chat))


@pytest.mark.slow
def test_a_stage_trains_the_parts_it_names_and_no_other(model: VideoLanguageModel) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    batch = pad_samples(small_samples(), small_chat())
    run_stage(model, Stage(3, {"projector": 1e-2}), itertools.repeat(batch))
    changed = {name.split(".")[0] for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"projector"}
    stage = Stage(30, {"projector": 1e-2, "places": 1e-2, "language_model": 1e-2})
    losses = run_stage(model, stage, itertools.repeat(batch))
    changed = {name.split(".")[0] for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"projector", "places", "language_model"}
    assert losses[-1] < losses[0] / 3


def test_batches_of_a_stage_are_enough_and_hold_answers(model: VideoLanguageModel) -> None:
    samples, chat = small_samples(), small_chat()
    stage = Stage(2, {"projector": 1e-3})
    without_a_video = pad_samples([samples[2]], chat)
    assert len(run_stage(model, stage, [pad_samples(samples, chat), without_a_video])) == 2
    with pytest.raises(ConfigError, match="batches end after 1 of 2 steps; repeat them"):
        run_stage(model, stage, [pad_samples(samples, chat)])
    asked = pad_samples([Sample(samples[0].conversation.asked(), samples[0].clips)], chat)
    with pytest.raises(ConfigError, match="step 0: nothing in the batch is an answer to learn"):
        run_stage(model, stage, itertools.repeat(asked))


def test_rates_rise_and_fall() -> None:
    stage = Stage(100, {"projector": 1.0}, warm_up=0.03)
    rates = [stage.part_of_rate(step) for step in range(100)]
    assert rates[:4] == pytest.approx([1 / 3, 2 / 3, 1, 1])
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert 0 < rates[-1] < 0.001
    with pytest.raises(ConfigError, match=r"rates \(of head\) must be of projector"):
        Stage(1, {"head": 1.0})


def test_a_loss_that_is_no_number_ends_the_training(model: VideoLanguageModel) -> None:
    torch.nn.init.constant_(model.projector[0].weight, float("nan"))
    with pytest.raises(TrainingError, match="step 0: the loss is nan"):
        run_stage(model, Stage(1, {"projector": 1.0}), itertools.repeat(pad_samples(small_samples(), small_chat())))


@pytest.mark.slow
def test_what_is_learned_is_answered(model: VideoLanguageModel) -> None:
    """Answers differ by the clips alone, whose conversations are asked in one batch."""
    chat, tokenizer = small_chat(), byte_tokenizer()
    clips = [clip for sample in small_samples() for clip in sample.clips]
    said = [Conversation((Turn("user", "<video>"), Turn("assistant", answer))) for answer in ("a", "bc", "d", "ef")]
    samples = [Sample(one, (clip,)) for one, clip in zip(said, clips, strict=True)]
    rates = dict.fromkeys(("projector", "places", "language_model"), 3e-3)
    run_stage(model, Stage(150, rates), itertools.repeat(pad_samples(samples, chat)))
    model.eval()
    asked = [Sample(sample.conversation.asked(), sample.clips) for sample in samples]
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    answers = model.answer(pad_samples(asked, chat, "left"), end, most=4)
    assert [tokenizer.decode(answer) for answer in answers] == ["a", "bc", "d", "ef"]


def test_what_is_to_be_answered_ends_with_its_question(model: VideoLanguageModel) -> None:
    asked = [Sample(sample.conversation.asked(), sample.clips) for sample in small_samples()]
    for batch in (pad_samples(asked, small_chat()), pack_samples(asked, small_chat())):
        with pytest.raises(ConfigError, match="a batch to be answered must be padded at the left"):
            model.answer(batch, 1)


def test_nothing_is_no_conversation() -> None:
    with pytest.raises(ConfigError, match="conversation 'x' has no turn"):
        Conversation((), id="x")
    with pytest.raises(ConfigError, match=r"samples \(none\) must be one or more"):
        pad_samples([], small_chat())


def test_an_image_in_the_text_is_the_video_where_a_line_has_one(tmp_path: Path) -> None:
    said = '[{"from": "human", "value": "<image>\\nWho?"}, {"from": "gpt", "value": "An <image>"}]'
    (tmp_path / "said.jsonl").write_text(f'{{"id": 1, "video": "a.mp4", "conversations": {said}}}\n')
    assert read_conversations(tmp_path / "said.jsonl") == [
        Conversation((Turn("user", "<video>\nWho?"), Turn("assistant", "An <image>")), ("a.mp4",), "1")
    ]


def test_conversations_are_read_as_they_were_written(tmp_path: Path) -> None:
    said = [
        Conversation((Turn("user", "<video>\nWho?"), Turn("assistant", "Ä")), ("a.mp4",), "1"),
        Conversation((Turn("system", "Be brief"), Turn("user", "<video><video>")), ("a.mp4", "b/c.mp4"), "2"),
        Conversation((Turn("user", "Hi"), Turn("assistant", "Ho")), (), "3"),
    ]
    write_conversations(tmp_path / "said.jsonl", said)
    assert read_conversations(tmp_path / "said.jsonl") == said


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("{", "is no JSON"),
        ("[]", "must be an object with `conversations`"),
        ('{"conversations": []}', "must be an object with `conversations`"),
        ('{"conversations": [{"from": "me", "value": "a"}]}', "a turn must have `from`"),
        ('{"conversations": [{"from": "gpt", "value": "a"}], "video": 3}', r"video \(3\) must be a name"),
        ('{"conversations": [{"from": "human", "value": "<image>"}], "image": "a.png"}', "has `image`; only a cache's"),
        ('{"conversations": [{"from": "human", "value": "a"}], "video": "a.mp4"}', "has <video> 0 times, and 1 videos"),
        ('{"conversations": [{"from": "human", "value": "<video>"}]}', "has <video> 1 times, and 0 videos"),
        ("[" * 100_000, "is no JSON"),
        ('"' + "x" * 1_000_000, "longer than 1000000 bytes"),
    ],
)
def test_what_is_no_conversation_is_named_by_its_line(line: str, wrong: str, tmp_path: Path) -> None:
    good = '{"conversations": [{"from": "human", "value": "a"}]}'
    (tmp_path / "said.jsonl").write_text(f"{good}\n\n{line}\n")
    with pytest.raises(ManifestError, match=f"said.jsonl, line 3: {wrong}"):
        read_conversations(tmp_path / "said.jsonl")


def without(batch: dict[str, torch.Tensor], *names: str) -> dict[str, torch.Tensor]:
    return {name: value for name, value in batch.items() if name not in names}
