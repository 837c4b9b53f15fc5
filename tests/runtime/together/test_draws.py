"""Numbers of a batch's rows: what one process draws in parts is what it draws at once."""

import torch

from ptft.runtime.together import draws

CPU = torch.device("cpu")


def test_parts_of_a_batch_draw_what_the_whole_of_it_does_wherever_another_run_of_the_process_stood():
    draws.at(2, 2, 4)  # as a run of two processes leaves it, whose end is that of its process otherwise
    try:
        torch.manual_seed(3)
        with draws.repeated(CPU, 6) as part:
            parts = []
            for start, rows in ((0, 2), (2, 4)):
                part(start, rows)
                parts.append(draws.rand(rows, 3, device=CPU))
        after = torch.rand(())
    finally:
        draws.forget()
    torch.manual_seed(3)
    assert torch.equal(torch.cat(parts), torch.rand(6, 3))
    assert torch.equal(after, torch.rand(()))
