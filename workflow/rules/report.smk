"""The report: one page that begins with the answer and holds every figure and table."""

PAGE_FIGURES = {name: "figure_epochs" if name in EPOCH_FIGURES else name for name in figure_names(CONFIG)}
# The advice is in the first part of the page, and what describes the run comes last.
PAGE_TABLES = sorted(
    set(table_names(CONFIG)) - {"advice"}, key=[*table_names(CONFIG)[2:], "table1", "encoders"].index
)
MODELS = kept_models(CONFIG)


localrules:
    front_page,


# It holds the time at which it is made and the commit, so no other job reads it.
rule front_page:
    input:
        template=f"{HOME}/workflow/report/front_page.html",
        captions=[f"{HOME}/workflow/report/{name}.rst" for name in sorted({*PAGE_FIGURES.values()})],
        advice="<run>/tables/advice.csv",
        decide="<run>/tables/decide.csv",
        claims="<run>/tables/claims.csv",
        controls=["<run>/tables/controls.csv"] if has_controls(CONFIG) else [],
        classes=estimate_files(["classes"]),
        estimates=estimate_files(["estimates"]),
        figures=[f"<run>/figures/{name}.svg" for name in PAGE_FIGURES],
        cards=[f"<run>/cards/{name}.json" for name in CARDED],
        card_figures=[f"<run>/cards/{name}.svg" for name in CARDED],
        models=[f"<run>/models/{folder}/reliability.svg" for folder in MODELS],
        tables=[f"<run>/tables/{name}.html" for name in PAGE_TABLES],
    output:
        page=report(
            "<run>/report.html",
            caption="../report/front_page.rst",
            category="Answer",
            labels={"page": "report", "shows": "what to start from, and how sure that is"},
        ),
    log:
        "<run>/logs/report.log",
    conda:
        ENVIRONMENT
    params:
        **RESULT_PARAMS | SIMILARITY_NOTE,
        sources=PAPER_SOURCES,
        level=CONFIG.evaluation.level,
        device=CONFIG.device,
        ranks=CONFIG.pretraining.ranks,
        captions=PAGE_FIGURES,
        models=MODELS,
    message:
        "The report: the answer, then every figure and table"
    script:
        "../scripts/front_page.py"
