"""Students: a method is a rule, distil_<method>, and with a search search_<method> and select_<method> before it."""

from collections import Counter

# The seeds that one job trains, so that it imports the libraries once. Where every job trains one, it is a wildcard.
SEED_GROUPS = [[str(seed) for seed in seeds] for seeds in dict.fromkeys(group.seeds for group in B.seed_groups())]
SEED_GROUPS = [["{seed}"]] if all(len(seeds) == 1 for seeds in SEED_GROUPS) else SEED_GROUPS
ROWS = list(dict.fromkeys((cell.pair, cell.method) for cell in CELLS))
PAIRS_OF = Counter(method for _, method in ROWS)

# A method is a rule. Where several pairs have it, each has a rule of its own:
# Snakemake finds the rule of a file by what the file's name begins with, so pair and method may be no wildcards, or it
# would try every method on every file: 222 s instead of 85 s of CPU for a dry run of 20,098 jobs.
for _pair, _method in ROWS:
    _cell = Cell(_pair, _method, "{task}")
    _name = _method if PAIRS_OF[_method] == 1 else f"{_method}.{_pair}"
    _runs = [f"distil_{_name}" + (f"_seed{seeds[0]}" if len(SEED_GROUPS) > 1 else "") for seeds in SEED_GROUPS]
    for _asked, _rule in [(f"search_{_method}", f"search_{_name}"), *((f"distil_{_method}", _run) for _run in _runs)]:
        engine.share_resources(workflow, _asked, _rule)

    if B.search:

        rule:
            name:
                f"search_{_name}"
            input:
                cell_inputs(_pair, _method, []),
            output:
                L.point(_cell, "{point}"),
            params:
                pair=_pair,
                method=_method,
                seed=B.search["seed"],
            wildcard_constraints:
                point=r"\d+",
            conda:
                "../../environment.yml"
            log:
                L.root / "logs" / f"search_{_method}" / _pair / "{task}-{point}.log",
            resources:
                **ON_GPU,
            shell:
                f"{RAILKD} distil {COMMON} --pair {{params.pair}} --method {{params.method}} --task {{wildcards.task}}"
                f" --seeds {{params.seed}} --point {{wildcards.point}} {COMPUTE} {LOG}"

        rule:
            name:
                f"select_{_name}"
            input:
                deciding_points(_pair, _method),
            output:
                L.best(_cell),
            params:
                pair=_pair,
                method=_method,
            conda:
                "../../environment.yml"
            log:
                L.root / "logs" / f"select_{_method}" / _pair / "{task}.log",
            shell:
                f"{RAILKD} select {COMMON} --pair {{params.pair}} --method {{params.method}}"
                f" --task {{wildcards.task}} {LOG}"

    for _run, _seeds in zip(_runs, SEED_GROUPS):

        rule:
            name:
                _run
            input:
                cell_inputs(_pair, _method, _seeds),
                [L.best(_cell)] if B.search else [],
            output:
                [L.run(_cell, seed) for seed in _seeds],
                [L.run(_cell, seed).with_suffix(".safetensors") for seed in _seeds],
            params:
                pair=_pair,
                method=_method,
                seeds=" ".join(_seeds),
            wildcard_constraints:
                seed="|".join(map(str, B.seeds)),
            conda:
                "../../environment.yml"
            log:
                L.root / "logs" / f"distil_{_method}" / _pair / f"{{task}}-{_seeds[0]}.log",
            resources:
                **ON_GPU,
            shell:
                f"{RAILKD} distil {COMMON} --pair {{params.pair}} --method {{params.method}} --task {{wildcards.task}}"
                f" --seeds {{params.seeds}} {COMPUTE} {LOG}"
