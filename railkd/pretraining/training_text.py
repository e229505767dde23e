"""From a corpus to training batches for masked-language-model pre-training: tokenizers, rows, masks.

Shapes: R rows of a group, B rows of a batch, T tokens per row, M predicted positions.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from railkd.errors import UserError

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

SPECIALS = {
    "bert": {
        "pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]",
    },
    "roberta": {
        "bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", "mask_token": "<mask>",
        "cls_token": "<s>", "sep_token": "</s>",
    },
}  # fmt: skip


def train_tokenizer(family: str, lines: list[str], vocabulary: int) -> "Tokenizer":
    """WordPiece with BERT's special tokens, or byte-level BPE with RoBERTa's, trained on ``lines``.

    WordPiece's vocabulary is the characters and then the most frequent words: the library's own trainer breaks ties
    by hash order, which differs from process to process.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    if family == "roberta":
        tokenizer = Tokenizer(models.BPE())
        # a leading space everywhere: a word is one token wherever it stands
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        tokenizer.decoder = decoders.ByteLevel()
        special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        bpe = trainers.BpeTrainer(
            vocab_size=vocabulary, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        )
        tokenizer.train_from_iterator(lines, bpe)
        tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=True)
        return tokenizer
    counts = Counter(word for line in lines for word in line.lower().split())
    letters = sorted(set("".join(counts)))
    words = [word for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])) if len(word) > 1]
    entries = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters), *words]
    vocab = {entry: number for number, entry in enumerate(entries[:vocabulary])}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(entries[:5])
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer


def save_tokenizer(tokenizer: "Tokenizer", family: str, max_length: int, directory: Path) -> None:
    """``tokenizer.json`` and ``tokenizer_config.json`` as ``AutoTokenizer`` reads them."""
    from transformers.tokenization_utils_tokenizers import PreTrainedTokenizerFast

    inputs = ["input_ids", "attention_mask"] + ["token_type_ids"] * (family == "bert")
    special: dict[str, Any] = SPECIALS["roberta" if family == "roberta" else "bert"]
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=max_length, model_input_names=inputs, **special
    )
    fast.save_pretrained(directory)


def packed_rows(
    lines: list[str], tokenizer: "Tokenizer", family: str, length: int, rng: Random
) -> list[tuple["torch.Tensor", "torch.Tensor"]]:
    """Groups of ``(rows (R, T), headings (R))``, one group per row length T <= ``length``: no row needs padding.

    A line “heading : text” is a row of its own, as a task's example will be, and its heading is taken off to be
    predicted at the first position: what next-sentence prediction was to BERT. Without it the first position, which
    classifiers read, would learn to summarise only in fine-tuning, which is too short for that. Lines without a
    heading (-1) are packed into rows of ``length``.
    """
    import torch

    order = list(lines)
    rng.shuffle(order)
    vocabulary = tokenizer.get_vocab()
    cls, sep = vocabulary["<s>" if family == "roberta" else "[CLS]"], separator(tokenizer)
    double = [sep, sep] if family == "roberta" else [sep]  # RoBERTa parts segments with two separators
    stops = {vocabulary.get(t) for t in (".", "?", "Ġ.", "Ġ?")}
    colons = {vocabulary.get(t) for t in (":", "Ġ:")}
    groups: dict[int, list[tuple[list[int], int]]] = {}
    loose = [cls]
    for encoding in tokenizer.encode_batch(order, add_special_tokens=False):
        ids = encoding.ids
        headed = len(ids) > 2 and ids[1] in colons
        row = [cls] if headed else loose
        for position, token in enumerate(ids[2:] if headed else ids, start=2 if headed else 0):
            row.append(token)
            if token in stops:
                row += [sep] if position == len(ids) - 1 else double
        if headed:
            groups.setdefault(min(len(row), length), []).append((row[:length], ids[0]))
        elif len(loose) >= length:  # what is left of the line is dropped: the next row starts a line
            groups.setdefault(length, []).append((loose[:length], -1))
            loose = [cls]
    if not groups:
        raise UserError(f"corpus: too short for one row of {length} tokens")
    columns = (zip(*groups[size], strict=True) for size in sorted(groups))
    return [(torch.tensor(rows), torch.tensor(headings)) for rows, headings in columns]


def batches(
    groups: list[tuple["torch.Tensor", "torch.Tensor"]], spec: dict[str, Any], tokenizer: "Tokenizer", seed: int
) -> Iterator[tuple["torch.Tensor", "torch.Tensor", "torch.Tensor"]]:
    """Endless ``(input ids (B, T), positions (M, 2), targets (M))``: what is to be predicted where.

    Of the rows with a heading half a batch is left as it is, as a classifier will read it, and predicts its heading at
    the first position. The other rows predict words, after BERT's 80/10/10 corruption: there the word that decides the
    heading may be a masked one. Rows of a batch have one length, and those corrupted have the same number of masked
    positions; the headings' positions come last.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    mask = next(i for i in map(tokenizer.token_to_id, ("[MASK]", "<mask>")) if i is not None)
    while True:
        plan = [
            (group, chosen)
            for group, (rows_RT, _) in enumerate(groups)
            for chosen in torch.randperm(len(rows_RT), generator=generator).split(spec["batch_size"])
        ]
        for number in torch.randperm(len(plan), generator=generator).tolist():
            group, chosen = plan[number]
            x_BT, headings_B = groups[group][0][chosen], groups[group][1][chosen]
            clean = (headings_B >= 0).nonzero().flatten()[: len(chosen) // 2]
            masked = torch.ones(len(chosen)).index_fill(0, clean, 0).nonzero().flatten()
            each = max(1, round(spec["masked"] * (x_BT.shape[1] - 1)))
            noise = torch.rand(len(masked), x_BT.shape[1], generator=generator)
            noise[x_BT[masked] < 5] = -1.0  # special tokens hold the first five ids in every family here
            columns = noise.topk(each, dim=1).indices
            positions = torch.stack([masked.repeat_interleave(each), columns.flatten()], dim=1)
            targets = x_BT[positions[:, 0], positions[:, 1]]
            draw = torch.rand(len(targets), generator=generator)
            random = torch.randint(5, tokenizer.get_vocab_size(), targets.shape, generator=generator)
            corrupted = torch.where(draw < 0.9, random, targets).masked_fill(draw < 0.8, mask)
            x_BT = x_BT.index_put((positions[:, 0], positions[:, 1]), corrupted)
            positions = torch.cat([positions, torch.stack([clean, torch.zeros_like(clean)], dim=1)])
            yield x_BT, positions, torch.cat([targets, headings_B[clean]])


def separator(tokenizer: "Tokenizer") -> int:
    """Id of the token between segments."""
    return next(i for i in map(tokenizer.token_to_id, ("[SEP]", "</s>")) if i is not None)
