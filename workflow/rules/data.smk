"""Text: MiniGLUE, the models pre-trained here on it or on plain text, and every task tokenised for a teacher and its students."""


if B.synthetic:

    rule data:
        output:
            L.generated(B),
        conda:
            "../../environment.yml"
        log:
            L.root / "logs" / "data.log",
        shell:
            f"{RAILKD} data {COMMON} {LOG}"


rule pretrain:
    input:
        L.generated(B),
        parent_weights,
    output:
        L.model("{model}") / "model.safetensors",
    conda:
        "../../environment.yml"
    log:
        L.root / "logs" / "pretrain" / "{model}.log",
    resources:
        **{key: partial(pretraining_resource, key) for key in ON_GPU},
    shell:
        f"{RAILKD} pretrain {COMMON} --model {{wildcards.model}} {COMPUTE} {LOG}"


rule prepare:
    input:
        L.generated(B),
        teacher_weights,
    output:
        L.prepared("{teacher}", "{task}"),
        L.prepared("{teacher}", "{task}").with_suffix(".json"),
    priority: 10  # a broken data file is found before the first hour of training, not after it
    conda:
        "../../environment.yml"
    log:
        L.root / "logs" / "prepare" / "{teacher}" / "{task}.log",
    shell:
        f"{RAILKD} prepare {COMMON} --teacher {{wildcards.teacher}} --task {{wildcards.task}} {LOG}"
