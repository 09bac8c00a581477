// A host for the plug-in, as small as it can be:
//
//     host BUNDLE MODEL OTHER < in.f32 > out.f32
//
// plays the input four times, a block at a time, and says on its standard error at which frame which model began to
// play, as the plug-in tells it:
// 1. passes sound through, gets MODEL, then OTHER, then a file that is not there; a worker loads beside the sound;
// 2. another instance whose state is restored to what the first one saved;
// 3. a host whose worker does its work at once: MODEL within a block;
// 4. no model: the gains, from -6 and -12 dB to 0 and 0 at half time.
// Whatever the plug-in allocates or frees on the audio thread ends the program.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <lv2/atom/atom.h>
#include <lv2/atom/forge.h>
#include <lv2/atom/util.h>
#include <lv2/core/lv2.h>
#include <lv2/patch/patch.h>
#include <lv2/state/state.h>
#include <lv2/urid/urid.h>
#include <lv2/worker/worker.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                            \
    do {                                                                            \
        if (!(condition)) {                                                         \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            exit(1);                                                                \
        }                                                                           \
    } while (0)

enum { BLOCK = 64, CAPACITY = 16384, MOST = 64 };
enum { CONTROL, NOTIFY, IN, OUT, INPUT_GAIN, OUTPUT_GAIN };

// What the audio thread must not do.

static _Thread_local bool audio;

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

static void forbidden(const char *what) {
    if (audio) {
        audio = false;
        fprintf(stderr, "%s on the audio thread\n", what);
        abort();
    }
}

void *malloc(size_t size) {
    forbidden("malloc");
    return __libc_malloc(size);
}

void *calloc(size_t n, size_t size) {
    forbidden("calloc");
    return __libc_calloc(n, size);
}

