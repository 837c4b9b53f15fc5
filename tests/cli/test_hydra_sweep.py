"""ptft.cli.hydra_sweep: a sweep's jobs are what Hydra composes, which has less to do."""

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from omegaconf import OmegaConf

from ptft.cli import hydra_sweep

TINY = ("dataset=digits", "dataset.limit=20", "model.width=8", "train.steps=1")


def test_a_job_of_a_sweep_is_composed_as_hydra_composes_it(ptft, monkeypatch):
    pairs, hydras, ours = [], ConfigLoaderImpl.load_sweep_config, hydra_sweep.job_config

    def both(loader, master_config, sweep_overrides):
        made = [way(loader, master_config, sweep_overrides) for way in (hydras, ours)]
        pairs.append([OmegaConf.to_container(cfg, resolve=False) for cfg in made])
        return made[1]

    monkeypatch.setattr(hydra_sweep, "job_config", both)
    swept = ("optimizer=adamw,sgd", "optimizer.lr=1e-3", "hydra.sweep.subdir=lr/${optimizer.lr}/${hydra.job.num}")
    done = ptft("-m", "stage=pretrain", *TINY, *swept, "train.ema=0.9", "hydra.sweep.dir=swept")
    assert done.code == 0, done.text
    assert len(pairs) == 2
    for hydras_own, cfg in pairs:
        assert cfg == hydras_own


def test_jobs_of_a_sweep_that_choose_the_same_options_are_merged_once(ptft, monkeypatch):
    composed, load = [], ConfigLoaderImpl._load_configuration_impl

    def counted(loader, **how):
        composed.append(how["overrides"])
        return load(loader, **how)

    assert ptft("stage=pretrain", *TINY, "dry_run=true").code == 0
    monkeypatch.setattr(ConfigLoaderImpl, "_load_configuration_impl", counted)
    assert ptft("-m", "stage=pretrain", *TINY, "seed=0,1").code == 0
    assert len(composed) <= 2, "the sweep's own, and that of all jobs"
