"""What `why_it_works` and its notebook show: the arguments of the tutorial on small nets."""
