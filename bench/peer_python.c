// Libraries that come as Python packages (ncnn, aule-attention), each in a process of its own that
// peer_python.py runs: this end of the pipes. A run's time has the way there and back in it.
#if !defined(_WIN32)
#define _GNU_SOURCE // posix_spawnp, environ
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>
#if defined(__APPLE__)
#include <crt_externs.h>
#define environ (*_NSGetEnviron())
#else
extern char **environ;
#endif
#endif
#include "peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Sums are in float32 there too: the rounding of another order of sums; with f16, that of what is stored in between.
static rapt_bench_difference tolerance(const rapt_bench_case *c)
{
    return c->dtype == RAPT_BENCH_F16 ? (rapt_bench_difference){1e-2, 5e-3}
                                      : (rapt_bench_difference){1e-5, 1e-5};
}

#if defined(_WIN32)

static rapt_peer *open_peer(const rapt_peer_kind *kind, const rapt_peer_options *options,
                            rapt_bench_error *error)
{
    (void)options;
    rapt_bench_fail(error, "%s: not on Windows", kind->name);
    return NULL;
}

#define PYTHON_PEER(variable, peer_name, text)                                                               \
    const rapt_peer_kind variable = {                                                                        \
        .name = peer_name, .what = text, .tolerance = tolerance, .open = open_peer}

#else

struct rapt_peer {
    const char *name;
    pid_t child;
    FILE *to, *from;
    int jobs; // numbers given so far
    char text[512];
};

struct rapt_peer_job {
    rapt_peer *peer;
    int number;
    size_t out_count;
};

// The answer to the last command, without its "ok "; false with the child's reason, or ours.
static bool answer(rapt_peer *peer, char *text, size_t size, rapt_bench_error *error)
{
    char line[512];
    if (fflush(peer->to) != 0 || !fgets(line, sizeof line, peer->from))
        return rapt_bench_fail(error, "%s: its process has ended", peer->name);
    line[strcspn(line, "\n")] = 0;
    if (strncmp(line, "ok", 2) != 0)
        return rapt_bench_fail(error, "%s: %s", peer->name,
                               strncmp(line, "error ", 6) == 0 ? line + 6 : line);
    if (text)
        snprintf(text, size, "%s", line[2] == ' ' ? line + 3 : "");
    return true;
}

static void close_peer(rapt_peer *peer)
{
    if (peer == NULL)
        return;
    if (peer->to)
        fclose(peer->to); // the child's end of input
    if (peer->from)
        fclose(peer->from);
    if (peer->child > 0)
        waitpid(peer->child, NULL, 0);
    free(peer);
}

// Starts words[0] with its standard input and output being pipes.
static bool start(rapt_peer *peer, char *const *words, rapt_bench_error *error)
{
    int in[2] = {-1, -1}, out[2] = {-1, -1};
    if (pipe(in) != 0 || pipe(out) != 0) {
        for (int i = 0; i < 2; i++)
            if (in[i] >= 0)
                close(in[i]);
        return rapt_bench_fail(error, "%s: no pipes", peer->name);
    }
    const int ends[4] = {in[0], in[1], out[0], out[1]};
    for (int i = 0; i < 4; i++)
        fcntl(ends[i], F_SETFD, FD_CLOEXEC); // or the next child would keep this one's input open
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in[0], 0);
    posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    const int failed = posix_spawnp(&peer->child, words[0], &actions, NULL, words, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(in[0]);
    close(out[1]);
    peer->to = fdopen(in[1], "wb");
    peer->from = fdopen(out[0], "rb");
    if (failed)
        peer->child = 0;
    return (!failed && peer->to && peer->from) || rapt_bench_fail(error, "%s: %s: %s", peer->name, words[0],
                                                                  failed ? strerror(failed) : "no memory");
}

static rapt_peer *open_peer(const rapt_peer_kind *kind, const rapt_peer_options *options,
                            rapt_bench_error *error)
{
    rapt_peer *peer = calloc(1, sizeof *peer);
    char folder[1024], script[1100];
    if (peer == NULL || !rapt_bench_library_folder((const void *)kind, folder, sizeof folder)) {
        rapt_bench_fail(error, "%s: no memory, or this program's folder is not known", kind->name);
        free(peer);
        return NULL;
    }
    snprintf(script, sizeof script, "%s/peer_python.py", folder);
    const char *python = getenv("RAPT_BENCH_PYTHON");
    char *words[] = {(char *)(python && python[0] ? python : "python3"), script, (char *)kind->name,
                     (char *)options->device, NULL};
    peer->name = kind->name;
    signal(SIGPIPE, SIG_IGN); // a child that has died is an error of ours, not our end
    if (!start(peer, words, error) || !answer(peer, peer->text, sizeof peer->text, error)) {
        close_peer(peer);
        return NULL;
    }
    return peer;
}

