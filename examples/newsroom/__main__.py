import quorum
from newsroom import create_app

create_app()
quorum.run("waitress")
