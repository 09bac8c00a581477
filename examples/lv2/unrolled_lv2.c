// An LV2 effect that plays a model of one input and one output.
//
// Threads: run() and what it calls neither ask for memory nor wait. It hands the path of a model to the worker, which
// loads it and sends back what was loaded; the one played so far goes to the worker to be freed. What save() reads,
// which may be called beside run(), belongs to the worker and restore(), behind a lock that run() does not take.

#include <lv2/atom/atom.h>
#include <lv2/atom/forge.h>
#include <lv2/atom/util.h>
#include <lv2/core/lv2.h>
#include <lv2/core/lv2_util.h>
#include <lv2/log/log.h>
#include <lv2/log/logger.h>
#include <lv2/patch/patch.h>
#include <lv2/state/state.h>
#include <lv2/urid/urid.h>
#include <lv2/worker/worker.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unrolled.h>

#define PLUGIN_URI "urn:unrolled:lv2"
#define MODEL_URI PLUGIN_URI "#model"
// A file of this name in the bundle is played until another one is chosen.
#define DEFAULT_MODEL "default-model"

enum { PATH_SIZE = 4096 };

// In the order of unrolled.ttl.
typedef enum { CONTROL, NOTIFY, IN, OUT, INPUT_GAIN, OUTPUT_GAIN, PORTS } Port;

// A model at work, with the path that it came from.
typedef struct Loaded {
    struct Loaded *next;
    unrolled_stream *stream;
    char path[];
} Loaded;

// From run() to the worker; the path follows.
typedef struct {
    enum { LOAD, FREE } kind;
    unsigned epoch;
    Loaded *loaded;
} Request;

// From the worker to run().
typedef struct {
    unsigned epoch;
    Loaded *loaded;  // NULL where nothing could be loaded.
} Response;

typedef struct {
    void *ports[PORTS];
    LV2_URID_Map *map;
    LV2_Worker_Schedule *schedule;
    LV2_Log_Logger logger;
    LV2_Atom_Forge forge;
    struct {
        LV2_URID path, urid, model, get, set, property, value;
    } urids;

    // Of run().
    Loaded *playing;   // NULL: sound passes through.
    Loaded *left;      // What has been played, until the worker takes it.
    bool announce;     // Whether the host is to be told what plays.
    float gains[2];    // Factors, as they were at the end of the last block.
    char request[sizeof(Request) + PATH_SIZE];

    // restore() begins a new one: what was asked for before does not come after it.
    atomic_uint epoch;

    pthread_mutex_t lock;
    char path[PATH_SIZE];  // What save() writes.
} Plugin;

static void unload(Loaded *loaded) {
    while (loaded) {
        Loaded *next = loaded->next;
        unrolled_stream_free(loaded->stream);
        free(loaded);
        loaded = next;
    }
}

static Loaded *load(Plugin *plugin, const char *path) {
    unrolled_error error;
    Loaded *loaded = NULL;
    unrolled_model *model = unrolled_model_load_file(path, &error);
    if (model && (unrolled_model_input_size(model) != 1 || unrolled_model_output_size(model) != 1)) {
        snprintf(error.message, sizeof error.message, "%s: expected a model of one input and one output", path);
    } else if (model) {
        unrolled_stream *stream = unrolled_stream_new(model, 1, &error);
        size_t size = strlen(path) + 1;
        if (stream && size <= PATH_SIZE && (loaded = malloc(sizeof *loaded + size))) {
            loaded->next = NULL;
            loaded->stream = stream;
            memcpy(loaded->path, path, size);
        } else {
            unrolled_stream_free(stream);
        }
    }
    unrolled_model_free(model);
    if (!loaded) {
        lv2_log_error(&plugin->logger, "%s\n", error.message[0] ? error.message : "no room for a model or its path");
    }
    return loaded;
}

// The worker's side.

static LV2_Worker_Status work(LV2_Handle instance, LV2_Worker_Respond_Function respond,
                              LV2_Worker_Respond_Handle handle, uint32_t size, const void *data) {
    Plugin *plugin = instance;
    Request request;
    if (size < sizeof request) {
        return LV2_WORKER_ERR_UNKNOWN;
    }
    memcpy(&request, data, sizeof request);
    if (request.kind == FREE) {
        unload(request.loaded);
        return LV2_WORKER_SUCCESS;
    }

    Response response = {request.epoch, load(plugin, (const char *)data + sizeof request)};
    pthread_mutex_lock(&plugin->lock);
    bool sent = request.epoch == atomic_load(&plugin->epoch) &&
                respond(handle, sizeof response, &response) == LV2_WORKER_SUCCESS;
    if (sent && response.loaded) {
        strcpy(plugin->path, (const char *)data + sizeof request);
    }
    pthread_mutex_unlock(&plugin->lock);
    if (!sent) {
        unload(response.loaded);
    }
    return LV2_WORKER_SUCCESS;
}

