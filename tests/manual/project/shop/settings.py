from quorum import Settings, Variable, parsers, variable


class ShopSettings(Settings):
    """How the shop sells."""

    currency: Variable[str] = variable(
        "SHOP_CURRENCY",
        parsers.choice("EUR", "USD"),
        default="EUR",
        help="Currency of all prices.",
    )
    token: Variable[str] = variable(
        "SHOP_TOKEN", str, secret=True, help="Token of the payment service."
    )
