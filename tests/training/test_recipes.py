"""Every key that a recipe sets does something: it changes a draw, an example, what trains, or the weights."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from small_models import build, make_batch, paper_settings
from training_runs import examples, recipe, run

from emote_cli.diffusion.schedule import NoiseSchedule
from emote_cli.errors import TrainingError
from emote_cli.settings_tree import override
from emote_cli.training.engine import make_accelerator, tracker_names
from emote_cli.training.objectives.denoising import disturb_motion
from emote_cli.training.objectives.draws import draw
from emote_cli.training.request import resolve
from emote_cli.training.settings import DistillSettings, StepSettings
from emote_cli.training.stages import trainable_names
from emote_cli.zoo.locate import checkpoint_folders

ROOT = Path(__file__).parent.parent.parent

DRAWN = {
    "step.drop_reference": 0.9,
    "step.drop_audio": 0.9,
    "step.drop_both": 0.9,
    "step.drop_face_region": 0.9,
    "step.drop_speed": 0.9,
    "step.motion_noise": 0.5,
    "step.motion_patch_drop": 0.5,
    "step.noise_offset": 0.5,
    "step.terminal": 0.9,
}
"""Key -> a value unlike the default: it changes what is drawn for a step."""

STREAMED = {
    "sampling.face_weight": "7.0",
    "sampling.mouth_weight": "9.0",
    "sampling.first_chunk": "0.9",
    "sampling.image_frames": "5",
    "sampling.reference_gap": "9",
}
"""Key -> another value: it changes the examples."""

LEARNED = {
    "batch": "2",
    "betas": "[0.5, 0.6]",
    "decay": "cosine",
    "ema_decay": "0.1",
    "learning_rate": "0.01",
    "warmup_steps": "50",
    "weight_decay": "0.9",
}
"""Key -> another value: it changes the averaged weights after four steps."""

ELSEWHERE = {
    "accumulation": "training/test_loop.py::test_accumulation_equals_the_large_batch",
    "audio_components": "training/test_ears.py::test_components_are_asked_for_by_the_recipe",
    "audio_warm_up": "training/test_ears.py::test_warming_up_lowers_the_loss",
    "autoencoder.crop": "training/test_cli.py::test_all_stages_in_one_command",
    "autoencoder.per_clip": "training/test_painting.py::test_frames_are_read_as_often_as_asked",
    "autoencoder.stride": "training/test_cli.py::test_all_stages_in_one_command",
    "data.cache": "data/test_dataset.py::test_the_disk_gives_what_memory_gives",
    "data.hold_heads": "data/test_motion_clips.py::test_heads_are_held_or_tell_where_they_go",
    "data.portraits": "data/test_motion_clips.py",
    "data.weights": "training/test_painting.py::test_frames_are_read_as_often_as_asked",
    "data.variants": "data/test_dataset.py::test_altered_copies_stand_beside_the_clips",
    "gradient_checkpointing": "training/test_loop.py::test_gradient_checkpointing_changes_no_number",
    "max_minutes": "training/test_cli.py::test_wrong_options_are_told_in_one_line",
    "max_steps": "training/test_state.py::test_resumed_is_uninterrupted_to_the_bit",
    "precision": "training/test_loop.py::test_bf16_stays_close",
    "step.noise_on": "training/test_step.py::test_noise_is_drawn_where_the_batch_is",
    "tf32": "training/test_recipes.py::test_a_gpu_has_settings_of_its_own",
    "workers": "training/test_loop.py::test_workers_change_nothing",
}
"""Key -> the test that shows what it does, where numbers are not all that it changes."""

HERE = {"prior", "freeze", "distill.steps", "distill.inner", "save_minutes", "trackers"}


def recipe_keys() -> set[str]:
    """Every key that a recipe sets in any stage, dotted."""

    def dotted(values: dict, prefix: str = "") -> set[str]:
        found = set()
        for key, value in values.items():
            deeper = isinstance(value, dict) and key != "weights"  # its keys are patterns of names
            found |= dotted(value, f"{prefix}{key}.") if deeper else {prefix + key}
        return found

    files = (ROOT / "emote_cli" / "presets").glob("train-*.yaml")
    stages = [stage for file in files for stage in yaml.safe_load(file.read_text()).values()]
    return {key.removeprefix("gpu.") for stage in stages for key in dotted(stage or {})}


def test_every_key_of_a_recipe_is_shown_to_matter():
    shown = DRAWN.keys() | STREAMED.keys() | LEARNED.keys() | ELSEWHERE.keys() | HERE
    assert recipe_keys() <= shown, recipe_keys() - shown


@pytest.mark.parametrize("key", DRAWN)
def test_the_draw_changes(key):
    settings = paper_settings()
    batch, schedule = make_batch(settings), NoiseSchedule(settings.diffusion)
    name = key.removeprefix("step.")

    def drawn(value: float) -> list:
        step = StepSettings(**{**dict.fromkeys(NOTHING, 0.0), name: value})
        seen = []
        for number in range(4):
            each = draw(batch, schedule, step, 0, number)
            seen += [each.noise, each.timestep.float(), disturb_motion(batch, each, step)]
            seen += [torch.tensor(rows).float() for rows in each.dropped.values()]
        return seen

    pairs = zip(drawn(0.0), drawn(DRAWN[key]), strict=True)
    assert any(not torch.equal(one, other) for one, other in pairs)


NOTHING = [key.removeprefix("step.") for key in DRAWN]


@pytest.mark.parametrize("key", STREAMED)
def test_the_examples_change(key):
    stage = "image" if key == "sampling.image_frames" else "video"
    plain = recipe(stage)
    one, other = examples(plain), examples(override(plain, [f"{key}={STREAMED[key]}"]))
    pairs = [(one.example(number), other.example(number)) for number in range(30)]
    assert any(
        a.shape != b.shape or not torch.equal(a, b)
        for mine, theirs in pairs
        for a, b in zip(mine, theirs, strict=True)
    )


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> dict[str, torch.Tensor]:
    return run(tmp_path_factory.mktemp("plain"), recipe("image", max_steps=4))[0].ema.values


@pytest.mark.parametrize("key", LEARNED)
def test_the_weights_change(key, plain, tmp_path):
    changed = override(recipe("image", max_steps=4), [f"{key}={LEARNED[key]}"])
    ours = run(tmp_path, changed)[0].ema.values
    assert any(not torch.equal(value, plain[name]) for name, value in ours.items())


def test_what_trains_changes():
    model = build(paper_settings())
    usual = trainable_names(model, "video", prior=True)
    assert trainable_names(model, "video", prior=False) != usual
    held = trainable_names(model, "video", prior=True, freeze=(r"^audio_projector",))
    assert 0 < len(held) < len(usual)


def test_checkpoints_come_as_often_as_asked(tmp_path):
    run(tmp_path, recipe("image", max_steps=3, save_minutes=1e-9, keep_checkpoints=9))
    assert [folder.name[-1] for folder in checkpoint_folders(tmp_path)] == ["1", "2", "3"]


def test_trackers_are_those_that_are_asked_for(monkeypatch):
    monkeypatch.setattr("emote_cli.training.engine.find_spec", lambda name: None)
    assert tracker_names(recipe(trackers=("auto", "wandb"))) == ["wandb"]
    monkeypatch.setattr("emote_cli.training.engine.find_spec", lambda name: name)
    assert tracker_names(recipe(trackers=("auto",))) == ["tensorboard"]


@pytest.mark.parametrize("name", ["steps", "inner"])
def test_distillation_has_other_steps(name):
    from training_runs import recipe as of

    from emote_cli.model.checkpoint import random_model
    from emote_cli.settings import load_preset
    from emote_cli.training.objectives.distill import Distillation, Original

    losses = []
    for value in (1, 4):
        distill = DistillSettings(**{"steps": 1, "inner": 1, name: value})
        settings = of("distill", distill=distill)
        student = random_model(load_preset("tiny"), 3)
        objective = Distillation(student, settings, Original(random_model(load_preset("tiny"), 4)))
        stream = examples(settings)
        rows = [stream.example(number) for number in range(2)]
        batch = type(rows[0])(*(torch.stack(parts) for parts in zip(*rows, strict=True)))
        losses.append(objective(batch, 0, 0).detach())
    assert not torch.equal(*losses)


@pytest.mark.parametrize("place", sorted(set(ELSEWHERE.values())))
def test_the_tests_that_are_named_are_there(place):
    file, _, name = place.partition("::")
    text = (ROOT / "tests" / file).read_text()
    assert f"def {name}(" in text if name else text


def test_a_gpu_has_settings_of_its_own(monkeypatch):
    plain = resolve("mini", "image", ["seed=1"])
    gpu = resolve("mini", "image", ["seed=1", "device=cuda", "workers=2"])
    assert gpu.batch > plain.batch
    assert (plain.step.noise_on, gpu.step.noise_on) == ("cpu", "device")
    assert (plain.step.terminal, plain.data, plain.seed) == (gpu.step.terminal, gpu.data, gpu.seed)
    assert gpu.workers == 2, "what is asked for counts"
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(TrainingError, match="device=cuda was asked for, but no GPU"):
        make_accelerator(gpu, None)

    def fails(**options):
        raise ValueError("a fake")

    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("accelerate.Accelerator", fails)
    products: list[str] = []
    monkeypatch.setattr("torch.set_float32_matmul_precision", products.append)
    for wish in (True, False):
        monkeypatch.setattr("torch.backends.cudnn", SimpleNamespace())
        with pytest.raises(TrainingError, match="a fake"):
            make_accelerator(override(gpu, [f"tf32={wish}"]), None)
        assert torch.backends.cudnn.allow_tf32 is wish
    assert products == ["high", "highest"]
