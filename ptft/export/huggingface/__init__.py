"""format=huggingface: a trained model in the words of transformers, where that has its architecture and its head."""