static const char *describe(const rapt_peer *peer)
{
    return peer->text;
}

// k or v as floats.
static bool send_numbers(rapt_peer *peer, const rapt_bench_case *c, const void *numbers)
{
    const size_t count = rapt_bench_kv_count(c);
    if (c->dtype == RAPT_BENCH_F32)
        return fwrite(numbers, sizeof(float), count, peer->to) == count;
    for (size_t i = 0; i < count; i++) {
        const float x = rapt_bench_float(((const uint16_t *)numbers)[i]);
        if (fwrite(&x, sizeof x, 1, peer->to) != 1)
            return false;
    }
    return true;
}

static bool command(rapt_peer_job *job, const char *name, char *text, size_t size, rapt_bench_error *error)
{
    fprintf(job->peer->to, "%s %d\n", name, job->number);
    return answer(job->peer, text, size, error);
}

static void release(rapt_peer_job *job)
{
    rapt_bench_error ignored;
    if (job != NULL)
        command(job, "release", NULL, 0, &ignored);
    free(job);
}

static rapt_peer_job *prepare(rapt_peer *peer, const rapt_bench_case *c, const rapt_bench_inputs *inputs,
                              rapt_bench_error *error)
{
    rapt_peer_job *job = calloc(1, sizeof *job);
    if (job == NULL) {
        rapt_bench_fail(error, "%s: no memory", peer->name);
        return NULL;
    }
    *job = (rapt_peer_job){peer, peer->jobs++, rapt_bench_q_count(c)};
    fprintf(peer->to, "prepare %d %d %d %d %d %d %d %s %d\n", job->number, c->batch, c->q_heads, c->kv_heads,
            c->head_dim, c->nq, c->nk, c->dtype == RAPT_BENCH_F16 ? "f16" : "f32", c->causal);
    const bool sent = fwrite(inputs->q, sizeof(float), job->out_count, peer->to) == job->out_count &&
                      send_numbers(peer, c, inputs->k) && send_numbers(peer, c, inputs->v);
    if (!sent)
        rapt_bench_fail(error, "%s: its process has ended", peer->name);
    if (!sent || !answer(peer, NULL, 0, error)) {
        free(job);
        return NULL;
    }
    return job;
}

static bool run(rapt_peer_job *job, rapt_bench_error *error)
{
    return command(job, "run", NULL, 0, error);
}

static bool read_output(rapt_peer_job *job, float *out, rapt_bench_error *error)
{
    char bytes[32];
    if (!command(job, "read", bytes, sizeof bytes, error))
        return false;
    const unsigned long long count = strtoull(bytes, NULL, 10);
    if (count != job->out_count * sizeof(float))
        return rapt_bench_fail(error, "%s: an output of %s bytes", job->peer->name, bytes);
    return fread(out, sizeof(float), job->out_count, job->peer->from) == job->out_count ||
           rapt_bench_fail(error, "%s: its process has ended", job->peer->name);
}

#define PYTHON_PEER(variable, peer_name, text)                                                               \
    const rapt_peer_kind variable = {                                                                        \
        .name = peer_name,                                                                                   \
        .what = text,                                                                                        \
        .tolerance = tolerance,                                                                              \
        .open = open_peer,                                                                                   \
        .describe = describe,                                                                                \
        .prepare = prepare,                                                                                  \
        .run = run,                                                                                          \
        .read = read_output,                                                                                 \
        .release = release,                                                                                  \
        .close = close_peer,                                                                                 \
    }

#endif

PYTHON_PEER(rapt_peer_ncnn_vulkan, "ncnn-vulkan",
            "ncnn's SDPA layer on Vulkan, of the Python package ncnn; a run copies in and out");
PYTHON_PEER(rapt_peer_ncnn_cpu, "ncnn-cpu", "the same on the CPU, one thread per CPU");
PYTHON_PEER(rapt_peer_aule, "aule", "aule-attention's Vulkan kernel, of the Python package aule-attention");