// The side of run().

static void leave(Plugin *plugin, Loaded *loaded) {
    if (loaded) {
        loaded->next = plugin->left;
        plugin->left = loaded;
    }
}

static LV2_Worker_Status work_response(LV2_Handle instance, uint32_t size, const void *data) {
    Plugin *plugin = instance;
    Response response;
    if (size != sizeof response) {
        return LV2_WORKER_ERR_UNKNOWN;
    }
    memcpy(&response, data, sizeof response);
    if (response.epoch != atomic_load(&plugin->epoch)) {
        leave(plugin, response.loaded);
    } else if (response.loaded) {
        leave(plugin, plugin->playing);
        plugin->playing = response.loaded;
    }
    // Where nothing was loaded too, so that the host shows what plays.
    plugin->announce = true;
    return LV2_WORKER_SUCCESS;
}

// What has been left goes to the worker, all at once; where there is no room, at the next block.
static void send_left(Plugin *plugin) {
    if (plugin->left && plugin->schedule) {
        Request request = {FREE, 0, plugin->left};
        LV2_Worker_Schedule *schedule = plugin->schedule;
        if (schedule->schedule_work(schedule->handle, sizeof request, &request) == LV2_WORKER_SUCCESS) {
            plugin->left = NULL;
        }
    }
}

static void ask_for(Plugin *plugin, const char *path, uint32_t size) {
    LV2_Worker_Schedule *schedule = plugin->schedule;
    // The path's zero counts.
    bool fits = schedule && size > 1 && size <= PATH_SIZE && memchr(path, 0, size) == path + size - 1;
    if (fits) {
        Request request = {LOAD, atomic_load(&plugin->epoch), NULL};
        memcpy(plugin->request, &request, sizeof request);
        memcpy(plugin->request + sizeof request, path, size);
        size += sizeof request;
        fits = schedule->schedule_work(schedule->handle, size, plugin->request) == LV2_WORKER_SUCCESS;
    }
    if (!fits) {
        plugin->announce = true;
    }
}

static void handle(Plugin *plugin, const LV2_Atom *atom) {
    if (!lv2_atom_forge_is_object_type(&plugin->forge, atom->type)) {
        return;
    }
    const LV2_Atom_Object *object = (const LV2_Atom_Object *)atom;
    const LV2_Atom *property = NULL, *value = NULL;
    lv2_atom_object_get(object, plugin->urids.property, &property, plugin->urids.value, &value, 0);
    bool model = property && property->type == plugin->urids.urid &&
                 ((const LV2_Atom_URID *)property)->body == plugin->urids.model;
    if (object->body.otype == plugin->urids.get && (model || !property)) {
        plugin->announce = true;
    } else if (object->body.otype == plugin->urids.set && model && value && value->type == plugin->urids.path) {
        ask_for(plugin, LV2_ATOM_BODY_CONST(value), value->size);
    }
}

// Tells the host what plays, where it listens. Without room for that, at the next block.
static void tell(Plugin *plugin) {
    LV2_Atom_Sequence *notify = plugin->ports[NOTIFY];
    if (!notify || !plugin->map) {
        return;
    }
    LV2_Atom_Forge *forge = &plugin->forge;
    uint32_t capacity = notify->atom.size;
    lv2_atom_forge_set_buffer(forge, (uint8_t *)notify, capacity);
    LV2_Atom_Forge_Frame sequence, object;
    if (!lv2_atom_forge_sequence_head(forge, &sequence, 0)) {
        return;
    }
    // The sequence's head, an event's, an object's, two properties', a number, padding.
    uint32_t length = plugin->playing ? (uint32_t)strlen(plugin->playing->path) : 0;
    if (plugin->announce && capacity >= 160 + length) {
        lv2_atom_forge_frame_time(forge, 0);
        lv2_atom_forge_object(forge, &object, 0, plugin->urids.set);
        lv2_atom_forge_key(forge, plugin->urids.property);
        lv2_atom_forge_urid(forge, plugin->urids.model);
        lv2_atom_forge_key(forge, plugin->urids.value);
        lv2_atom_forge_path(forge, plugin->playing ? plugin->playing->path : "", length);
        lv2_atom_forge_pop(forge, &object);
        plugin->announce = false;
    }
    lv2_atom_forge_pop(forge, &sequence);
}

