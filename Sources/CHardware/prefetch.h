#ifndef CHARDWARE_PREFETCH_H
#define CHARDWARE_PREFETCH_H
// Asks for a line of memory that will be used soon, which Swift cannot say. Any address will do.
static inline void ch_prefetch(const void *place) { __builtin_prefetch(place); }
#endif
