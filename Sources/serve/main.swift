import Glibc

exit(Serve.run())
