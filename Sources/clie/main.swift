import Glibc

exit(runClie().rawValue)
