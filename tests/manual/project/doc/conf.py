import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

project = "shop"
extensions = ["quorum.sphinxext"]
quorum_variables = ["shop.settings"]
quorum_sources = [str(HERE.parent / "shop")]
