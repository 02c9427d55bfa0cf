/* Members take runs of units as fast as they are, take over what others do not finish, and fall out when they fail.
 *
 * Who takes how much: half of what is left, in the proportion of the rates measured so far (guided self-scheduling, Polychronopoulos
 * and Kuck 1987), so that runs shrink towards the end; nobody takes what the others would have finished sooner. At the end, members
 * that are free run again what is late elsewhere (backup tasks, as in MapReduce, Dean and Ghemawat 2004), and whoever is first
 * stores. */
#include "sched/pool.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { UNIT_FREE = 0, UNIT_TAKEN, UNIT_DONE };
#define KINDS 16        /* of work whose rates are remembered */
#define MOST_COPIES 3   /* members at one run */
#define TRY_AGAIN 40    /* a member that is left out as too slow is tried again when so many times as long as its last run took has gone
                         * by: what it may hold up of the others meanwhile (they may run on the same processors) stays below 1 in so many */
#define LOOK_AGAIN_NS (20ull * 1000 * 1000)
#define POLL_NS (200ull * 1000)

/* Consecutive units that are being run, by one member or by several. */
typedef struct part {
    uint64_t first, count;
    double weight;
    uint32_t copies; /* members at it; 0: the entry is free */
    bool storing, done;
    uint64_t start, end; /* when the first of them began, and when the soonest should end; 0: not known */
} part;

typedef struct job_member {
    uint64_t limit; /* units a run may have: less after running out of memory */
    bool trimmed;   /* it has run out of memory with a run of one unit, and given back what it kept */
    bool out;       /* takes no more runs of this call */
    uint8_t *refused; /* units that it cannot run after all; NULL where all members can run all */
} job_member;

typedef struct job {
    uint32_t refs; /* the call, and runs under way */
    rapt_pool_work work;
    uint8_t *unit;       /* UNIT_* of each */
    part *parts;         /* one for each member is enough */
    job_member *members;
    uint8_t *refused;    /* of all members */
    uint64_t done;       /* units */
    double total, free_weight;
    uint32_t touching; /* members that read or write what is the app's */
    bool over;
    rapt_error error; /* status RAPT_OK: all went well */
} job;

typedef struct member {
    rapt_pool *pool;
    uint32_t index;
    rapt_device *device; /* NULL: nobody */
    rapt_thread thread;
    rapt_group_member info;
    /* The run under way: job is NULL without. */
    job *job;
    part *part;
    void *run;
    uint64_t begun, loaded; /* ns */
    double weight;
} member;

struct rapt_pool {
    rapt_allocator allocator;
    rapt_group_options options;
    rapt_mutex lock;  /* of all that follows, but for a member's run, which is its thread's */
    rapt_cond change; /* of anything that somebody may wait for */
    uint32_t count;
    member *members;
    job *job; /* the call */
    bool stop;
    uint32_t threads; /* started */
    struct kind {
        uint64_t kind, used;
        double rate[RAPT_GROUP_MAX]; /* weight a second; 0: not known */
        uint8_t runs[RAPT_GROUP_MAX]; /* that it was measured in, at most 2: the first may have had a driver's compilation in it */
        uint64_t took[RAPT_GROUP_MAX], ended[RAPT_GROUP_MAX]; /* ns, of the last of them */
    } kinds[KINDS];
    uint64_t calls, told; /* and the kind of work that members tell of */
};

/* ---- calls ---- */

static void job_free(rapt_pool *pool, job *j)
{
    const rapt_allocator *a = &pool->allocator;
    j->work.free(j->work.user);
    if (j->unit != NULL)
        rapt_free(a, j->unit, j->work.units + 1);
    if (j->parts != NULL)
        rapt_free(a, j->parts, pool->count * sizeof *j->parts);
    if (j->refused != NULL)
        rapt_free(a, j->refused, pool->count * (j->work.units + 1));
    if (j->members != NULL)
        rapt_free(a, j->members, pool->count * sizeof *j->members);
    rapt_free(a, j, sizeof *j);
}

