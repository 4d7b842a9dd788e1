"""The profiles: what a bare `snakemake` uses, and that the cluster's one knows every rule that wants a GPU."""

import os
import re

import pytest
import yaml
from running import ROOT, snakemake

pytestmark = pytest.mark.workflow


def profile(name):
    return yaml.safe_load((ROOT / "profiles" / name / "profile.yaml").read_text())


def gpu_rules():
    """Return the rules that ask for a GPU, and those that inherit from them."""
    rules, inherited = {}, {}
    for file in (ROOT / "workflow/rules").glob("*.smk"):
        for block in re.split(r"\n(?=\s*(?:use )?rule \w+)", file.read_text()):
            if name := re.match(r"\s*rule (\w+):", block):
                rules[name[1]] = "gpu=" in block or "NETWORK_RESOURCES" in block
            elif name := re.match(r"\s*use rule (\w+) as (\w+) with:", block):
                inherited[name[2]] = name[1]
    return {name for name, gpu in rules.items() if gpu} | {
        name for name, base in inherited.items() if rules[base]
    }


def test_the_clusters_profile_repeats_what_the_default_one_sets():
    default, slurm = profile("default"), profile("slurm")
    del default["cores"]  # of this machine
    assert default == {key: slurm[key] for key in default}


def test_every_rule_with_a_gpu_goes_to_the_partition_of_gpus():
    resources = profile("slurm")["set-resources"]
    assert {name for name, own in resources.items() if "cpus_per_gpu" in own} == gpu_rules()
    assert len({own["slurm_partition"] for own in resources.values() if "slurm_partition" in own}) == 1


def test_bare_snakemake_uses_all_cores(tmp_path):
    run = snakemake(
        *("results/demo/tables/table1.md", "--workflow-profile", ROOT / "profiles/default"),
        *("--configfile", ROOT / "config/demo.yaml"),
        directory=tmp_path,
    )
    assert f"Provided cores: {len(os.sched_getaffinity(0))}\n" in run.stderr
