"""Something that happens while a stage of many runs is at work: between two of them, where it tells how far it is."""


def after(monkeypatch, messages, number, change):
    """Have `change()` called before the line about the run of that number; messages: the stage's module of them."""
    seen, say = [], messages.progress

    def progress(*given):
        seen.append(given)
        if len(seen) == number:
            change()
        say(*given)

    monkeypatch.setattr(messages, "progress", progress)