// Multiplies by a factor that goes on by as much at each frame.
static void scale(float *values, uint32_t frames, float factor, float step) {
    for (uint32_t n = 0; n < frames; n++) {
        factor += step;
        values[n] *= factor;
    }
}

static float factor_of(const float *decibels) { return decibels ? powf(10.0f, *decibels / 20.0f) : 1.0f; }

static void run(LV2_Handle instance, uint32_t frames) {
    Plugin *plugin = instance;
    const float *in = plugin->ports[IN];
    float *out = plugin->ports[OUT];
    const LV2_Atom_Sequence *control = plugin->map ? plugin->ports[CONTROL] : NULL;
    send_left(plugin);
    tell(plugin);

    // Gains reach what the ports say at the end of the block.
    const float targets[2] = {factor_of(plugin->ports[INPUT_GAIN]), factor_of(plugin->ports[OUTPUT_GAIN])};
    float steps[2] = {0, 0};
    for (int n = 0; n < 2 && frames > 0; n++) {
        steps[n] = (targets[n] - plugin->gains[n]) / (float)frames;
    }

    if (in != out) {
        memcpy(out, in, frames * sizeof *out);
    }
    scale(out, frames, plugin->gains[0], steps[0]);
    // Up to each message, and then what is left.
    uint32_t first = 0;
    const LV2_Atom_Event *event = control ? lv2_atom_sequence_begin(&control->body) : NULL;
    while (true) {
        bool more = event && !lv2_atom_sequence_is_end(&control->body, control->atom.size, event);
        int64_t at = more ? event->time.frames : frames;
        uint32_t end = at < first ? first : at < frames ? (uint32_t)at : frames;
        if (plugin->playing) {
            // Lengths fit, and one thread runs: there is nothing that could be wrong.
            (void)unrolled_stream_process(plugin->playing->stream, out + first, end - first, out + first, end - first);
        }
        first = end;
        if (!more) {
            break;
        }
        handle(plugin, &event->body);
        event = lv2_atom_sequence_next(event);
    }
    scale(out, frames, plugin->gains[1], steps[1]);
    if (frames > 0) {
        memcpy(plugin->gains, targets, sizeof targets);
    }
}

// State.

static LV2_State_Status save(LV2_Handle instance, LV2_State_Store_Function store, LV2_State_Handle handle,
                             uint32_t flags, const LV2_Feature *const *features) {
    (void)flags;
    Plugin *plugin = instance;
    const LV2_State_Map_Path *paths = lv2_features_data(features, LV2_STATE__mapPath);
    const LV2_State_Free_Path *freeing = lv2_features_data(features, LV2_STATE__freePath);
    if (!paths || !plugin->map) {
        return LV2_STATE_ERR_NO_FEATURE;
    }
    pthread_mutex_lock(&plugin->lock);
    char *path = plugin->path[0] ? paths->abstract_path(paths->handle, plugin->path) : NULL;
    bool nothing = !plugin->path[0];
    pthread_mutex_unlock(&plugin->lock);
    if (!path) {
        return nothing ? LV2_STATE_SUCCESS : LV2_STATE_ERR_UNKNOWN;
    }
    LV2_State_Status status = store(handle, plugin->urids.model, path, strlen(path) + 1, plugin->urids.path,
                                    LV2_STATE_IS_POD | LV2_STATE_IS_PORTABLE);
    if (freeing) {
        freeing->free_path(freeing->handle, path);
    } else {
        free(path);
    }
    return status;
}

// Nothing runs meanwhile: the model is loaded here, and plays at once.
static bool replace(Plugin *plugin, const char *path) {
    Loaded *loaded = load(plugin, path);
    if (!loaded) {
        return false;
    }
    pthread_mutex_lock(&plugin->lock);
    atomic_fetch_add(&plugin->epoch, 1);
    strcpy(plugin->path, loaded->path);
    pthread_mutex_unlock(&plugin->lock);
    unload(plugin->playing);
    plugin->playing = loaded;
    plugin->announce = true;
    return true;
}

