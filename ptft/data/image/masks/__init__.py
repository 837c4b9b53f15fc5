"""Images of which every pixel has a class: outlines, files of masks, examples, and answers."""
