"""The paper as a DAG. `snakemake --cores all` runs benchmarks/mini.yaml; another benchmark: --config benchmark=FILE.

data → pre-train (miniatures; students on text) → prepare → fine-tune teachers → signals → [search] → distil → tables and figures.
Each rule is one `railkd` command that can be run by hand; every method is a rule of its own: distil_<method>.
Which jobs have to run is decided by what the results hold: railkd/jobs_to_run.py.
"""


include: "workflow/rules/common.smk"


localrules:
    all,
    release,
    tables,
    figures,
    claims,
    audit,
    report,


rule all:
    input: # all that `railkd verify` checks: what was deleted is made again even if the report is present
        L.generated(B),
        pretrained_models(),
        prepared_data(),
        [L.teacher_files(teacher, task) for teacher, task in TEACHERS],
        search_results(),
        RUNS,
        released_signals(),
        TABLES,
        FIGURES,
        CLAIMS,
        AUDIT,
        L.document("report", "md"),
        L.document("report", "html"),


include: "workflow/rules/data.smk"
include: "workflow/rules/teacher.smk"
include: "workflow/rules/distil.smk"
include: "workflow/rules/analysis.smk"


OWN = {rule.name for rule in workflow.rules}

# Rules of your own, such as one that runs a method of another repository and writes its run records.
for _rules in B.spec.get("rules", []):

    include: str((Path(BENCHMARK).parent / _rules).resolve())


if JOBS_TO_RUN:
    engine.decide_by_content(workflow, JOBS_TO_RUN.outdated, OWN)
