"""Captions, token spans, tokenizer, phrase files and noun phrases."""
