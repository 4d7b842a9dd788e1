"""From predictions to conclusions: AUROCs with their uncertainty, choices of budgets, tests of claims.

Read it in this order: ``auroc`` (the measure and its standard error), ``bootstrap`` (the paper's intervals,
and those of rare classes), ``coverage`` (how often intervals contain the truth, simulated), ``predictions``
(what a finetuning job writes), ``budgets`` (chosen on validation images alone), ``evaluation`` (one target's
results), ``contrast`` (an effect, the parts of its variance, its tests), ``components`` (the variance between encoders),
``evidence`` (contrasts of a run's AUROCs, and verdicts), ``error_rates`` (how often they err, simulated), ``parts`` (what
intervals consist of), ``claims`` (what the paper says, tested),
``controls`` (domain, size or compute?), ``similarity_ranks`` (does similarity predict the best source?),
``advice`` (what to do), and of one model ``calibration`` (probabilities and decisions) and ``scorecard`` (its test
results, for its card). Nothing here imports torch.
"""
