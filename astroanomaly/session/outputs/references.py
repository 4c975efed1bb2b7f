"""BibTeX of what a search rests on."""

from __future__ import annotations

from collections.abc import Iterable

from astroanomaly._version import __version__

__all__ = ["SHORT", "bibtex"]

SHORT = {  # as text cites them
    "astroanomaly": "The AstroAnomaly developers 2026",
    "anomalymatch": "Gómez et al. 2025",
    "fixmatch": "Sohn et al. 2020",
    "astropy": "Astropy Collaboration et al. 2022",
    "torch": "Paszke et al. 2019",
    "timm": "Wightman 2019",
    "efficientnet": "Tan & Le 2019",
    "sklearn": "Pedregosa et al. 2011",
    "numpy": "Harris et al. 2020",
    "finetuning": "Kumar et al. 2022",
    "powertransform": "Hu et al. 2021",
    "simbad": "Wenger et al. 2000",
    "gaia": "Gaia Collaboration et al. 2023",
}
_BIBTEX = {
    "astroanomaly": f"""@misc{{astroanomaly,
  author = {{{{The AstroAnomaly developers}}}},
  title = {{AstroAnomaly}},
  version = {{{__version__}}},
  year = {{2026}},
  url = {{https://github.com/astroanomaly/astroanomaly}}
}}""",
    "anomalymatch": r"""@article{anomalymatch,
  author = {G{\'o}mez, Pablo and Ruhberg, Laslo E. and Nardone, Maria Teresa and O'Ryan, David},
  title = {{AnomalyMatch: Discovering Rare Objects of Interest with Semi-supervised and Active Learning}},
  year = {2025},
  eprint = {2505.03509},
  archivePrefix = {arXiv},
  journal = {arXiv e-prints},
  pages = {arXiv:2505.03509}
}""",
    "fixmatch": r"""@inproceedings{fixmatch,
  author = {Sohn, Kihyuk and Berthelot, David and Li, Chun-Liang and Zhang, Zizhao and Carlini, Nicholas and
    Cubuk, Ekin D. and Kurakin, Alex and Zhang, Han and Raffel, Colin},
  title = {{FixMatch: Simplifying Semi-Supervised Learning with Consistency and Confidence}},
  booktitle = {Advances in Neural Information Processing Systems},
  volume = {33},
  year = {2020},
  eprint = {2001.07685},
  archivePrefix = {arXiv}
}""",
    "astropy": r"""@article{astropy,
  author = {{Astropy Collaboration} and {Price-Whelan}, Adrian M. and others},
  title = {{The Astropy Project: Sustaining and Growing a Community-oriented Open-source Project and the Latest Major
    Release (v5.0) of the Core Package}},
  journal = {ApJ},
  volume = {935},
  pages = {167},
  year = {2022},
  doi = {10.3847/1538-4357/ac7c74}
}""",
    "torch": r"""@inproceedings{torch,
  author = {Paszke, Adam and Gross, Sam and Massa, Francisco and Lerer, Adam and Bradbury, James and Chanan, Gregory
    and Killeen, Trevor and Lin, Zeming and Gimelshein, Natalia and Antiga, Luca and Desmaison, Alban and
    K{\"o}pf, Andreas and Yang, Edward and DeVito, Zachary and Raison, Martin and Tejani, Alykhan and
    Chilamkurthy, Sasank and Steiner, Benoit and Fang, Lu and Bai, Junjie and Chintala, Soumith},
  title = {{PyTorch: An Imperative Style, High-Performance Deep Learning Library}},
  booktitle = {Advances in Neural Information Processing Systems},
  volume = {32},
  year = {2019},
  eprint = {1912.01703},
  archivePrefix = {arXiv}
}""",
    "timm": r"""@misc{timm,
  author = {Wightman, Ross},
  title = {{PyTorch Image Models}},
  year = {2019},
  doi = {10.5281/zenodo.4414861}
}""",
    "efficientnet": r"""@inproceedings{efficientnet,
  author = {Tan, Mingxing and Le, Quoc V.},
  title = {{EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks}},
  booktitle = {Proceedings of the 36th International Conference on Machine Learning},
  pages = {6105--6114},
  year = {2019},
  eprint = {1905.11946},
  archivePrefix = {arXiv}
}""",
    "sklearn": r"""@article{sklearn,
  author = {Pedregosa, F. and Varoquaux, G. and Gramfort, A. and Michel, V. and Thirion, B. and Grisel, O. and
    Blondel, M. and Prettenhofer, P. and Weiss, R. and Dubourg, V. and Vanderplas, J. and Passos, A. and
    Cournapeau, D. and Brucher, M. and Perrot, M. and Duchesnay, E.},
  title = {{Scikit-learn: Machine Learning in Python}},
  journal = {Journal of Machine Learning Research},
  volume = {12},
  pages = {2825--2830},
  year = {2011}
}""",
    "numpy": r"""@article{numpy,
  author = {Harris, Charles R. and Millman, K. Jarrod and van der Walt, St{\'e}fan J. and others},
  title = {{Array programming with NumPy}},
  journal = {Nature},
  volume = {585},
  pages = {357--362},
  year = {2020},
  doi = {10.1038/s41586-020-2649-2}
}""",
    "finetuning": r"""@inproceedings{finetuning,
  author = {Kumar, Ananya and Raghunathan, Aditi and Jones, Robbie and Ma, Tengyu and Liang, Percy},
  title = {{Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution}},
  booktitle = {International Conference on Learning Representations},
  year = {2022},
  eprint = {2202.10054},
  archivePrefix = {arXiv}
}""",
    "powertransform": r"""@inproceedings{powertransform,
  author = {Hu, Yuqing and Gripon, Vincent and Pateux, St{\'e}phane},
  title = {{Leveraging the Feature Distribution in Transfer-based Few-Shot Learning}},
  booktitle = {Artificial Neural Networks and Machine Learning -- ICANN 2021},
  pages = {487--499},
  year = {2021},
  doi = {10.1007/978-3-030-86340-1_39},
  eprint = {2006.03806},
  archivePrefix = {arXiv}
}""",
    "simbad": r"""@article{simbad,
  author = {{Wenger}, M. and {Ochsenbein}, F. and {Egret}, D. and others},
  title = {{The SIMBAD astronomical database. The CDS reference database for astronomical objects}},
  journal = {A\&AS},
  volume = {143},
  pages = {9--22},
  year = {2000},
  doi = {10.1051/aas:2000332}
}""",
    "gaia": r"""@article{gaia,
  author = {{Gaia Collaboration} and {Vallenari}, A. and {Brown}, A. G. A. and others},
  title = {{Gaia Data Release 3. Summary of the content and survey properties}},
  journal = {A\&A},
  volume = {674},
  pages = {A1},
  year = {2023},
  doi = {10.1051/0004-6361/202243940}
}""",
}


def bibtex(keys: Iterable[str]) -> str:
    """Return the BibTeX entries of `SHORT`'s keys, each once, in the order given."""
    return "\n\n".join(_BIBTEX[key] for key in dict.fromkeys(keys)) + "\n"
