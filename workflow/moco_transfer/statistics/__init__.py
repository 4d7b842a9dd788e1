"""From predictions to conclusions: AUROC, its bootstrap and its influence function, budgets, and the paper's claims.

Read it in this order: ``auroc`` (the measure), ``bootstrap`` (the paper's intervals), ``influence`` (standard errors and
covariances), ``predictions`` (what a finetuning job writes), ``selection`` (the budget, on validation images alone),
``evaluation`` (one target's results), ``evidence`` (contrasts of them), ``verdicts`` (many tests at once), ``claims``,
``similarity_claim`` and ``claims_table`` (what the paper says, tested). Nothing here imports torch.
"""
