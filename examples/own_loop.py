"""A method's loss in a training loop of one's own: PKD, with a fine-tuned teacher in a folder.

python examples/own_loop.py reviews.csv TEACHER STUDENT
"""

import sys

import torch
from datasets import load_dataset
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding, set_seed

import railkd

file, teacher_folder, student_folder = sys.argv[1:]
set_seed(1)
epochs, names = 2, {"negative": 0, "positive": 1}
tokenizer = AutoTokenizer.from_pretrained(teacher_folder)
teacher = AutoModelForSequenceClassification.from_pretrained(teacher_folder, num_labels=2)
student = AutoModelForSequenceClassification.from_pretrained(student_folder, num_labels=2)


def tokenise(row):
    return {**tokenizer(row["text"], truncation=True, max_length=128), "labels": names[row["label"]]}


data = load_dataset("csv", data_files=file)["train"]
data = data.map(tokenise, remove_columns=data.column_names)
loader = DataLoader(data, batch_size=16, shuffle=True, collate_fn=DataCollatorWithPadding(tokenizer))

loss_of = railkd.DistillationLoss(teacher, student, "pkd", epochs=epochs, beta=10.0)
optimizer = torch.optim.AdamW([*student.parameters(), *loss_of.parameters()], lr=5e-5)
student.train()
for epoch in range(epochs):
    loss_of.start_epoch(epoch)
    for batch in loader:
        loss, terms = loss_of(batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    loss_of.end_epoch()
    print(f"epoch {epoch + 1}: last loss {loss:.3f}, " + ", ".join(f"{k} {v:.3f}" for k, v in terms.items()))
