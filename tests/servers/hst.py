"""All archives of Hubble images at once, reached by astroquery's and botocore's own settings."""

import contextlib
import os

from servers.ehst import Ehst
from servers.hst_sky import mosaics, visits
from servers.mast import Mast
from servers.s3 import S3


@contextlib.contextmanager
def served(via="all", products=None, mosaic=None):
    """Start what ``--via`` needs and lead the clients there; gives the servers by the names mast, s3 and esa."""
    from astroquery.esa.hubble import conf as esa
    from astroquery.mast import conf as mast

    products = visits() if products is None else products
    found = {}
    with contextlib.ExitStack() as stack:
        if via != "esa":
            found["mast"] = stack.enter_context(Mast(products, mosaics() if mosaic is None else mosaic))
            stack.enter_context(mast.set_temp("server", found["mast"].url))
        if via in ("s3", "all"):
            found["s3"] = stack.enter_context(S3({product.key: product.content for product in products}))
            stack.enter_context(_environment("AWS_ENDPOINT_URL_S3", found["s3"].url))
        if via in ("esa", "all"):
            found["esa"] = stack.enter_context(Ehst(products))
            for name, value in found["esa"].settings.items():
                stack.enter_context(esa.set_temp(name, value))
        yield found


@contextlib.contextmanager
def _environment(name, value):
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before
