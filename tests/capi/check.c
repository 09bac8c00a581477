// Everything a C program may do with the library, right or wrong. The test beside it compares the numbers:
//
//     check MODEL ROWS < in.f32 > out.f32
//
// in is (steps, ROWS, input size). out is what the whole gives, then blocks, in place where the sizes allow it, and
// channels.

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unrolled.h>

#define CHECK(condition)                                                                    \
    do {                                                                                    \
        if (!(condition)) {                                                                 \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);         \
            exit(1);                                                                        \
        }                                                                                   \
    } while (0)

// Memory of exactly so many bytes, so that whatever lies past them is seen by a sanitizer.
static void *room(size_t bytes) {
    void *memory = malloc(bytes);
    CHECK(memory);
    return memory;
}

static void *contents(FILE *file, size_t *size) {
    char *data = NULL;
    *size = 0;
    for (size_t n = 1; n > 0; *size += n) {
        data = realloc(data, *size + 4096);
        CHECK(data);
        n = fread(data + *size, 1, 4096, file);
    }
    data = realloc(data, *size + (*size == 0));
    CHECK(data);
    return data;
}

static void refuse(unrolled_status expected, const void *made, unrolled_error *error) {
    CHECK(!made);
    CHECK(error->status == expected);
    CHECK(strlen(error->message) > 0 && strlen(error->message) < UNROLLED_MESSAGE_SIZE);
    memset(error, 0x55, sizeof *error);
}

static void wrong_models(void) {
    unrolled_error error;
    refuse(UNROLLED_STATUS_POINTER, unrolled_model_load_file(NULL, &error), &error);
    refuse(UNROLLED_STATUS_FILE, unrolled_model_load_file("", &error), &error);
    refuse(UNROLLED_STATUS_FILE, unrolled_model_load_file("no such file", &error), &error);
    refuse(UNROLLED_STATUS_POINTER, unrolled_model_load_memory(NULL, 7, &error), &error);
    refuse(UNROLLED_STATUS_LENGTH, unrolled_model_load_memory("", SIZE_MAX, &error), &error);
    refuse(UNROLLED_STATUS_FORMAT, unrolled_model_load_memory(NULL, 0, &error), &error);
    refuse(UNROLLED_STATUS_FORMAT, unrolled_model_load_memory("{}", 2, &error), &error);
    CHECK(!unrolled_model_load_file("no such file", NULL));
    refuse(UNROLLED_STATUS_POINTER, unrolled_stream_new(NULL, 1, &error), &error);
    CHECK(unrolled_model_input_size(NULL) == 0 && unrolled_model_output_size(NULL) == 0);
    CHECK(unrolled_model_num_parameters(NULL) == 0);
    CHECK(!unrolled_model_retain(NULL));
    unrolled_model_free(NULL);
    unrolled_stream_free(NULL);
}

static void wrong_calls(const unrolled_model *model, size_t rows) {
    unrolled_error error;
    refuse(UNROLLED_STATUS_INVALID, unrolled_stream_new(model, 0, &error), &error);
    refuse(UNROLLED_STATUS_MEMORY, unrolled_stream_new(model, SIZE_MAX, &error), &error);

    unrolled_stream *stream = unrolled_stream_new(model, rows, &error);
    CHECK(stream && error.status == UNROLLED_STATUS_OK && error.message[0] == 0);
    size_t inputs = rows * unrolled_model_input_size(model), outputs = rows * unrolled_model_output_size(model);
    float *in = room(2 * inputs * sizeof(float)), *out = room(2 * outputs * sizeof(float));
    memset(in, 0, 2 * inputs * sizeof(float));
    size_t n = 2 * inputs, m = 2 * outputs;
    CHECK(unrolled_stream_process(NULL, in, n, out, m) == UNROLLED_STATUS_POINTER);
    CHECK(unrolled_stream_process(stream, NULL, n, out, m) == UNROLLED_STATUS_POINTER);
    CHECK(unrolled_stream_process(stream, in, n, NULL, m) == UNROLLED_STATUS_POINTER);
    CHECK(unrolled_stream_process(stream, in, n + 1, out, m) == UNROLLED_STATUS_LENGTH);
    CHECK(unrolled_stream_process(stream, in, n, out, m + 1) == UNROLLED_STATUS_LENGTH);
    CHECK(unrolled_stream_process(stream, in, SIZE_MAX, out, SIZE_MAX) == UNROLLED_STATUS_LENGTH);
    CHECK(unrolled_stream_process(stream, NULL, 0, NULL, 0) == UNROLLED_STATUS_OK);
    CHECK(unrolled_stream_process_channels(stream, NULL, inputs, NULL, outputs, 1) == UNROLLED_STATUS_POINTER);
    CHECK(unrolled_stream_process_channels(stream, NULL, 0, NULL, 0, 1) == UNROLLED_STATUS_LENGTH);
    CHECK(unrolled_stream_reset(NULL) == UNROLLED_STATUS_POINTER);
    free(in);
    free(out);

    // One step of in, and two of out that begin within it.
    float *both = room(2 * (inputs + outputs) * sizeof(float));
    memset(both, 0, 2 * (inputs + outputs) * sizeof(float));
    CHECK(unrolled_stream_process(stream, both, n, both + n - 1, m) == UNROLLED_STATUS_OVERLAP);
    free(both);
    unrolled_stream_free(stream);
}

typedef struct {
    const unrolled_model *model;
    unrolled_stream *shared;
    float y;
} Thread;

