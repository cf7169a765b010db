"""A capture that can be shown: names, texts and addresses replaced, all that verdicts hang on kept."""
