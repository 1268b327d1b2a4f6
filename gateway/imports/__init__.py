"""Reading back what others, or meterd, wrote of intervals: one module for each format, hostile input refused."""
