#ifndef CLINUX_SHIM_H
#define CLINUX_SHIM_H
// The Linux system calls and structures that Swift's Glibc module lacks.
//
// They are declared here by hand because defining _GNU_SOURCE in a header module breaks debug
// builds (the Glibc module then defines fd_set in a second way). The names begin with `cl_` and
// are bound to the C library's symbols by asm labels, so that they can never clash with its own
// declarations. No C code.
#include <stdint.h>
#include <fcntl.h>
#include <malloc.h>
#include <time.h>
#include <sys/socket.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <sys/random.h>

// Reads and writes of the file pass by the system's cache: O_DIRECT.
static const int cl_o_direct = __O_DIRECT;

// One message of recvmmsg and sendmmsg: struct mmsghdr.
struct cl_mmsghdr {
  struct msghdr msg_hdr;
  unsigned int msg_len;
};

// The address a datagram came to, IPv4: struct in_pktinfo.
struct cl_in_pktinfo {
  int32_t interface;
  uint32_t local;        // the address to answer from, network order
  uint32_t destination;  // the address in the header, network order
};

// The address a datagram came to, IPv6: struct in6_pktinfo.
struct cl_in6_pktinfo {
  uint64_t high, low;    // 16 address bytes, network order
  uint32_t interface;
} __attribute__((packed, aligned(4)));

// accept4(2)
extern int cl_accept4(int descriptor, struct sockaddr *address, socklen_t *length, int flags)
    __asm__("accept4");

// recvmmsg(2)
extern int cl_recvmmsg(int descriptor, struct cl_mmsghdr *messages, unsigned int count, int flags,
                       struct timespec *timeout) __asm__("recvmmsg");

// sendmmsg(2)
extern int cl_sendmmsg(int descriptor, struct cl_mmsghdr *messages, unsigned int count, int flags)
    __asm__("sendmmsg");

// epoll_pwait2(2), which older C libraries lack: syscall(2) with its number, the same on all machines.
static const long cl_number_of_epoll_pwait2 = 441;
extern long cl_epoll_pwait2(long number, int set, struct epoll_event *events, int count,
                            const struct timespec *limit, const void *signals, size_t size)
    __asm__("syscall");
// The cores that a thread may run on, a bit for each; 0 is the calling thread.
extern int cl_sched_setaffinity(int thread, size_t byte_count, const void *cores)
    __asm__("sched_setaffinity");
extern int cl_sched_getaffinity(int thread, size_t byte_count, void *cores)
    __asm__("sched_getaffinity");

#endif
