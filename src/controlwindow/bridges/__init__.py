"""Other people's tools on a dosed model: Inspect AI and lm-eval, imported when such a tool is used."""