/* Under the lock; gives it up while a call's memory is freed. */
static void job_release(rapt_pool *pool, job *j)
{
    if (--j->refs > 0)
        return;
    rapt_mutex_unlock(&pool->lock);
    job_free(pool, j);
    rapt_mutex_lock(&pool->lock);
}

static struct kind *find_kind(rapt_pool *pool, uint64_t kind)
{
    for (uint32_t i = 0; i < KINDS; i++)
        if (pool->kinds[i].used != 0 && pool->kinds[i].kind == kind)
            return &pool->kinds[i];
    return NULL;
}

/* The rates of a kind of work, in place of those that were not asked for longest. */
static struct kind *keep_kind(rapt_pool *pool, uint64_t kind)
{
    struct kind *k = find_kind(pool, kind);
    for (uint32_t i = 0; i < KINDS && k == NULL; i++)
        if (pool->kinds[i].used == 0)
            k = &pool->kinds[i];
    if (k == NULL) {
        k = &pool->kinds[0];
        for (uint32_t i = 1; i < KINDS; i++)
            if (pool->kinds[i].used < k->used)
                k = &pool->kinds[i];
    }
    if (k->kind != kind || k->used == 0)
        *k = (struct kind){.kind = kind};
    k->used = ++pool->calls;
    return k;
}

static double rate_of(rapt_pool *pool, const job *j, uint32_t index)
{
    const struct kind *k = find_kind(pool, j->work.kind);
    return k != NULL ? k->rate[index] : 0;
}

/* A run of `weight` has just ended that began at `begun`. */
static void note_rate(rapt_pool *pool, const job *j, uint32_t index, double weight, uint64_t begun)
{
    struct kind *k = find_kind(pool, j->work.kind);
    const uint64_t end = rapt_now_ns(), took = RAPT_MAX(end - begun, 1);
    const double now = weight / ((double)took * 1e-9);
    if (k == NULL)
        return;
    k->rate[index] = k->runs[index] > 1 ? 0.5 * (k->rate[index] + now) : now;
    k->runs[index] = (uint8_t)RAPT_MIN(k->runs[index] + 1, 2);
    k->took[index] = took;
    k->ended[index] = end;
}

/* Whether a member that was left out may be tried again: its rate may be an old one. */
static bool is_due_again(rapt_pool *pool, const job *j, uint32_t index, uint64_t now)
{
    const struct kind *k = find_kind(pool, j->work.kind);
    return k != NULL && now - k->ended[index] > TRY_AGAIN * k->took[index];
}

/* Whether a member's rate is good enough to be left out by. */
static bool is_proven(rapt_pool *pool, const job *j, uint32_t index)
{
    const struct kind *k = find_kind(pool, j->work.kind);
    return k != NULL && k->runs[index] > 1;
}

static bool takes_part(const job *j, const member *m)
{
    return m->device != NULL && !m->info.quarantined && !j->members[m->index].out;
}

static bool may_run(const job *j, const member *m, uint64_t unit)
{
    return j->work.may == NULL || (!j->members[m->index].refused[unit] && j->work.may(j->work.user, m->index, unit));
}

static void job_end(rapt_pool *pool, job *j, rapt_status status, const char *message)
{
    if (j->over)
        return;
    j->over = true;
    if (status != RAPT_OK)
        rapt_fail(&j->error, status, "%s", message);
    rapt_cond_wake_all(&pool->change);
}

/* The first unit that is not done and that nobody can run any more, or units. */
static uint64_t lost_unit(const rapt_pool *pool, const job *j)
{
    for (uint64_t unit = 0; unit < j->work.units; unit++) {
        bool lost = j->unit[unit] != UNIT_DONE;
        for (uint32_t i = 0; i < pool->count && lost; i++)
            lost = !takes_part(j, &pool->members[i]) || !may_run(j, &pool->members[i], unit);
        if (lost)
            return unit;
        if (j->work.may == NULL && j->unit[unit] != UNIT_DONE)
            break; /* the others are no different */
    }
    return j->work.units;
}

