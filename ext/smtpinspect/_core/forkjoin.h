/* Some threads share the tasks of one round after another; the one that gives them out takes its part.

   Every task has the number of the round that claimed it last. A round claims each exactly once, those that are not
   to be done in it by its giver, so a late thread cannot claim for a round that is over. Who finds nothing spins for
   a moment, since rounds follow each other within microseconds, and sleeps then. */
#ifndef SMTPINSPECT_FORKJOIN_H
#define SMTPINSPECT_FORKJOIN_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <unistd.h>

#if defined(__x86_64__) || defined(__i386__)
#define forkjoin_pause() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define forkjoin_pause() __asm__ __volatile__("yield")
#else
#define forkjoin_pause() ((void)0)
#endif

enum { FORKJOIN_SPINS = 4000, FORKJOIN_TASKS = 32, FORKJOIN_APART = 128, FORKJOIN_ANYBODY = -1 };

typedef struct {
    uint8_t before[FORKJOIN_APART];
    _Atomic uint32_t round;
    _Atomic int asleep;         /* helpers, and the giver */
    _Atomic int stop;
    uint8_t between[FORKJOIN_APART];
    _Atomic uint32_t finished;
    uint32_t wanted;            /* the giver's: forkjoin_did has its own, later it is another round's */
    _Atomic int last;           /* who did a task last, as told by forkjoin_did */
    _Atomic uint32_t claimed[FORKJOIN_TASKS];
    _Atomic int owner[FORKJOIN_TASKS];
    pid_t process;              /* a fork has none of the threads */
    uint8_t behind[FORKJOIN_APART];
    pthread_mutex_t lock;
    pthread_cond_t change;
} forkjoin;

static int forkjoin_make(forkjoin *f)
{
    atomic_init(&f->finished, 0);
    atomic_init(&f->round, 0);
    atomic_init(&f->asleep, 0);
    atomic_init(&f->stop, 0);
    for (int i = 0; i < FORKJOIN_TASKS; i++)
        atomic_init(&f->claimed[i], 0), atomic_init(&f->owner[i], FORKJOIN_ANYBODY);
    atomic_init(&f->last, FORKJOIN_ANYBODY);
    f->process = getpid();
    f->wanted = 0;
    if (pthread_mutex_init(&f->lock, NULL))
        return -1;
    return pthread_cond_init(&f->change, NULL) ? -1 : 0;
}

static void forkjoin_free(forkjoin *f)
{
    if (f->process != getpid())
        return;
    pthread_cond_destroy(&f->change);
    pthread_mutex_destroy(&f->lock);
}

static void forkjoin_wake(forkjoin *f)
{
    if (atomic_load(&f->asleep)) {
        pthread_mutex_lock(&f->lock);
        pthread_cond_broadcast(&f->change);
        pthread_mutex_unlock(&f->lock);
    }
}

/* A round of the tasks whose bits are set. Returns its number. */
static uint32_t forkjoin_give(forkjoin *f, uint32_t tasks)
{
    uint32_t round = atomic_load(&f->round) + 1;
    for (int i = 0; i < FORKJOIN_TASKS; i++)
        if (!(tasks >> i & 1))
            atomic_store_explicit(&f->claimed[i], round, memory_order_relaxed);
    f->wanted = (uint32_t)__builtin_popcount(tasks);
    atomic_store(&f->finished, 0);
    atomic_store(&f->round, round);
    forkjoin_wake(f);
    return round;
}

static void forkjoin_own(forkjoin *f, int task, int who)
{
    atomic_store_explicit(&f->owner[task], who, memory_order_relaxed);
}

static int forkjoin_owner(forkjoin *f, int task)
{
    return atomic_load_explicit(&f->owner[task], memory_order_relaxed);
}

/* 1: the task is the caller's to do in this round. */
static int forkjoin_claim(forkjoin *f, int task, int who, uint32_t round)
{
    uint32_t before = round - 1;
    int owner = forkjoin_owner(f, task);
    if (owner != who && owner != FORKJOIN_ANYBODY)
        return 0;
    return atomic_load_explicit(&f->claimed[task], memory_order_relaxed) == before
        && atomic_compare_exchange_strong(&f->claimed[task], &before, round);
}

/* `who` is told to the giver by forkjoin_last, should this be the round's last task. */
static void forkjoin_did(forkjoin *f, int who)
{
    uint32_t wanted = f->wanted;
    atomic_store(&f->last, who);
    if (atomic_fetch_add(&f->finished, 1) + 1 == wanted)
        forkjoin_wake(f);
}

static int forkjoin_last(forkjoin *f)
{
    return atomic_load(&f->last);
}

/* For the giver: until all tasks are done. */
static void forkjoin_join(forkjoin *f)
{
    for (int i = 0; i < FORKJOIN_SPINS; i++) {
        if (atomic_load(&f->finished) == f->wanted)
            return;
        forkjoin_pause();
    }
    pthread_mutex_lock(&f->lock);
    atomic_fetch_add(&f->asleep, 1);
    while (atomic_load(&f->finished) != f->wanted)
        pthread_cond_wait(&f->change, &f->lock);
    atomic_fetch_sub(&f->asleep, 1);
    pthread_mutex_unlock(&f->lock);
}

/* For a helper: until there is a round after `seen`, which becomes that one. 0: it is to end. */
static int forkjoin_wait(forkjoin *f, uint32_t *seen)
{
    for (int i = 0; i < FORKJOIN_SPINS && !atomic_load(&f->stop); i++) {
        if (atomic_load(&f->round) != *seen)
            break;
        forkjoin_pause();
    }
    if (atomic_load(&f->round) == *seen) {
        pthread_mutex_lock(&f->lock);
        atomic_fetch_add(&f->asleep, 1);
        while (!atomic_load(&f->stop) && atomic_load(&f->round) == *seen)
            pthread_cond_wait(&f->change, &f->lock);
        atomic_fetch_sub(&f->asleep, 1);
        pthread_mutex_unlock(&f->lock);
    }
    *seen = atomic_load(&f->round);
    return !atomic_load(&f->stop);
}

static void forkjoin_stop(forkjoin *f)
{
    atomic_store(&f->stop, 1);
    forkjoin_wake(f);
}

#endif
