"""Files of methods with a mistake each, and the sentence that says it."""

HEAD = "import torch\nfrom railkd.methods.base import Method, cross_entropy, kd\n\n\n"  # the class begins at line 5
CE = "cross_entropy(student.logits_BC, batch.labels_B, self.setting.regression)"
SUPER = "    super().__init__(setting)\n"
START = "def __init__(self, setting):\n        super().__init__(setting)\n"


def method(*lines: str, reads: str = "needs_logits = True") -> str:
    """A file with a class of these lines, each indented once."""
    return HEAD + "class MyKD(Method):\n" + "".join(f"    {line}\n" for line in (reads, *lines))


def terms(*lines: str) -> str:
    return "def terms(self, batch, student, teacher):\n" + "".join(f"        {line}\n" for line in lines)


# what is wrong -> the file, and the sentence that check-method and training say of it (a pattern, after the path)
MISTAKES: dict[str, tuple[str, str]] = {
    "no terms": (method(), r":5: MyKD has no terms\(\); define terms\(self, batch, student, teacher\), which .*"),
    "no dict": (
        method(terms(f"return {CE}")),
        r":7: MyKD\.terms\(\) returned a Tensor, expected a dict from a term's name to a scalar tensor",
    ),
    "no tensor": (
        method(terms('return {"ce": 0.5}')),
        r":7: MyKD\.terms\(\) returned a float as the term 'ce', expected a scalar tensor",
    ),
    "no term": (method(terms("return {}")), r":7: MyKD\.terms\(\) returned no term, expected at least one"),
    "no scalar": (
        method(terms('return {"ce": student.logits_BC[:, 0]}')),
        r":7: MyKD\.terms\(\) returned a term 'ce' of the shape \(\d+,\), expected a scalar; take its mean",
    ),
    "no weight": (
        method(terms(f'return {{"ce": {CE}, "mid": {CE}}}')),
        r""":7: MyKD\.terms\(\) returned a term 'mid' without a weight; add self\.weights\["mid"\] in __init__""",
    ),
    "a term by the loss's name": (
        method(terms(f'return {{"ce": {CE}, "total": {CE}}}')),
        r":7: MyKD\.terms\(\) returned a term 'total'; expected a text other than 'total', by which records name the "
        "loss",
    ),
    "a weight of one number in a list": (
        method(
            f'{START}        self.weights = {{"ce": torch.nn.Parameter(torch.ones(1))}}\n',
            terms(f'return {{"ce": {CE}}}'),
        ),
        r""":\d+: MyKD\.terms\(\) needs a scalar as self\.weights\["ce"\], but its shape is \(1,\); make it as .*""",
    ),
    "a name of the report's in another shape": (
        method(
            "def end_epoch(self):\n        self.history['layers'] = [2, 4]\n",
            terms(f'return {{"ce": {CE}}}'),
        ),
        r":5: MyKD: history\['layers'\] is \[2, 4\], expected lists of layers, 1-based, which the report draws under "
        "this name; keep anything else under another",
    ),
    "a function with an argument more": (
        method("def end_epoch(self, epoch):\n        pass\n", terms(f'return {{"ce": {CE}}}')),
        r":7: MyKD\.end_epoch\(\) cannot be called \(missing a required argument: 'epoch'\); expected "
        r"def end_epoch\(self\)",
    ),
    "terms without the teacher": (
        method(f'def terms(self, batch, student):\n        return {{"ce": {CE}}}\n'),
        r":7: MyKD\.terms\(\) cannot be called \(too many positional arguments\); expected "
        r"def terms\(self, batch, student, teacher\)",
    ),
    "a weight without a term": (
        method(START + '        self.weights["mid"] = 0.5\n', terms(f'return {{"ce": {CE}}}')),
        r":11: MyKD\.terms\(\) returned no term 'mid', for which self\.weights has 0\.5; return it, or let .*",
    ),
    "a weight that is no number": (
        method(START + '        self.weights["ce"] = None\n', terms(f'return {{"ce": {CE}}}')),
        r""":11: MyKD\.terms\(\) needs a number as self\.weights\["ce"\], but it is None""",
    ),
    "no super().__init__()": (
        method('def __init__(self, setting):\n        self.weights = {"ce": 1.0}\n', terms(f'return {{"ce": {CE}}}')),
        r":5: MyKD\.__init__\(\) does not call super\(\)\.__init__\(setting\) first; add it as its first line",
    ),
    "super().__init__() too late": (
        method("def __init__(self, setting):\n        self.map = torch.nn.Linear(3, 3)\n", SUPER,
               terms(f'return {{"ce": {CE}}}')),
        r":5: MyKD\.__init__\(\) does not call super\(\)\.__init__\(setting\) first; add it as its first line",
    ),
    "no setting": (
        method("def __init__(self):\n        super().__init__(None)\n", terms(f'return {{"ce": {CE}}}')),
        r":7: MyKD\.__init__\(\) cannot be called with a setting and options \(too many positional arguments\)",
    ),
    "hidden layers undeclared": (
        method(terms('mid = student.pooled("mean", [1]).square().mean()', f'return {{"ce": {CE} + mid}}')),
        r":8: MyKD\.terms\(\): hidden layers are read, but were not kept: declare them with the property pooling .*",
    ),
    "a layer that is not there": (
        method("pooling = 'cls'", terms('mid = student.pooled("cls", [99]).mean()', f'return {{"ce": {CE} + mid}}')),
        r":9: MyKD\.terms\(\): there is no layer 99: layers are 1 to \d+, 0 the embeddings",
    ),
    "a pooling that does not exist": (
        method("pooling = 'max'", terms(f'return {{"ce": {CE}}}')),
        r":5: MyKD\.pooling is 'max', expected one of cls, mean, mean_padded, or None",
    ),
    "attention layers of one model alone": (
        method("@property", "def attention_layers(self):\n        return [2]\n", terms(f'return {{"ce": {CE}}}')),
        r":5: MyKD\.attention_layers is \[2\], expected layers of the student and of the teacher, such as .*",
    ),
    "the teacher undeclared": (
        method(terms("mid = kd(student.logits_BC, teacher.logits_BC, 1.0, False)", f'return {{"ce": {CE} + mid}}'),
               reads="regression = True"),
        r":8: MyKD\.terms\(\) raises AttributeError: 'NoneType' object has no attribute 'logits_BC'; the teacher "
        r"is None where the class declares nothing that it reads of it, such as needs_logits = True",
    ),
    "token states of a cached teacher": (
        method("@property", "def needs_hidden(self):\n        return True\n",
               terms("mid = teacher.tokens(1).mean()", f'return {{"ce": {CE} + mid}}')),
        r":12: MyKD\.terms\(\): a cache holds logits and pooled vectors alone: the method must declare "
        r"needs_live_teacher = True",
    ),
    "token states of a narrowed layer": (
        method("@property", "def needs_hidden(self):\n        return True\n",
               terms("mid = student.tokens(self.setting.student_layers).mean()", f'return {{"ce": {CE} + mid}}'),
               reads="needs_live_teacher = True"),
        r":12: MyKD\.terms\(\): layer \d has its first position alone: declare whole_last_layer = True",
    ),
    "token states of the teacher's narrowed layer": (
        method("@property", "def needs_hidden(self):\n        return True\n",
               terms("mid = teacher.tokens(self.setting.teacher_layers).mean()", f'return {{"ce": {CE} + mid}}'),
               reads="needs_live_teacher = True"),
        r":12: MyKD\.terms\(\): layer \d+ has its first position alone: declare whole_last_layer = True",
    ),
    "hidden layers of the teacher alone, undeclared": (
        method(terms("mid = teacher.tokens(1).mean()", f'return {{"ce": {CE} + mid}}'),
               reads="needs_live_teacher = True"),
        r":8: MyKD\.terms\(\): hidden layers are read, but were not kept: declare them with the property pooling .*",
    ),
    "a wrong shape": (
        method("pooling = 'cls'", terms("gap = student.pooled('cls', [1]) - teacher.pooled('cls', [1, 2])[..., :5]",
                                        f'return {{"ce": {CE} + gap.square().mean()}}')),
        r":9: MyKD\.terms\(\) raises RuntimeError: The size of tensor a .*; the student is \d+ wide and the teacher "
        r"\d+, with \d+ and \d+ intermediate layers: project one side onto the other, .*",
    ),
    "a name that is not there": (
        method(terms("return {'ce': crossentropy(1)}")),
        r":8: MyKD\.terms\(\) raises NameError: name 'crossentropy' is not defined.*",
    ),
    "detached": (
        method(terms(f'return {{"ce": {CE}.detach()}}')),
        r":7: MyKD\.terms\(\) returned no term that depends on the student; is it detached, or made of numbers alone\?",
    ),
    "maps in a plain list": (
        method(START + "        self.maps = [torch.nn.Linear(setting.outputs, 5, bias=False)]\n",
               terms(f'return {{"ce": {CE} + self.maps[0](student.logits_BC).square().mean()}}')),
        r":5: MyKD: a tensor of the shape \(5, \d+\) needs a gradient and is no registered parameter of the method, so "
        r"no step would train it; make it in __init__, .* keep several in an nn\.ModuleList or nn\.ParameterList",
    ),
    "a map made when training starts": (
        method("def start_training(self, generator):",
               "    self.map = torch.nn.Linear(self.setting.outputs, 5, bias=False)\n",
               terms(f'return {{"ce": {CE} + self.map(student.logits_BC).square().mean()}}')),
        r":5: MyKD: a tensor of the shape \(5, \d+\) needs a gradient and is no registered parameter of the method, .*",
    ),
    "a map made when it is first used": (
        method(terms("if not hasattr(self, 'map'):", "    self.map = torch.nn.Linear(self.setting.outputs, 5)",
                     f'return {{"ce": {CE} + self.map(student.logits_BC).square().mean()}}')),
        r":5: MyKD: a tensor of the shape \(5,.*\) needs a gradient and is no registered parameter of the method, .*",
    ),
    "a tensor of numbers that needs a gradient": (
        method(START + '        self.scale = {"ce": torch.ones(1, requires_grad=True)}\n',
               terms(f'return {{"ce": {CE} * self.scale["ce"].mean()}}')),
        r":5: MyKD: a tensor of the shape \(1,\) needs a gradient and is no registered parameter of the method, .*",
    ),
    "changed in place": (
        method(terms("mid = student.logits_BC.exp()", "loss = mid.square().mean()", "mid.zero_()",
                     f'return {{"ce": {CE} + loss}}')),
        r":7: MyKD\.terms\(\) returned terms without a gradient: a tensor that the gradient needs was changed in "
        r"place; change a copy",
    ),
    "start_epoch fails": (
        method("def start_epoch(self, epoch, generator):\n        self.rate = 1 / epoch\n",
               terms(f'return {{"ce": {CE}}}')),
        r":8: MyKD\.start_epoch\(\) raises ZeroDivisionError: division by zero",
    ),
    "end_epoch fails": (
        method("def end_epoch(self):\n        self.rank = torch.linalg.cholesky(-torch.eye(2))\n",
               terms(f'return {{"ce": {CE}}}')),
        r":8: MyKD\.end_epoch\(\) raises \w+: .*",
    ),
    "a history that is no JSON": (
        method("def end_epoch(self):\n        self.history['mean'] = [torch.ones(())]\n",
               terms(f'return {{"ce": {CE}}}')),
        r":5: MyKD: history\['mean'\] cannot be written as JSON \(.*\); expected finite numbers, .*",
    ),
    "a record that is not finite": (
        method("def record(self):\n        return {'rank': float('nan')}\n", terms(f'return {{"ce": {CE}}}')),
        r":5: MyKD: record\(\)\['rank'\] cannot be written as JSON \(.*\); expected finite numbers, .*",
    ),
    "no Method": (
        HEAD + "class MyKD:\n    pass\n",
        r":5: MyKD is no Method; derive it from the Method of railkd\.methods\.base, as in class MyKD\(Method\)",
    ),
    "a fact of another kind": (
        method("complexity = 3", terms(f'return {{"ce": {CE}}}')),
        r":5: MyKD\.complexity is 3, expected a text",
    ),
    "a name of an earlier version": (
        method("live = True", terms(f'return {{"ce": {CE}}}')),
        r":5: MyKD declares 'live', which is called 'needs_live_teacher' now; rename it",
    ),
    "a default that is no JSON": (
        method("def __init__(self, setting, of=torch.float32):\n        super().__init__(setting)\n",
               terms(f'return {{"ce": {CE}}}')),
        r":5: MyKD: the default of the option 'of', torch\.float32, cannot be written as JSON; expected .*",
    ),
}  # fmt: skip
