"""From a CSV file with the columns text and label (negative, positive) to a student that `pipeline` answers with.

python examples/own_csv.py reviews.csv bert-base-uncased student
"""

import sys

from datasets import load_dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline, set_seed

import railkd

file, base, folder = sys.argv[1:]
set_seed(1)
names = {0: "negative", 1: "positive"}
tokenizer = AutoTokenizer.from_pretrained(base)
teacher = AutoModelForSequenceClassification.from_pretrained(base, id2label=names)
layers = teacher.config.num_hidden_layers // 2
student = AutoModelForSequenceClassification.from_pretrained(base, id2label=names, num_hidden_layers=layers)
data = load_dataset("csv", data_files=file)["train"].train_test_split(0.25, seed=1)
train, dev = data["train"], data["test"]

# without a teacher the method no_kd is fine-tuning
teacher, tuned = railkd.distil(None, teacher, train, dev, "no_kd", tokenizer=tokenizer, training={"epochs": 3})
student, result = railkd.distil(teacher, student, train, dev, tokenizer=tokenizer, training={"epochs": 5})

print(f"teacher: {tuned.scores}")
print(f"student: {result.scores}, best epoch {result.best_epoch}, {result.cost['train_seconds']:.1f} s")
student.save_pretrained(folder)
tokenizer.save_pretrained(folder)
print(pipeline("text-classification", folder)(dev["text"][:2]))
