"""One function a stage of the pipeline: read files, call the package, write files.

A stage's keyword-only parameters are the files it reads and writes; ``settings`` is the JSON object that the workflow's
rule writes. Modules are imported inside the stages, because importing PyTorch takes longer than most stages run.
"""