static LV2_State_Status restore(LV2_Handle instance, LV2_State_Retrieve_Function retrieve, LV2_State_Handle handle,
                                uint32_t flags, const LV2_Feature *const *features) {
    (void)flags;
    Plugin *plugin = instance;
    const LV2_State_Map_Path *paths = lv2_features_data(features, LV2_STATE__mapPath);
    const LV2_State_Free_Path *freeing = lv2_features_data(features, LV2_STATE__freePath);
    if (!paths || !plugin->map) {
        return LV2_STATE_ERR_NO_FEATURE;
    }
    size_t size = 0;
    uint32_t type = 0, value_flags = 0;
    const char *value = retrieve(handle, plugin->urids.model, &size, &type, &value_flags);
    if (!value) {
        return LV2_STATE_ERR_NO_PROPERTY;
    }
    if (type != plugin->urids.path || !memchr(value, 0, size)) {
        return LV2_STATE_ERR_BAD_TYPE;
    }
    char *path = paths->absolute_path(paths->handle, value);
    bool done = path && replace(plugin, path);
    if (path && freeing) {
        freeing->free_path(freeing->handle, path);
    } else {
        free(path);
    }
    return done ? LV2_STATE_SUCCESS : LV2_STATE_ERR_UNKNOWN;
}

// The plug-in's life.

static LV2_Handle instantiate(const LV2_Descriptor *descriptor, double rate, const char *bundle,
                              const LV2_Feature *const *features) {
    (void)descriptor;
    (void)rate;
    Plugin *plugin = calloc(1, sizeof *plugin);
    if (!plugin) {
        return NULL;
    }
    if (pthread_mutex_init(&plugin->lock, NULL) != 0) {
        free(plugin);
        return NULL;
    }
    plugin->gains[0] = plugin->gains[1] = -1;
    plugin->map = lv2_features_data(features, LV2_URID__map);
    plugin->schedule = lv2_features_data(features, LV2_WORKER__schedule);
    lv2_log_logger_init(&plugin->logger, plugin->map, lv2_features_data(features, LV2_LOG__log));
    // Without numbers for names there are no messages: the default model plays.
    if (plugin->map) {
        LV2_URID_Map *map = plugin->map;
        lv2_atom_forge_init(&plugin->forge, map);
        plugin->urids.path = map->map(map->handle, LV2_ATOM__Path);
        plugin->urids.urid = map->map(map->handle, LV2_ATOM__URID);
        plugin->urids.model = map->map(map->handle, MODEL_URI);
        plugin->urids.get = map->map(map->handle, LV2_PATCH__Get);
        plugin->urids.set = map->map(map->handle, LV2_PATCH__Set);
        plugin->urids.property = map->map(map->handle, LV2_PATCH__property);
        plugin->urids.value = map->map(map->handle, LV2_PATCH__value);
    }

    char path[PATH_SIZE];
    int length = snprintf(path, sizeof path, "%s" DEFAULT_MODEL, bundle);
    FILE *file = length > 0 && length < PATH_SIZE ? fopen(path, "rb") : NULL;
    if (file) {
        fclose(file);
        replace(plugin, path);
    }
    return plugin;
}

static void connect_port(LV2_Handle instance, uint32_t port, void *data) {
    Plugin *plugin = instance;
    if (port < PORTS) {
        plugin->ports[port] = data;
    }
}

static void activate(LV2_Handle instance) {
    Plugin *plugin = instance;
    if (plugin->playing) {
        (void)unrolled_stream_reset(plugin->playing->stream);
    }
    // The first block begins with what the ports say.
    plugin->gains[0] = factor_of(plugin->ports[INPUT_GAIN]);
    plugin->gains[1] = factor_of(plugin->ports[OUTPUT_GAIN]);
}

static void cleanup(LV2_Handle instance) {
    Plugin *plugin = instance;
    unload(plugin->playing);
    unload(plugin->left);
    pthread_mutex_destroy(&plugin->lock);
    free(plugin);
}

static const void *extension_data(const char *uri) {
    static const LV2_Worker_Interface worker = {work, work_response, NULL};
    static const LV2_State_Interface state = {save, restore};
    return strcmp(uri, LV2_WORKER__interface) == 0  ? (const void *)&worker
           : strcmp(uri, LV2_STATE__interface) == 0 ? (const void *)&state
                                                    : NULL;
}

static const LV2_Descriptor DESCRIPTOR = {PLUGIN_URI, instantiate,    connect_port, activate, run,
                                          NULL,       cleanup,        extension_data};

LV2_SYMBOL_EXPORT const LV2_Descriptor *lv2_descriptor(uint32_t index) { return index == 0 ? &DESCRIPTOR : NULL; }
