"""One module for every language: its texts to a Config. `languages.config_of` loads the one that is wanted."""
