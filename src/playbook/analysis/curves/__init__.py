"""Reading training curves: the rectangle that they are put into, their noise, where they rise."""
