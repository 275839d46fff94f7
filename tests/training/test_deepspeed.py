"""What DeepSpeed is told, and what it is not asked to do; the training itself is in test_parallel.py."""

from types import SimpleNamespace

import pytest
from training_runs import recipe

from emote_cli.errors import TrainingError
from emote_cli.training.deepspeed import asks_for_deepspeed, configure


def launched(stage: int) -> SimpleNamespace:
    """What accelerate's object says after `accelerate launch --use_deepspeed --zero_stage ...`."""
    plugin = SimpleNamespace(zero_stage=stage, deepspeed_config={"gradient_clipping": "auto"})
    return SimpleNamespace(state=SimpleNamespace(deepspeed_plugin=plugin))


def test_our_settings_count():
    accelerator = launched(2)
    configure(accelerator, recipe(precision="bf16", clip_norm=0.5, accumulation=2), rows=3)
    config = accelerator.state.deepspeed_plugin.deepspeed_config
    assert config["train_micro_batch_size_per_gpu"] == 3
    assert config["gradient_accumulation_steps"] == 2
    assert config["gradient_clipping"] == 0.5
    assert config["torch_autocast"] == {"enabled": True, "dtype": "bfloat16"}


@pytest.mark.parametrize(
    "changes", [{"shard": True}, {"optimizer": "adamw8bit"}, {"precision": "fp16"}], ids=str
)
def test_what_does_not_go_together_is_refused(changes):
    with pytest.raises(TrainingError, match="does not go with"):
        configure(launched(1), recipe(**changes), rows=1)


def test_weights_stay_whole():
    with pytest.raises(TrainingError, match="zero_stage is 3"):
        configure(launched(3), recipe(), rows=1)


def test_on_a_cpu_accelerate_does_without(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    assert asks_for_deepspeed(recipe(device="auto"))
    assert not asks_for_deepspeed(recipe(device="cpu"))
    monkeypatch.delenv("ACCELERATE_USE_DEEPSPEED")
    assert not asks_for_deepspeed(recipe(device="auto"))
