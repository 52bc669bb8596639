"""The Bayesian force field in PyTorch: batched, on CPU and GPU, with the live error bar, for torch-sim and metatomic.

`energy` has the mathematics as a module that TorchScript compiles, `forces` its derivatives, `simulation` the model of torch-sim,
`metatomic` the file that i-PI, ASE, LAMMPS and others load through metatomic. PyTorch is not a dependency of trepid:
pip install 'trepid[torch]'.
"""
