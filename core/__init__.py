"""Parts that all packages use: errors, checks of options, names and plug-ins, random seeds, workers, files, states."""