/* Ends a call that nobody is left for, with what became of each. */
static void end_without_members(rapt_pool *pool, job *j, rapt_status status)
{
    char words[sizeof j->error.message];
    rapt_text text = rapt_text_over(words, sizeof words);
    const uint64_t lost = lost_unit(pool, j);
    if (lost == j->work.units)
        return;
    rapt_text_add(&text, "no device is left");
    if (j->work.may != NULL)
        rapt_text_add(&text, " for part %llu", (unsigned long long)lost);
    for (uint32_t i = 0; i < pool->count; i++)
        if (pool->members[i].info.status != RAPT_OK)
            rapt_text_add(&text, "; %u: %s", i, pool->members[i].info.message);
    /* A timeout would say that the call goes on. */
    job_end(pool, j, status == RAPT_ERROR_TIMEOUT ? RAPT_ERROR_DEVICE_LOST : status, words);
}

/* ---- who takes what ---- */

/* The rest of a run, 0 to 1, by what was expected of it. */
static double rest_of(const part *p, uint64_t now)
{
    if (p->end <= p->start)
        return 0.5;
    return now >= p->end ? 0 : (double)(p->end - now) / (double)(p->end - p->start);
}

/* What the others could do: their rates together, the best of them, and what they still have in work. */
typedef struct rivals {
    double rate, best, work;
    uint32_t unknown; /* how many whose rate is not known */
} rivals;

static rivals rivals_of(rapt_pool *pool, const job *j, const member *me, uint64_t now)
{
    rivals r = {0};
    for (uint32_t i = 0; i < pool->count; i++) {
        const member *m = &pool->members[i];
        const double rate = rate_of(pool, j, i);
        if (m == me || !takes_part(j, m) || (m->job != NULL && m->job != j)) /* or still at an earlier call's run */
            continue;
        if (m->job != NULL && rate > 0 && (double)(now - m->begun) * 1e-9 > 2 * m->weight / rate)
            continue; /* late: who knows when it is back */
        r.rate += rate;
        r.best = fmax(r.best, rate);
        r.unknown += rate <= 0;
    }
    for (uint32_t i = 0; i < pool->count; i++)
        if (j->parts[i].copies > 0 && !j->parts[i].done)
            r.work += j->parts[i].weight * rest_of(&j->parts[i], now);
    return r;
}

/* Whether the others would be done sooner, with all that is left, than this member with `weight` of it. */
static bool others_are_sooner(const job *j, const rivals *r, double rate, double weight)
{
    if (rate <= 0 || r->best <= 0)
        return false;
    const double theirs = fmax((j->free_weight + r->work) / r->rate, weight / r->best);
    return weight / rate > theirs;
}

