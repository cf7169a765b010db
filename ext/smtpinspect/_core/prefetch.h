/* A hint to the memory: this will be read soon. */
#ifndef SMTPINSPECT_PREFETCH_H
#define SMTPINSPECT_PREFETCH_H

#if defined(__GNUC__) || defined(__clang__)
#define prefetch(p) __builtin_prefetch(p)
#else
#define prefetch(p) ((void)(p))
#endif

#endif
