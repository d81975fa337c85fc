import quorum
from newsletter import create_app

create_app()
quorum.run()
