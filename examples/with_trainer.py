"""RAIL-KD in a `transformers.Trainer`, which keeps its arguments, callbacks and evaluation. Needs accelerate.

python examples/with_trainer.py reviews.csv TEACHER STUDENT FOLDER
"""

import sys

from datasets import load_dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer, TrainingArguments, set_seed

import railkd

file, teacher_folder, student_folder, folder = sys.argv[1:]
set_seed(1)
names = {"negative": 0, "positive": 1}
tokenizer = AutoTokenizer.from_pretrained(teacher_folder)
teacher = AutoModelForSequenceClassification.from_pretrained(teacher_folder, num_labels=2)
student = AutoModelForSequenceClassification.from_pretrained(student_folder, num_labels=2)


def tokenise(row):
    return {**tokenizer(row["text"], truncation=True, max_length=128), "labels": names[row["label"]]}


data = load_dataset("csv", data_files=file)["train"]
data = data.map(tokenise, remove_columns=data.column_names).train_test_split(0.25, seed=1)
trainer = railkd.DistillationTrainer(
    teacher,
    student,
    "rail_kd_c",
    args=TrainingArguments(folder, num_train_epochs=2, eval_strategy="epoch", logging_steps=5, report_to="none"),
    train_dataset=data["train"],
    eval_dataset=data["test"],
    processing_class=tokenizer,
)
trainer.train()
trainer.save_model(folder)
