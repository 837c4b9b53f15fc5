"""Examples that are made worse in stated ways: a module for each modality, whose `KINDS` are its corruptions."""
