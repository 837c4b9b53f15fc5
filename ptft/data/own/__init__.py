"""What files of one's own say of themselves: by their names, their columns, and what of them can't be used."""