void *realloc(void *memory, size_t size) {
    forbidden("realloc");
    return __libc_realloc(memory, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
    forbidden("aligned_alloc");
    return __libc_memalign(alignment, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size) {
    forbidden("posix_memalign");
    *memory = __libc_memalign(alignment, size);
    return *memory ? 0 : 12;
}

void free(void *memory) {
    if (memory) {
        forbidden("free");
    }
    __libc_free(memory);
}

// Numbers for names.

static char *names[MOST];

static LV2_URID number(LV2_URID_Map_Handle handle, const char *name) {
    (void)handle;
    for (LV2_URID n = 0; n < MOST; n++) {
        if (!names[n]) {
            names[n] = strdup(name);
        }
        if (strcmp(names[n], name) == 0) {
            return n + 1;
        }
    }
    exit(1);
}

static LV2_URID_Map map = {NULL, number};
static LV2_Atom_Forge forge;

// Messages that wait: from run() to the worker, and back.
typedef struct {
    uint32_t sizes[MOST], count;
    _Alignas(8) char data[MOST][8192];
} Queue;

static LV2_Worker_Status push(Queue *queue, uint32_t size, const void *data) {
    CHECK(queue->count < MOST && size <= sizeof queue->data[0]);
    memcpy(queue->data[queue->count], data, size);
    queue->sizes[queue->count++] = size;
    return LV2_WORKER_SUCCESS;
}

typedef struct {
    const LV2_Descriptor *descriptor;
    LV2_Handle plugin;
    const LV2_Worker_Interface *worker;
    const LV2_State_Interface *state;
    bool at_once;
    Queue requests, responses;
    float in[BLOCK], out[BLOCK], gains[2];
    _Alignas(8) char control[CAPACITY], notify[CAPACITY];
    const char *plays;
} Host;

static LV2_Worker_Status respond(LV2_Worker_Respond_Handle handle, uint32_t size, const void *data) {
    Host *host = handle;
    return host->at_once ? host->worker->work_response(host->plugin, size, data) : push(&host->responses, size, data);
}

static LV2_Worker_Status schedule(LV2_Worker_Schedule_Handle handle, uint32_t size, const void *data) {
    Host *host = handle;
    if (!host->at_once) {
        return push(&host->requests, size, data);
    }
    audio = false;
    LV2_Worker_Status status = host->worker->work(host->plugin, respond, host, size, data);
    audio = true;
    return status;
}

static void *worker(void *argument) {
    Host *host = argument;
    for (uint32_t n = 0; n < host->requests.count; n++) {
        Queue *queue = &host->requests;
        host->worker->work(host->plugin, respond, host, queue->sizes[n], queue->data[n]);
    }
    host->requests.count = 0;
    return NULL;
}

static void deliver(Host *host) {
    audio = true;
    for (uint32_t n = 0; n < host->responses.count; n++) {
        host->worker->work_response(host->plugin, host->responses.sizes[n], host->responses.data[n]);
    }
    audio = false;
    host->responses.count = 0;
}

static const LV2_Descriptor *descriptor;
static const char *bundle;

static Host *start(bool at_once) {
    Host *host = calloc(1, sizeof *host);
    LV2_Worker_Schedule schedule_data = {host, schedule};
    static LV2_Worker_Schedule kept[8];
    static int started;
    kept[started] = schedule_data;
    LV2_Feature features[2] = {{LV2_URID__map, &map}, {LV2_WORKER__schedule, &kept[started++]}};
    const LV2_Feature *all[3] = {&features[0], &features[1], NULL};
    host->at_once = at_once;
    host->descriptor = descriptor;
    host->plugin = descriptor->instantiate(descriptor, 48000, bundle, all);
    CHECK(host->plugin);
    host->worker = descriptor->extension_data(LV2_WORKER__interface);
    host->state = descriptor->extension_data(LV2_STATE__interface);
    CHECK(host->worker && host->state && !descriptor->extension_data("urn:unknown"));
    void *ports[] = {host->control, host->notify, host->in, host->out, &host->gains[0], &host->gains[1]};
    for (uint32_t n = 0; n < 6; n++) {
        descriptor->connect_port(host->plugin, n, ports[n]);
    }
    descriptor->activate(host->plugin);
    return host;
}

static void end(Host *host) {
    worker(host);
    deliver(host);
    host->descriptor->cleanup(host->plugin);
    free(host);
}

// A block, at a frame of which the host says that this model shall play.
static void block(Host *host, size_t first, uint32_t frames, const char *model, uint32_t at) {
    LV2_Atom_Forge_Frame sequence, object;
    lv2_atom_forge_set_buffer(&forge, (uint8_t *)host->control, CAPACITY);
    lv2_atom_forge_sequence_head(&forge, &sequence, 0);
    if (model) {
        lv2_atom_forge_frame_time(&forge, at);
        lv2_atom_forge_object(&forge, &object, 0, number(NULL, LV2_PATCH__Set));
        lv2_atom_forge_key(&forge, number(NULL, LV2_PATCH__property));
        lv2_atom_forge_urid(&forge, number(NULL, "urn:unrolled:lv2#model"));
        lv2_atom_forge_key(&forge, number(NULL, LV2_PATCH__value));
        lv2_atom_forge_path(&forge, model, (uint32_t)strlen(model));
        lv2_atom_forge_pop(&forge, &object);
    }
    lv2_atom_forge_pop(&forge, &sequence);
    LV2_Atom_Sequence *notify = (LV2_Atom_Sequence *)host->notify;
    notify->atom.size = CAPACITY;

    audio = true;
    host->descriptor->run(host->plugin, frames);
    audio = false;

    LV2_ATOM_SEQUENCE_FOREACH (notify, event) {
        const LV2_Atom *property = NULL, *value = NULL;
        const LV2_Atom_Object *told = (const LV2_Atom_Object *)&event->body;
        CHECK(told->body.otype == number(NULL, LV2_PATCH__Set));
        lv2_atom_object_get(told, number(NULL, LV2_PATCH__property), &property, number(NULL, LV2_PATCH__value), &value,
                            0);
        CHECK(((const LV2_Atom_URID *)property)->body == number(NULL, "urn:unrolled:lv2#model"));
        CHECK(value->type == number(NULL, LV2_ATOM__Path));
        fprintf(stderr, "%zu %s\n", first, (const char *)LV2_ATOM_BODY_CONST(value));
    }
}

static float *sound;
static size_t length;

static uint32_t frames_at(size_t first) { return length - first < BLOCK ? (uint32_t)(length - first) : BLOCK; }

static void play(Host *host, size_t first, const char *model, uint32_t at) {
    uint32_t frames = frames_at(first);
    memcpy(host->in, sound + first, frames * sizeof *sound);
    block(host, first, frames, model, at);
    CHECK(fwrite(host->out, sizeof *sound, frames, stdout) == frames);
}

// State, of which paths are written with a mark before them.

static char saved[4096];

static char *abstract_path(LV2_State_Map_Path_Handle handle, const char *path) {
    (void)handle;
    char *abstract = malloc(strlen(path) + 6);
    sprintf(abstract, "mark:%s", path);
    return abstract;
}

static char *absolute_path(LV2_State_Map_Path_Handle handle, const char *path) {
    (void)handle;
    CHECK(strncmp(path, "mark:", 5) == 0);
    return strdup(path + 5);
}

static LV2_State_Status store(LV2_State_Handle handle, uint32_t key, const void *value, size_t size, uint32_t type,
                              uint32_t flags) {
    (void)handle;
    CHECK(key == number(NULL, "urn:unrolled:lv2#model") && type == number(NULL, LV2_ATOM__Path));
    CHECK(flags & LV2_STATE_IS_POD && flags & LV2_STATE_IS_PORTABLE && size <= sizeof saved);
    memcpy(saved, value, size);
    return LV2_STATE_SUCCESS;
}

static const void *retrieve(LV2_State_Handle handle, uint32_t key, size_t *size, uint32_t *type, uint32_t *flags) {
    (void)handle;
    CHECK(key == number(NULL, "urn:unrolled:lv2#model"));
    *size = strlen(saved) + 1;
    *type = number(NULL, LV2_ATOM__Path);
    *flags = LV2_STATE_IS_POD | LV2_STATE_IS_PORTABLE;
    return saved[0] ? saved : NULL;
}

static LV2_State_Map_Path map_path = {NULL, abstract_path, absolute_path};
static const LV2_Feature paths = {LV2_STATE__mapPath, &map_path};
static const LV2_Feature *const with_paths[] = {&paths, NULL}, *const nothing[] = {NULL};

static LV2_State_Status save(Host *host, const LV2_Feature *const *features) {
    return host->state->save(host->plugin, store, NULL, 0, features);
}

static LV2_State_Status restore(Host *host, const LV2_Feature *const *features) {
    return host->state->restore(host->plugin, retrieve, NULL, 0, features);
}

int main(int argc, char **argv) {
    CHECK(argc == 4);
    bundle = argv[1];
    const char *model = argv[2], *other = argv[3];
    sound = malloc(1 << 20);
    length = fread(sound, sizeof *sound, (1 << 20) / sizeof *sound, stdin);
    lv2_atom_forge_init(&forge, &map);

    char path[4096];
    snprintf(path, sizeof path, "%sunrolled.so", bundle);
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        return 1;
    }
    const LV2_Descriptor *(*descriptors)(uint32_t) = NULL;
    *(void **)&descriptors = dlsym(library, "lv2_descriptor");
    CHECK(descriptors && (descriptor = descriptors(0)) && !descriptors(1));

    Host *host = start(false);
    CHECK(save(host, nothing) == LV2_STATE_ERR_NO_FEATURE);
    CHECK(save(host, with_paths) == LV2_STATE_SUCCESS && !saved[0]);
    CHECK(restore(host, with_paths) == LV2_STATE_ERR_NO_PROPERTY);
    size_t n = 0;
    for (size_t first = 0; first < length; first += BLOCK, n++) {
        const char *asked = n == 3 ? model : n == 10 ? other : n == 20 ? "/no such/model" : NULL;
        // The worker is at work while the next blocks play.
        pthread_t thread;
        bool at_work = host->requests.count > 0;
        if (at_work) {
            CHECK(pthread_create(&thread, NULL, worker, host) == 0);
        }
        for (int m = 0; at_work && m < 3 && first + BLOCK < length; m++, n++, first += BLOCK) {
            // Nothing is asked for, so that the queue belongs to the worker.
            play(host, first, NULL, 0);
        }
        if (at_work) {
            CHECK(pthread_join(thread, NULL) == 0);
            deliver(host);
            CHECK(save(host, with_paths) == LV2_STATE_SUCCESS);
        }
        play(host, first, asked, 16);
    }
    CHECK(strncmp(saved, "mark:", 5) == 0 && strcmp(saved + 5, other) == 0);
    end(host);

    // What was asked for before a state was restored comes too late.
    fprintf(stderr, "next\n");
    host = start(false);
    host->in[0] = 0;
    block(host, 0, 1, model, 0);
    worker(host);
    CHECK(restore(host, nothing) == LV2_STATE_ERR_NO_FEATURE);
    CHECK(restore(host, with_paths) == LV2_STATE_SUCCESS);
    deliver(host);
    descriptor->activate(host->plugin);
    for (size_t first = 0; first < length; first += BLOCK) {
        play(host, first, NULL, 0);
    }
    strcpy(saved, "mark:/no such/model");
    CHECK(restore(host, with_paths) == LV2_STATE_ERR_UNKNOWN);
    end(host);

    fprintf(stderr, "next\n");
    host = start(true);
    for (size_t first = 0; first < length; first += BLOCK) {
        play(host, first, first == 2 * BLOCK ? model : NULL, 16);
    }
    end(host);

    fprintf(stderr, "next\n");
    host = start(false);
    host->gains[0] = -6;
    host->gains[1] = -12;
    descriptor->activate(host->plugin);
    for (size_t first = 0; first < length; first += BLOCK) {
        if (first == length / 2) {
            host->gains[0] = host->gains[1] = 0;
        }
        play(host, first, NULL, 0);
    }
    end(host);
    free(sound);
    for (int m = 0; m < MOST; m++) {
        free(names[m]);
    }
    return 0;
}
