"""What the runs mean: tables, figures, claims, the audit of the paper's own numbers, and the report."""

# scores that the GLUE server returned, if any (analysis/leaderboard.py)
RETURNED = [str(path) for path in [L.leaderboard()] if path.is_file()]


rule tables:
    input:
        RUNS,
        TEACHER_RECORDS,
        [path for path in [L.speed()] if path.exists()],  # benchmarks/speed, for Table 4
        RETURNED,
    output:
        TABLES,
    conda:
        "../../environment.yml"
    log:
        L.root / "logs" / "tables.log",
    shell:
        f"{ANALYSIS} tables {COMMON} {LOG}"


rule figures:
    input:
        RUNS,
        TEACHER_RECORDS,
    output:
        SHOWN,
    conda:
        "../../environment.yml"
    log:
        L.root / "logs" / "figures.log",
    shell:
        f"{ANALYSIS} figures {COMMON} {LOG}"


rule claims:
    input:
        RUNS,
        TEACHER_RECORDS,
        BASE / "benchmarks" / "claims.yaml",
    output:
        CLAIMS,
    conda:
        "../../environment.yml"
    log:
        L.root / "logs" / "claims.log",
    shell:
        f"{ANALYSIS} claims {COMMON} {LOG}"


rule audit:
    input:
        BASE / "benchmarks" / "claims.yaml",
    output:
        AUDIT,
    conda:
        "../../environment.yml"
    log:
        L.root / "logs" / "audit.log",
    shell:
        f"{ANALYSIS} audit {COMMON} {LOG}"


rule report:
    input:
        TABLES,
        FIGURES,
        CLAIMS,
        AUDIT,
    output:
        L.document("report", "md"),
        PAGE,
    conda:
        "../../environment.yml"
    log:
        L.root / "logs" / "report.log",
    shell:
        f"{ANALYSIS} report {COMMON} {LOG}"
