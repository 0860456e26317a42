"""The generated world: a bilingual assistant's benign topics, and vaults whose procedures it withholds."""
