"""Teachers: each is fine-tuned once for a task, and its signals serve all its students, methods and seeds.

Signals are state that the jobs of one file system share: several jobs read a teacher's folder at once, and a job that
finds it empty fills it under a lock.
"""


rule teacher:
    input:
        L.prepared("{teacher}", "{task}").with_suffix(".json"),
        teacher_weights,
    output:
        L.teacher_files("{teacher}", "{task}"),
    conda:
        "../../environment.yml"
    log:
        L.root / "logs" / "teacher" / "{teacher}" / "{task}.log",
    resources:
        **ON_GPU,
    shell:
        f"{RAILKD} teacher {COMMON} --teacher {{wildcards.teacher}} --task {{wildcards.task}} {COMPUTE} {LOG}"


rule signals:
    input:
        L.prepared("{teacher}", "{task}").with_suffix(".json"),
        L.teacher("{teacher}", "{task}") / "record.json",
        L.teacher("{teacher}", "{task}") / "model.safetensors",
    output:
        directory(L.signals("{teacher}", "{task}")),
    conda:
        "../../environment.yml"
    log:
        L.root / "logs" / "signals" / "{teacher}" / "{task}.log",
    resources:
        **ON_GPU,
    shell:
        f"{RAILKD} signals {COMMON} --teacher {{wildcards.teacher}} --task {{wildcards.task}} {COMPUTE} {LOG}"


# Signals are large, so they are deleted after their last reader. Not by temp(): Snakemake would make them again for
# a new method and then train every other method again too. Their folder stays, and is filled again for a new run.
rule release:
    input:
        readers,
    output:
        touch(L.released("{teacher}", "{task}")),
    conda:
        "../../environment.yml"
    log:
        L.root / "logs" / "release" / "{teacher}" / "{task}.log",
    shell:
        f"{RAILKD} release {COMMON} --teacher {{wildcards.teacher}} --task {{wildcards.task}} {LOG}"