/* As many units from `first` on, at least one, as weigh no more than `target`. */
static uint64_t units_of(const job *j, uint64_t first, uint64_t most, double target)
{
    uint64_t low = 1, high = most;
    while (low < high) {
        const uint64_t middle = high - (high - low) / 2;
        if (j->work.weight(j->work.user, first, middle) <= target)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

/* The first units that nobody runs and this member can: where they begin and how many there are. */
static uint64_t free_units(const job *j, const member *me, uint64_t *first)
{
    uint64_t at = 0, end;
    while (at < j->work.units && (j->unit[at] != UNIT_FREE || !may_run(j, me, at)))
        at++;
    for (end = at; end < j->work.units && j->unit[end] == UNIT_FREE && may_run(j, me, end);)
        end++;
    *first = at;
    return end - at;
}

static part *free_part(rapt_pool *pool, job *j)
{
    for (uint32_t i = 0; i < pool->count; i++)
        if (j->parts[i].copies == 0)
            return &j->parts[i];
    return NULL; /* never: there are as many as members */
}

/* New units for a member, or NULL where it should take none now. */
static part *take_units(rapt_pool *pool, job *j, const member *me, uint64_t now)
{
    uint64_t first, count, most = free_units(j, me, &first);
    const double rate = rate_of(pool, j, me->index);
    if (most == 0)
        return NULL;
    const rivals r = rivals_of(pool, j, me, now);
    double target = j->total / (2.0 * RAPT_MAX(pool->options.parts, 1) * pool->count); /* to see how fast it is */
    if (rate > 0)
        target = 0.5 * j->free_weight * rate / (rate + r.rate + r.unknown * rate);
    most = RAPT_MIN(most, j->members[me->index].limit);
    count = j->work.fit(j->work.user, first, units_of(j, first, most, target));
    double weight = j->work.weight(j->work.user, first, count);
    if (j->work.may == NULL && is_proven(pool, j, me->index) && others_are_sooner(j, &r, rate, weight)) {
        count = j->work.fit(j->work.user, first, 1);
        weight = j->work.weight(j->work.user, first, count);
        if (others_are_sooner(j, &r, rate, weight) && !is_due_again(pool, j, me->index, now))
            return NULL;
    }
    part *p = free_part(pool, j);
    *p = (part){.first = first, .count = count, .weight = weight, .start = now};
    memset(j->unit + first, UNIT_TAKEN, count);
    j->free_weight -= weight;
    return p;
}

/* When a free member should run again what others have under way: at once if it would be done sooner, else when that takes twice
 * as long as expected. UINT64_MAX: never. */
static uint64_t backup_due(rapt_pool *pool, const job *j, const member *me, const part *p, uint64_t now)
{
    const double rate = rate_of(pool, j, me->index);
    if (p->copies == 0 || p->copies >= MOST_COPIES || p->done || p->storing || p->count > j->members[me->index].limit)
        return UINT64_MAX;
    for (uint64_t unit = p->first; j->work.may != NULL && unit < p->first + p->count; unit++)
        if (!may_run(j, me, unit))
            return UINT64_MAX;
    const uint64_t own = rate > 0 ? (uint64_t)(p->weight / rate * 1.2e9) : UINT64_MAX / 4;
    const uint64_t expected = p->end > p->start ? p->end - p->start : 0;
    if (expected > 0 && now + own < p->end)
        return now;
    if (rate <= 0 && expected == 0)
        return UINT64_MAX;
    return p->start + RAPT_MAX(2 * expected, rate > 0 ? own : 0);
}

/* A run of another member for this one to run too; *wait: how long until there may be one. */
static part *take_backup(rapt_pool *pool, job *j, const member *me, uint64_t now, uint64_t *wait)
{
    for (uint32_t i = 0; i < pool->count; i++) {
        part *p = &j->parts[i];
        const uint64_t due = backup_due(pool, j, me, p, now);
        if (due <= now)
            return p;
        if (due != UINT64_MAX)
            *wait = RAPT_MIN(*wait, due - now);
    }
    return NULL;
}

/* Gives a member a run. false: none now, and *wait says when to look again. Under the lock. */
static bool take(rapt_pool *pool, member *me, uint64_t *wait)
{
    job *j = pool->job;
    const uint64_t now = rapt_now_ns();
    *wait = UINT64_MAX;
    if (j == NULL || j->over || !takes_part(j, me))
        return false;
    part *p = take_units(pool, j, me, now);
    if (p == NULL) {
        if (j->free_weight > 0)
            *wait = LOOK_AGAIN_NS;
        p = take_backup(pool, j, me, now, wait);
    }
    if (p == NULL)
        return false;
    const double rate = rate_of(pool, j, me->index);
    const uint64_t end = rate > 0 ? now + (uint64_t)(p->weight / rate * 1e9) : 0;
    if (end != 0 && (p->end == 0 || end < p->end))
        p->end = end;
    p->copies++;
    j->refs++;
    me->job = j;
    me->part = p;
    me->run = NULL;
    me->begun = now;
    me->weight = p->weight;
    return true;
}

/* ---- a run ---- */

/* Before what is the app's is touched: false where that is no use any more. */
static bool enter(rapt_pool *pool, member *me, bool storing)
{
    rapt_mutex_lock(&pool->lock);
    part *p = me->part;
    const bool useful = !me->job->over && !p->done && !p->storing;
    if (useful) {
        me->job->touching++;
        p->storing = storing;
    }
    rapt_mutex_unlock(&pool->lock);
    return useful;
}

/* After it. `stored`: the part's results are there. */
static void leave(rapt_pool *pool, member *me, bool storing, bool stored)
{
    job *j = me->job;
    part *p = me->part;
    rapt_mutex_lock(&pool->lock);
    j->touching--;
    if (stored) {
        p->done = true;
        j->done += p->count;
        memset(j->unit + p->first, UNIT_DONE, p->count);
        if (j == pool->job && !j->work.continues) {
            me->info.parts++;
            me->info.share += j->total > 0 ? p->weight / j->total : 0;
        }
        if (j->done == j->work.units)
            job_end(pool, j, RAPT_OK, NULL);
    }
    if (storing && !stored && !j->over)
        p->storing = false; /* it broke off: somebody else is to do it again */
    rapt_cond_wake_all(&pool->change);
    rapt_mutex_unlock(&pool->lock);
}

/* A run is more than the member can do, however small: it sits the call out, or leaves these units to others where each has its own. */
static int sit_out(job *j, const member *me)
{
    job_member *jm = &j->members[me->index];
    if (jm->refused != NULL) {
        memset(jm->refused + me->part->first, 1, me->part->count);
        return RAPT_GROUP_REFUSES;
    }
    jm->out = true;
    return RAPT_GROUP_SITS_OUT;
}

/* What a failure means for the member; under the lock. Returns the event to tell of, 0 for none. */
static int judge(rapt_pool *pool, member *me, const rapt_error *why)
{
    job *j = me->job;
    job_member *jm = &j->members[me->index];
    me->info.status = why->status;
    snprintf(me->info.message, sizeof me->info.message, "%s", why->message);
    switch (why->status) {
    case RAPT_ERROR_INVALID: /* the same everywhere */
        job_end(pool, j, why->status, why->message);
        return 0;
    case RAPT_ERROR_OUT_OF_DEVICE_MEMORY:
    case RAPT_ERROR_OUT_OF_HOST_MEMORY:
        if (me->part->count > 1) {
            jm->limit = me->part->count / 2;
            return RAPT_GROUP_SMALLER;
        }
        if (!jm->trimmed) { /* once more, with what it keeps between runs given back */
            jm->trimmed = true;
            return 0;
        }
        return sit_out(j, me);
    case RAPT_ERROR_UNSUPPORTED:
        return sit_out(j, me);
    case RAPT_ERROR_TIMEOUT: /* nothing waits for it again, and what it may still touch is left alone */
        rapt_device_note_hung(me->device);
        break;
    default:
        break;
    }
    me->info.quarantined = 1;
    return RAPT_GROUP_QUARANTINED;
}

/* The end of a run, whatever became of it. */
static void settle(rapt_pool *pool, member *me, const rapt_error *why, bool stored)
{
    job *j = me->job;
    part *p = me->part;
    rapt_group_event event = {.member = me->index, .status = why->status, .message = why->message};
    rapt_mutex_lock(&pool->lock);
    const int kind = why->status != RAPT_OK ? judge(pool, me, why) : 0;
    const bool is_short = why->status == RAPT_ERROR_OUT_OF_DEVICE_MEMORY || why->status == RAPT_ERROR_OUT_OF_HOST_MEMORY;
    rapt_mutex_unlock(&pool->lock);
    if (me->run != NULL)
        j->work.end(me->run);
    if (is_short)
        j->work.trim(j->work.user, me->index);
    if (kind != 0 && pool->options.event != NULL) {
        event.kind = (rapt_group_event_kind)kind;
        pool->options.event(pool->options.event_user, &event);
    }
    rapt_mutex_lock(&pool->lock);
    if (j == pool->job) {
        me->info.busy_ns += (double)(rapt_now_ns() - me->begun);
        me->info.wasted += !stored; /* of a call that continues too */
    }
    if (--p->copies == 0 && !p->done) {
        memset(j->unit + p->first, UNIT_FREE, p->count);
        j->free_weight += p->weight;
    }
    if (why->status != RAPT_OK)
        end_without_members(pool, j, why->status);
    me->job = NULL;
    me->part = NULL;
    me->run = NULL;
    rapt_cond_wake_all(&pool->change);
    job_release(pool, j);
    rapt_mutex_unlock(&pool->lock);
}

/* From having taken a run to its submission. false: it is settled already. */
static bool start_run(rapt_pool *pool, member *me)
{
    const rapt_pool_work *w = &me->job->work;
    rapt_error why = {RAPT_OK, ""};
    rapt_status status = w->make(w->user, me->index, me->part->first, me->part->count, &me->run, &why);
    bool useful = status == RAPT_OK && enter(pool, me, false);
    if (useful) {
        me->loaded = rapt_now_ns();
        status = w->load(me->run, &why);
        leave(pool, me, false, false); /* another member may be storing the part just now */
    }
    if (status == RAPT_OK && useful)
        return true;
    why.status = status;
    settle(pool, me, &why, false);
    return false;
}

static uint64_t deadline_of(const rapt_pool *pool, const member *me)
{
    float ms = pool->options.deadline_ms;
    if (ms <= 0)
        ms = me->device->caps.device_class == RAPT_CLASS_SOFTWARE ? 60000.0f : 10000.0f;
    return (uint64_t)((double)ms * 1e6);
}

/* Waits for a run, at most `patience` ns. false: it goes on. */
static bool end_run(rapt_pool *pool, member *me, uint64_t patience)
{
    const rapt_pool_work *w = &me->job->work;
    rapt_error why = {RAPT_OK, ""};
    const uint64_t deadline = deadline_of(pool, me), gone = rapt_now_ns() - me->loaded;
    const uint64_t left = deadline > gone ? deadline - gone : 0;
    bool stored = false;
    rapt_status status = w->wait(me->run, RAPT_MIN(left, patience), &why);
    if (status == RAPT_ERROR_TIMEOUT) {
        if (left > patience)
            return false;
        rapt_fail_prefix(&why, status, "its deadline of %g ms passed", (double)deadline * 1e-6);
    }
    if (status == RAPT_OK) {
        const bool useful = enter(pool, me, true);
        if (useful) {
            status = w->store(me->run, &why);
            stored = status == RAPT_OK;
        }
        if (status == RAPT_OK) {
            rapt_mutex_lock(&pool->lock);
            note_rate(pool, me->job, me->index, me->weight, me->loaded);
            rapt_mutex_unlock(&pool->lock);
        }
        if (useful)
            leave(pool, me, true, stored);
    }
    why.status = status;
    settle(pool, me, &why, stored);
    return true;
}

/* ---- threads ---- */

static void member_thread(void *user)
{
    member *me = user;
    rapt_pool *pool = me->pool;
    uint64_t wait;
    rapt_mutex_lock(&pool->lock);
    while (!pool->stop) {
        if (!take(pool, me, &wait)) {
            rapt_cond_wait(&pool->change, &pool->lock, wait);
            continue;
        }
        rapt_mutex_unlock(&pool->lock);
        if (start_run(pool, me))
            while (!end_run(pool, me, UINT64_MAX))
                continue;
        rapt_mutex_lock(&pool->lock);
    }
    rapt_mutex_unlock(&pool->lock);
}

/* Without threads: one look at each member. true: something moved. *wait: how long nothing will. */
static bool look_at_all(rapt_pool *pool, uint64_t patience, bool starts)
{
    bool moved = false;
    for (uint32_t i = 0; i < pool->count; i++) {
        member *me = &pool->members[i];
        uint64_t wait;
        if (me->job != NULL) {
            moved |= end_run(pool, me, patience);
            continue;
        }
        rapt_mutex_lock(&pool->lock);
        const bool took = starts && take(pool, me, &wait);
        rapt_mutex_unlock(&pool->lock);
        if (took) {
            start_run(pool, me);
            moved = true;
        }
    }
    return moved;
}

static bool is_running(const rapt_pool *pool)
{
    for (uint32_t i = 0; i < pool->count; i++)
        if (pool->members[i].job != NULL)
            return true;
    return false;
}

/* ---- the pool ---- */

static bool pool_start(rapt_pool *pool)
{
    for (; pool->options.threads != 0 && pool->threads < pool->count; pool->threads++) {
        member *m = &pool->members[pool->threads];
        m->thread.run = member_thread;
        m->thread.user = m;
        if (!rapt_thread_start(&m->thread))
            return false;
    }
    return true;
}

rapt_status rapt_pool_create(const rapt_allocator *allocator, rapt_device *const *devices, uint32_t count,
                             const rapt_group_options *options, rapt_pool **out, rapt_error *error)
{
    *out = NULL;
    rapt_pool *pool = rapt_calloc(allocator, 1, sizeof *pool);
    member *members = rapt_calloc(allocator, count, sizeof *members);
    if (pool == NULL || members == NULL || !rapt_mutex_init(&pool->lock))
        goto no_memory;
    if (!rapt_cond_init(&pool->change)) {
        rapt_mutex_destroy(&pool->lock);
        goto no_memory;
    }
    pool->allocator = *allocator;
    pool->options = *options;
    pool->count = count;
    pool->members = members;
    for (uint32_t i = 0; i < count; i++)
        members[i] = (member){.pool = pool, .index = i, .device = devices[i], .info = RAPT_GROUP_MEMBER_INIT};
    if (!pool_start(pool)) {
        rapt_pool_destroy(&pool);
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no thread for a device of the group");
    }
    *out = pool;
    return RAPT_OK;

no_memory:
    if (pool != NULL)
        rapt_free(allocator, pool, sizeof *pool);
    if (members != NULL)
        rapt_free(allocator, members, count * sizeof *members);
    return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for a group of %u devices", count);
}

void rapt_pool_destroy(rapt_pool **handle)
{
    rapt_pool *pool = *handle;
    if (pool == NULL)
        return;
    rapt_mutex_lock(&pool->lock);
    pool->stop = true;
    if (pool->job != NULL)
        job_end(pool, pool->job, RAPT_ERROR_INVALID, "the group was destroyed");
    rapt_cond_wake_all(&pool->change);
    rapt_mutex_unlock(&pool->lock);
    for (uint32_t i = 0; i < pool->threads; i++)
        rapt_thread_join(&pool->members[i].thread);
    while (is_running(pool)) /* without threads */
        look_at_all(pool, POLL_NS, false);
    *handle = NULL; /* not before: members at a late part come by it to their devices */
    if (pool->job != NULL)
        job_free(pool, pool->job);
    rapt_cond_destroy(&pool->change);
    rapt_mutex_destroy(&pool->lock);
    const rapt_allocator a = pool->allocator;
    rapt_free(&a, pool->members, pool->count * sizeof *pool->members);
    rapt_free(&a, pool, sizeof *pool);
}

uint32_t rapt_pool_count(const rapt_pool *pool)
{
    return pool->count;
}

rapt_device *rapt_pool_device(const rapt_pool *pool, uint32_t index)
{
    return pool->members[index].device;
}

rapt_status rapt_pool_set_device(rapt_pool *pool, uint32_t index, rapt_device *device, rapt_error *error)
{
    member *m = &pool->members[index];
    rapt_mutex_lock(&pool->lock);
    const bool busy = pool->job != NULL || m->job != NULL;
    if (!busy) {
        m->device = device;
        m->info = (rapt_group_member)RAPT_GROUP_MEMBER_INIT;
        for (uint32_t i = 0; i < KINDS; i++) {
            pool->kinds[i].rate[index] = 0;
            pool->kinds[i].runs[index] = 0;
        }
    }
    rapt_mutex_unlock(&pool->lock);
    return busy ? rapt_fail(error, RAPT_ERROR_BUSY, "member %u is at work", index) : RAPT_OK;
}

/* Members start a call with what is known of them. */
static void meet_call(rapt_pool *pool, job *j)
{
    keep_kind(pool, j->work.kind);
    if (!j->work.continues)
        pool->told = j->work.kind;
    for (uint32_t i = 0; i < pool->count; i++) {
        rapt_group_member *info = &pool->members[i].info;
        j->members[i].limit = UINT64_MAX;
        if (j->work.continues)
            continue;
        info->parts = info->wasted = 0;
        info->share = info->busy_ns = 0;
    }
}

rapt_status rapt_pool_begin(rapt_pool *pool, const rapt_pool_work *work, rapt_error *error)
{
    const rapt_allocator *a = &pool->allocator;
    job *j = pool->job == NULL ? rapt_calloc(a, 1, sizeof *j) : NULL;
    if (j == NULL) {
        work->free(work->user);
        return pool->job != NULL ? rapt_fail(error, RAPT_ERROR_BUSY, "the group has a call that was not waited for")
                                 : rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for a call");
    }
    j->refs = 1;
    j->work = *work;
    j->unit = rapt_calloc(a, work->units + 1, 1);
    j->parts = rapt_calloc(a, pool->count, sizeof *j->parts);
    j->members = rapt_calloc(a, pool->count, sizeof *j->members);
    if (work->may != NULL)
        j->refused = rapt_calloc(a, pool->count, work->units + 1);
    if (j->unit == NULL || j->parts == NULL || j->members == NULL || (work->may != NULL && j->refused == NULL)) {
        job_free(pool, j);
        return rapt_fail(error, RAPT_ERROR_OUT_OF_HOST_MEMORY, "no memory for a call of %llu units",
                         (unsigned long long)work->units);
    }
    for (uint32_t i = 0; i < pool->count && j->refused != NULL; i++)
        j->members[i].refused = j->refused + i * (work->units + 1);
    j->total = j->free_weight = work->weight(work->user, 0, work->units);
    rapt_mutex_lock(&pool->lock);
    meet_call(pool, j);
    pool->job = j;
    if (work->units == 0)
        job_end(pool, j, RAPT_OK, NULL); /* nothing to do */
    end_without_members(pool, j, RAPT_ERROR_NO_DEVICE);
    rapt_cond_wake_all(&pool->change);
    rapt_mutex_unlock(&pool->lock);
    return RAPT_OK;
}

/* Whether nobody will touch what is the app's again. */
static bool is_done(const job *j)
{
    return j->over && j->touching == 0 && (!j->work.settles || j->refs == 1);
}

rapt_status rapt_pool_wait(rapt_pool *pool, uint64_t timeout, rapt_error *error)
{
    const uint64_t begin = rapt_now_ns();
    job *j = pool->job;
    if (j == NULL) {
        if (pool->threads == 0) /* somebody may still be at an earlier call's run */
            look_at_all(pool, RAPT_MIN(timeout, POLL_NS), false);
        return RAPT_OK;
    }
    rapt_mutex_lock(&pool->lock);
    while (!is_done(j)) {
        const uint64_t gone = rapt_now_ns() - begin;
        bool moved = true;
        if (pool->threads == 0) {
            rapt_mutex_unlock(&pool->lock);
            moved = look_at_all(pool, timeout == 0 ? 0 : POLL_NS, true);
            rapt_mutex_lock(&pool->lock);
            if (timeout > 0 && moved)
                continue;
        }
        if (is_done(j))
            break;
        if (gone >= timeout) {
            rapt_mutex_unlock(&pool->lock);
            return rapt_fail(error, RAPT_ERROR_TIMEOUT, "the call was not done after %llu ms",
                             (unsigned long long)(timeout / 1000000));
        }
        const uint64_t rest = timeout == UINT64_MAX ? UINT64_MAX : timeout - gone;
        rapt_cond_wait(&pool->change, &pool->lock, pool->threads == 0 ? RAPT_MIN(rest, POLL_NS) : rest);
    }
    const rapt_error result = j->error;
    pool->job = NULL;
    job_release(pool, j);
    rapt_mutex_unlock(&pool->lock);
    if (result.status != RAPT_OK && error != NULL)
        *error = result;
    return result.status;
}

void rapt_pool_describe(rapt_pool *pool, uint32_t index, rapt_group_member *out)
{
    rapt_mutex_lock(&pool->lock);
    *out = pool->members[index].info;
    const struct kind *latest = find_kind(pool, pool->told);
    out->rate = latest != NULL ? latest->rate[index] : 0;
    rapt_mutex_unlock(&pool->lock);
}
