"""From predictions to conclusions: AUROC, its bootstrap and its influence function, budgets, and the paper's claims.

Read it in this order: ``auroc`` (the measure), ``bootstrap`` (the paper's intervals), ``influence`` (standard errors and
covariances), ``intervals`` (for rare classes), ``coverage`` (what intervals hold, simulated), ``predictions`` (what a
finetuning job writes), ``selection`` (the budget, on validation images alone), ``evaluation`` (one target's results),
``evidence`` (contrasts of them), ``verdicts`` (many tests at once), ``claims``, ``similarity_claim`` and ``claims_table``
(what the paper says, tested), ``controls``, ``source_ranking`` (does similarity predict the best source?) and ``advice``
(what to do). Nothing here imports torch.
"""