// Threads share a model, and fight for a stream.
static void *thread(void *argument) {
    Thread *own = argument;
    unrolled_stream *stream = unrolled_stream_new(own->model, 1, NULL);
    CHECK(stream);
    size_t inputs = unrolled_model_input_size(own->model), outputs = unrolled_model_output_size(own->model);
    float *x = room(inputs * sizeof(float)), *y = room(outputs * sizeof(float));
    memset(x, 0, inputs * sizeof(float));
    for (int n = 0; n < 200; n++) {
        CHECK(unrolled_stream_process(stream, x, inputs, y, outputs) == UNROLLED_STATUS_OK);
        own->y = y[0];
        unrolled_status status = unrolled_stream_process(own->shared, x, inputs, y, outputs);
        CHECK(status == UNROLLED_STATUS_OK || status == UNROLLED_STATUS_BUSY);
    }
    free(x);
    free(y);
    unrolled_stream_free(stream);
    return NULL;
}

static void threads(const unrolled_model *model) {
    unrolled_stream *shared = unrolled_stream_new(model, 1, NULL);
    Thread own[2] = {{model, shared, 0}, {model, shared, 1}};
    pthread_t started[2];
    for (int n = 0; n < 2; n++) {
        CHECK(pthread_create(&started[n], NULL, thread, &own[n]) == 0);
    }
    for (int n = 0; n < 2; n++) {
        CHECK(pthread_join(started[n], NULL) == 0);
    }
    CHECK(own[0].y == own[1].y);
    unrolled_stream_free(shared);
}

static void write_out(const float *y, size_t len) { CHECK(fwrite(y, sizeof *y, len, stdout) == len); }

// Interleaved: the whole, then in blocks of 1, 2, 3 … steps.
static void interleaved(unrolled_stream *stream, const float *x, size_t steps, size_t inputs, size_t outputs) {
    float *y = room(steps * outputs * sizeof *y);
    CHECK(unrolled_stream_process(stream, x, steps * inputs, y, steps * outputs) == UNROLLED_STATUS_OK);
    write_out(y, steps * outputs);
    CHECK(unrolled_stream_reset(stream) == UNROLLED_STATUS_OK);
    for (size_t first = 0, block = 1; first < steps; first += block, block++) {
        block = block < steps - first ? block : steps - first;
        size_t n = block * inputs, m = block * outputs;
        float *to = y + first * outputs;
        const float *from = x + first * inputs;
        if (inputs == outputs) {
            memcpy(to, from, n * sizeof *to);
            from = to;
        }
        CHECK(unrolled_stream_process(stream, from, n, to, m) == UNROLLED_STATUS_OK);
    }
    write_out(y, steps * outputs);
    free(y);
}

static void channels(unrolled_stream *stream, const float *x, size_t steps, size_t inputs, size_t outputs) {
    CHECK(unrolled_stream_reset(stream) == UNROLLED_STATUS_OK);
    float **in = room(inputs * sizeof *in), **out = room(outputs * sizeof *out);
    for (size_t c = 0; c < inputs; c++) {
        in[c] = room(steps * sizeof(float));
        for (size_t t = 0; t < steps; t++) {
            in[c][t] = x[t * inputs + c];
        }
    }
    for (size_t c = 0; c < outputs; c++) {
        out[c] = c < inputs ? in[c] : room(steps * sizeof(float));
    }
    unrolled_status status =
        unrolled_stream_process_channels(stream, (const float *const *)in, inputs, out, outputs, steps);
    CHECK(status == UNROLLED_STATUS_OK);
    for (size_t t = 0; t < steps; t++) {
        for (size_t c = 0; c < outputs; c++) {
            write_out(&out[c][t], 1);
        }
    }
    for (size_t c = 0; c < inputs; c++) {
        free(in[c]);
    }
    for (size_t c = inputs; c < outputs; c++) {
        free(out[c]);
    }
    free(in);
    free(out);
}

int main(int argc, char **argv) {
    CHECK(argc == 3);
    size_t rows = strtoul(argv[2], NULL, 10), size;
    CHECK(rows > 0 && strlen(unrolled_version()) > 0 && strlen(unrolled_isa()) > 0);
    wrong_models();

    unrolled_error error;
    unrolled_model *from_file = unrolled_model_load_file(argv[1], &error);
    if (!from_file) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    wrong_calls(from_file, rows);
    threads(from_file);

    FILE *file = fopen(argv[1], "rb");
    CHECK(file);
    void *data = contents(file, &size);
    fclose(file);
    unrolled_model *model = unrolled_model_load_memory(data, size, &error);
    memset(data, 0, size);
    free(data);
    CHECK(model && unrolled_model_retain(model) == model);
    CHECK(unrolled_model_num_parameters(model) == unrolled_model_num_parameters(from_file));
    size_t inputs = rows * unrolled_model_input_size(model), outputs = rows * unrolled_model_output_size(model);

    unrolled_stream *first = unrolled_stream_new(from_file, rows, &error);
    unrolled_stream *second = unrolled_stream_new(model, rows, &error);
    CHECK(first && second);
    unrolled_model_free(from_file);
    unrolled_model_free(model);
    unrolled_model_free(model);

    float *x = contents(stdin, &size);
    size_t steps = size / sizeof *x / inputs;
    CHECK(size == steps * inputs * sizeof *x);
    interleaved(first, x, steps, inputs, outputs);
    channels(second, x, steps, inputs, outputs);
    free(x);
    unrolled_stream_free(first);
    unrolled_stream_free(second);
    for (int status = -1; status < 20; status++) {
        CHECK(strlen(unrolled_status_text(status)) > 0);
    }
    return 0;
}
