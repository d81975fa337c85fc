from quorum import Settings, Variable, parsers, variable


class NewsletterSettings(Settings):
    """What the newsletter is called, where it is, and who may send it."""

    title: Variable[str] = variable(
        "NEWSLETTER_TITLE", str, default="News", help="Name of the newsletter."
    )
    url: Variable[parsers.URL] = variable(
        "NEWSLETTER_URL",
        parsers.url("http", "https"),
        default=parsers.URL("http://127.0.0.1:5000"),
        help="Address of the app, as links in mail have it.",
    )
    password: Variable[str] = variable(
        "NEWSLETTER_PASSWORD", str, secret=True, help="Password of the editor."
    )
